"""What it costs to have a checkpoint on the disk before it gets its name, against writing it without that, in turns.

python benchmarks/sync_cost.py [--folder FOLDER] [--sizes 1 16 350] [--runs 9]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from mar_edge.files.atomic_file import write_whole


def took_ms(path: Path, data: bytes) -> float:
    began_s = time.perf_counter()
    write_whole(path, data)
    return 1000 * (time.perf_counter() - began_s)


def file_system(folder: Path) -> str:
    found = subprocess.run(
        ["findmnt", "-n", "-o", "FSTYPE,SOURCE", "-T", folder], capture_output=True, text=True, check=False
    )
    return " on ".join(found.stdout.split()) or "unknown"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments.add_argument("--sizes", type=int, nargs="+", default=[1, 16, 350], help="in MB")
    arguments.add_argument("--runs", type=int, default=9)
    options = arguments.parse_args()
    print(f"{processor()}, {file_system(options.folder)}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for size_mb in options.sizes:
            data = os.urandom(size_mb * 1_000_000)
            synced, unsynced = [], []
            for _ in range(options.runs):
                synced.append(took_ms(Path(folder) / "a", data))
                with patch("os.fsync"):
                    unsynced.append(took_ms(Path(folder) / "b", data))
                os.sync()  # so that the next run does not write this one's content
            with_ms, without_ms = statistics.median(synced), statistics.median(unsynced)
            print(
                f"{size_mb} MB: {with_ms:.1f} ms synced, {without_ms:.1f} ms without, {with_ms - without_ms:.1f} ms for syncing, "
                f"ratio {with_ms / without_ms:.1f}"
            )


if __name__ == "__main__":
    main()
