"""Memory, disks, load, temperatures and throttling of this host, and its GPUs.

Python 3.8, standard library. All but the GPU's is read from the kernel's files, which no privilege is needed for.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Dict, List, Mapping, Optional, Tuple

from hosttools import Gap, run
from metrics_text import Page

MOST_SENSORS = 16
# Sensors of a processor where there is no thermal zone; asking a disk could wake it.
CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal")
# The firmware's bits that say what is so now; those of what once was come 16 bits higher.
# Source: Raspberry Pi's documentation of vcgencmd get_throttled; the kernel has the same in a file.
PI_BITS = {0: "under_voltage", 1: "frequency_capped", 2: "throttled", 3: "soft_temperature_limit"}
# nvmlClocksThrottleReason* of NVML: hardware slowdown, its thermal and power brakes, software's thermal slowdown.
GPU_SLOWDOWN = 0x8 | 0x20 | 0x40 | 0x80
GPU_FIELDS = (
    "index", "memory.total", "memory.used", "utilization.gpu", "temperature.gpu", "power.draw",
    "clocks_throttle_reasons.active",
)  # fmt: skip
MOST_GPUS = 16
UNKNOWN_FIELD = re.compile(r'Field "([a-z_.]{1,60})" is not a valid field')
# Where a Jetson's GPU says how busy it is: of JetPack up to 5, and by the names that devfreq has for it.
JETSON_GPU = (
    "/devices/gpu.0",
    "/devices/platform/gpu.0",
    "/class/devfreq/*.gpu/device",
    "/class/devfreq/*.g?1*b/device",
)
MIB = 1 << 20


def read(path: str) -> str:
    """A small file of the kernel's, "" where there is none or it cannot say."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(65536).strip()
    except OSError:
        return ""


def whole(text: str) -> Optional[int]:
    """A whole number of sane length, None for anything else."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII) else None


def host(page: Page, proc: str, sys: str, directories: Mapping[str, str]) -> int:
    """What the kernel says of this host; `directories`: whose disks are looked at, by the name that they get."""
    _memory(page, proc)
    load = re.match(r"([0-9]+\.[0-9]+) ", read(proc + "/loadavg"))
    if load:
        page.add("phi4_edge_load1", "gauge", "Load average of a minute.", float(load.group(1)))
    page.add("phi4_edge_cpus", "gauge", "Processors of this host.", os.cpu_count() or 1)
    for name, path in directories.items():
        try:
            found = os.statvfs(path)
        except OSError:
            continue
        text = "Size of the file system of a directory."
        page.add("phi4_edge_disk_size_bytes", "gauge", text, found.f_blocks * found.f_frsize, directory=name)
        text = "Room there for whoever is not root."
        page.add("phi4_edge_disk_available_bytes", "gauge", text, found.f_bavail * found.f_frsize, directory=name)
    for sensor, value in _temperatures(sys):
        page.add("phi4_edge_temperature_celsius", "gauge", "Temperature of a sensor.", value, sensor=sensor)
    for reason, active in _throttling(sys).items():
        page.add(
            "phi4_edge_throttled", "gauge", "Whether the host is slowed down at the moment.", active, reason=reason
        )
    for domain, count in _events(sys).items():
        text = "How often the hardware slowed down since boot; of cores, the highest."
        page.add("phi4_edge_throttle_events_total", "counter", text, count, domain=domain)
    return 0


def _memory(page: Page, proc: str) -> None:
    for name, key in (("total", "MemTotal"), ("available", "MemAvailable")):
        found = re.search(r"^%s: +([0-9]{1,15}) kB$" % key, read(proc + "/meminfo"), re.MULTILINE)
        if found:
            page.add(
                "phi4_edge_memory_%s_bytes" % name, "gauge", "%s of /proc/meminfo." % key, int(found.group(1)) << 10
            )


def _temperatures(sys: str) -> List[Tuple[str, float]]:
    """Thermal zones, else the processor's sensors, each with a name of its own."""
    found: Dict[str, float] = {}
    zones = [(path + "type", path + "temp") for path in sorted(glob.glob(sys + "/class/thermal/thermal_zone*/"))]
    pairs = zones or [
        (path + "name", each)
        for path in sorted(glob.glob(sys + "/class/hwmon/hwmon*/"))
        if read(path + "name") in CHIPS
        for each in sorted(glob.glob(path + "temp*_input"))
    ]
    for naming, path in pairs:
        value = whole(read(path))
        # Sensors that are off say absolute zero, or worse.
        if value is None or not -50_000 < value < 200_000 or len(found) >= MOST_SENSORS:
            continue
        name = re.sub(r"[^a-z0-9_-]", "_", read(naming).lower())[:32] or "sensor"
        name = name if name not in found else "%s_%d" % (name, len(found))
        found[name] = value / 1000
    return list(found.items())


def _throttling(sys: str) -> Dict[str, int]:
    """Whether something slows the host down now, by its reason; only what this host can tell."""
    found: Dict[str, int] = {}
    for path in glob.glob(sys + "/devices/platform/soc*/*firmware/get_throttled"):
        text = read(path)
        if re.fullmatch(r"(?:0x)?[0-9a-f]{1,8}", text, re.ASCII):
            found = {name: int(text, 16) >> bit & 1 for bit, name in PI_BITS.items()}
    for path in glob.glob(sys + "/class/hwmon/hwmon*/in0_lcrit_alarm"):
        if read(os.path.join(os.path.dirname(path), "name")) == "rpi_volt":
            found["under_voltage"] = int(read(path) == "1")
    cooling = [
        whole(read(path + "cur_state"))
        for path in glob.glob(sys + "/class/thermal/cooling_device*/")
        if "cpufreq" in read(path + "type") or read(path + "type") == "Processor"
    ]
    if cooling:
        found["cooling"] = int(any(state is not None and state > 0 for state in cooling))
    return found


def _events(sys: str) -> Dict[str, int]:
    """How often the hardware slowed itself down since boot: Intel's processors, and a Jetson's current limits."""
    found: Dict[str, int] = {}
    for kind, pattern in (
        ("core", "/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count"),
        ("package", "/devices/system/cpu/cpu*/thermal_throttle/package_throttle_count"),
        ("overcurrent", "/class/hwmon/hwmon*/oc*_event_cnt"),
    ):
        counts = [count for count in map(whole, map(read, glob.glob(sys + pattern))) if count is not None]
        if counts:
            found[kind] = max(counts)
    return found


def gpus(page: Page, sys: str) -> int:
    """The GPUs of a release that was planned for one: how busy and hot each is, and whether none is left."""
    rows = _rows()
    jetson = "" if rows else next((path for each in JETSON_GPU for path in glob.glob(sys + each)), "")
    text = "Whether the release was planned for a GPU, and none answers."
    page.add("phi4_edge_gpu_gone", "gauge", text, int(not rows and not jetson))
    page.add("phi4_edge_gpus", "gauge", "GPUs that answer.", len(rows) or int(bool(jetson)))
    load = whole(read(jetson + "/load")) if jetson else None
    if load is not None:
        page.add(
            "phi4_edge_gpu_utilization_ratio", "gauge", "Share of the time that the GPU works.", load / 1000, gpu="0"
        )
    for row in rows:
        name = row["index"]
        for field, metric, text, scale in (
            ("memory.total", "memory_total_bytes", "Memory of a GPU.", float(MIB)),
            ("memory.used", "memory_used_bytes", "Memory of a GPU that is in use.", float(MIB)),
            ("utilization.gpu", "utilization_ratio", "Share of the time that the GPU works.", 0.01),
            ("temperature.gpu", "temperature_celsius", "Temperature of a GPU.", 1.0),
            ("power.draw", "power_watts", "What a GPU draws.", 1.0),
        ):
            if re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", row.get(field, ""), re.ASCII):
                page.add("phi4_edge_gpu_" + metric, "gauge", text, float(row[field]) * scale, gpu=name)
        reasons = row.get("clocks_throttle_reasons.active", "")
        if re.fullmatch(r"0x[0-9a-f]{1,16}", reasons, re.ASCII):
            text = "Whether heat or power slow the GPU down."
            page.add("phi4_edge_gpu_throttled", "gauge", text, int(bool(int(reasons, 16) & GPU_SLOWDOWN)), gpu=name)
    return 0


def _rows() -> List[Dict[str, str]]:
    """What the driver says of each GPU by field, none where it does not answer: it rejects a query with one field that
    it does not know, which is then left out."""
    asked = list(GPU_FIELDS)
    try:
        while True:
            status, out, err = run("nvidia-smi", "--query-gpu=" + ",".join(asked), "--format=csv,noheader,nounits")
            unknown = UNKNOWN_FIELD.search(out + err)
            if not status or unknown is None or unknown.group(1) not in asked[1:]:
                break
            asked.remove(unknown.group(1))
    except Gap:
        return []
    rows = [[word.strip().lower() for word in line.split(",")] for line in out.splitlines()[:MOST_GPUS]]
    whole_rows = [row for row in rows if len(row) == len(asked) and re.fullmatch(r"[0-9]{1,2}", row[0])]
    return [{field: row[at] for at, field in enumerate(asked)} for row in whole_rows]
