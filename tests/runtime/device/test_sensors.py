"""What the device's sensors report, from folders laid out as Linux lays them out."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from mar_edge.errors import OptionError
from mar_edge.runtime.device.battery import BatterySensor
from mar_edge.runtime.device.cpu_use import CpuSensor
from mar_edge.runtime.device.temperature import TemperatureSensor


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n", encoding="utf-8")


def write_cpu(root: Path, *, busy: int, idle: int, own: int) -> None:
    """Busy ticks as user and steal, idle ones as idle and iowait; the program's name has brackets and spaces."""
    counts = f"cpu  {busy - busy // 4} 0 0 {idle - idle // 3} {idle // 3} 0 0 {busy // 4} 0 0"
    process = f"7 (a) b (c)) S {' '.join(['1'] * 10)} {own - own // 2} {own // 2} 0 0 20"
    write(root, {"proc/stat": f"{counts}\ncpu0 1 1 1 1 1", "proc/self/stat": process})


def test_the_use_of_the_cpu_is_that_since_the_reading_before(tmp_path: Path) -> None:
    write_cpu(tmp_path, busy=1000, idle=9000, own=400)
    sensor = CpuSensor(tmp_path)
    write_cpu(tmp_path, busy=1600, idle=9400, own=650)
    use = sensor.read()
    assert use is not None and use == pytest.approx((60.0, 25.0))
    assert sensor.read() == use  # no time has passed
    write_cpu(tmp_path, busy=1600, idle=9500, own=650)
    assert sensor.read() == (0.0, 0.0)


def test_a_sensor_that_is_read_at_once_can_be_read(tmp_path: Path) -> None:
    """As by a dial whose first inference takes less than a tick: nothing is broken, and no operator needs to be told."""
    write_cpu(tmp_path, busy=1000, idle=9000, own=400)
    assert CpuSensor(tmp_path).read() == (0.0, 0.0)


@pytest.mark.parametrize("damage", ["", "cpu 1 2", "intr 1 2 3 4 5 6 7 8", "cpu a b c d e f g h"])
def test_counts_that_cannot_be_read_are_no_use(tmp_path: Path, damage: str) -> None:
    write_cpu(tmp_path, busy=1, idle=1, own=1)
    sensor = CpuSensor(tmp_path)
    write(tmp_path, {"proc/stat": damage})
    assert sensor.read() is None


def test_a_system_without_counts_of_the_cpu_is_told_of_linux(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"needs Linux.*Leave out --max-cpu"):
        CpuSensor(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts it so")
def test_work_of_this_process_is_seen_on_this_machine() -> None:
    sensor = CpuSensor()
    until_s = time.process_time() + 0.3
    while time.process_time() < until_s:
        pass
    use = sensor.read()
    assert use is not None and 0 < use.process <= use.machine <= 100


def test_the_hottest_chip_counts(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "sys/class/thermal/thermal_zone0/type": "acpitz",
            "sys/class/thermal/thermal_zone0/temp": "16800",
            "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp",
            "sys/class/thermal/thermal_zone1/temp": "61000",
            "sys/class/hwmon/hwmon0/name": "k10temp",
            "sys/class/hwmon/hwmon0/temp1_input": "71250",
        },
    )
    assert TemperatureSensor(tmp_path).read() == (71.25, "k10temp")


def test_what_is_no_chip_or_not_plausible_is_not_read(tmp_path: Path) -> None:
    zones = [
        ("PMIC-Die", "100000"),
        ("CPU-therm", "48500"),
        ("iwlwifi_1", "90000"),
        ("GPU-therm", "-274000"),
        ("AO", ""),
    ]
    for index, (kind, temp) in enumerate(zones):
        folder = f"sys/class/thermal/thermal_zone{index}"
        write(tmp_path, {f"{folder}/type": kind, f"{folder}/temp": temp})
    write(tmp_path, {"sys/class/hwmon/hwmon0/name": "nvme", "sys/class/hwmon/hwmon0/temp1_input": "85000"})
    sensor = TemperatureSensor(tmp_path)
    assert sensor.read() == (48.5, "CPU-therm")
    (tmp_path / "sys/class/thermal/thermal_zone1/temp").unlink()
    assert sensor.read() is None


def test_a_device_without_temperatures_is_told(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"reports no temperature.*thermal.*Leave out --max-temperature"):
        TemperatureSensor(tmp_path)


def battery(percent: str, status: str, **more: str) -> dict[str, str]:
    return {"type": "Battery", "capacity": percent, "status": status, **more}


@pytest.mark.parametrize(
    ("supplies", "charge"),
    [
        ([battery("83", "Discharging")], (83.0, True)),
        ([battery("83", "Charging"), {"type": "Mains", "online": "1"}], (83.0, False)),
        ([battery("100", "Full"), {"type": "Mains", "online": "1"}], (100.0, False)),
        ([battery("40", "Discharging"), battery("80", "Not charging")], (60.0, True)),
        ([battery("40", "Discharging"), battery("3", "Discharging", scope="Device")], (40.0, True)),
        ([battery("55", "Unknown"), {"type": "Mains", "online": "1"}], (55.0, False)),
        ([battery("55", "Unknown"), {"type": "Mains", "online": "0"}], (55.0, True)),
        ([battery("55", "Unknown")], (55.0, True)),
        ([battery("55", "Discharging"), battery("none", "Discharging")], (55.0, True)),
    ],
)
def test_the_charge_of_the_batteries(
    tmp_path: Path, supplies: list[dict[str, str]], charge: tuple[float, bool]
) -> None:
    for index, files in enumerate(supplies):
        write(tmp_path, {f"sys/class/power_supply/s{index}/{name}": text for name, text in files.items()})
    assert BatterySensor(tmp_path).read() == charge


@pytest.mark.parametrize("files", [{}, {"type": "Mains", "online": "1"}, battery("3", "Discharging", scope="Device")])
def test_a_device_without_a_battery_is_told(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, {f"sys/class/power_supply/s/{name}": text for name, text in files.items()})
    with pytest.raises(OptionError, match=r"reports no battery.*power_supply.*Leave out --save-battery"):
        BatterySensor(tmp_path)
