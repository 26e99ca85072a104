"""Chooses the mask between two steps, so that recognition keeps within what the device may spend."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mar_edge.errors import OptionError
from mar_edge.runtime.device.battery import BatterySensor, Charge
from mar_edge.runtime.device.cpu_use import CpuSensor, CpuUse
from mar_edge.runtime.device.temperature import Heat, TemperatureSensor
from mar_edge.runtime.streams.saving.limits import (
    BatteryLimit,
    BudgetLimit,
    CpuLimit,
    InferenceTimes,
    Limit,
    TemperatureLimit,
)

ROOM_S = 10.0
"""There must be room for more work for this time before a lower mask is tried; longer after each failed attempt."""

LONGEST_ROOM_S = 1800.0

PROVEN_S = 600.0
"""A lower mask that had to be left sooner than this was a failed attempt."""

MARGIN = 0.15
"""Share of a limit that must be left over at the lower mask."""


@dataclass(frozen=True, kw_only=True)
class DialOptions:
    """What recognition may spend; None for no limit.

    Attributes:
        budget_ms: time of an inference, milliseconds.
        max_cpu: use of all cores of the machine, by all processes, in percent. For live streams: a recording is read as
            fast as it can be, whatever the mask.
        battery: True to save while the device lives on its battery; a number to do so only below that many percent.
        max_temperature_c: of the hottest chip, degrees Celsius.

    Raises:
        OptionError: if a value is out of range.
    """

    budget_ms: float | None = None
    max_cpu: float | None = None
    battery: bool | float | None = None
    max_temperature_c: float | None = None

    def __post_init__(self) -> None:
        for name, least, most, unit in (
            ("budget_ms", 0.0, 3_600_000.0, "milliseconds"),
            ("max_cpu", 0.0, 100.0, "percent of the machine"),
            ("battery", 0.0, 100.0, "percent"),
            ("max_temperature_c", 0.0, 150.0, "degrees Celsius"),
        ):
            value = getattr(self, name)
            if value is None or (name == "battery" and isinstance(value, bool)):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least < value <= most:
                raise OptionError(f"{name} is {value!r}; it must be above {least:g} and at most {most:.0f} {unit}")

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return any(value is not None and value is not False for value in vars(self).values())


def limits_of(dial: object) -> DialOptions | None:
    """Return a dial as it was given; None for one without any limit.

    Raises:
        OptionError: if it is something else.
    """
    if dial is None:
        return None
    if not isinstance(dial, DialOptions):
        raise OptionError(f"dial is {dial!r}; give a DialOptions, such as mar_edge.DialOptions(budget_ms=50)")
    return dial if dial.limited else None


@dataclass(frozen=True, kw_only=True)
class Sensors:
    """How the device is asked; None for its own sensors. Each returns None when it cannot be read."""

    cpu: Callable[[], CpuUse | None] | None = None
    temperature: Callable[[], Heat | None] | None = None
    battery: Callable[[], Charge | None] | None = None


class Dial:
    """Goes to a higher mask soon after a limit is exceeded, and back to a lower one when there has been room for a while.

    It goes up to the next mask that is expected to be enough, and down one mask at a time. A lower mask is tried only if its
    expected time leaves a margin. If it has to be left again soon, the next attempt waits twice as long: so it does not
    oscillate, however noisy the device is. The expectation scales with the graphs' work; how much of the time does not
    depend on the mask is learnt at each change. Not thread-safe.

    Args:
        options: the limits.
        masks: mask ratios in percent among which it chooses.
        gmacs: multiply-accumulates of each mask's graph / 1e9; by default work is proportional to what is visible.
        start: mask to begin with; the lowest by default.
        warn: told once for each limit that even the highest mask exceeds, and when a sensor fails.
        sensors: what to ask instead of this device's own sensors.

    Attributes:
        mask: the current one, percent.
        reason: why it was last changed, a sentence; empty before.

    Raises:
        OptionError: if there is no mask or no work for one, or the device lacks a sensor.
    """

    def __init__(
        self,
        options: DialOptions,
        masks: Sequence[int],
        *,
        gmacs: Mapping[int, float] | None = None,
        start: int | None = None,
        warn: Callable[[str], object] | None = None,
        sensors: Sensors | None = None,
    ) -> None:
        self._masks = sorted(set(masks))
        if not self._masks or not all(0 <= mask < 100 for mask in self._masks):
            raise OptionError(f"the dial needs masks from 0 to below 100 percent, not {list(masks)}")
        self.mask = self._masks[0] if start is None else start
        if self.mask not in self._masks:
            raise OptionError(f"mask {self.mask} is not one of {', '.join(map(str, self._masks))}")
        self._work = {mask: (100 - mask) / 100 for mask in self._masks} if gmacs is None else dict(gmacs)
        if not all(self._work.get(mask, 0) > 0 for mask in self._masks):
            raise OptionError(
                f"the GMACs {dict(gmacs or {})} do not tell the work of masks {', '.join(map(str, self._masks))}"
            )
        self.reason = ""
        self._warn = warn
        self._times = InferenceTimes()
        self._limits = _limits(options, self._times, sensors or Sensors())
        self._warned: set[Limit] = set()
        self._over_since_s: dict[Limit, float] = {}  # what is exceeded, and since when
        self._overhead = 0.0  # time of an inference that does not depend on the mask, in the unit of work
        self._left: tuple[int, float] | None = None  # the mask before, and its inference time
        self._room_since_s: float | None = None
        self._wait_s = dict.fromkeys(self._masks, ROOM_S)  # until the next attempt at this mask
        self._tried_s: float | None = None  # when the current mask was chosen as a lower one

    def after(self, inference_ms: float, now_s: float) -> int | None:
        """Note an inference; call it after each.

        Args:
            inference_ms: how long it took, milliseconds, with the current mask.
            now_s: time of a clock that never goes back, seconds.

        Returns:
            The mask from now on if it has changed, else None.
        """
        if not self._limits:
            return None
        self._times.add(inference_ms)
        for limit in self._limits:
            if (failure := limit.sample(now_s)) is not None:
                self._tell(failure)
        self._learn()
        exceeded = [limit for limit in self._limits if limit.exceeded]
        self._over_since_s = {limit: self._over_since_s.get(limit, now_s) for limit in exceeded}
        return self._up(exceeded, now_s) if exceeded else self._down(now_s)

    def _up(self, exceeded: list[Limit], now_s: float) -> int | None:
        self._room_since_s = None
        higher = [mask for mask in self._masks if mask > self.mask]
        if not higher:
            self._admit(now_s)
            return None
        enough = (mask for mask in higher if all(one.fits(self._factor(mask), margin=0) for one in exceeded))
        if self._tried_s is not None:
            wait_s = self._wait_s[self.mask]
            failed = now_s - self._tried_s < PROVEN_S
            self._wait_s[self.mask] = min(2 * wait_s, LONGEST_ROOM_S) if failed else max(wait_s / 2, ROOM_S)
        self._tried_s = None
        return self._change(next(enough, higher[-1]), "; ".join(limit.sentence for limit in exceeded), now_s)

    def _admit(self, now_s: float) -> None:
        """Tell, once each, which limits the highest mask exceeds for a while."""
        for limit, since_s in self._over_since_s.items():
            if limit.advice and limit not in self._warned and now_s - since_s >= ROOM_S:
                self._warned.add(limit)
                self._tell(f"{limit.sentence}, and mask {self.mask} is the highest there is. {limit.advice}")

    def _down(self, now_s: float) -> int | None:
        lower = [mask for mask in self._masks if mask < self.mask]
        if not lower or not all(limit.fits(self._factor(lower[-1]), margin=MARGIN) for limit in self._limits):
            self._room_since_s = None
            return None
        if self._room_since_s is None:
            self._room_since_s = now_s
        room_s = now_s - self._room_since_s
        if room_s < self._wait_s[lower[-1]]:
            return None
        self._tried_s = now_s
        seen = "; ".join(limit.sentence for limit in self._limits)
        return self._change(lower[-1], f"room for more work for {room_s:.0f} s: {seen}", now_s)

    def _change(self, mask: int, reason: str, now_s: float) -> int:
        median_ms = self._times.median_ms
        self._left = None if median_ms is None else (self.mask, median_ms)
        self.mask, self.reason = mask, reason
        self._room_since_s = None
        self._over_since_s = {}
        self._times.restart()
        for limit in self._limits:
            limit.restart(now_s)
        return mask

    def _factor(self, mask: int) -> float:
        """Return the expected time with a mask as a multiple of that with the current one."""
        return (self._work[mask] + self._overhead) / (self._work[self.mask] + self._overhead)

    def _learn(self) -> None:
        """Find the overhead from the times before and after a change of the mask: both are proportional to work + overhead.

        It is wrong if the device's load changed at that moment; it is never so wrong that more is expected of a lower mask
        than its work, and the next change corrects it.
        """
        median_ms = self._times.median_ms
        if self._left is None or median_ms is None:
            return
        (before, before_ms), self._left = self._left, None
        (more, more_ms), (less, less_ms) = sorted([(before, before_ms), (self.mask, median_ms)])
        most = 10 * max(self._work.values())
        gained_ms = more_ms - less_ms
        overhead = (self._work[more] * less_ms - self._work[less] * more_ms) / gained_ms if gained_ms > 0 else math.inf
        self._overhead = min(max(overhead, 0.0), most)

    def _tell(self, message: str) -> None:
        if self._warn is not None:
            self._warn(message)


def _limits(options: DialOptions, times: InferenceTimes, sensors: Sensors) -> list[Limit]:
    limits: list[Limit] = []
    if options.budget_ms is not None:
        limits.append(BudgetLimit(options.budget_ms, times))
    if options.max_cpu is not None:
        limits.append(CpuLimit(options.max_cpu, sensors.cpu or CpuSensor().read))
    if options.max_temperature_c is not None:
        limits.append(TemperatureLimit(options.max_temperature_c, sensors.temperature or TemperatureSensor().read))
    if options.battery is not None and options.battery is not False:
        percent = 100.0 if options.battery is True else float(options.battery)
        limits.append(BatteryLimit(percent, sensors.battery or BatterySensor().read))
    return limits
