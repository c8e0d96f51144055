"""NVIDIA facts: what is on the PCI bus, what the driver reports, and Jetson boards with unified memory."""

from __future__ import annotations

import re
from dataclasses import dataclass

from phi4_edge.core.facts.model import Display, Gpu, Jetson, Nvidia, UnusableGpu
from phi4_edge.core.facts.sources import Sources
from phi4_edge.core.text import clean, dotted, integer, version_of

NVIDIA_VENDOR = "10de"
# Drivers that hold a device so that a guest can have it: KVM's, its predecessor, Xen's.
FOR_GUESTS = ("vfio-pci", "pci-stub", "xen-pciback", "pciback")
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
MOST_REMARKS = 8
# Of a row: index, name, memory.total, memory.used, driver_version, compute_cap, uuid.
FIELDS = 7

_L4T = re.compile(r"R([0-9]{1,3})\b.{0,40}?REVISION:\s*([0-9]{1,3}(?:\.[0-9]{1,3})?)")
_CAPABILITY = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})")
# A whole row within a text of one line.
_ROW = re.compile(r"\b([0-9]{1,2}(?:, ?[^,:]{1,80}){5}, ?GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
_NO_MEMORY = ("[n/a]", "[not supported]")
# Names of GPUs that are a part of a processor and use its memory, and those of product lines that have their own.
_INTEGRATED = re.compile(r"\b(?:GB10|Orin|Thor|Xavier|Tegra|nvgpu)\b", re.IGNORECASE)
_CARD = re.compile(r"\b(?:GeForce|GRID|GTX|NVS|Quadro|RTX|Tesla|TITAN|[ABHLPTV][0-9]{1,4}[A-Z]?)\b", re.IGNORECASE)
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
    loaded = {line.split()[0] for line in sources.lines("modules")[:MOST_DEVICES]}
    answer, detail = sources.text("nvidia_smi"), sources.detail("nvidia_smi")
    rows, remarks = _rows(answer, detail)
    modes = _modes(sources)
    soc = _Soc(board, architecture, ram)
    found = [gpu for row in rows if (gpu := _gpu(row, modes.get(row[0], ("", "")), soc)) is not None]
    gpus = tuple(gpu for gpu in found if isinstance(gpu, Gpu))
    unusable = tuple(gpu for gpu in found if isinstance(gpu, UnusableGpu))
    on_bus = any(entry.vendor == NVIDIA_VENDOR for entry in display)
    if not found and not on_bus and board is not None and (integrated := _integrated(board, ram)):
        return Nvidia("usable", "", (integrated,), "nouveau" in loaded)
    if answer.strip() and not found:
        sources.gap("nvidia_smi", "nonsense", answer)
    said = f"{answer[:4096]} {detail}"
    state = "usable" if gpus else "unusable" if unusable else _state(said, on_bus, "nvidia" in loaded)
    return Nvidia(
        state, "" if gpus else clean(said, 200), gpus, "nouveau" in loaded, unusable, remarks if found else ()
    )


def _rows(answer: str, detail: str) -> tuple[list[list[str]], tuple[str, ...]]:
    """Return the fields of each row, and what else nvidia-smi said.

    A probe that took every exit status but 0 for a failure has put the rows into its `detail`.
    """
    # There a row may be cut off: one that has no whole identity is none.
    whole = re.compile(".*") if answer else _ROW
    rows, remarks = [], []
    for line in (answer or _ROW.sub(r"\n\1\n", detail)).splitlines()[:MOST_DEVICES]:
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == FIELDS and integer(fields[0]) is not None and whole.fullmatch(line):
            rows.append(fields)
        elif said := clean(line, 200).rstrip(" :"):
            remarks.append(said)
    return rows, tuple(remarks[:MOST_REMARKS])


def _modes(sources: Sources) -> dict[str, tuple[str, str]]:
    """Return MIG mode and compute mode by index, as far as the driver tells them."""
    lines = sources.lines("nvidia_modes")[:MOST_DEVICES] if sources.text_or_none("nvidia_modes") is not None else []
    rows = ([field.strip() for field in line.split(",")] for line in lines)
    return {row[0]: (row[1].lower(), row[2].lower()) for row in rows if len(row) == 3}


def _state(said: str, on_bus: bool, driver_loaded: bool) -> str:
    failure = next((state for words, state in _FAILURES.items() if words in said.lower()), "")
    if failure == "mismatch":
        return failure
    if not on_bus and not driver_loaded:
        return "none"
    if not driver_loaded:
        return "no_driver"
    return failure if failure == "no_devices" else "unreadable"


@dataclass(frozen=True, slots=True)
class _Soc:
    """What decides whether a GPU may be a part of the processor, and the memory that it then has."""

    board: Jetson | None
    architecture: str
    ram: int

    def holds(self, name: str) -> bool:
        """Whether a GPU of this name is a part of it. A board with a Tegra may have a card besides."""
        if self.board is not None:
            return _CARD.search(name) is None
        return self.architecture == "aarch64" and _INTEGRATED.search(name) is not None


def _gpu(fields: list[str], modes: tuple[str, str], soc: _Soc) -> Gpu | UnusableGpu | None:
    """Return the GPU of one row, None where the row makes no sense."""
    index, name = integer(fields[0]) or 0, clean(fields[1], 80)
    driver, capability, uuid = dotted(version_of(fields[4])), _capability(fields[5]), _uuid(fields[6])
    total, used = integer(fields[2]), integer(fields[3])
    mig, compute = modes
    if not total and not fields[2].startswith("["):
        return None
    if mig == "enabled":
        return UnusableGpu(index, name, "mig", "")
    if compute == "prohibited":
        return UnusableGpu(index, name, "prohibited", "")
    exclusive = compute.startswith("exclusive")
    if total:
        mib = 1 << 20
        held = min(used or 0, total) * mib
        return Gpu(index, name, total * mib, held, driver, capability, uuid, exclusive=exclusive)
    # A GPU that shares the host's memory has none to report; every other text in its place is an error.
    if fields[2].lower() not in _NO_MEMORY or not soc.holds(name):
        return UnusableGpu(index, name, "memory", clean(fields[2], 60))
    capability = capability or TEGRA.get(soc.board.soc if soc.board else "")
    return Gpu(index, name, soc.ram, 0, driver, capability, uuid, unified=True, exclusive=exclusive)


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


def given_away(sources: Sources, display: tuple[Display, ...]) -> tuple[str, ...]:
    """Return the NVIDIA cards among `display` that guests have, as "NVIDIA GPU 10de:2504 at 0000:01:00.0 (vfio-pci)".

    Documents of older probes do not tell drivers: nothing is given away there.
    """
    text = sources.text_or_none("pci_drivers") or ""
    lines = [line.split() for line in text.splitlines()[:MOST_DEVICES]]
    bound = {clean(words[0], 20): words[1] for words in lines if len(words) == 2}
    return tuple(
        f"NVIDIA GPU {one.vendor}:{one.device} at {one.slot} ({bound[one.slot]})"
        for one in display
        if one.vendor == NVIDIA_VENDOR and bound.get(one.slot) in FOR_GUESTS
    )
