"""Videos from strangers: only the file itself is read, and its header decides no memory."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from mar_edge.errors import SourceError
from mar_edge.runtime.video.limits import MAX_PIXELS, why_too_large
from mar_edge.runtime.video.probe import probe, why_not_video
from mar_edge.runtime.video.reader import read_frames
from mar_edge.runtime.video.seek import read_frames_at
from tests.fakes.ffmpeg import ffmpeg
from tests.fakes.video_files import write_video

PRINT_PEAK_MB = (
    "print(next(int(line.split()[1]) // 1024 for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
)
"""Unlike `getrusage`, it does not count the process that started this one."""

LISTS = {
    "concat.mp4": "ffconcat version 1.0\nfile inner.ts\n",
    "concat-absolute.mp4": "ffconcat version 1.0\nfile {folder}/inner.ts\n",
    "concat.txt": "file inner.ts\n",
    "hls.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\ninner.ts\n#EXT-X-ENDLIST\n",
    "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{folder}/inner.ts\n#EXT-X-ENDLIST\n",
    "live.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{folder}/inner.ts\n",
    "key.m3u8": '#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXT-X-KEY:METHOD=AES-128,URI="{folder}/inner.ts"\n#EXTINF:3,\ninner.ts\n',
    "master.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:9/inner.m3u8\n",
    "stream.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 18766 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "dash.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT3S">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>inner.ts</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
    "imf.xml": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"></CompositionPlaylist>',
    "list.pls": "[playlist]\nFile1={folder}/inner.ts\n",
    "list.smil": "<smil><body><video src='inner.ts'/></body></smil>",
    "subtitles.idx": "# VobSub index file, v7 (do not modify this line!)\n",
    "graph.lavfi": "movie=inner.ts",
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_a_list_opens_nothing_else(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "inner.ts")  # to open it would wait for ever
    (tmp_path / name).write_text(LISTS[name].format(folder=tmp_path))
    with pytest.raises(SourceError, match="is a list of other files|is text") as caught:
        probe(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert why_not_video(tmp_path / name) == str(caught.value)


@pytest.mark.parametrize(
    "name", ["x%03d.png", "x*.jpg", "a|b.png", "concat:x.png", "http:x.jpg", "subfile,,start,0,end,9,,:x.png"]
)
def test_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:size=32x32:duration=1", "-frames:v", 1, tmp_path / f"one{Path(name).suffix}")
    (tmp_path / f"one{Path(name).suffix}").rename(tmp_path / name)
    for number in range(5):
        os.mkfifo(tmp_path / f"x{number:03d}.png")
    with pytest.raises(SourceError, match="is a still image"):
        probe(tmp_path / name)
    video = write_video(tmp_path / "v.mp4", [index / 10 for index in range(5)]).rename(tmp_path / f"{name}.mp4")
    assert len(list(read_frames(video))) == 5


SMALL = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=0.4")
CONTAINERS = {
    "v.mp4": (), "v.m4v": (), "v.mov": (), "v.mkv": (), "v.webm": ("-c:v", "libvpx"), "v.avi": (), "v.ts": (), "v.m2ts": (), "v.mpg": (),
    "v.vob": (), "v.flv": (), "v.f4v": (), "v.wmv": (), "v.asf": (), "v.ogv": ("-c:v", "libtheora"), "v.y4m": ("-pix_fmt", "yuv420p"),
    "v.h264": ("-c:v", "libx264"), "v.264": ("-c:v", "libx264", "-f", "h264"), "v.hevc": ("-c:v", "libx265"), "v.mjpeg": (),
    "v.m2v": (), "v.gif": (), "v.apng": (), "v.nut": (), "v.3gp": ("-s", "176x144", "-c:v", "h263"), "v.3g2": ("-c:v", "mpeg4"),
    "v.rm": ("-c:v", "rv20"), "v.ivf": ("-c:v", "libvpx"), "v.wtv": ("-c:v", "mpeg2video"),
    "v.dv": ("-s", "720x576", "-pix_fmt", "yuv420p"), "v.mxf": ("-c:v", "mpeg2video"),
    "v.gxf": ("-s", "720x576", "-c:v", "mpeg2video", "-f", "gxf"), "nothing": ("-f", "mp4"), "v.txt": ("-f", "matroska"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_formats_of_users_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    try:
        ffmpeg(*SMALL, *CONTAINERS[name], path)
    except subprocess.CalledProcessError:
        pytest.skip("this ffmpeg cannot write it")
    assert len(list(read_frames(path))) == pytest.approx(10, abs=4)
    assert read_frames_at(path, [0.1])[0].shape[2] == 3


def test_sizes_that_are_decoded() -> None:
    for width, height in ((7680, 4320), (4320, 7680), (8192, 4320), (16384, 2160), (1, 1)):
        assert why_too_large(width, height) is None
    for width, height in ((8192, 4608), (30_000, 8_000), (MAX_PIXELS + 1, 1), (20_000, 16), (16, 60_000)):
        said = why_too_large(width, height)
        assert said is not None
        assert f"{width}x{height}" in said
        assert "Scale it down: ffmpeg" in said


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def table(kind: bytes, *numbers: int, flags: int = 0) -> bytes:
    return box(kind, struct.pack(f">{1 + len(numbers)}I", flags, *numbers))


def mp4(samples: int, *, pieces: int = 0) -> bytes:
    """Return an MP4 whose samples all have one byte, in its index or in pieces."""
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    in_index = 0 if pieces else samples
    entry = box(
        b"mp4v", bytes(6), b"\0\1", bytes(16), struct.pack(">HH", 64, 64), struct.pack(">3I", 0x480000, 0x480000, 0),
        b"\0\1", bytes(32), b"\0\x18\xff\xff",
    )  # fmt: skip
    index = box(
        b"stbl", box(b"stsd", struct.pack(">2I", 0, 1), entry), table(b"stts", 1, in_index, 1),
        table(b"stsc", 1, 1, in_index, 1), table(b"stsz", 1, in_index), table(b"stco", 1, 1000),
    )  # fmt: skip
    media = box(
        b"mdia", table(b"mdhd", 0, 0, 1000, 1000, 0x55C40000), box(b"hdlr", bytes(8), b"vide", bytes(12), b"v\0"),
        box(b"minf", table(b"vmhd", 0, 0, flags=1), box(b"dinf", table(b"dref", 1), table(b"url ", flags=1)), index),
    )  # fmt: skip
    head = box(
        b"tkhd", struct.pack(">6I", 7, 0, 0, 1, 0, 1000), bytes(16), matrix, struct.pack(">2I", 64 << 16, 64 << 16)
    )
    movie = box(
        b"mvhd", struct.pack(">6I", 0, 0, 0, 1000, 1000, 0x10000), b"\1\0", bytes(10), matrix, bytes(24), b"\0\0\0\2"
    )
    extends = box(b"mvex", table(b"trex", 1, 1, 1, 1, 0)) if pieces else b""
    data = box(b"ftyp", b"isom\0\0\0\0isom") + box(b"moov", movie, box(b"trak", head, media), extends)
    if pieces:
        runs = [table(b"trun", samples // pieces)] * pieces
        data += box(
            b"moof", table(b"mfhd", 1), box(b"traf", table(b"tfhd", 1, flags=0x20000), table(b"tfdt", 0), *runs)
        )
    return data + box(b"mdat", bytes(3000))


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of small files that announce large pictures or many samples."""
    folder = tmp_path_factory.mktemp("bombs")
    gray = ("-f", "lavfi", "-i", "color=gray:size=8192x4608:rate=10", "-frames:v", 1, "-pix_fmt", "yuv420p")
    ffmpeg(*gray, "-c:v", "libx264", "-preset", "ultrafast", folder / "large.mkv")
    for ending in ("mp4", "ts", "flv", "h264"):
        ffmpeg("-i", folder / "large.mkv", "-c", "copy", folder / f"large.{ending}")
    ffmpeg(*SMALL, "-c:v", "gif", folder / "large.gif")
    data = bytearray((folder / "large.gif").read_bytes())
    data[6:10] = struct.pack("<HH", 30_000, 8_000)
    (folder / "large.gif").write_bytes(data)
    ffmpeg(*SMALL, "-c:v", "rawvideo", "-pix_fmt", "yuv420p", folder / "large.avi")
    data = bytearray((folder / "large.avi").read_bytes())
    at = data.index(b"strf") + 12
    for name, size in (
        ("large", (16_300, 16_300)),
        ("huge", (100_000, 100_000)),
        ("negative", (-64, -64)),
        ("wrap", (65_537,) * 2),
    ):
        data[at : at + 8] = struct.pack("<2i", *size)
        (folder / f"{name}.avi").write_bytes(data)
    (folder / "index.mp4").write_bytes(mp4(80_000_000))
    (folder / "piece.mp4").write_bytes(mp4(80_000_000, pieces=1))
    (folder / "pieces.mov").write_bytes(mp4(80_000_000, pieces=20))
    return folder


def test_a_header_decides_no_memory(bombs: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from mar_edge.errors import SourceError\n"
        "from mar_edge.runtime.video.probe import probe\n"
        "from mar_edge.runtime.video.reader import read_frames\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    for read in (probe, lambda path: next(read_frames(path))):\n"
        "        try: read(path); print(path.name, 'is read')\n"
        "        except SourceError as error: print(error)\n" + PRINT_PEAK_MB
    )
    done = subprocess.run(
        [sys.executable, "-c", code, bombs],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
        stderr=subprocess.DEVNULL,
    )
    *said, peak_mb = done.stdout.splitlines()
    assert len(said) == 2 * len(list(bombs.iterdir())) == 26
    for line in said:
        assert "pixels" in line or "samples" in line or "no picture that can be decoded" in line
    assert int(peak_mb) < 500


def test_a_header_decides_no_memory_in_a_pipe(tmp_path: Path) -> None:
    deep = ("-f", "lavfi", "-i", "color=gray:size=8192x6144:rate=10", "-frames:v", 4, "-vf", "format=yuv444p10le")
    frugal = "keyint=1:rc-lookahead=0:sync-lookahead=0"
    ffmpeg(*deep, "-c:v", "libx264", "-preset", "ultrafast", "-threads", 1, "-x264-params", frugal, tmp_path / "a.flv")
    code = (
        "import resource, subprocess, sys\n"
        "command = [sys.executable, '-m', 'mar_edge', 'run', '--source', '-']\n"
        "done = subprocess.run(command, input=open(sys.argv[1], 'rb').read(), stderr=subprocess.PIPE)\n"
        "peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024\n"
        "print(done.returncode, peak_mb, done.stderr.decode())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.flv"], capture_output=True, text=True, timeout=60)
    code_, peak_mb, said = done.stdout.split(" ", 2)
    assert (code_, "36 megapixels" in said) == ("1", True), done
    assert int(peak_mb) < 500


@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts"])
def test_many_streams_decide_no_memory(tmp_path: Path, ending: str) -> None:
    gray = ("-f", "lavfi", "-i", "color=gray:size=3840x2160:rate=10", "-frames:v", 2, "-pix_fmt", "yuv420p")
    ffmpeg(*gray, "-c:v", "libx264", "-preset", "ultrafast", tmp_path / "one.mkv")
    path = tmp_path / f"many.{ending}"
    ffmpeg("-i", tmp_path / "one.mkv", *(["-map", "0"] * 60), "-c", "copy", path)
    code = (
        "import sys; from pathlib import Path\n"
        "from mar_edge.runtime.video.reader import read_frames\n"
        "print(len(list(read_frames(Path(sys.argv[1]), threads=1))))\n" + PRINT_PEAK_MB
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60, check=True)
    pictures, peak_mb = map(int, done.stdout.split())
    assert pictures == 2
    assert peak_mb < 400  # 60 decoders with a picture each have 750 MB


def test_an_ordinary_index_is_not_too_long(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(mp4(1000))
    said = why_not_video(tmp_path / "v.mp4")
    assert said is not None  # it has no pictures
    assert "samples" not in said
    sound = ("-f", "lavfi", "-i", "sine=sample_rate=192000:duration=30")
    ffmpeg(*SMALL, *sound, "-c:a", "pcm_s16le", tmp_path / "sound.mov")
    assert 30 * 192_000 > 5_000_000
    assert why_not_video(tmp_path / "sound.mov") is None
