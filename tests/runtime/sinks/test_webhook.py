"""Webhooks against a real server: signed, repeated with one key, and never stopped by one bad answer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import ssl
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from mar_edge.errors import OutputError
from mar_edge.runtime.results import Notice
from mar_edge.runtime.sinks.open import WEBHOOK_SECRET, open_webhook
from mar_edge.runtime.sinks.webhook import Webhook
from tests.conftest import ROOT
from tests.fakes.records import ended, prediction, started
from tests.servers.certificates import Authority
from tests.servers.mosquitto import free_port
from tests.servers.webhook import Answer, Receiver, receiver

__all__ = ["receiver"]

SECRET = b"key"


@pytest.fixture
def said() -> list[str]:
    """What the operator was told."""
    return []


@pytest.fixture
def hook(receiver: Receiver, said: list[str]) -> Iterator[Webhook]:
    """A webhook to that receiver, which it waits for for 0.3 s."""
    one = Webhook(receiver.url, secret=SECRET, timeout_s=0.3, notify=lambda notice: said.append(notice.message))
    yield one
    one.close()


def test_a_record_arrives_signed_with_a_key_of_its_own(receiver: Receiver, hook: Webhook) -> None:
    before = int(time.time())
    hook.write(started(7))
    hook.write(ended(7))
    (path, headers, body), (_, other, _) = receiver.requests
    assert path == "/hook/s3cret"
    assert json.loads(body) == started(7).to_json()
    assert headers["content-type"] == "application/json"
    assert (headers["idempotency-key"], other["idempotency-key"]) == ("7:start", "7:end")
    stamp, signature = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", headers["x-mar-edge-signature"]).groups()  # type: ignore[union-attr]
    assert before <= int(stamp) <= time.time()
    assert hmac.new(SECRET, stamp.encode() + b"." + body, hashlib.sha256).hexdigest() == signature
    assert receiver.connections == 1


def test_the_receiver_in_the_documentation_verifies_it(receiver: Receiver, hook: Webhook) -> None:
    page = (ROOT / "docs" / "how-to" / "outputs.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "def is_genuine" in block)
    names: dict[str, object] = {}
    exec(code, names)
    is_genuine = names["is_genuine"]
    assert callable(is_genuine)
    hook.write(started(1))
    _, headers, body = receiver.requests[0]
    signature = headers["x-mar-edge-signature"]
    assert is_genuine(body, signature, SECRET)
    assert not is_genuine(body + b" ", signature, SECRET)
    assert not is_genuine(body, signature, b"other")
    assert not is_genuine(body, signature.replace("t=", "t=1"), SECRET)
    assert not is_genuine(body, "nonsense", SECRET)
    old = f"t={int(time.time()) - 1000}"
    mac = hmac.new(SECRET, old[2:].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert not is_genuine(body, f"{old},v1={mac}", SECRET)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(500), "answers 500"),
        (Answer(503), "answers 503"),
        (Answer(429), "answers 429"),
        (Answer(408), "answers 408"),
        (Answer(0), "the connection broke"),
        (Answer(200, wait_s=0.6), "does not answer in time"),
    ],
)
def test_a_receiver_in_trouble_gets_the_same_record_again(
    receiver: Receiver, hook: Webhook, answer: Answer, message: str
) -> None:
    notice = Notice(stream="door", code="timeout", message="gone")
    receiver.answers = [answer]
    with pytest.raises(OutputError, match=message) as error:
        hook.write(notice)
    assert error.value.retry
    assert "s3cret" not in str(error.value)
    hook.write(notice)
    hook.write(notice.__class__(stream="door", code="timeout", message="gone"))  # another one
    keys = [headers["idempotency-key"] for _, headers, _ in receiver.requests]
    assert keys[0] == keys[1] != keys[2]
    assert receiver.requests[0][2] == receiver.requests[1][2]
    assert hook.dropped == {"refused": 0}


def test_nobody_there(said: list[str]) -> None:
    for url, message in (
        (f"http://127.0.0.1:{free_port()}/x", "nothing listens there, or the network is down"),
        ("http://no-such-host.invalid/x", "there is no such host"),
    ):
        hook = Webhook(url)
        with pytest.raises(OutputError, match=message) as error:
            hook.write(started(1))
        assert error.value.retry
        hook.close()


@pytest.mark.parametrize("moment", ["60", formatdate(time.time() + 3600, usegmt=True)], ids=["seconds", "date"])
def test_a_receiver_is_left_alone_for_as_long_as_it_asks(receiver: Receiver, hook: Webhook, moment: str) -> None:
    receiver.answers = [Answer(429, (("Retry-After", moment),))]
    for message in ("answers 429", "asks for a pause; next attempt in [0-9]+ s"):
        with pytest.raises(OutputError, match=message) as error:
            hook.write(started(1))
        assert error.value.retry
    assert len(receiver.requests) == 1


def test_after_the_pause_it_goes_on(receiver: Receiver, hook: Webhook) -> None:
    receiver.answers = [Answer(503, (("Retry-After", "1"),)), Answer(500, (("Retry-After", "soon"),))]
    tries = 0
    end = time.monotonic() + 10
    while len(receiver.requests) < 3 and time.monotonic() < end:
        tries += 1
        try:
            hook.write(started(1))
        except OutputError:
            time.sleep(0.05)
    assert len(receiver.requests) == 3
    assert tries > 5


def test_a_refused_record_is_dropped_alone_and_said_once(receiver: Receiver, hook: Webhook, said: list[str]) -> None:
    receiver.answers = [Answer(400), Answer(400), Answer(403), Answer(200), Answer(400)]
    for number in range(6):
        hook.write(started(number))
    assert hook.dropped == {"refused": 4}
    assert len(receiver.requests) == 6
    assert [re.findall(r"answers (\d+)", one)[0] for one in said] == ["400", "403", "400"]
    assert "Check the address, its credentials and the signing secret" in said[1]


def test_redirects_are_not_followed(receiver: Receiver, hook: Webhook, said: list[str]) -> None:
    other = Receiver()
    for status in (301, 302, 307, 308):
        receiver.answers = [Answer(status, (("Location", other.url),))]
        hook.write(started(status))
    assert not other.requests
    assert len(said) == 4
    assert "answers 307, so a record was dropped. It redirects" in said[2]
    other.close()


def test_what_it_says_of_itself_is_not_posted(receiver: Receiver, hook: Webhook) -> None:
    hook.write(Notice(stream=hook.name, code="output", message="x"))
    assert not receiver.requests
    assert "event" in hook.wants and "prediction" not in hook.wants
    every = Webhook(receiver.url, wants=frozenset({"prediction", "frame"}))
    assert every.wants == {"prediction"}
    every.write(prediction())
    assert json.loads(receiver.requests[0][2])["type"] == "prediction"
    assert "x-mar-edge-signature" not in receiver.requests[0][1]
    every.close()


def test_a_login_is_sent_and_shown_nowhere(receiver: Receiver) -> None:
    hook = Webhook(receiver.url.replace("//", "//door:p%40ss@"))
    hook.write(started(1))
    assert receiver.requests[0][1]["authorization"] == "Basic " + base64.b64encode(b"door:p@ss").decode()
    assert re.fullmatch(r"http://127.0.0.1:\d+", hook.name)
    hook.close()


def test_the_secret_comes_from_a_file_or_the_environment(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "named").write_bytes(b"from a named file\n")
    (tmp_path / "empty").touch()
    monkeypatch.setenv(WEBHOOK_SECRET, "from the environment")
    for given, secret in (
        (None, b"from the environment"),
        (b"from the caller", b"from the caller"),
        (None, b"from a named file"),
    ):
        if secret == b"from a named file":
            monkeypatch.setenv(f"{WEBHOOK_SECRET}_FILE", str(tmp_path / "named"))
        hook = open_webhook(receiver.url, notify=lambda _: None, secret=given)
        hook.write(started(1))
        hook.close()
        _, headers, body = receiver.requests[-1]
        stamp, signature = headers["x-mar-edge-signature"][2:].split(",v1=")
        assert hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest() == signature
    monkeypatch.setenv(f"{WEBHOOK_SECRET}_FILE", str(tmp_path / "empty"))
    with pytest.raises(OutputError, match="empty is empty; it must contain the secret of the webhook"):
        open_webhook(receiver.url, notify=lambda _: None)
    monkeypatch.setenv(f"{WEBHOOK_SECRET}_FILE", str(tmp_path / "missing"))
    with pytest.raises(OutputError, match="cannot read the secret of the webhook in .*No such file"):
        open_webhook(receiver.url, notify=lambda _: None)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://me:s3cret@host",
        "host/path",
        "https://",
        "https://me:s3/cret@host:x",
        "http://[::1",
        "https://host:99999/s3cret",
    ],
)
def test_what_is_no_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(OutputError, match="is not the address of a webhook. Give https://HOST/PATH") as error:
        Webhook(url)
    assert "cret" not in str(error.value)


def test_a_certificate_is_checked(receiver: Receiver, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("receiver", "IP:127.0.0.1"))
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    url = receiver.url.replace("http:", "https:")
    strict = Webhook(url)
    with pytest.raises(OutputError, match="TLS failed .*certificate verify failed.* Check its certificate") as error:
        strict.write(started(1))
    assert error.value.retry
    strict.close()
    trusting = Webhook(url, ca=authority.file)
    trusting.write(started(1))
    trusting.close()
    assert len(receiver.requests) == 1
    with pytest.raises(OutputError, match="cannot use the certificates /missing.pem"):
        Webhook(url, ca=Path("/missing.pem"))
