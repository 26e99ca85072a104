"""How full the device's battery is, and whether it lives on it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mar_edge.errors import OptionError


class Charge(NamedTuple):
    """State of the batteries.

    Attributes:
        percent: how full they are, 0 to 100; the mean of several.
        discharging: whether the device lives on them.
    """

    percent: float
    discharging: bool


class BatterySensor:
    """Reads the batteries that the kernel knows, without those of mice and other accessories.

    A gauge that does not know whether it discharges counts as discharging, unless a charger is connected.

    Args:
        root: what lies under `/`; for tests.

    Raises:
        OptionError: if the device reports none.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._folder = root / "sys/class/power_supply"
        if self.read() is None:
            raise OptionError("this device reports no battery in /sys/class/power_supply. Leave out --save-battery")

    def read(self) -> Charge | None:
        """Return the state of the batteries; None if there is none, or it cannot be read."""
        supplies = sorted(self._folder.glob("*"))
        percents, states = [], []
        for supply in supplies:
            if _text(supply / "type") == "Battery" and _text(supply / "scope") != "Device":
                capacity = _text(supply / "capacity")
                if capacity.isdigit() and int(capacity) <= 100:
                    percents.append(int(capacity))
                    states.append(_text(supply / "status"))
        if not percents:
            return None
        plugged = any(_text(supply / "type") != "Battery" and _text(supply / "online") == "1" for supply in supplies)
        unknown = all(state in ("", "Unknown") for state in states)
        return Charge(sum(percents) / len(percents), "Discharging" in states or (unknown and not plugged))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
