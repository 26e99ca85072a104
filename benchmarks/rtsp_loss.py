"""An RTSP camera behind a bad network: lost packets, a network that is silent, a camera without power.

sudo PYTHONPATH=. python benchmarks/rtsp_loss.py [--loss 0.05] [--seconds 30] [--kills 5] [--silent 1 3 8 20] [--json FILE]

The server runs in a network namespace of its own, whose packet filter loses packets at random in both directions. Needs
root, iproute2 and iptables besides what `rtsp_outages.py` needs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import SHARED
from tests.fakes.numbered_film import FPS, numbered_film
from tests.live.watched import Watched
from tests.servers.rtsp import RtspServer

NAMESPACE = "mar-edge-camera"
HERE, CAMERA = "10.231.77.1", "10.231.77.2"


def run(line: str) -> None:
    subprocess.run(line.split(), check=True)


@contextmanager
def network() -> Iterator[None]:
    """Make a namespace with a cable to it."""
    subprocess.run(["ip", "netns", "del", NAMESPACE], capture_output=True)  # of a run that was killed
    run(f"ip netns add {NAMESPACE}")
    try:
        run(f"ip link add mar-edge-a type veth peer name mar-edge-b netns {NAMESPACE}")
        run(f"ip addr add {HERE}/30 dev mar-edge-a")
        run("ip link set mar-edge-a up gso_max_segs 1")  # packets are lost one by one
        for line in (f"addr add {CAMERA}/30 dev mar-edge-b", "link set mar-edge-b up gso_max_segs 1", "link set lo up"):
            run(f"ip -n {NAMESPACE} {line}")
        yield
    finally:
        run(f"ip netns del {NAMESPACE}")


@contextmanager
def losing(share: float) -> Iterator[None]:
    """Lose a share of all packets, in both directions."""
    rules = [f"{chain} -m statistic --mode random --probability {share}" for chain in ("INPUT", "OUTPUT")]
    rules = ["INPUT", "OUTPUT"] if share >= 1 else rules if share > 0 else []
    filter_ = f"ip netns exec {NAMESPACE} iptables-legacy -w"
    for rule in rules:
        run(f"{filter_} -A {rule} -j DROP")
    try:
        yield
    finally:
        for rule in rules:
            run(f"{filter_} -D {rule} -j DROP")


def lossy(films: list[Path], transport: str, share: float, options: argparse.Namespace) -> dict[str, Any]:
    """Read for a while under loss, then kill the server a few times."""
    with (
        RtspServer(namespace=NAMESPACE, address=CAMERA, file=films[0], fps=FPS) as server,
        losing(share),
        Watched(f"{server.url}#transport={transport}") as watched,
    ):
        watched.returned(0.0, life=0)
        before, windows = watched.runner.status()[0], watched.windows
        time.sleep(options.seconds)
        after = watched.runner.status()[0]
        frames = after.frames + after.dropped.get("source", 0) - before.frames - before.dropped.get("source", 0)
        row = {
            "transport": transport,
            "loss": share,
            "frames": round(frames / (FPS * options.seconds), 3),
            "windows_per_s": round((watched.windows - windows) / options.seconds, 2),
            "reconnects": after.reconnects - before.reconnects,
            "frame_s": [],
        }
        for kill in range(options.kills):
            life = (kill + 1) % len(films)
            server.kill()
            time.sleep(1.0)
            server.restart(file=films[life])
            row["frame_s"].append(round(watched.returned(time.monotonic(), life=life).frame_s, 2))
        if transport == "tcp" or not share:  # a damaged picture shows a damaged number
            row["mixed"] = len(watched.mixed)
        return row


def silent(films: list[Path], silent_s: float, power: bool) -> dict[str, Any]:
    """Lose everything for a time; the server goes on, or loses its power, too."""
    # a server that sends one film to all waits for the client whose connection has died
    with (
        RtspServer(namespace=NAMESPACE, address=CAMERA, file=films[0], fps=FPS, unshared=True) as server,
        Watched(server.url) as watched,
    ):
        watched.returned(0.0, life=0)
        with losing(1.0):
            time.sleep(silent_s)
            if power:
                server.restart(file=films[1])
        back = watched.returned(time.monotonic(), life=int(power))
        return {
            "silent_s": silent_s,
            "power_cut": power,
            "frame_s": round(back.frame_s, 2),
            "result_s": round(back.result_s, 2),
            "mixed": len(watched.mixed),
        }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--loss", type=float, nargs="*", default=[0.0, 0.05], help="shares of packets")
    arguments.add_argument("--seconds", type=float, default=30)
    arguments.add_argument("--kills", type=int, default=5)
    arguments.add_argument("--silent", type=float, nargs="*", default=[1, 3, 8, 20], help="seconds")
    arguments.add_argument("--clip", type=Path, default=SHARED / "clips" / "asl" / "help.mkv")
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, network():
        films = [numbered_film(options.clip, Path(folder) / str(life), life=life) for life in range(2)]
        for share in options.loss:
            for transport in ("tcp", "udp"):
                rows.append(lossy(films, transport, share, options))
                print(rows[-1], flush=True)
        for silent_s in options.silent:
            for power in (False, True):
                rows.append(silent(films, silent_s, power))
                print(rows[-1], flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
