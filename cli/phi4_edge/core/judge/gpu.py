"""NVIDIA's GPUs: why one that is there cannot be used, or only under conditions, and what changes that."""

from __future__ import annotations

from collections.abc import Iterator

from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.facts.model import Gpu, HostFacts, UnusableGpu
from phi4_edge.core.judge import driver, gate
from phi4_edge.core.judge.condition import Condition, Level
from phi4_edge.core.judge.wanted import Wanted
from phi4_edge.core.packages import nvidia
from phi4_edge.core.packages.generations import cards
from phi4_edge.core.values import AUTO

NO_GPU = "found no NVIDIA GPU"
_NEEDED = "a GPU that answers: until then the plan uses the CPU"
_ADVICE = {
    "is not a valid field": "update the driver, which is too old to answer",
    "insufficient permissions": "look as root, to whom also a GPU in MIG mode answers",
    "gpu is lost": "reboot the host",
    "reset": "reset it (nvidia-smi --gpu-reset) or reboot the host",
    "unknown error": "look at dmesg and reboot the host",
}
_ENROL = (
    "mokutil --sb-state; sudo mokutil --import /var/lib/dkms/mok.pub, reboot and enrol it; or switch Secure Boot off"
)


def conditions(facts: HostFacts, catalog: Catalog, wanted: Wanted) -> Iterator[Condition]:
    """Yield what keeps a GPU from being used; where the inventory wants none, it is good to know at most."""
    if facts.nvidia.state == "none":
        return
    level = Level.WARNING if wanted.gpu_welcome else Level.NOTE
    yield from absent(facts, driver.hindrance(facts, catalog, wanted), wanted.installs.driver, level)
    yield from _shut_out(facts, catalog, wanted, level)
    for gpu in facts.nvidia.unusable if facts.nvidia.gpus else ():
        found, fix = unusable(gpu)
        yield Condition("driver", Level.NOTE, found, "a GPU that answers: another one is used", fix)
    for used in facts.nvidia.gpus:
        if used.exclusive and wanted.cuda and used.uuid == wanted.gpu:
            found = f"{used.name} is in an exclusive compute mode"
            needed = "the mode Default: while another process uses it, no engine can start"
            fix = f"sudo nvidia-smi -i {used.index} -c DEFAULT"
            yield Condition("driver", Level.WARNING, found, needed, fix)
    if facts.nvidia.gpus and facts.nvidia.nouveau:
        fix = (
            "printf 'blacklist nouveau\\n' | sudo tee /etc/modprobe.d/no-nouveau.conf; sudo update-initramfs -u; reboot"
        )
        found = "the nouveau module is loaded beside the NVIDIA driver"
        yield Condition("driver", Level.WARNING, found, "one of them", fix)
    yield from _secure_boot(facts, catalog, wanted, level)


def absent(facts: HostFacts, hindrance: str, installs: bool, level: Level = Level.WARNING) -> Iterator[Condition]:
    """Yield why no NVIDIA GPU can be used, and what would change that; nothing where there is none, or one works.

    `hindrance` is why an installation of the driver would not, or ""; `installs`: it is planned.
    """
    known = [card for card, _ in cards(facts.displays)]
    card = f"NVIDIA GPU {known[0]}" if known else "an NVIDIA GPU"
    state, said = facts.nvidia.state, facts.nvidia.detail
    if facts.passed_through and len(facts.passed_through) == len(known):
        if not facts.nvidia.gpus:
            found = f"{', '.join(facts.passed_through)} given to a virtual machine, and no NVIDIA GPU of the host's own"
            fix = "that may be meant; else take it out of the guest and its vfio-pci, and boot the host again"
            yield _unused(Level.NOTE, found, fix)
    elif state == "no_driver":
        nouveau = " (nouveau is loaded instead)" if facts.nvidia.nouveau else ""
        found = f"{card} without the NVIDIA driver{nouveau}"
        yield _unused(Level.NOTE if installs else level, found, _installation(facts, hindrance, installs))
    elif state == "unusable":
        for gpu in facts.nvidia.unusable:
            yield _unused(level, *unusable(gpu))
    elif state in _SILENT:
        found, fix = _SILENT[state]
        quoted = f": {said.rstrip('.')}" if said and state == "unreadable" else ""
        yield _unused(level, f"{card} {found}{quoted}", fix or _advice(said))


# By state: what is wrong, and what to do; "": what nvidia-smi said decides.
_SILENT = {
    "mismatch": ("whose kernel driver and library differ in version", "reboot the host (sudo systemctl reboot)"),
    "no_devices": (
        "whose driver sees no device",
        "look at dmesg on the host (sudo dmesg | grep -iE 'nvrm|xid'): one that fell off the bus comes back after a "
        "power cycle",
    ),
    "unreadable": ("whose driver gives no usable answer", ""),
}


def _unused(level: Level, found: str, fix: str) -> Condition:
    return Condition("driver", level, found, _NEEDED, fix, terse=True)


def _installation(facts: HostFacts, hindrance: str, installs: bool) -> str:
    if installs:
        return "phi4-edge provision installs it; it works after a reboot (--allow-reboot)"
    if hindrance:
        return f"nothing to install: {hindrance}; phi4-edge plans the CPU"
    secure = "; Secure Boot is on, so its modules must be signed" if facts.secure_boot else ""
    return f"set {driver.VARIABLE}: true to have phi4-edge provision --allow-reboot install it{secure}"


def reason(facts: HostFacts, hindrance: str, installs: bool) -> str:
    """Return why no NVIDIA GPU can be used, and what would change that, as one sentence."""
    return "; ".join(one.sentence for one in absent(facts, hindrance, installs)) or NO_GPU


def unusable(gpu: UnusableGpu) -> tuple[str, str]:
    """Return which GPU cannot be used and why, and what would change that."""
    if gpu.problem == "mig":
        off = f"sudo nvidia-smi -i {gpu.index} -mig 0"
        fix = f"needs MIG off or phi4_engine for the CPU; {off} switches it off"
        return f"{gpu.name} in MIG mode, which phi4-edge does not use", fix
    if gpu.problem == "prohibited":
        return (
            f"{gpu.name} in compute mode Prohibited, in which no process may use it",
            f"nvidia-smi -i {gpu.index} -c DEFAULT allows it",
        )
    return f"{gpu.name} that answers {gpu.said} when asked for its memory", _advice(gpu.said)


def _advice(said: str) -> str:
    """Return what to do about an answer of nvidia-smi, by its own words."""
    return next((advice for words, advice in _ADVICE.items() if words in said.lower()), "run nvidia-smi on the host")


def _shut_out(facts: HostFacts, catalog: Catalog, wanted: Wanted, level: Level) -> Iterator[Condition]:
    """GPUs that answer, and that nothing in the catalog runs on: too old, or with too old a driver."""
    shut = {gpu.name: _reasons(facts, catalog, wanted, gpu) for gpu in facts.nvidia.gpus}
    if wanted.cuda or not all(shut.values()):
        return
    for name, reasons in shut.items():
        old = any(why.partition(": ")[2].startswith("NVIDIA driver") for why in reasons)
        fix = "update NVIDIA's driver, or set phi4_engine to one for the CPU"
        yield _unused(
            level, f"{name} that no engine can use ({'; '.join(reasons)})",
            fix if old else "another GPU would be used; set phi4_engine to one for the CPU to leave this one alone",
        )  # fmt: skip


def _reasons(facts: HostFacts, catalog: Catalog, wanted: Wanted, gpu: Gpu) -> tuple[str, ...]:
    """Return why no candidate of the inventory's choice runs on a GPU, () where one does or there is none."""
    found: dict[str, None] = {}
    for item in catalog.all_candidates("cuda"):
        if wanted.engine in (AUTO, item.engine) and wanted.quantization in (AUTO, item.quantization):
            reasons = gate.of_candidate(facts, catalog, item, gpu)
            if not reasons:
                return ()
            found |= dict.fromkeys(f"{item.engine}: {why}" for why in reasons)
    return tuple(found)


def _secure_boot(facts: HostFacts, catalog: Catalog, wanted: Wanted, level: Level) -> Iterator[Condition]:
    """Whether the firmware would refuse the driver that is to be installed."""
    if not facts.secure_boot or facts.nvidia.state == "usable" or facts.passed_through:
        return
    if driver.is_asked(facts, wanted):
        if driver.hindrance(facts, catalog, wanted):
            return  # Secure Boot is not what is in the way
        if refusal := nvidia.refusal(facts, driver.BRANCH):
            before, _, needed = refusal.removeprefix("found ").partition(", needed ")
            needed, _, _ = needed.partition(". ")
            yield Condition("secure boot", Level.PROBLEM if wanted.installs.driver else level, before, needed, _ENROL)
            return
        level = Level.NOTE  # a distribution's own modules are signed
    yield Condition(
        "secure boot", level, "Secure Boot is on, and the GPU has no working driver",
        "a module signed with a key that the firmware trusts", _ENROL,
    )  # fmt: skip
