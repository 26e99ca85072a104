"""How much memory is free: within every limit that something else would enforce by killing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mar_edge.training.room import free_disk_bytes, free_memory_bytes, gigabytes

GB = 10**9


def proc(folder: Path, cgroup: str, available: int = 20 * GB) -> Path:
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:   {available // 1024} kB\n")
    (folder / "proc" / "self" / "cgroup").write_text(cgroup)
    return folder / "proc"


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_without_limits_it_is_what_the_kernel_calls_available(tmp_path: Path) -> None:
    found = free_memory_bytes(proc(tmp_path, "0::/\n"), tmp_path / "cgroup")
    assert found == pytest.approx(20 * GB, rel=1e-3)


def test_a_limit_of_any_group_above_counts_and_cached_files_are_free(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    group(groups / "a" / "b", memory__max="max", memory__current=3 * GB)
    stat = f"anon {GB}\ninactive_file {2 * GB}\nactive_file {GB}"
    group(groups / "a", memory__max=8 * GB, memory__current=6 * GB, memory__stat=stat)
    assert free_memory_bytes(proc(tmp_path, "0::/a/b\n"), groups) == 5 * GB


def test_in_a_container_the_mount_shows_its_own_group_as_the_root(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    group(groups, memory__max=4 * GB, memory__current=GB)
    assert free_memory_bytes(proc(tmp_path, "0::/docker/0123456789\n"), groups) == 3 * GB


def test_version_one(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    limits = {"memory__limit_in_bytes": 6 * GB, "memory__usage_in_bytes": 5 * GB}
    group(groups / "memory" / "job", **limits, memory__stat=f"cache 9\ntotal_inactive_file {GB}\ntotal_active_file 0")
    lines = "9:name=systemd:/\n4:memory:/job\n1:cpu:/\n0::/\n"
    assert free_memory_bytes(proc(tmp_path, lines), groups) == 2 * GB


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert free_memory_bytes(tmp_path / "no", tmp_path / "cgroup") is None


def test_what_is_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    group(groups, memory__max=GB, memory__current=2 * GB)
    assert free_memory_bytes(proc(tmp_path, "0::/\n"), groups) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v is enforced on Linux")
def test_ulimit_counts() -> None:
    code = "from mar_edge.training.room import free_memory_bytes as f; print(f())"
    done = subprocess.run(
        ["bash", "-c", f'ulimit -v 4000000; exec {sys.executable} -c "{code}"'],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) < 4_096_000_000


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    found, expected = free_disk_bytes(tmp_path / "a" / "b"), free_disk_bytes(tmp_path)
    assert found is not None and expected is not None
    assert found[1] == expected[1]
    assert found[0] == pytest.approx(expected[0], rel=0.01)  # others write to the disk meanwhile


def test_bytes_as_people_read_them() -> None:
    assert [gigabytes(int(count)) for count in (3e6, 1.24e9, 51.3e9, 340e9, 1.18e14, 7e18)] == [
        "3 MB", "1.24 GB", "51.3 GB", "340 GB", "118 TB", "7,000,000 TB",
    ]  # fmt: skip
