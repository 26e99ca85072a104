"""What a device may spend on recognition, and whether it is spending more: time, CPU, battery, heat."""

from __future__ import annotations

import statistics
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from mar_edge.runtime.device.battery import Charge
from mar_edge.runtime.device.cpu_use import CpuUse
from mar_edge.runtime.device.temperature import Heat

SAMPLE_S = 1.0
"""A sensor is read at most this often."""

Reading = TypeVar("Reading")

_LEAST_TIMES = 7
_MOST_TIMES = 15
_UNSETTLED = 2  # the first inferences with another graph are slow: its memory is not in the caches yet


class InferenceTimes:
    """The median of the newest inference times with one mask: robust to single slow ones."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_MOST_TIMES)
        self.restart()

    def restart(self) -> None:
        """Forget: the mask changed."""
        self._times.clear()
        self._to_come = _UNSETTLED

    def add(self, inference_ms: float) -> None:
        """Add an inference."""
        if self._to_come:
            self._to_come -= 1
        else:
            self._times.append(inference_ms)

    @property
    def median_ms(self) -> float | None:
        """The median; None while there are too few."""
        return statistics.median(self._times) if len(self._times) >= _LEAST_TIMES else None


class Limit(ABC):
    """One thing that must not be exceeded.

    Attributes:
        sentence: what was seen last, and the limit.
    """

    sentence = ""

    @abstractmethod
    def sample(self, now_s: float) -> str | None:
        """Look, if it is time to; return what the operator should know, such as that a sensor has failed."""

    @abstractmethod
    def restart(self, now_s: float) -> None:
        """Forget what was seen with another mask."""

    @property
    @abstractmethod
    def exceeded(self) -> bool:
        """Whether it is exceeded; False while too little was seen."""

    @abstractmethod
    def fits(self, factor: float, *, margin: float) -> bool:
        """Return whether it is expected to hold with `factor` times the work, and `margin` (a share of it) to spare.

        False while too little was seen.
        """

    @property
    def advice(self) -> str:
        """What to do if the smallest graph exceeds it; empty if that is expected."""
        return ""


class BudgetLimit(Limit):
    """Time of an inference."""

    def __init__(self, budget_ms: float, times: InferenceTimes) -> None:
        self._budget_ms, self._times = budget_ms, times

    def sample(self, now_s: float) -> str | None:
        """Take the median of the inference times, which the dial collects."""
        if (median_ms := self._times.median_ms) is not None:
            self.sentence = (
                f"inference takes {median_ms:.{1 if median_ms >= 10 else 2}f} ms, the budget is {self._budget_ms:g} ms"
            )
        return None

    def restart(self, now_s: float) -> None:
        """The dial restarts the times."""

    @property
    def exceeded(self) -> bool:
        """Whether the median is above the budget."""
        median_ms = self._times.median_ms
        return median_ms is not None and median_ms > self._budget_ms

    def fits(self, factor: float, *, margin: float) -> bool:
        """Return whether the median times the factor is within the budget."""
        median_ms = self._times.median_ms
        return median_ms is not None and median_ms * factor <= self._budget_ms * (1 - margin)

    @property
    def advice(self) -> str:
        """What to do if no mask fits."""
        return "Use a smaller model, a faster engine or precision, or a larger budget"


class SensorLimit(Limit, Generic[Reading]):
    """A limit of something that a sensor reads, at most every second.

    Args:
        read: returns None when it cannot be read.
    """

    what = ""

    def __init__(self, read: Callable[[], Reading | None]) -> None:
        self._read = read
        self._next_s = float("-inf")
        self._failed = False

    def sample(self, now_s: float) -> str | None:
        """Read the sensor if it is time to; tell once when it fails."""
        if now_s < self._next_s:
            return None
        self._next_s = now_s + SAMPLE_S
        reading = self._read()
        failed, self._failed = self._failed, reading is None
        if reading is not None:
            self._take(reading)
            return None
        self._forget()
        return None if failed else f"{self.what} cannot be read; until it can, the mask is not lowered"

    @abstractmethod
    def _take(self, reading: Reading) -> None:
        """Note a reading."""

    @abstractmethod
    def _forget(self) -> None:
        """Forget all readings."""


class CpuLimit(SensorLimit[CpuUse]):
    """Use of all cores of the machine by all processes; of it, only what this process uses changes with the mask."""

    what = "the use of the CPU"

    def __init__(self, percent: float, read: Callable[[], CpuUse | None]) -> None:
        super().__init__(read)
        self._percent = percent
        self._seen: deque[CpuUse] = deque(maxlen=5)
        self._begun = False

    def _take(self, reading: CpuUse) -> None:
        if not self._begun:  # it spans the time before
            self._begun = True
            return
        self._seen.append(reading)
        if use := self._median:
            self.sentence = f"the CPU is {use.machine:.0f} % busy, {use.process:.0f} % with this process; the limit is {self._percent:g} %"

    def _forget(self) -> None:
        self._seen.clear()
        self._begun = False

    def restart(self, now_s: float) -> None:
        """Forget, and begin a reading."""
        self._forget()
        self._next_s = now_s

    @property
    def _median(self) -> CpuUse | None:
        if len(self._seen) < 3:
            return None
        return CpuUse(*(statistics.median(values) for values in zip(*self._seen, strict=True)))

    @property
    def exceeded(self) -> bool:
        """Whether the machine has been busier for some seconds."""
        use = self._median
        return use is not None and use.machine > self._percent

    def fits(self, factor: float, *, margin: float) -> bool:
        """Return whether the machine's use is within the limit when this process's part grows by the factor."""
        use = self._median
        return use is not None and use.machine + (factor - 1) * use.process <= self._percent * (1 - margin)

    @property
    def advice(self) -> str:
        """What to do if no mask fits."""
        return "Use a smaller model, fewer streams, or a higher limit, or see what else runs on this machine"


class TemperatureLimit(SensorLimit[Heat]):
    """Temperature of the hottest chip. It follows the work by many seconds, and nobody knows by how much."""

    what = "the temperature"

    COOLER_C = 5.0
    """It must be this much below the limit before there is more work."""
    INERTIA_S = 20.0
    """After a change of the mask it is not judged for this time."""

    def __init__(self, limit_c: float, read: Callable[[], Heat | None]) -> None:
        super().__init__(read)
        self._limit_c = limit_c
        self._seen: deque[Heat] = deque(maxlen=5)

    def _take(self, reading: Heat) -> None:
        self._seen.append(reading)
        if heat := self._median:
            self.sentence = f"{heat.name or 'a chip'} has {heat.celsius:.0f} °C, the limit is {self._limit_c:g} °C"

    def _forget(self) -> None:
        self._seen.clear()

    def restart(self, now_s: float) -> None:
        """Forget, and wait until the device can have cooled or warmed."""
        self._forget()
        self._next_s = now_s + self.INERTIA_S

    @property
    def _median(self) -> Heat | None:
        return sorted(self._seen)[len(self._seen) // 2] if len(self._seen) >= 3 else None

    @property
    def exceeded(self) -> bool:
        """Whether it is hotter than the limit."""
        heat = self._median
        return heat is not None and heat.celsius > self._limit_c

    def fits(self, factor: float, *, margin: float) -> bool:
        """Return whether less work may be enough, or it is cool enough to try more."""
        heat = self._median
        return heat is not None and (factor < 1 or heat.celsius <= self._limit_c - self.COOLER_C)

    @property
    def advice(self) -> str:
        """What to do if no mask is enough."""
        return "Cool the device, or use a smaller model or fewer streams"


class BatteryLimit(SensorLimit[Charge]):
    """Saves with the highest mask while the device lives on a battery that is not full enough."""

    what = "the battery"

    FULLER = 5.0
    """Percent above the limit before it no longer saves."""

    def __init__(self, percent: float, read: Callable[[], Charge | None]) -> None:
        super().__init__(read)
        self._percent = percent
        self._saves: bool | None = None

    def _take(self, reading: Charge) -> None:
        always = self._percent >= 100
        least = self._percent + (self.FULLER if self._saves else 0)
        self._saves = reading.discharging and (always or reading.percent < least)
        how = "discharging" if reading.discharging else "not discharging"
        below = "" if always else f"; it is saved below {self._percent:g} %"
        self.sentence = f"the battery is {reading.percent:.0f} % full and {how}{below}"

    def _forget(self) -> None:
        self._saves = None

    def restart(self, now_s: float) -> None:
        """Do nothing: the battery does not depend on the mask."""

    @property
    def exceeded(self) -> bool:
        """Whether it is to be saved."""
        return bool(self._saves)

    def fits(self, factor: float, *, margin: float) -> bool:
        """Return whether it need not be saved: only the highest mask is enough otherwise."""
        return self._saves is False
