"""Addresses of brokers, and the topics of streams."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mar_edge.errors import OutputError
from mar_edge.runtime.sinks.mqtt_address import parse
from mar_edge.runtime.sinks.mqtt_topics import level


def test_an_address_with_everything(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("s3cret/@\n")
    one = parse(
        "mqtts://door%40home@broker.example:8884/site/hall/?ca=ca.pem&cert=me.pem&key=me.key&discovery=homeassistant"
        f"&spool=/var/spool/me&spool_events=5&spool_mb=2&password_file={tmp_path / 'word'}"
    )
    assert (one.host, one.port, one.prefix, one.tls) == ("broker.example", 8884, "site/hall", True)
    assert (one.user, one.password, one.discovery) == ("door@home", "s3cret/@", "homeassistant")
    assert (one.spool, one.spool_events, one.spool_bytes) == (Path("/var/spool/me"), 5, 2 << 20)
    assert one.name == "mqtts://broker.example:8884/site/hall"
    assert "s3cret" not in repr(one)


def test_what_is_left_out_has_a_default() -> None:
    plain, encrypted = parse("mqtt://[::1]"), parse("mqtts://host")
    assert (plain.name, plain.user, plain.discovery) == ("mqtt://[::1]:1883/mar-edge", None, None)
    assert encrypted.port == 8883


def test_a_spool_belongs_to_broker_and_prefix_not_to_who_logs_in() -> None:
    keys = [parse(url).key_of_spool for url in ("mqtt://a:b@h/x", "mqtt://H/x", "mqtt://h/y", "mqtt://h:1884/x")]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert parse("mqtt://[fe80::1%25eth0]/").key_of_spool.isascii()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://host", "must begin with mqtt:// or mqtts://"),
        ("host:1883", "must begin with mqtt:// or mqtts://"),
        ("mqtt://", "give mqtt://HOST:PORT/TOPIC/PREFIX"),
        ("mqtt://host:99999", "host or port is invalid"),
        ("mqtt://[::1", "host or port is invalid"),
        ("mqtt://" + "x" * 70, "not a valid name"),
        ("mqtt://host/a/+/b", "must not contain +, #"),
        ("mqtt://host/a#b", "write # as %23"),
        ("mqtt://host/%23", "must not contain +, #"),
        ("mqtt://host/$SYS", "nor begin with"),
        ("mqtt://host/a%00b", "control characters"),
        ("mqtt://host/" + "a" * 1001, "longer than 1000 bytes"),
        ("mqtt://host?discovry=x", "unknown option 'discovry'; did you mean 'discovery'"),
        ("mqtt://host?discovery=", "'discovery' has no value"),
        ("mqtt://host?spool=a&spool=b", "given twice"),
        ("mqtt://host?ca=ca.pem", "the option 'ca' needs mqtts://"),
        ("mqtts://host?key=ca.pem", "the option 'key' needs 'cert'"),
        ("mqtt://host?spool_events=0", "spool_events must be a whole number"),
        ("mqtt://host?password_file=/x", "needs a user name"),
        ("mqtt://me@host?password_file=/missing", "cannot read the password in /missing: No such file"),
    ],
)
def test_a_mistake_is_named(url: str, message: str) -> None:
    with pytest.raises(OutputError) as error:
        parse(url)
    assert message in str(error.value)


@pytest.mark.parametrize("url", ["mqtt://me:s3/cret@host", "mqtt://me:s3cret@host?what=s3cret", "mqt://me:s3cret@host"])
def test_no_message_shows_a_password(url: str) -> None:
    with pytest.raises(OutputError) as error:
        parse(url)
    assert "cret" not in str(error.value)


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for query in ("ca=/missing.pem", f"ca={tmp_path / 'bad.pem'}", f"cert={tmp_path / 'bad.pem'}"):
        with pytest.raises(OutputError, match="cannot use the certificate .*pem.* Give a PEM file"):
            parse(f"mqtts://host?{query}").tls_context()


def test_names_of_streams_become_one_level() -> None:
    assert level("camera 0") == "camera 0"
    assert level("rtsp://cam/1") == "rtsp:%2F%2Fcam%2F1"
    assert level("a+b#c%2F\x00\n") == "a%2Bb%23c%252F%00%0A"
    assert level("Küche") == "Küche"
    assert level("") == "%"


@given(st.lists(st.text(st.characters(), max_size=250), min_size=2, max_size=2, unique=True))
def test_two_streams_never_share_a_level(names: list[str]) -> None:
    first, second = (level(name) for name in names)
    assert first != second
    for one in (first, second):
        assert one and one.isprintable() and not set(one) & set("+#/")
        assert len(one.encode()) <= 1000


def test_long_names_that_differ_at_their_end_do_not_share_one() -> None:
    assert level("x" * 300 + "a") != level("x" * 300 + "b")
    assert len(level("/" * 5000)) == 200
