"""How hot the device's chips are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mar_edge.errors import OptionError
from mar_edge.printable import printable

_CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal", "scpi_sensors")
"""Drivers of hwmon that measure a processor; the others measure drives, network cards and batteries."""

_NO_CHIPS = ("pmic", "iwlwifi", "battery", "nvme")
"""Thermal zones that measure something else; `PMIC-Die` of a Jetson always reports 100 °C."""

_PLAUSIBLE_C = (-40.0, 150.0)
"""A zone that is switched off reports 0 K or similar."""


class Heat(NamedTuple):
    """A temperature.

    Attributes:
        celsius: degrees Celsius.
        name: what has it, as the kernel names it.
    """

    celsius: float
    name: str


class TemperatureSensor:
    """Reads the hottest of the device's chips: its thermal zones, and hwmon's sensors of processors.

    Args:
        root: what lies under `/`; for tests.

    Raises:
        OptionError: if the device reports none.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        zones = [
            (zone / "temp", _text(zone / "type")) for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*"))
        ]
        chips = [
            (file, _text(file.parent / "name"))
            for file in sorted((root / "sys/class/hwmon").glob("hwmon*/temp*_input"))
        ]
        self._files = [(file, name) for file, name in zones if not name.lower().startswith(_NO_CHIPS)]
        self._files += [(file, name) for file, name in chips if name in _CPU_CHIPS]
        if self.read() is None:
            raise OptionError(
                "this device reports no temperature of its chips in /sys/class/thermal or /sys/class/hwmon. "
                "Leave out --max-temperature"
            )

    def read(self) -> Heat | None:
        """Return the hottest; None if none can be read."""
        found = [Heat(celsius, name) for file, name in self._files if (celsius := _celsius(file)) is not None]
        return max(found, default=None)


def _celsius(file: Path) -> float | None:
    try:
        celsius = int(_text(file)) / 1000
    except ValueError:
        return None
    return celsius if _PLAUSIBLE_C[0] < celsius < _PLAUSIBLE_C[1] else None


def _text(file: Path) -> str:
    """Return a file's line; empty if it cannot be read, as that of a zone that is switched off."""
    try:
        return printable(file.read_text(encoding="utf-8", errors="replace").strip())
    except OSError:
        return ""
