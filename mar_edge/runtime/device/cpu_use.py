"""How busy the machine's cores are, and how much of that is this process."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mar_edge.errors import OptionError


class CpuUse(NamedTuple):
    """Use of the CPU since the reading before, in percent of all cores of the machine.

    Attributes:
        machine: all processes, this one too.
        process: this process with all its threads.
    """

    machine: float
    process: float


class CpuSensor:
    """Reads the kernel's counts of CPU time (proc(5): `/proc/stat` and `/proc/self/stat`), which only Linux has.

    In a container they are those of the whole machine, whatever the container may use of it.

    Args:
        root: what lies under `/`; for tests.

    Raises:
        OptionError: if there are none.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._machine, self._process = root / "proc/stat", root / "proc/self/stat"
        counts = self._counts()
        if counts is None:
            raise OptionError(
                "a limit of the CPU needs Linux: this system has no /proc/stat to read the use from. Leave out --max-cpu"
            )
        self._before = counts
        self._last = CpuUse(0.0, 0.0)

    def read(self) -> CpuUse | None:
        """Return the use since the reading before, or that reading again if no tick of the clock has passed; None if it cannot be read."""
        counts = self._counts()
        if counts is None:
            return None
        total, busy, own = (now - before for now, before in zip(counts, self._before, strict=True))
        if total > 0:
            machine, process = (min(100.0, max(0.0, 100 * part / total)) for part in (busy, own))
            self._last = CpuUse(max(machine, process), process)
        self._before = counts
        return self._last

    def _counts(self) -> tuple[int, int, int] | None:
        """Return clock ticks of all cores: in total, busy, and of this process."""
        try:
            name, *fields = self._machine.read_text(encoding="ascii").splitlines()[0].split()
            # user nice system idle iowait irq softirq steal; what follows is counted in user and nice already
            ticks = [int(field) for field in fields[:8]]
            # the name of the program comes before, in brackets, and may contain anything
            own = self._process.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            user, system = int(own[11]), int(own[12])
        except (OSError, ValueError, IndexError):
            return None
        if name != "cpu" or len(ticks) < 5:
            return None
        return sum(ticks), sum(ticks) - ticks[3] - ticks[4], user + system
