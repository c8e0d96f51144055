"""NVIDIA facts: what is on the PCI bus, what the driver reports, and Jetson boards with unified memory."""

from __future__ import annotations

import re
from dataclasses import replace

from phi4_edge.core.facts.model import Display, Gpu, Jetson, Nvidia
from phi4_edge.core.facts.sources import Sources
from phi4_edge.core.text import clean, dotted, integer, version_of

NVIDIA_VENDOR = "10de"
# Compute capability of the GPU in each Tegra SoC; only tegra234 (Orin, 8.7) is confirmed by our sources.
TEGRA = {
    "tegra210": (5, 3),
    "tegra186": (6, 2),
    "tegra194": (7, 2),
    "tegra234": (8, 7),
    "tegra264": (11, 0),
}
# More display controllers or GPUs than any host has; the rest of a longer list is not read.
MOST_DEVICES = 64

_L4T = re.compile(r"R([0-9]{1,3})\b.{0,40}?REVISION:\s*([0-9]{1,3}(?:\.[0-9]{1,3})?)")
_CAPABILITY = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})")
# Of a whole GPU, of a part of one, and of a part as older drivers write it (MIG-GPU-<uuid>/1/0).
_UUID = re.compile(r"(?:GPU|MIG)-[0-9A-Za-z][0-9A-Za-z/-]{0,60}")
_HEX = re.compile(r"(?:0x)?([0-9a-f]{4,8})")
_FAILURES = {
    "driver/library version mismatch": "mismatch",
    "no devices were found": "no_devices",
    "communicate with the nvidia driver": "no_driver",
}


def displays(sources: Sources) -> tuple[Display, ...]:
    """Return the display controllers (PCI class 0x03) of every vendor, in bus order."""
    found: list[Display] = []
    for line in sources.lines("pci")[:MOST_DEVICES]:
        words = line.split()
        codes = [_HEX.fullmatch(word.lower()) for word in words[1:4]]
        if len(words) != 4 or not all(codes):
            continue
        vendor, device, kind = (code.group(1) for code in codes if code)
        if kind.zfill(6).startswith("03"):
            found.append(Display(clean(words[0], 20), vendor, device))
    return tuple(found)


def jetson(sources: Sources) -> Jetson | None:
    """Return the Jetson board, None on every other host."""
    release = _L4T.search(sources.text("nv_tegra_release")[:4096])
    compatible = sources.lines("device_tree_compatible")[:MOST_DEVICES]
    socs = [entry.partition(",")[2] for entry in compatible if entry.startswith("nvidia,tegra")]
    if release is None and not socs:
        return None
    return Jetson(
        model=clean(sources.text("device_tree_model"), 80) or "NVIDIA Jetson",
        soc=clean(socs[-1], 20) if socs else "",
        l4t=f"{release.group(1)}.{release.group(2)}" if release else "",
    )


def nvidia(sources: Sources, display: tuple[Display, ...], board: Jetson | None, ram: int, architecture: str) -> Nvidia:
    """Return the state of NVIDIA hardware; `ram` (bytes) is the memory of a GPU that has none of its own."""
    modules = {line.split()[0] for line in sources.lines("modules")[:MOST_DEVICES]}
    answer = sources.text("nvidia_smi")
    unified = ram if board is not None or architecture == "aarch64" else 0
    gpus = tuple(gpu for line in answer.splitlines()[:MOST_DEVICES] if (gpu := _gpu(line, unified, board)))
    if not gpus and board is not None and (integrated := _integrated(board, ram)):
        gpus = (integrated,)
    on_bus = any(entry.vendor == NVIDIA_VENDOR for entry in display)
    said = f"{answer[:4096]} {sources.detail('nvidia_smi')}"
    state = "usable" if gpus else _state(said, on_bus, "nvidia" in modules)
    if answer.strip() and not gpus:
        sources.gap("nvidia_smi", "nonsense", answer)
    detail = "" if gpus else clean(said, 200)
    return Nvidia(state, detail, gpus, "nouveau" in modules)


def _state(said: str, on_bus: bool, driver_loaded: bool) -> str:
    failure = next((state for words, state in _FAILURES.items() if words in said.lower()), "")
    if failure == "mismatch":
        return failure
    if not on_bus and not driver_loaded:
        return "none"
    if not driver_loaded:
        return "no_driver"
    return failure if failure == "no_devices" else "unreadable"


def _gpu(line: str, unified: int, board: Jetson | None) -> Gpu | None:
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != 7 or (index := integer(fields[0])) is None:
        return None
    name, driver, uuid = clean(fields[1], 80), dotted(version_of(fields[4])), _uuid(fields[6])
    capability = _capability(fields[5])
    total, used = integer(fields[2]), integer(fields[3])
    if total:
        mib = 1 << 20
        return Gpu(index, name, total * mib, min(used or 0, total) * mib, driver, capability, uuid)
    # "[N/A]" and "[Not Supported]": a GPU that shares the host's memory does not report any.
    if not unified or not fields[2].startswith("["):
        return None
    gpu = Gpu(index, name, unified, 0, driver, capability, uuid, unified=True)
    return replace(gpu, compute_capability=capability or TEGRA.get(board.soc if board else ""))


def _uuid(text: str) -> str:
    """Return the UUID, "" for what stands in its place: [N/A], [Not Supported], [Unknown Error]."""
    return text if _UUID.fullmatch(text) else ""


def _capability(text: str) -> tuple[int, int] | None:
    found = _CAPABILITY.fullmatch(text)
    return (int(found.group(1)), int(found.group(2))) if found else None


def _integrated(board: Jetson, ram: int) -> Gpu | None:
    """Return the GPU of a Jetson whose JetPack has no nvidia-smi (5 and older)."""
    capability = TEGRA.get(board.soc)
    return Gpu(0, f"{board.model} (integrated)", ram, 0, "", capability, "", unified=True) if capability else None
