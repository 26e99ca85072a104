"""Reads the free resources of this machine: memory within all limits, shared memory, GPU memory, disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_SHARED = Path("/dev/shm")


def free_memory_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """Return how much more memory this process can use before it is ended, in bytes.

    That is the minimum of what the kernel reports as available, what is left in every memory cgroup above the process (version 1
    or 2; a container's limit), and what is left of `ulimit -v`. Swap does not count, and cached files count as free.

    Args:
        proc: folder where the kernel describes processes.
        cgroups: folder where it describes control groups.

    Returns:
        None if the system does not report it, as on macOS.
    """
    available = _figures(proc / "meminfo").get("MemAvailable")
    left = [available * 1024] if available is not None else []
    left += [free for folder in _memory_groups(proc, cgroups) if (free := _left_in(folder)) is not None]
    address_space = _left_of_address_space(proc)
    if address_space is not None:
        left.append(address_space)
    return max(0, min(left)) if left else None


def free_shared_bytes(shared: Path = _SHARED) -> int | None:
    """Return the space for batches from loader processes, in bytes; None if it has no separate limit."""
    return shutil.disk_usage(shared).free if shared.is_dir() else None


def free_device_bytes(device: torch.device) -> int | None:
    """Return a GPU's free memory in bytes; None for a CPU, and for devices that do not report it."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.mem_get_info(device)[0])


def free_disk_bytes(folder: Path) -> tuple[int, int] | None:
    """Return the free space where a folder is, or will be created.

    Returns:
        Free bytes, and a number that identifies the file system; None if the path cannot be read.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free, place.stat().st_dev
    except OSError:
        return None


def gigabytes(count: int) -> str:
    """Format bytes, such as `1.2 GB` or `340 MB`, in powers of 1000."""
    if count < 1e9:
        return f"{count / 1e6:,.0f} MB"
    unit, name = (1e9, "GB") if count < 1e12 else (1e12, "TB")
    return f"{count / unit:.3g} {name}" if count < 1000 * unit else f"{count / unit:,.0f} {name}"


def _memory_groups(proc: Path, cgroups: Path) -> Iterator[Path]:
    """Yield the folders of the memory cgroups that this process is in, from its own up to the root."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root = cgroups
        elif "memory" in controllers.split(","):
            root = cgroups / "memory"
        else:
            continue
        # in a container the path may be the host's, of which the mount shows only the root
        folder = root / path.lstrip("/")
        yield from (place for place in (folder, *folder.parents) if place.is_relative_to(root))


def _left_in(folder: Path) -> int | None:
    """Return what is left of a cgroup's limit; None without one."""
    second = folder / "memory.max"
    limit, used = (
        (_number(second), _number(folder / "memory.current"))
        if second.exists()
        else (_number(folder / "memory.limit_in_bytes"), _number(folder / "memory.usage_in_bytes"))
    )
    if limit is None or used is None:
        return None
    stat = _figures(folder / "memory.stat")
    cached = sum(
        stat.get(f"total_{name}", stat.get(name, 0)) for name in ("inactive_file", "active_file")
    )  # released when memory is short
    return limit - max(0, used - cached)


def _left_of_address_space(proc: Path) -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    used = _figures(proc / "self" / "status").get("VmSize", 0) * 1024
    return limit - used


def _number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max" means no limit


def _figures(file: Path) -> dict[str, int]:
    """Read lines such as `MemAvailable:  123 kB` or `inactive_file 123`."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    words = (line.replace(":", " ").split() for line in lines)
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdigit()}
