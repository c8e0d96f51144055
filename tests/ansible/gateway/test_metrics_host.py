"""What the host says of itself, from files in the formats of boards that we have none of, and from GPUs that go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ansible.gateway.exporting import metrics_host, metrics_text

Put = Callable[[str, str], None]
ROW = "0, 24564, 18211, 37, 61, 143.20, 0x0000000000000000"


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes a file below a stand-in of /sys."""

    def write(name: str, text: str) -> None:
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    return write


def host(tmp_path: Path) -> dict[str, float]:
    page = metrics_text.Page()
    metrics_host.host(
        page, str(tmp_path / "proc"), str(tmp_path / "sys"), {"state": str(tmp_path), "gone": "/nonexistent"}
    )
    return values(page)


def values(page: metrics_text.Page) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in page.text().splitlines() if line[0] != "#"]
    return {name.removeprefix("phi4_edge_"): float(value) for name, _, value in lines}


def test_a_host_that_says_nothing_costs_only_what_is_missing(tmp_path: Path) -> None:
    found = host(tmp_path)
    assert {name.split("{")[0] for name in found} == {"cpus", "disk_size_bytes", "disk_available_bytes"}
    assert 'disk_size_bytes{directory="gone"}' not in found


def test_memory_and_load(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  8000 kB\nMemFree:  1 kB\nMemAvailable:    2000 kB\n")
    (tmp_path / "proc" / "loadavg").write_text("1.25 0.50 0.25 1/200 1234\n")
    found = host(tmp_path)
    assert (found["memory_total_bytes"], found["memory_available_bytes"]) == (8000 << 10, 2000 << 10)
    assert found["load1"] == 1.25


def test_thermal_zones_each_have_a_name(tmp_path: Path, put: Put) -> None:
    for number, (kind, text) in enumerate(
        [
            ("x86_pkg_temp", "61000"),
            ("acpitz", "-274000"),
            ("acpitz", "27800"),
            ("acpitz", "29800"),
            ('Odd {n}ame"', "1000"),
            ("off", "N/A"),
        ]
    ):
        put(f"class/thermal/thermal_zone{number}/type", kind)
        put(f"class/thermal/thermal_zone{number}/temp", text)
    put("class/hwmon/hwmon0/name", "coretemp")
    put("class/hwmon/hwmon0/temp1_input", "99000")
    found = {name: value for name, value in host(tmp_path).items() if name.startswith("temperature")}
    assert found == {
        'temperature_celsius{sensor="x86_pkg_temp"}': 61,
        'temperature_celsius{sensor="acpitz"}': 27.8,
        'temperature_celsius{sensor="acpitz_2"}': 29.8,
        'temperature_celsius{sensor="odd__n_ame_"}': 1,
    }


def test_without_zones_the_processors_sensors_and_no_disks(tmp_path: Path, put: Put) -> None:
    for number, name in enumerate(("drivetemp", "k10temp")):
        put(f"class/hwmon/hwmon{number}/name", name)
        put(f"class/hwmon/hwmon{number}/temp1_input", "45500")
    found = [name for name in host(tmp_path) if name.startswith("temperature")]
    assert found == ['temperature_celsius{sensor="k10temp"}']


def test_there_are_never_many_sensors(tmp_path: Path, put: Put) -> None:
    for number in range(60):
        put(f"class/thermal/thermal_zone{number}/type", f"zone{number}")
        put(f"class/thermal/thermal_zone{number}/temp", "40000")
    assert len([name for name in host(tmp_path) if name.startswith("temperature")]) == metrics_host.MOST_SENSORS


@pytest.mark.parametrize(
    ("text", "active"),
    [
        ("0x50005", {"under_voltage", "throttled"}), ("50000", set()), ("8", {"soft_temperature_limit"}),
        ("nonsense", None),
    ],
)  # fmt: skip
def test_a_raspberry_pi_that_is_slowed_down(tmp_path: Path, put: Put, text: str, active: set[str] | None) -> None:
    put("devices/platform/soc/soc:firmware/get_throttled", text)
    found = {name: value for name, value in host(tmp_path).items() if name.startswith("throttled")}
    reasons = {name for name, value in found.items() if value}
    assert reasons == {f'throttled{{reason="{each}"}}' for each in active or ()}
    assert len(found) == (0 if active is None else 4)


def test_what_else_slows_hosts_down(tmp_path: Path, put: Put) -> None:
    put("class/hwmon/hwmon1/name", "rpi_volt")
    put("class/hwmon/hwmon1/in0_lcrit_alarm", "1")
    put("class/thermal/cooling_device0/type", "cpufreq-cpu0")
    put("class/thermal/cooling_device0/cur_state", "2")
    put("class/thermal/cooling_device1/type", "pwm-fan")
    for core, count in enumerate((3, 9)):
        put(f"devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count", str(count))
        put(f"devices/system/cpu/cpu{core}/thermal_throttle/package_throttle_count", "4")
    put("class/hwmon/hwmon2/oc1_event_cnt", "7")
    found = host(tmp_path)
    assert found['throttled{reason="under_voltage"}'] == found['throttled{reason="cooling"}'] == 1
    counts = {name: value for name, value in found.items() if "events" in name}
    assert counts == {
        'throttle_events_total{domain="core"}': 9,
        'throttle_events_total{domain="package"}': 4,
        'throttle_events_total{domain="overcurrent"}': 7,
    }
    put("class/thermal/cooling_device0/cur_state", "0")
    assert host(tmp_path)['throttled{reason="cooling"}'] == 0


def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None) -> dict[str, float]:
    (tmp_path / "bin").mkdir(exist_ok=True)
    if script is not None:
        (tmp_path / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    page = metrics_text.Page()
    metrics_host.gpus(page, str(tmp_path / "sys"))
    return values(page)


def test_a_gpu_that_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = gpus(tmp_path, monkeypatch, f"echo '{ROW}'; echo '1, [N/A], [N/A], [N/A], 50, [N/A], 0x0000000000000040'")
    assert (found["gpu_gone"], found["gpus"]) == (0, 2)
    assert found['gpu_memory_used_bytes{gpu="0"}'] == 18211 << 20
    assert found['gpu_utilization_ratio{gpu="0"}'] == pytest.approx(0.37)
    assert found['gpu_power_watts{gpu="0"}'] == 143.2
    assert (found['gpu_throttled{gpu="0"}'], found['gpu_throttled{gpu="1"}']) == (0, 1)
    assert 'gpu_memory_used_bytes{gpu="1"}' not in found


def test_a_driver_that_rejects_a_field_is_asked_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = 'Field "clocks_throttle_reasons.active" is not a valid field to query.'
    script = f"case $1 in *clocks*) echo '{unknown}'; exit 2;; esac; echo '{ROW.rpartition(',')[0]}'"
    found = gpus(tmp_path, monkeypatch, script)
    assert (found["gpus"], found['gpu_temperature_celsius{gpu="0"}']) == (1, 61)
    assert 'gpu_throttled{gpu="0"}' not in found


@pytest.mark.parametrize(
    "script",
    [
        None, "echo 'No devices were found'",
        "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
        "echo '0, 1'", "yes 0,", "kill -9 $$",
    ],
)  # fmt: skip
def test_a_gpu_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None) -> None:
    assert gpus(tmp_path, monkeypatch, script) == {"gpu_gone": 1, "gpus": 0}


def test_a_driver_that_hangs_is_one_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hosttools.TOOL_SECONDS", 0.3)
    assert gpus(tmp_path, monkeypatch, "sleep 60") == {"gpu_gone": 1, "gpus": 0}


def test_a_jetson_needs_no_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Put) -> None:
    put("devices/gpu.0/load", "250")
    found = gpus(tmp_path, monkeypatch, None)
    assert found == {"gpu_gone": 0, "gpus": 1, 'gpu_utilization_ratio{gpu="0"}': 0.25}
