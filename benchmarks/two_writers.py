"""Two processes write the same output at the same time while a third one reads it, for every kind of output.

PYTHONPATH=. python benchmarks/two_writers.py [--rounds 60]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.fakes.ends import race
from tests.fakes.writers import WRITERS


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=60)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for kind, writer in WRITERS.items():
            if writer.shared:
                reads = race(Path(folder) / kind, writer, options.rounds)
                print(f"{kind}: 2 x {options.rounds} writes, {reads} reads, none torn, none failed", flush=True)


if __name__ == "__main__":
    main()
