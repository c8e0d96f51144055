"""From the raw document of one host to `HostFacts`. The host is not trusted: all of it is data.

Garbage in an optional source becomes a gap. Only what no plan can do without raises FactsError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from phi4_edge.core import credentials
from phi4_edge.core.facts import activity, cgroup, cpu, gpu, installed, memory, system
from phi4_edge.core.facts.model import Cgroup, Disk, HostFacts, Images, Libc, OperatingSystem, Python, Userland
from phi4_edge.core.facts.receipt import ABSENT, Receipt
from phi4_edge.core.facts.receipt import from_dict as receipt_from_dict
from phi4_edge.core.facts.sources import FORMAT, Sources
from phi4_edge.core.speed import Speed, bandwidth
from phi4_edge.core.speed import read as read_measured
from phi4_edge.core.text import clean, dotted, integer, version_of
from phi4_edge.errors import FactsError

__all__ = ["FORMAT", "HostFacts", "loads", "parse"]

MOST_LISTENERS = 4096
# Fields that are the version in a source's text.
_VERSIONS = {
    "docker": "docker",
    "compose": "compose",
    "runc": "runc",
    "toolkit": "nvidia_ctk",
}
# What Debian calls the system that such programs are of: width of a pointer, and e_machine of the ELF header (elf.h).
ELF_MACHINES = {
    (32, 3): "i386",
    (32, 40): "armhf",
    (32, 62): "x32",
    (32, 183): "arm64ilp32",
    (64, 62): "amd64",
    (64, 183): "arm64",
}
_NUMBER = re.compile(r"(?<![0-9A-Za-z.])v?([0-9]{1,9}(?:\.[0-9]{1,9}){1,7})")
_PLACEHOLDERS = ("", "<no value>", "<nil>", "null", "N/A", "[N/A]")
_WORD = re.compile(r"[A-Za-z0-9_.+-]{1,64}")


def loads(text: str) -> HostFacts:
    """Return the facts in a JSON document; raises FactsError when it is none or lacks what is needed."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else clean(str(error), 200)
        raise FactsError(
            f"Found text that is not JSON ({detail}), needed a facts document. Make one with `phi4-edge detect --raw`."
        ) from error
    return parse(document)


def parse(document: Mapping[str, Any]) -> HostFacts:
    """Return the facts of one raw document; raises FactsError that names what is missing and what to do."""
    facts = _parsed(Sources(document))
    lost = installed.lost(facts)
    return replace(facts, receipt=replace(facts.receipt, drift=(*facts.receipt.drift, *lost))) if lost else facts


def bare(document: Mapping[str, Any]) -> bool:
    """Return whether a host says that no release of ours is there; raises FactsError for no document."""
    return not _receipt(Sources(document)).present


def _parsed(sources: Sources) -> HostFacts:
    """Return the facts as the host told them."""
    images, receipt = memory.images(sources), _receipt(sources)
    (kernel, architecture, total, found, disks), system = _essentials(sources, images), _system(sources)
    display, board, limits = gpu.displays(sources), gpu.jetson(sources), cgroup.limits(sources, system["init"])
    ram = min(total - found.huge_pages, limits.memory or total)
    return HostFacts(
        host=sources.host or clean(sources.text("hostname"), 253) or "unnamed",
        hostname=clean(sources.text("hostname"), 253),
        architecture=architecture,
        kernel=kernel,
        **system,
        cpu=(processors := cpu.parse(sources, limits)),
        board=clean(sources.text("device_tree_model"), 80),
        ram_bytes=ram,
        mem_total=total,
        mem_available=found.available,
        huge_pages=found.huge_pages,
        cgroup=Cgroup(limits.version, limits.memory, limits.memory_by),
        disks=disks,
        images=images,
        displays=display,
        nvidia=gpu.nvidia(sources, display, board, ram, architecture),
        passed_through=gpu.given_away(sources, display),
        jetson=board,
        **_programs(sources),
        uid=integer(sources.text("uid")),
        listening=_places(sources.lines("listening")),
        orphaned_ports=_places(sources.lines("orphaned_ports") if sources.text_or_none("orphaned_ports") else []),
        service=activity.service(sources),
        receipt=receipt,
        lock=activity.lock(sources),
        journal=activity.journal(sources),
        layout=sources.layout,
        installed=installed.parse(sources),
        speed=_speed(sources, processors.usable_cores, receipt),
        credentials=_credentials(sources),
        gaps=sources.gaps,
        truncated=sources.truncated,
    )


def _credentials(sources: Sources) -> credentials.Found:
    """Return what lets clients in at the host's gateway; nothing, and a gap, where it says what cannot be."""
    text = sources.text_or_none("gateway")
    found = credentials.read(text) if text else credentials.NONE
    if found is None:
        sources.gap("gateway", "nonsense", "needs digests of files and a note")
    return found or credentials.NONE


def _speed(sources: Sources, cores: int, receipt: Receipt) -> Speed:
    """Return what is known of the host's speed: of its memory by a sample of this look, or of the one before us."""
    sample, record = sources.text_or_none("bandwidth"), sources.text_or_none("bench")
    sampled = bandwidth(sample, cores) if sample else None
    if sample and sampled is None:
        sources.gap("bandwidth", "nonsense", "needs bytes per second of one thread and of all, and how many they are")
    measured = read_measured(record) if record else ()
    if measured is None:
        sources.gap("bench", "nonsense", "not a record of ours")
    return Speed(sampled or receipt.memory_bandwidth or None, measured or ())


def _essentials(sources: Sources, images: Images) -> tuple[str, str, int, memory.MemInfo, tuple[Disk, ...]]:
    """Return kernel, architecture, MemTotal, memory and disks; raises FactsError that names what is missing."""
    kernel, architecture = _uname(sources)
    found = memory.meminfo(sources)
    disks = memory.disks(sources, found.total, images.places)
    if found.total is not None and architecture and disks:
        return kernel, architecture, found.total, found, disks
    essentials = {"MemTotal": found.total, "architecture": architecture, "disk": disks}
    lacking = ", ".join(name for name, value in essentials.items() if not value)
    reasons = "; ".join(f"{gap.source}: {gap.kind}" for gap in sources.gaps) or "the sources make no sense"
    raise FactsError(
        f"Found no {lacking} in the facts of {sources.host or 'the host'} ({reasons}), needed all of "
        f"{', '.join(essentials)}. Run `phi4-edge detect` again and check the host if this repeats."
    )


def _uname(sources: Sources) -> tuple[str, str]:
    words = sources.text("uname").split()
    if len(words) < 3 or not _WORD.fullmatch(words[-1]):
        sources.gap("uname", "nonsense", "needs system, release and machine")
        return "", ""
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(words[-1], words[-1])
    return clean(words[1], 80), machine


def _system(sources: Sources) -> dict[str, Any]:
    return {
        "os": _os_release(sources),
        "userland": _userland(sources),
        "libc": _libc(sources),
        "python": _python(sources),
        "secure_boot": {"enabled": True, "disabled": False}.get(sources.text("secure_boot").strip()),
        "reboot_required": sources.text("reboot_required").lstrip().startswith("yes"),
        "init": clean(sources.text("init").strip().partition(" ")[0], 32),
        "system": system.parse(sources.text_or_none, activity.docker(sources)),
        "boot_id": clean(sources.text("boot_id"), 64),
    }


def _userland(sources: Sources) -> Userland:
    words = (sources.text_or_none("userland") or "").split()
    numbers = [integer(word) for word in words]
    match numbers:
        case [32 | 64 as bits, *rest]:
            return Userland(bits, ELF_MACHINES.get((bits, (rest or [None])[0] or 0), ""))
    if words:
        sources.gap("userland", "nonsense", "needs the width of a pointer and the machine of a program")
    return Userland(None, "")


def _os_release(sources: Sources) -> OperatingSystem:
    values: dict[str, str] = {}
    for line in sources.lines("os_release"):
        key, equals, value = line.partition("=")
        if equals:
            values.setdefault(key, clean(value.strip("\"'"), 80))
    name = values.get("ID", "")
    return OperatingSystem(
        id=name,
        version_id=values.get("VERSION_ID", ""),
        pretty_name=values.get("PRETTY_NAME", name),
        like=tuple(values.get("ID_LIKE", "").split()),
    )


def _libc(sources: Sources) -> Libc:
    words = sources.text("libc").split()
    if not words or words[0] not in ("glibc", "musl"):
        sources.gap("libc", "nonsense", "neither glibc nor musl")
        return Libc("", "")
    return Libc(words[0], dotted(version_of(words[1] if len(words) > 1 else "")))


def _python(sources: Sources) -> Python:
    words = sources.text("python").split(None, 1)
    if not words or not version_of(words[0]):
        sources.gap("python", "nonsense", "no version")
        return Python("", "")
    return Python(dotted(version_of(words[0])), clean(words[1], 200) if len(words) > 1 else "")


def _programs(sources: Sources) -> dict[str, Any]:
    versions = {name: _version(sources.text(source)) for name, source in _VERSIONS.items()}
    podman = ""
    if _is_podman(sources):  # its own number says nothing about Docker's flaws, and its `compose` is another program
        podman = versions["docker"] or "of unknown version"
        versions |= {"docker": "", "compose": ""}
    return {
        **versions,
        "podman": podman,
        "systemd": dotted(version_of(sources.text("systemd"))),
        "docker_storage": clean(sources.text("docker_info").partition(" ")[0], 32),
        "containerd_store": memory.CONTAINERD_STORE in sources.text("docker_info"),
        "docker_configured": integer(sources.text("daemon_json")) is not None,
    }


def _version(text: str) -> str:
    """Return the dotted number that a program gives as its version; its word for it where that is none, such as "dev".

    "" is for a program that is not there, or did not answer. A single digit may be part of a commit's name, and zeros
    are what a build without a version gets.
    """
    said = clean(text, 200)
    found = _NUMBER.search(said)
    if found and any(version_of(found[1])):
        return dotted(version_of(found[1]))
    word = said.rpartition("version ")[2].partition(" ")[0].rstrip(",")
    if said in _PLACEHOLDERS or not _WORD.fullmatch(word):
        return dotted(version_of(said))
    return word


def _is_podman(sources: Sources) -> bool:
    """Return whether what answers as `docker` is Podman; documents without the source have its complaint instead."""
    said = sources.text_or_none("docker_program") or ""
    return "podman" in said.lower() or "can't evaluate field Driver" in sources.detail("docker_info")


def _places(lines: list[str]) -> tuple[tuple[str, int], ...]:
    """Return addresses and ports, one of both a line."""
    found: set[tuple[str, int]] = set()
    for line in lines[:MOST_LISTENERS]:
        address, _, port = line.rpartition(" ")
        if address and (number := integer(port)) is not None and 0 < number < 65536:
            found.add((clean(address, 45), number))
    return tuple(sorted(found))


def _receipt(sources: Sources) -> Receipt:
    text = sources.text("receipt")
    gap = next((gap for gap in sources.gaps if gap.source == "receipt" and gap.kind != "missing"), None)
    if gap is not None:  # nobody looked: to say that nothing is there would let us install over it
        return Receipt(present=True, error=f"the receipt could not be verified: {gap.kind} {gap.detail}".rstrip())
    if not text.strip():
        return ABSENT
    try:
        return receipt_from_dict(json.loads(text))
    except (ValueError, RecursionError):
        sources.gap("receipt", "nonsense", "not JSON")
        return Receipt(present=True, error="the verification is not JSON")
