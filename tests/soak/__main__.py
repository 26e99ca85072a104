"""`python -m tests.soak --hours 4`: a soak by hand."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.soak.soak import soak


def main() -> None:
    """Run it."""
    arguments = argparse.ArgumentParser(description="Run a site for hours while its parts fail at random moments.")
    arguments.add_argument("--hours", type=float, default=4)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--longest", type=float, default=12, metavar="S", help="longest fault, seconds")
    options = arguments.parse_args()
    if "MALLOC_ARENA_MAX" not in os.environ:  # or the heaps that glibc keeps for each thread hide a leak
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "MALLOC_ARENA_MAX": "1"})
    with tempfile.TemporaryDirectory() as folder:
        soak(
            Path(folder),
            seconds=3600 * options.hours,
            seed=options.seed,
            longest_s=options.longest,
            say=lambda line: print(line, flush=True),
        )
    print("well")


main()
