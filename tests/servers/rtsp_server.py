"""An RTSP server of GStreamer, for the system's Python: serves pictures in a loop, until its stdin closes.

Run with /usr/bin/python3, which has PyGObject. Prints one line `ready PORT` when it listens.
"""

from __future__ import annotations

import argparse
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402 - versions come first

H264 = "h264parse ! rtph264pay name=pay0 config-interval=-1"
H265 = "h265parse ! rtph265pay name=pay0 config-interval=-1"
ONE_SLICE = "threads=1 sliced-threads=false"  # the payloader would put parameter sets between two slices of a picture
ENCODERS = {
    "h264": f"x264enc tune=zerolatency speed-preset=ultrafast {ONE_SLICE} key-int-max={{gop}} ! {H264}",
    "h264b": f"x264enc speed-preset=veryfast bframes=2 b-adapt=false {ONE_SLICE} key-int-max={{gop}} ! {H264}",
    "h265": f"x265enc tune=zerolatency speed-preset=ultrafast key-int-max={{gop}} ! {H265}",
    "mjpeg": "jpegenc ! rtpjpegpay name=pay0",
}
PAYLOADS = {"h264": H264, "h265": H265}


def factory(options: argparse.Namespace) -> GstRtspServer.RTSPMediaFactory:
    """Return what is served at /stream."""
    made = GstRtspServer.RTSPMediaFactory()
    if options.file:
        kind = f"video/x-{options.codec},stream-format=byte-stream,alignment=nal,framerate={options.fps}/1"
        parser, payload = PAYLOADS[options.codec].split(" ! ")
        made.set_launch(
            f"( multifilesrc location={options.file} loop=true caps={kind} ! {parser} ! "
            f"video/x-{options.codec},alignment=au ! identity name=stamp ! {payload} pt=96 )"
        )
        if not options.no_clock:
            made.connect("media-configure", lambda _, media: stamp(media.get_element(), options.fps))
    else:
        width, height = options.size.split("x")
        made.set_launch(
            f"( videotestsrc is-live=true pattern=ball ! "
            f"video/x-raw,format=I420,width={width},height={height},framerate={options.fps}/1 ! "
            f"{ENCODERS[options.codec].format(gop=options.gop)} pt=96 )"
        )
    made.set_shared(not options.unshared)
    return made


def stamp(element: Gst.Element, fps: int) -> None:
    """Give every picture its time: a stream without a container has none, and begins again and again."""
    count = 0

    def write(_pad: Gst.Pad, info: Gst.PadProbeInfo) -> Gst.PadProbeReturn:
        nonlocal count
        info.get_buffer().pts = count * Gst.SECOND // fps
        count += 1
        return Gst.PadProbeReturn.OK

    element.get_by_name("stamp").get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, write)


def protect(auth: GstRtspServer.RTSPAuth, made: GstRtspServer.RTSPMediaFactory, login: str, digest: bool) -> None:
    """Ask for a user's name and password."""
    user, _, password = login.partition(":")
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "user")
    if digest:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    made.add_role_from_structure(
        Gst.Structure.new_from_string("user, media.factory.access=(boolean)true, media.factory.construct=(boolean)true")
    )


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", default="0")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--codec", default="h264", choices=sorted(ENCODERS))
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--gop", type=int, default=25)
    parser.add_argument("--login", help="USER:PASSWORD")
    parser.add_argument("--certificate", help="PEM file with key and certificate, for rtsps")
    parser.add_argument("--digest", action="store_true")
    parser.add_argument(
        "--file", help="an H.264 or H.265 stream without a container to repeat instead of a test picture"
    )
    parser.add_argument("--unshared", action="store_true", help="the film begins anew for every client")
    parser.add_argument("--no-clock", action="store_true", help="with --file: all time stamps are equal")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(options.address)
    server.set_service(options.port)
    made = factory(options)
    auth = GstRtspServer.RTSPAuth()
    if options.login:
        protect(auth, made, options.login, options.digest)
    if options.certificate:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(options.certificate))
    if options.login or options.certificate:
        server.set_auth(auth)
    server.get_mount_points().add_factory("/stream", made)
    loop = GLib.MainLoop()
    if not server.attach(None):
        raise SystemExit(f"port {options.port} cannot be used")
    print("ready", server.get_bound_port(), flush=True)
    # the test's process holds the other end, so this one cannot outlive it
    threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
    loop.run()


if __name__ == "__main__":
    main()
