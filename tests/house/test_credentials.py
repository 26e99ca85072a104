"""Passwords and tokens in no text."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mar_edge.credentials import address_without_credentials, without_credentials
from mar_edge.errors import MissingExtraError, SourceError
from mar_edge.reporting import Warnings
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.model import Model
from mar_edge.runtime.sources.iterator import IteratorConnection
from tests.fakes.bundle import BrightnessEngine
from tests.fakes.command_line import mar_edge


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:pw@cam:554/1", "rtsp://***@cam:554/1"),
        ("RTSP://token@cam/1", "RTSP://***@cam/1"),
        ("cannot open 'rtsp://a:p@s/s w@cam/1': refused", "cannot open 'rtsp://***@cam/1': refused"),
        ("rtsp:/a:pw@cam", "rtsp:/***@cam"),
        ("http://cam/a?token=x&t=1#f=2: gone", "http://cam/a?token=***&t=***#f=***: gone"),
        ("http://cam/a?token=x@y: gone", "http://***: gone"),
        ("rtsp://u:p?w@cam/1, gone", "rtsp://***, gone"),
        ("http://cam/a?x.", "http://cam/a?***."),
        ("rtsp://1.2.3.4/user=admin_password=pw_channel=1.sdp", "rtsp://1.2.3.4/user=***"),
        ("mqtt://u:p@a and https://v:q@b/c?k=v, done", "mqtt://***@a and https://***@b/c?k=***, done"),
        ("no such file: admin:pw@1.2.3.4/x", "no such file: ***@1.2.3.4/x"),
        ("//admin:pw@cam/x", "//***@cam/x"),
        ("no such file: rtsp/admin:pw@cam/x", "no such file: rtsp/***@cam/x"),
        ("no such file: rtsp;/admin:pw@cam/x", "no such file: rtsp;/***@cam/x"),
        ("no such file: http :/admin:pw@cam/x", "no such file: http :/***@cam/x"),
    ],
)
def test_what_is_hidden(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    assert without_credentials(shown) == shown


@pytest.mark.parametrize("text", [
    "rtsp://cam:554/Streaming/Channels/101", "/data/a:b@c.mp4", "file:///home/a@b/c.mp4", "file:///a?b=c", "12:30 @ home",
    "me@home.org", "pip install 'mar-edge[web]'", "mar-edge train a.yaml token=3", "C:/videos/a@b.mp4", "what?", "",
])  # fmt: skip
def test_what_is_left_alone(text: str) -> None:
    assert without_credentials(text) == text


@given(st.text(alphabet="ab:/@?#&= '\"%.,;", max_size=12))
def test_no_password_survives_in_an_address(password: str) -> None:
    shown = address_without_credentials(f"rtsp://user:SECRET{password}SECRET@cam/1")
    assert "SECRET" not in shown
    assert shown.startswith("rtsp://***")
    assert "SECRET" not in without_credentials(shown + ": no such stream")
    assert "SECRET" not in address_without_credentials(f"http://cam/?token=SECRET{password}SECRET")


def test_errors_and_warnings_hide_them() -> None:
    assert str(SourceError("no stream at rtsp://u:pw@cam")) == "no stream at rtsp://***@cam"
    assert SourceError("rtsp://u:pw@cam", 3).args == ("rtsp://***@cam", 3)
    assert str(MissingExtraError("http://u:pw@cam")) == "http://***@cam"
    warnings = Warnings()
    warnings("lost rtsp://u:pw@cam")
    assert warnings.take() == ["lost rtsp://***@cam"]


class NamedSource:
    """A source of a user's own, with its address for a name."""

    def __init__(self) -> None:
        self.name = "rtsp://u:pw@cam/1"
        self.live = False
        self.dropped = 0
        self.warnings = Warnings()

    def connect(self) -> IteratorConnection:
        return IteratorConnection(self._frames())

    def _frames(self) -> Generator[Frame, None, None]:
        self.warnings(f"{self.name}: late")
        for index in range(8):
            size = 32 if index < 6 else 48
            yield Frame(picture=np.full((size, size, 3), 255, np.uint8), time_s=index / 10)


def test_results_of_a_source_of_ones_own_hide_them(tmp_path: Path) -> None:
    source, warned = NamedSource(), []  # type: ignore[var-annotated]
    model = Model(BrightnessEngine(tmp_path / "fake.mar"))
    results = list(model.stream(source, hop=1, on_warning=warned.append))
    assert results
    assert warned[0] == "rtsp://***@cam/1: late"
    assert len(warned) > 1
    assert "pw" not in f"{results} {[result.to_json() for result in results]} {warned}"


@pytest.mark.parametrize("arguments", [
    ["run", "--source", "rtsp://u:PW@127.0.0.1:9/1", "--max-retries", "0"], ["run", "--source", "http://127.0.0.1:9/a.mp4?token=PW", "--max-retries", "0"], ["classify", "rtsp://u:PW@cam/1", "a:PW@b"],
    ["run", "rtsp://u:PW@cam"], ["rtsp://u:PW@cam"], ["run", "--camera", "rtsp://u:PW@cam"], ["run", "--source", "demo", "--hop", "http://u:PW@cam"],
    ["run", "--source", "demo", "--model", "https://u:PW@cam/a.mar"], ["run", "--http://u:PW@cam"], ["run", "--source", "demo", "--mask", "http://u:PW@a"],
])  # fmt: skip
def test_no_command_prints_them(arguments: list[str]) -> None:
    done = mar_edge(*arguments)
    assert done.returncode in (1, 2)
    assert done.stderr
    assert "PW" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
