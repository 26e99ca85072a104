"""Runs a site while its parts fail at random moments, and checks what must hold at the end."""

from __future__ import annotations

import gc
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.soak.site import Site

TIDY_S = 1.0
FRESH_S = 5.0
"""A stream without a result for this time, long after the last fault, has died."""

HEAL_S = 60.0
"""How long recovery may take: an output that was away is tried again after pauses of up to 30 s."""

GROWTH_MB = 40.0
"""What decoders and encoders of cameras that come and go may leave to the allocator."""


@dataclass(frozen=True)
class State:
    """What the process holds while everything works."""

    threads: int
    descriptors: int
    children: int
    rss_mb: float


def state() -> State:
    """Return the present state."""
    gc.collect()
    process = psutil.Process()
    names = [thread.name for thread in threading.enumerate()]
    return State(
        threads=sum("mar-edge" in name for name in names),
        descriptors=process.num_fds(),
        children=len(process.children(recursive=True)),
        rss_mb=process.memory_info().rss / 1e6,
    )


def soak(folder: Path, *, seconds: float, seed: int, longest_s: float, say: Callable[[str], None] = print) -> None:
    """Run it.

    Args:
        folder: for everything that is written.
        seconds: for how long faults happen.
        seed: of the faults.
        longest_s: how long a fault lasts at most, seconds.
        say: called with a line of what happens.
    """
    rng = random.Random(seed)
    before = state()
    with Site(folder, rng, length_s=2 * seconds + 300) as site:
        wait_until_well(site)
        first = state()
        say(f"works: {first}")
        begun = let_fail(site, rng, seconds, longest_s, say)
        wait_until_well(site)
        last = state()
        say(f"works again: {last}")
        check_growth(first, last)
        told = finish(site)
    for line in (f"faults: {dict(begun)}", *told):
        say(line)
    assert not site.checks.problems, "\n".join(site.checks.problems)
    end_s = time.monotonic() + 5
    while (
        (left := state()).threads > before.threads
        or left.children > before.children
        or left.descriptors > before.descriptors + 8
    ):
        assert time.monotonic() < end_s, f"{left} is left; before it was {before}"
        time.sleep(0.05)


def let_fail(
    site: Site, rng: random.Random, seconds: float, longest_s: float, say: Callable[[str], None]
) -> Counter[str]:
    """Begin faults at random moments, and end each after a random time; return how often each began."""
    begun: Counter[str] = Counter()
    ends: dict[str, tuple[float, Callable[[], None]]] = {}
    faults = site.faults()
    began_s = last_said_s = time.monotonic()
    next_s = tidy_s = began_s
    while (now_s := time.monotonic()) < began_s + seconds:
        for what in [what for what, (end_s, _) in ends.items() if end_s <= now_s]:
            ends.pop(what)[1]()
        free = sorted(faults.keys() - ends.keys())
        if now_s >= next_s and free:
            what = rng.choice(free)
            ends[what] = now_s + rng.uniform(0.5, longest_s), faults[what]()
            begun[what] += 1
            next_s = now_s + rng.uniform(0.2, longest_s / 2)
        if now_s >= tidy_s:
            site.tidy()
            tidy_s = now_s + TIDY_S
        if now_s >= last_said_s + 60:
            last_said_s = now_s
            say(
                f"{(now_s - began_s) / 60:6.0f} min  {state()}  {dict(site.checks.counts)}  faults {sum(begun.values())}"
            )
        time.sleep(0.05)
    for _, end in ends.values():
        end()
    return begun


def wait_until_well(site: Site) -> None:
    """Wait until every stream has results and no output is behind."""
    end_s = time.monotonic() + HEAL_S
    while True:
        site.tidy()
        old = {name: site.checks.result_age_s(name) for name in site.names}
        queued = {outlet.name: outlet.counts()["queued"] for outlet in site.outlets if outlet.counts()["queued"]}
        if max(old.values()) < FRESH_S and not queued and len(site.checks.expected) <= 2:
            return
        assert time.monotonic() < end_s, (
            f"ages of the results: {old}; queued: {queued}; {len(site.checks.expected)} events"
        )
        time.sleep(0.2)


def check_growth(first: State, last: State) -> None:
    """Check that nothing has piled up."""
    assert last.threads <= first.threads + 1, (first, last)  # one that is being closed
    assert last.descriptors <= first.descriptors + 8, (first, last)  # kept connections of the metrics and the webhook
    assert last.children <= first.children, (first, last)
    assert last.rss_mb <= first.rss_mb + GROWTH_MB, (first, last)


def finish(site: Site) -> list[str]:
    """End the streams and the runner, and check the counts; return what to tell."""
    for status in site.runner.status():
        site.remove(status.stream)
    end_s = time.monotonic() + 30
    while site.checks.expected or any(outlet.counts()["queued"] for outlet in site.outlets):
        site.tidy()
        assert time.monotonic() < end_s, f"the broker has not delivered {list(site.checks.expected)[:5]}"
        time.sleep(0.05)
    time.sleep(0.2)
    assert site.checks.open_events() == []
    lines = []
    for outlet in site.outlets:
        lines.append(f"{outlet.name}: {dict(outlet.counts())}")
        if "frame" not in outlet.wants:
            given = sum(count for kind, count in site.checks.counts.items() if kind in outlet.wants)
            handled = outlet.written + outlet.dropped.total()
            assert handled == given, f"{outlet.name}: {given} records, but {outlet.counts()}"
    began_s = time.monotonic()
    assert site.runner.stop()
    took_s = time.monotonic() - began_s
    assert took_s < 2.2
    checks = site.checks
    recoveries = sorted(site.recoveries_s) or [0.0]
    return [
        *lines,
        f"records: {dict(checks.counts)}; notices: {dict(checks.notices)}",
        f"events at the broker: {checks.delivered} in order, {checks.repeated} repeated",
        f"cameras: frames again after a median of {statistics.median(recoveries):.2f} s, at most {recoveries[-1]:.2f} s, "
        f"{len(site.recoveries_s)} times; stopped in {took_s:.2f} s",
    ]
