"""An RTSP camera that goes away and comes back: how soon frames come again, what is in the windows, what is left behind.

PYTHONPATH=. python benchmarks/rtsp_outages.py [--kills 20] [--outages 1 3 8 20] [--freezes 2 8 20] [--json FILE]

A server of GStreamer in a child process serves a real clip with numbers in it to a `Runner`. Needs Debian's python3-gi,
gir1.2-gst-rtsp-server-1.0 and ffmpeg. A server returns when it listens, or goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.conftest import SHARED
from tests.fakes.numbered_film import FPS, numbered_film
from tests.live.watched import Held, Return, Watched
from tests.servers.rtsp import RtspServer

LIMIT_S = 2.0
FILMS = (("h264", (320, 240)), ("h264", (320, 240)), ("h264", (320, 240)), ("h264", (480, 360)), ("h265", (320, 240)))
"""One for each life of the server; the first three take turns."""


@dataclass(frozen=True)
class Row:
    """One absence.

    Attributes:
        what: happened.
        away_s: how long the server was away, seconds.
        back: what came after it.
        held: by this process then.
    """

    what: str
    away_s: float
    back: Return
    held: Held


class Outages:
    """Lets a server go away in every way.

    Args:
        folder: for the films.
        clip: what they show.
    """

    def __init__(self, folder: Path, clip: Path) -> None:
        self.films = [
            numbered_film(clip, folder / str(life), life=life, codec=codec, size_px=size_px)
            for life, (codec, size_px) in enumerate(FILMS)
        ]
        self.server = RtspServer(file=self.films[0], fps=FPS, login="edge:right", digest=True)
        self.server.start()
        self.watched = Watched(self.server.login("edge", "right"))
        self.watched.runner.start()
        self.life = 0
        self.watched.returned(0.0, life=0)

    def close(self) -> None:
        """Stop both."""
        self.watched.runner.stop()
        self.server.kill()

    def kill(self, what: str, away_s: float, life: int | None = None) -> Row:
        """Kill the server, and start it again later, with another film."""
        self.life = (self.life + 1) % 3 if life is None else life
        self.server.kill()
        gone_s = time.monotonic()
        time.sleep(away_s)
        self.server.restart(file=self.films[self.life], codec=FILMS[self.life][0])
        return self._back(what, gone_s)

    def freeze(self, frozen_s: float) -> Row:
        """Freeze the server, and let it go on."""
        self.server.freeze()
        gone_s = time.monotonic()
        time.sleep(frozen_s)
        self.server.resume()
        return self._back("freeze", gone_s)

    def freeze_and_kill(self, frozen_s: float) -> Row:
        """Freeze the server, kill it, and start it again."""
        self.server.freeze()
        time.sleep(frozen_s)
        return self.kill("freeze, then kill", 1.0)

    def wrong_password(self, wrong_s: float) -> Row:
        """Start the server with another password, and later with the right one."""
        self.server.restart(login="edge:changed")
        gone_s = time.monotonic()
        self.watched.until_told("auth")
        time.sleep(max(0.0, gone_s + wrong_s - time.monotonic()))
        self.life = (self.life + 1) % 3
        self.server.restart(login="edge:right", file=self.films[self.life], codec=FILMS[self.life][0])
        return self._back("wrong password, then the right one", gone_s)

    def _back(self, what: str, gone_s: float) -> Row:
        since_s = time.monotonic()
        back = self.watched.returned(since_s, life=self.life)
        return Row(what, since_s - gone_s, back, Held.now())


def all_of(outages: Outages, options: argparse.Namespace, rng: random.Random) -> Iterator[Row]:
    for _ in range(options.kills):
        yield outages.kill("kill", rng.uniform(0.0, 1.5))
        time.sleep(rng.uniform(0.0, 1.0))
    yield outages.kill("larger pictures", 0.5, life=3)
    yield outages.kill("H.265 instead of H.264", 0.5, life=4)
    yield outages.kill("H.264 instead of H.265", 0.5, life=0)
    for away_s in options.outages:
        yield outages.kill("long outage", away_s)
    for frozen_s in options.freezes:
        yield outages.freeze(frozen_s)
    yield outages.freeze_and_kill(7.0)
    for wrong_s in options.passwords:
        yield outages.wrong_password(wrong_s)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--outages", type=float, nargs="*", default=[1, 3, 8, 20], help="seconds")
    arguments.add_argument("--freezes", type=float, nargs="*", default=[2, 8, 20], help="seconds")
    arguments.add_argument("--passwords", type=float, nargs="*", default=[3, 8], help="seconds with a wrong one")
    arguments.add_argument("--clip", type=Path, default=SHARED / "clips" / "asl" / "help.mkv")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        outages = Outages(Path(folder), options.clip)
        try:
            print(f"{'what':36} {'away s':>7} {'frame s':>8} {'result s':>8} threads sockets files rss MB", flush=True)
            for row in all_of(outages, options, random.Random(options.seed)):
                rows.append(row)
                held, back = row.held, row.back
                print(
                    f"{row.what:36} {row.away_s:7.1f} {back.frame_s:8.2f} {back.result_s:8.2f} "
                    f"{held.threads:7} {held.sockets:7} {held.files:5} {held.rss_mb:6.1f}",
                    flush=True,
                )
        finally:
            outages.close()
    watched = outages.watched
    soon = sum(row.back.frame_s <= LIMIT_S for row in rows)
    print(f"frames within {LIMIT_S:g} s of the return: {soon} of {len(rows)}")
    print(f"median {statistics.median(row.back.frame_s for row in rows):.2f} s to the first frame")
    print(
        f"{watched.windows} windows, {len(watched.mixed)} mixed; steps in the film {dict(sorted(watched.steps.items()))}"
    )
    if options.json:
        found = {
            "rows": [asdict(row) for row in rows],
            "windows": watched.windows,
            "mixed": watched.mixed,
            "steps": watched.steps,
        }
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
