"""A child process that serves RTSP: it can be killed, frozen and started again on the same port."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType

from tests.conftest import need
from tests.fakes.ffmpeg import ffmpeg

PYTHON = "/usr/bin/python3"
PROGRAM = Path(__file__).with_name("rtsp_server.py")
IMPORTS = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


def need_rtsp() -> None:
    """Skip a test where the server's libraries are not installed; in CI they must be."""
    there = Path(PYTHON).exists() and not subprocess.run([PYTHON, "-c", IMPORTS], capture_output=True).returncode
    need(there, "Debian's python3-gi and gir1.2-gst-rtsp-server-1.0")


class RtspServer:
    """Serves a moving ball, or a file in a loop, at `url`. Use it as a context manager.

    Args:
        options: of `rtsp_server.py`, as `codec="h265"`, `size="640x480"`, `fps=25`, `gop=25`, `login="user:password"`,
            `digest=True`, `file=path` (see `elementary_stream`), `no_clock=True`, `address="10.0.0.2"`,
            `unshared=True`.
        namespace: a network namespace that it runs in; see `ip netns`.

    Attributes:
        port: the free port that the first start found; it stays.
    """

    def __init__(self, *, namespace: str | None = None, **options: object) -> None:
        self.port = 0
        self._within = ["ip", "netns", "exec", namespace] if namespace else []
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> RtspServer:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill it."""
        self.kill()

    @property
    def url(self) -> str:
        """Address, without a login."""
        return f"rtsp://{self._host}:{self.port}/stream"

    @property
    def pid(self) -> int:
        """Of the child process."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def login(self, user: str, password: str) -> str:
        """Return the address with a login."""
        return f"rtsp://{user}:{password}@{self._host}:{self.port}/stream"

    @property
    def _host(self) -> str:
        return str(self._options.get("address", "127.0.0.1"))

    def start(self) -> None:
        """Start, and return when it listens."""
        assert self._process is None, "it runs"
        line = [*self._within, PYTHON, str(PROGRAM), "--port", str(self.port)]
        for key, value in self._options.items():
            name = f"--{key.replace('_', '-')}"
            line += [] if value is False else [name] if value is True else [name, str(value)]
        self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        ready = self._process.stdout.readline().split()
        if ready[:1] != ["ready"]:
            self.kill()
            raise RuntimeError("the RTSP server did not start")
        self.port = int(ready[1])

    def kill(self) -> None:
        """End it at once, as a power cut does; the kernel closes its sockets."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def restart(self, **options: object) -> None:
        """Kill it, and start it on the same port, with other options if there are any."""
        self.kill()
        self._options = {**self._options, **options}
        self.start()

    def freeze(self) -> None:
        """Stop sending without closing anything."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `freeze`."""
        self._signal(signal.SIGCONT)

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        os.kill(self._process.pid, which)


def elementary_stream(clip: Path, target: Path, codec: str = "h264", *, gop: int = 30) -> Path:
    """Encode a clip as `RtspServer(file=...)` serves it, without sound and without a container."""
    encoder, kind = {"h264": ("libx264", "h264"), "h265": ("libx265", "hevc")}[codec]
    quiet = ["-x265-params", "log-level=none"] if codec == "h265" else []
    ffmpeg("-i", clip, "-an", "-c:v", encoder, "-preset", "ultrafast", "-bf", 0, "-g", gop, *quiet, "-f", kind, target)
    return target
