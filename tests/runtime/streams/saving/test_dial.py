"""Which mask the dial chooses on simulated devices: soon within the limits, without oscillating."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mar_edge.errors import OptionError
from mar_edge.runtime.device.battery import Charge
from mar_edge.runtime.device.cpu_use import CpuUse
from mar_edge.runtime.device.temperature import Heat
from mar_edge.runtime.streams.saving.dial import LONGEST_ROOM_S, PROVEN_S, ROOM_S, Dial, DialOptions, Sensors

MASKS = (0, 25, 50, 75)
GMACS = {0: 7.12, 25: 5.32, 50: 3.64, 75: 1.60}
"""Of a small model's steps, about."""

STEP_S = 0.2


@dataclass
class Device:
    """A simulated device: time of an inference = load * (overhead + GMACs) * ms_per_gmac * noise.

    Attributes:
        load: what else runs, over time; multiplies the time.
        noise: standard deviation of the time's logarithm.
        spikes: share of inferences that take ten times as long.
    """

    ms_per_gmac: float = 5.0
    overhead: float = 0.0
    load: Callable[[float], float] = lambda time_s: 1.0
    noise: float = 0.0
    spikes: float = 0.0
    seed: int = 0
    time_s: float = 0.0
    changes: list[tuple[float, int]] = field(default_factory=list)

    def typical_ms(self, mask: int) -> float:
        return self.load(self.time_s) * (self.overhead + GMACS[mask]) * self.ms_per_gmac

    def run(self, dial: Dial, duration_s: float) -> list[int]:
        """Run the steps of a time; return the masks that it went to."""
        rng = np.random.default_rng(self.seed + int(self.time_s))
        steps = round(duration_s / STEP_S)
        factors = np.exp(self.noise * rng.standard_normal(steps)) * np.where(rng.random(steps) < self.spikes, 10, 1)
        first = len(self.changes)
        for factor in factors:
            self.time_s += STEP_S
            mask = dial.after(self.typical_ms(dial.mask) * float(factor), self.time_s)
            if mask is not None:
                assert mask == dial.mask and mask in MASKS
                self.changes.append((self.time_s, mask))
        return [mask for _, mask in self.changes[first:]]


def dial_of(
    warnings: list[str] | None = None, sensors: Sensors | None = None, start: int | None = None, **options: Any
) -> Dial:
    told = [] if warnings is None else warnings
    return Dial(DialOptions(**options), MASKS, gmacs=GMACS, start=start, warn=told.append, sensors=sensors)


def test_without_limits_the_mask_stays() -> None:
    dial = dial_of()
    assert not DialOptions().limited and DialOptions(battery=True).limited and not DialOptions(battery=False).limited
    assert Device(ms_per_gmac=1000).run(dial, 60) == [] and dial.mask == 0 and dial.reason == ""


def test_too_slow_an_inference_leads_to_the_mask_that_fits_at_once() -> None:
    dial, device = dial_of(budget_ms=20), Device()  # 36, 27, 18 and 8 ms
    assert device.run(dial, 3) == [50]
    assert dial.reason == "inference takes 35.6 ms, the budget is 20 ms"
    assert device.run(dial, 600) == []


def test_single_slow_inferences_change_nothing() -> None:
    assert Device(spikes=0.05, ms_per_gmac=1).run(dial_of(budget_ms=10), 300) == []


def test_when_the_load_ends_it_comes_back_one_mask_after_another() -> None:
    dial, device = dial_of(budget_ms=20), Device(ms_per_gmac=2, load=lambda time_s: 5.0 if time_s < 30 else 1.0)
    assert device.run(dial, 30) == [75]
    assert device.run(dial, ROOM_S) == []  # not at once
    assert device.run(dial, 60) == [50, 25, 0]
    assert dial.reason == "room for more work for 10 s: inference takes 10.6 ms, the budget is 20 ms"
    assert device.run(dial, 600) == []


def test_a_lower_mask_that_would_not_fit_with_a_margin_is_not_tried() -> None:
    dial, device = dial_of(budget_ms=19, start=75), Device()  # 18.2 ms at 50 %
    assert device.run(dial, 3600) == []


def test_what_does_not_depend_on_the_mask_is_learnt() -> None:
    """By work alone 50 % would take 2.3 times as long as 75 %; on this device it takes 1.2 times as long."""
    load = [1.0]
    dial, device = dial_of(budget_ms=100), Device(overhead=10, load=lambda time_s: load[0])  # 86, 77, 68, 58 ms
    load[0] = 1.6
    assert device.run(dial, 10)[-1] == 75
    load[0] = 1.05
    assert device.run(dial, 60) == [50, 25]  # 81 ms; 90 ms would leave too little


def test_failed_attempts_become_rare() -> None:
    """A device on which a lower mask is slower than its work, as when it no longer fits into the cache."""
    dial = dial_of(budget_ms=10, start=75)
    times_s, took = [], {0: 50.0, 25: 40.0, 50: 12.0, 75: 3.0}
    for step in range(round(4 * 3600 / STEP_S)):
        if dial.after(took[dial.mask], step * STEP_S) == 50:
            times_s.append(step * STEP_S)
    gaps_s = np.diff(times_s)
    assert len(times_s) > 2 and (gaps_s[1:] >= 1.7 * gaps_s[:-1]).all() | (gaps_s.max() > LONGEST_ROOM_S)
    assert len(times_s) <= 2 + math.log2(LONGEST_ROOM_S / ROOM_S) + 4 * 3600 / LONGEST_ROOM_S


def test_an_attempt_that_lasted_makes_the_next_one_soon_again() -> None:
    loaded = [False]
    dial, device = dial_of(budget_ms=20), Device(ms_per_gmac=2, load=lambda time_s: 2.0 if loaded[0] else 1.0)

    def ends_after(free_s: float) -> float:
        """Return how long it takes to come back after a load, which followed on a time without."""
        device.run(dial, free_s)
        loaded[0] = True
        assert device.run(dial, 10) == [25] or dial.mask > 0
        loaded[0] = False
        began_s = device.time_s
        while dial.mask > 0:
            device.run(dial, 1)
        return device.time_s - began_s

    first_s, second_s, third_s = ends_after(60), ends_after(60), ends_after(PROVEN_S + 60)
    assert second_s > first_s + ROOM_S / 2 and third_s < second_s - ROOM_S / 2


@settings(max_examples=25, deadline=None)
@given(
    ms_per_gmac=st.floats(0.5, 20),
    overhead=st.floats(0, 8),
    noise=st.floats(0, 0.4),
    spikes=st.floats(0, 0.1),
    start=st.sampled_from(MASKS),
    seed=st.integers(0, 1000),
)
def test_on_any_device_it_ends_within_the_budget_after_few_changes(
    ms_per_gmac: float, overhead: float, noise: float, spikes: float, start: int, seed: int
) -> None:
    warnings: list[str] = []
    dial = dial_of(warnings, budget_ms=30, start=start)
    device = Device(ms_per_gmac, overhead, noise=noise, spikes=spikes, seed=seed)
    device.run(dial, 1200)
    attempts = math.log2(1200 / ROOM_S)  # each waits twice as long as the one before
    assert len(device.changes) <= 3 + 2 * attempts * 3
    fits = [mask for mask in MASKS if device.typical_ms(mask) < 0.9 * 30]
    if fits:
        calm = [mask for time_s, mask in device.changes if time_s > 1000]
        assert len(calm) <= 4
        assert dial.mask >= fits[0] or device.typical_ms(dial.mask) < 1.1 * 30
    if device.typical_ms(75) > 1.15 * 30:
        assert dial.mask == 75 and len(warnings) == 1
    if device.typical_ms(75) < 0.8 * 30:
        assert warnings == []
    lower = [mask for mask in MASKS if mask < dial.mask]
    if lower and overhead == 0 and noise < 0.1:  # and it does not hide more than it must
        assert device.typical_ms(lower[-1]) > 0.8 * 30


@settings(max_examples=10, deadline=None)
@given(period_s=st.floats(5, 300), high=st.floats(1.2, 5), noise=st.floats(0, 0.3), seed=st.integers(0, 1000))
def test_under_a_load_that_comes_and_goes_it_does_not_follow_every_time(
    period_s: float, high: float, noise: float, seed: int
) -> None:
    dial = dial_of(budget_ms=20)
    device = Device(2.5, load=lambda time_s: high if time_s % period_s < period_s / 2 else 1.0, noise=noise, seed=seed)
    device.run(dial, 3600)
    assert len(device.changes) <= 3 + 6 * math.log2(3600 / ROOM_S)
    assert len([mask for time_s, mask in device.changes if time_s > 1800]) <= 12


def test_a_budget_that_no_mask_keeps_is_told_once() -> None:
    warnings: list[str] = []
    dial, device = dial_of(warnings, budget_ms=5), Device()
    device.run(dial, 900)
    assert dial.mask == 75
    assert warnings == [
        "inference takes 8.00 ms, the budget is 5 ms, and mask 75 is the highest there is. "
        "Use a smaller model, a faster engine or precision, or a larger budget"
    ]


class Machine:
    """CPU, heat and battery that follow the mask."""

    def __init__(self, own: float, others: float = 0.0) -> None:
        self.own, self.others = own, others
        self.dial: Dial | None = None
        self.celsius = 40.0
        self.charge: Charge | None = Charge(100, False)
        self.reads = 0
        self.broken = False

    def work(self) -> float:
        assert self.dial is not None
        return GMACS[self.dial.mask] / GMACS[0]

    def cpu(self) -> CpuUse | None:
        self.reads += 1
        own = self.own * self.work() if self.dial else 0.0
        return None if self.broken else CpuUse(min(100.0, own + self.others), min(100.0, own))

    def temperature(self) -> Heat | None:
        self.reads += 1
        self.celsius += (40 + 60 * self.work() - self.celsius) / 60  # a time constant of a minute
        return None if self.broken else Heat(self.celsius, "cpu-thermal")

    def battery(self) -> Charge | None:
        return self.charge

    def dialled(self, warnings: list[str] | None = None, **options: Any) -> Dial:
        sensors = Sensors(cpu=self.cpu, temperature=self.temperature, battery=self.battery)
        self.dial = dial_of(warnings, sensors, **options)
        return self.dial


def test_a_busy_machine_leads_to_less_work_and_a_free_one_to_more() -> None:
    machine, device = Machine(own=40, others=40), Device()
    dial = machine.dialled(max_cpu=70)
    assert device.run(dial, 10) == [25]  # 80 %, then 70 %
    assert dial.reason == "the CPU is 80 % busy, 40 % with this process; the limit is 70 %"
    machine.others = 60
    assert device.run(dial, 20) == [75]  # 80 % at 50 would not do
    machine.others = 0
    assert device.run(dial, 60) == [50, 25, 0]
    assert device.run(dial, 3600) == []


def test_others_work_that_no_mask_can_make_room_for_is_told() -> None:
    warnings: list[str] = []
    dial = (machine := Machine(own=10, others=90)).dialled(warnings, max_cpu=50)
    Device().run(dial, 300)
    assert dial.mask == 75 and machine.work() < 1
    (told,) = warnings
    assert told.startswith("the CPU is 92 % busy, 2 % with this process; the limit is 50 %, and mask 75 is the highest")


def test_sensors_are_not_read_at_every_step() -> None:
    dial = (machine := Machine(own=10)).dialled(max_cpu=90, max_temperature_c=120)
    for step in range(1000):
        dial.after(1.0, step * 0.01)
    assert machine.reads <= 2 * 11


def test_a_hot_device_cools_down_and_stays_below_its_limit() -> None:
    """Temperatures in equilibrium are 100, 85, 71 and 54 degrees."""
    machine, device = Machine(own=10), Device()
    dial = machine.dialled(max_temperature_c=75)
    device.run(dial, 1200)
    assert dial.reason.startswith(("cpu-thermal has 7", "room for more work"))
    hot_s = 0
    for _ in range(4 * 3600):
        device.run(dial, 1)
        hot_s += machine.celsius > 76
    assert hot_s < 0.1 * 4 * 3600
    assert len([mask for time_s, mask in device.changes if time_s > 3600]) <= 20


def test_a_hot_device_gets_time_to_cool_before_the_next_mask() -> None:
    sensors, device = Sensors(temperature=lambda: Heat(90, "soc")), Device()
    device.run(dial_of(sensors=sensors, max_temperature_c=75), 120)
    times_s, masks = zip(*device.changes, strict=True)
    assert masks == (25, 50, 75) and min(np.diff(times_s)) >= 20


def test_on_battery_the_highest_mask_is_used_until_power_is_back() -> None:
    machine, device = Machine(own=10), Device()
    dial = machine.dialled(battery=True)
    assert device.run(dial, 60) == []
    machine.charge = Charge(97, True)
    assert device.run(dial, 3) == [75]
    assert dial.reason == "the battery is 97 % full and discharging"
    machine.charge = Charge(97, False)
    assert device.run(dial, 60) == [50, 25, 0]


def test_a_battery_is_saved_only_below_its_limit_and_until_it_is_fuller() -> None:
    machine, device = Machine(own=10), Device()
    dial = machine.dialled(battery=30)
    machine.charge = Charge(31, True)
    assert device.run(dial, 60) == []
    machine.charge = Charge(29, True)
    assert device.run(dial, 3) == [75]
    assert dial.reason == "the battery is 29 % full and discharging; it is saved below 30 %"
    machine.charge = Charge(33, True)  # a gauge that wavers
    assert device.run(dial, 60) == []
    machine.charge = Charge(36, True)
    assert device.run(dial, 60) == [50, 25, 0]


def test_all_limits_must_leave_room() -> None:
    machine, device = Machine(own=40, others=40), Device(ms_per_gmac=0.1)
    dial = machine.dialled(max_cpu=75, budget_ms=20, start=75)
    assert device.run(dial, 600) == [50]  # the CPU alone would be 70 % busy at 25 %
    assert "inference takes" in dial.reason and "the CPU is" in dial.reason


def test_a_sensor_that_fails_is_told_once_and_the_mask_stays() -> None:
    warnings: list[str] = []
    machine, device = Machine(own=60), Device()
    dial = machine.dialled(warnings, max_cpu=50, max_temperature_c=140, battery=True)
    device.run(dial, 10)
    assert dial.mask == 25
    machine.broken, machine.charge, machine.own = True, None, 1
    assert device.run(dial, 300) == []
    assert sorted(warnings) == [
        f"{what} cannot be read; until it can, the mask is not lowered"
        for what in ("the battery", "the temperature", "the use of the CPU")
    ]
    machine.broken, machine.charge = False, Charge(50, False)
    assert device.run(dial, 60) == [0]


def test_a_sensor_that_fails_while_there_is_room_does_not_lower_the_mask() -> None:
    machine, device = Machine(own=1), Device()
    dial = machine.dialled(max_cpu=50, start=75)
    assert device.run(dial, ROOM_S / 2) == []
    machine.broken = True
    assert device.run(dial, 60) == []
    machine.broken = False
    assert device.run(dial, 60) == [50, 25, 0]


def test_without_gmacs_work_is_what_is_visible() -> None:
    dial = Dial(DialOptions(budget_ms=20), [75, 0, 50])
    for step in range(10):
        dial.after(30.0, step * STEP_S)
    assert dial.mask == 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget_ms": 0}, "budget_ms is 0; it must be above 0"),
        ({"budget_ms": float("nan")}, "budget_ms is nan"),
        ({"max_cpu": 101}, "max_cpu is 101; .* at most 100 percent of the machine"),
        ({"max_cpu": True}, "max_cpu is True"),
        ({"battery": -5}, "battery is -5"),
        ({"max_temperature_c": "70"}, "max_temperature_c is '70'"),
    ],
)
def test_limits_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        DialOptions(**options)


@pytest.mark.parametrize(
    ("masks", "more", "message"),
    [
        ([], {}, "needs masks"),
        ([0, 100], {}, "needs masks"),
        ([0, 50], {"start": 25}, "mask 25 is not one of 0, 50"),
        ([0, 50], {"gmacs": {0: 7.1}}, "do not tell the work of masks 0, 50"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks: list[int], more: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Dial(DialOptions(budget_ms=5), masks, **more)


def test_a_device_without_the_sensor_is_told_when_the_dial_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mar_edge.runtime.device.battery.BatterySensor.read", lambda sensor: None)
    with pytest.raises(OptionError, match="Leave out --save-battery"):
        Dial(DialOptions(battery=20), MASKS)
