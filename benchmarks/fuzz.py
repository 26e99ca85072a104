"""Feeds changed files to everything that reads what others wrote, in processes whose memory and time are watched.

python benchmarks/fuzz.py [--inputs 10000] [--batch 400] [--kind NAME ...]

An input must be read, or refused with an error of mar-edge: no other exception, no crash of the process, at most 10 s,
at most 1 GB of resident memory in all. Inputs are numbered; the number decides everything, so that one can be repeated:

python benchmarks/fuzz.py --kind recipe --only 1234
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

MAX_S = 10.0
MAX_BYTES = 1_000_000_000
ADDRESS_BYTES = 16_000_000_000
"""Limit of a process's address space, so that a failure cannot take the machine; torch alone reserves several GB."""


class Outcome(NamedTuple):
    """What happened to one input: `read`, `refused`, `traceback`, `hang`, `memory` or `crash`; with its process's peak."""

    number: int
    kind: str
    seconds: float
    peak_bytes: int
    note: str = ""


def main() -> None:
    """Run all kinds, print a table, and exit with 1 if an input failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=400, help="inputs of one process")
    parser.add_argument("--kind", action="append")
    parser.add_argument("--only", type=int, help="number of one input")
    options = parser.parse_args()
    from tests.fakes.hostile.device_targets import TARGETS

    kinds = options.kind or list(TARGETS)
    each = -(-options.inputs // len(kinds))
    print("| kind | inputs | read | refused | failed | slowest | most memory |\n|---|---|---|---|---|---|---|")
    failed = 0
    for kind in kinds:
        numbers = [options.only] if options.only is not None else list(range(each))
        outcomes: list[Outcome] = []
        peak = 0
        while len(outcomes) < len(numbers):
            done, used = run_batch(kind, numbers[len(outcomes) : len(outcomes) + options.batch])
            outcomes += done
            peak = max(peak, used)
        counts = Counter(outcome.kind for outcome in outcomes)
        bad = [outcome for outcome in outcomes if outcome.kind not in ("read", "refused")]
        failed += len(bad)
        slowest = max(outcome.seconds for outcome in outcomes)
        print(
            f"| {kind} | {len(outcomes)} | {counts['read']} | {counts['refused']} | {len(bad)} | {slowest:.2f} s | "
            f"{peak / 1e6:.0f} MB |",
            flush=True,
        )
        for outcome in bad[:20]:
            print(json.dumps(outcome._asdict()), file=sys.stderr, flush=True)
    sys.exit(1 if failed else 0)


def run_batch(kind: str, numbers: list[int]) -> tuple[list[Outcome], int]:
    """Feed inputs in a process of their own; it ends early if one of them hangs, takes too much memory or crashes.

    Returns:
        Outcomes of the first inputs, at least one, and the most resident memory in bytes.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(kind, numbers, theirs), daemon=True)
    process.start()
    theirs.close()
    watched = psutil.Process(process.pid)
    outcomes: list[Outcome] = []
    peak, started, begun = 0, time.monotonic(), False
    try:
        while len(outcomes) < len(numbers):
            if ours.poll(0.02):
                try:
                    found = ours.recv()
                except EOFError:
                    process.join()
                    outcomes.append(failure(numbers, outcomes, "crash", started, f"exit code {process.exitcode}"))
                    break
                if found is not None:  # None: it has started
                    outcomes.append(found)
                    peak = max(peak, found.peak_bytes)
                begun, started = True, time.monotonic()
                continue
            try:
                peak = max(peak, watched.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
            if peak > MAX_BYTES:
                outcomes.append(failure(numbers, outcomes, "memory", started, f"{peak / 1e9:.1f} GB"))
                break
            if time.monotonic() - started > (MAX_S if begun else 120):
                outcomes.append(failure(numbers, outcomes, "hang", started, ""))
                break
    finally:
        process.kill()
        process.join()
    return outcomes, peak


def failure(numbers: list[int], outcomes: list[Outcome], kind: str, started: float, note: str) -> Outcome:
    """Return the outcome of the input that ended a process."""
    return Outcome(numbers[len(outcomes)], kind, time.monotonic() - started, 0, note)


def work(kind: str, numbers: list[int], out: Connection) -> None:
    """Feed the inputs, and send an outcome after each."""
    import warnings

    from tests.fakes.hostile.device_targets import TARGETS, feed

    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MAR_EDGE_CACHE"] = f"{folder}/cache"
        place = Path(folder) / "files"
        place.mkdir()
        target = TARGETS[kind](place)
        out.send(None)
        for number in numbers:
            started = time.monotonic()
            try:
                refused = feed(target, number)
                result, note = ("read", "") if refused is None else ("refused", "")
            except Exception:
                result, note = "traceback", traceback.format_exc()[-1500:]
            seconds, peak = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            out.send(Outcome(number, "memory" if peak > MAX_BYTES else result, seconds, peak, note))


if __name__ == "__main__":
    main()
