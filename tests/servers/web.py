"""An HTTP server in a thread: plain files with ranges, MJPEG, HLS, logins, and bodies that stop or end early."""

from __future__ import annotations

import base64
import contextlib
import math
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

BOUNDARY = "picture"
MJPEG = f"multipart/x-mixed-replace; boundary={BOUNDARY}"

Answer = Callable[["_Handler"], None]


class HttpServer:
    """Serves what `serve` was given, on a free port of 127.0.0.1. Use it as a context manager.

    Args:
        login: `user:password` that all requests must have (Basic).
        certificate: PEM file with key and certificate, for https.

    Attributes:
        stop: set when it closes; endless bodies end then.
        requests: paths that were asked for.
    """

    def __init__(self, *, login: str | None = None, certificate: Path | None = None) -> None:
        self.stop = threading.Event()
        self.requests: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.login = login
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = False  # closing waits for them, so that no test leaves a thread
        self._server.block_on_close = True
        self._server.owner = self  # type: ignore[attr-defined]
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> HttpServer:
        """Start it."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, and wait for its threads."""
        self.stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str, login: str = "") -> str:
        """Return the address of a path, as `/clip.mp4`."""
        at = f"{login}@" if login else ""
        return f"{self._scheme}://{at}127.0.0.1:{self._server.server_port}{path}"

    def serve(self, path: str, answer: Answer) -> str:
        """Answer a path; return its address."""
        self.answers[path] = answer
        return self.url(path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        owner: HttpServer = self.server.owner  # type: ignore[attr-defined]
        owner.requests.append(self.path)
        self.close_connection = True
        wanted = "Basic " + base64.b64encode((owner.login or "").encode()).decode()
        if owner.login and self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Connection", "close")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        answer = owner.answers.get(self.path.partition("?")[0])
        with contextlib.suppress(OSError):  # the client went away
            answer(self) if answer else self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""

    @property
    def stopped(self) -> threading.Event:
        owner: HttpServer = self.server.owner  # type: ignore[attr-defined]
        return owner.stop


def whole(data: bytes, content_type: str = "application/octet-stream", *, cut: int | None = None) -> Answer:
    """Answer with a body of known length, and with ranges of it; `cut` closes the connection after so many bytes."""

    def answer(request: _Handler) -> None:
        first = re.match(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(first[1]) if first else 0
        if start and start >= len(data):
            request.send_error(416)
            return
        request.send_response(206 if first else 200)
        request.send_header("Connection", "close")
        request.send_header("Content-Type", content_type)
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Length", str(len(data) - start))
        if first:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        request.wfile.write(data[start : len(data) if cut is None else cut])

    return answer


def endless(parts: Callable[[], Iterable[bytes]], content_type: str, *, hold: bool = False) -> Answer:
    """Answer with a body of unknown length; `hold` leaves the connection open at its end, without a byte."""

    def answer(request: _Handler) -> None:
        request.send_response(200)
        request.send_header("Connection", "close")
        request.send_header("Content-Type", content_type)
        request.end_headers()
        for part in parts():
            if request.stopped.is_set():
                return
            request.wfile.write(part)
        if hold:
            request.stopped.wait(30)

    return answer


def paced(parts: Iterable[bytes], fps: float) -> Iterator[bytes]:
    """Give parts at a rate."""
    began_s = time.monotonic()
    for index, part in enumerate(parts):
        time.sleep(max(0.0, began_s + index / fps - time.monotonic()))
        yield part


def multipart(picture: bytes) -> bytes:
    """Return one JPEG as a part of an MJPEG body."""
    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
    return head.encode() + picture + b"\r\n"


def hls(server: HttpServer, folder: Path, *, live: bool, segments: int | None = None) -> str:
    """Serve the segments of a folder that ffmpeg wrote, `0.ts`, `1.ts` ... of one second each; return the playlist's address.

    Args:
        server: where.
        folder: with the segments.
        live: a window of three segments slides over them, from now on; otherwise all are listed.
        segments: with `live`, the last one after which the playlist ends; None to repeat them for ever.
    """
    files = sorted(folder.glob("*.ts"), key=lambda file: int(file.stem))
    name = "live" if live else "vod"
    began_s = time.monotonic()

    def playlist(request: _Handler) -> None:
        passed = math.floor(time.monotonic() - began_s) + 3
        first, last = (passed - 3, passed) if live else (0, len(files))
        done = not live or (segments is not None and last >= segments)
        last = min(last, segments) if segments is not None else last
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{min(first, last)}"]
        for index in range(min(first, last), last):
            lines += ["#EXT-X-DISCONTINUITY"] * (index > 0 and index % len(files) == 0)
            lines += ["#EXTINF:1.0,", f"{name}{index}.ts"]
            server.answers.setdefault(f"/{name}{index}.ts", whole(files[index % len(files)].read_bytes(), "video/mp2t"))
        lines += ["#EXT-X-ENDLIST"] * done
        whole("\n".join([*lines, ""]).encode(), "application/vnd.apple.mpegurl")(request)

    return server.serve(f"/{name}.m3u8", playlist)
