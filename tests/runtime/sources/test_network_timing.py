"""Addresses, time stamps and what a slow decoder leaves out, without a network."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from mar_edge.errors import OptionError, SourceError
from mar_edge.reporting import Warnings
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.network.address import parse_address
from mar_edge.runtime.sources.network.backlog import Backlog
from mar_edge.runtime.sources.network.clock import LiveClock
from mar_edge.runtime.sources.network.damage import Damage
from mar_edge.runtime.sources.network.handover import Handover
from mar_edge.runtime.sources.network.source import NetworkSource


def test_options_follow_the_address() -> None:
    camera = parse_address("rtsp://admin:p%23w@camera:8554/cam?channel=1&subtype=0#transport=udp")
    assert camera.url == "rtsp://admin:p%23w@camera:8554/cam?channel=1&subtype=0", "the camera's own query stays"
    assert (camera.transport, camera.host, camera.port) == ("udp", "camera", 8554)
    assert "p%23w" not in camera.name and "admin" not in camera.name
    assert parse_address("rtsp://camera/1").transport == "tcp"
    assert parse_address("RTSPS://camera/1").url == "rtsps://camera/1"
    assert parse_address("http://[::1]/a").host == "::1"
    assert not parse_address("https://camera/1#verify=no").verify
    assert parse_address("https://camera/1").verify
    assert not parse_address("rtsps://camera/1#transport=udp&verify=no").verify


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("rtsp://camera/1#transport=quic", "transport=tcp or transport=udp"),
        ("rtsp://camera/1#trasport=udp", "has no option 'trasport'"),
        ("http://camera/1#transport=udp", "is for rtsp and rtsps addresses"),
        ("rtsp:///stream", "no valid host"),
        ("rtsp://camera:99999/", "no valid host"),
        ("rtsp://admin:pa/55@camera/1", "as %XX"),
        ("ftp://camera/1", "not a network address"),
        ("rtsp://camera/1\r\nX-Header: 1", "not a network address"),
        ("camera", "not a network address"),
    ],
)
def test_mistakes_in_addresses(address: str, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_address(address)
    assert said in str(caught.value)
    assert not caught.value.retry
    assert "55" not in str(caught.value)


def test_mistakes_in_arguments() -> None:
    with pytest.raises(OptionError, match="connect_timeout_s"):
        NetworkSource("rtsp://camera/1", connect_timeout_s=0)
    with pytest.raises(OptionError, match="transport"):
        NetworkSource("rtsp://camera/1", transport="quic")  # type: ignore[arg-type]


def times_s(stamped: list[tuple[float | None, float]]) -> tuple[list[float], list[str]]:
    warnings = Warnings()
    clock = LiveClock("cam", warnings)
    return [round(clock.time_s(stamp_s, arrived_s), 5) for stamp_s, arrived_s in stamped], warnings.take()


def test_times_are_those_of_the_stamps_not_of_the_arrival() -> None:
    late = [0.0, 0.04, 0.2, 0.21, 0.22, 0.23]
    assert times_s([(7 + 0.04 * n, 100 + late[n]) for n in range(6)]) == ([0, 0.04, 0.08, 0.12, 0.16, 0.2], [])


def test_the_first_picture_of_rtsp_has_no_stamp() -> None:
    assert times_s([(None, 5.0), (0.0, 5.04), (0.04, 5.08)]) == ([0, 0.04, 0.08], [])


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, -1.0, 1.5])
def test_a_clock_that_jumps_is_reported_once(jump_s: float) -> None:
    shown, (warning,) = times_s([(0.04 * n + (n >= 3) * jump_s, 100 + 0.04 * n) for n in range(6)])
    assert shown == [0, 0.04, 0.08, 0.12, 0.16, 0.2]
    assert "jump" in warning


def test_a_pause_of_the_camera_is_no_jump() -> None:
    assert times_s([(0.0, 100.0), (0.04, 100.04), (9.04, 109.04)]) == ([0, 0.04, 9.04], [])


def test_what_was_left_out_when_late_is_no_jump() -> None:
    assert times_s([(0.0, 100.0), (0.04, 102.5), (2.5, 102.51)]) == ([0, 0.04, 2.5], [])


def test_a_picture_in_two_parts_does_not_shift_the_clock() -> None:
    assert times_s([(0.0, 9.0), (0.04, 9.04), (0.04, 9.041), (0.08, 9.08)]) == ([0, 0.04, 0.0405, 0.08], [])


@pytest.mark.parametrize("stamp_s", [0.0, None])
def test_without_usable_stamps_arrivals_count(stamp_s: float | None) -> None:
    shown, (warning,) = times_s([(stamp_s, 50 + 0.1 * n) for n in range(100)])
    assert shown[-1] == pytest.approx(9.9, abs=0.11)
    assert all(later > earlier for earlier, later in pairwise(shown))
    assert "time of arrival is used" in warning


def decoded(decode_s: float, seconds: float, *, gop: int = 25) -> tuple[Backlog, float]:
    """Decode 25 pictures per second that take so long each; return how late the last ones were at most."""
    backlog, now_s, late_s = Backlog(), 0.0, 0.0
    for number in range(int(25 * seconds)):
        sent_s = number / 25
        waited_s = max(0.0, sent_s - now_s)
        now_s = max(now_s, sent_s)
        if backlog.takes(7 + sent_s, now_s, waited_s, key=number % gop == 0):
            now_s += decode_s
            if number > 25 * seconds / 2:
                late_s = max(late_s, now_s - sent_s)
    return backlog, late_s


@pytest.mark.parametrize("decode_s", [0.042, 0.06, 0.2])
def test_a_slow_decoder_does_not_fall_behind_for_ever(decode_s: float) -> None:
    backlog, late_s = decoded(decode_s, 120)
    assert backlog.left_out > 100 or decode_s < 0.05
    assert late_s < 4, "without it, 120 s would end 6, 60 and 480 s late"


def test_a_fast_decoder_leaves_nothing_out() -> None:
    backlog, late_s = decoded(0.03, 120)
    assert (backlog.left_out, backlog.episodes) == (0, 0)
    assert late_s < 0.04


def test_a_pause_of_the_network_leaves_nothing_out() -> None:
    backlog = Backlog()
    for number in range(200):
        sent_s = number / 25
        arrived_s = max(sent_s, 4.0 + number * 0.004) if 2 < sent_s < 4 else sent_s  # two seconds, then all at once
        assert backlog.takes(sent_s, arrived_s, 2.0 if number == 51 else 0.0, key=number % 25 == 0)


def test_decoding_begins_again_with_a_key_frame() -> None:
    backlog, now_s, last = Backlog(), 0.0, -1
    for number in range(500):
        if backlog.takes(number / 25, now_s, 0.0, key=number % 25 == 0):
            assert last == number - 1 or number % 25 == 0
            last, now_s = number, now_s + 0.1
    assert backlog.episodes


def test_damage_is_reported_at_most_every_five_seconds() -> None:
    warnings = Warnings()
    damage = Damage("cam", warnings)
    for tenth in range(100):
        damage.report(tenth / 10)
        damage.add("bad")
    damage.finish()
    assert [message.partition(" (")[0] for message in warnings.take()] == [
        "cam: 1 damaged packet", "cam: 50 damaged packets", "cam: 48 damaged packets",
    ]  # fmt: skip
    assert damage.total == 100, "the connection broke off within the last one"


def test_handing_over_waits_for_the_reader_of_a_file() -> None:
    handover = Handover(on_drop=lambda: pytest.fail("a file loses nothing"))
    handover.waits = True
    given = [Frame(picture=lambda: pytest.fail("nobody looks"), size_px=(2, 2), time_s=n) for n in range(20)]

    def run() -> None:
        for frame in given:
            handover.put(frame)
        handover.end(None)

    thread = threading.Thread(target=run)
    thread.start()
    taken = []
    while handover.ready(5) and (frame := handover.take()) is not None:
        taken.append(frame)
    thread.join()
    assert taken == given


def test_handing_over_ends_when_closed() -> None:
    handover = Handover(on_drop=lambda: None)
    handover.waits = True
    frame = Frame(picture=lambda: pytest.fail("nobody looks"), size_px=(2, 2), time_s=0)
    assert handover.put(frame)
    thread = threading.Thread(target=handover.close)
    thread.start()
    assert not handover.put(frame), "it waits until it is closed"
    thread.join()
    assert handover.ready(0) and handover.take() is None
