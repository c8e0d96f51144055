"""From the raw document of one host to `HostFacts`. The host is not trusted: all of it is data.

Garbage in an optional source becomes a gap. Only what no plan can do without raises FactsError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from phi4_edge.core.facts import cpu, gpu, memory, passthrough, runs, service
from phi4_edge.core.facts.model import Disk, HostFacts, Libc, OperatingSystem, Python
from phi4_edge.core.facts.receipt import ABSENT, Receipt
from phi4_edge.core.facts.receipt import from_dict as receipt_from_dict
from phi4_edge.core.facts.sources import FORMAT, Sources
from phi4_edge.core.text import clean, dotted, integer, version_of
from phi4_edge.errors import FactsError

__all__ = ["FORMAT", "HostFacts", "loads", "parse"]

MOST_LISTENERS = 4096
# Fields that are the first version in a source's text.
_VERSIONS = {
    "systemd": "systemd",
    "docker": "docker",
    "compose": "compose",
    "runc": "runc",
    "toolkit": "nvidia_ctk",
}
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
    sources = Sources(document)
    kernel, architecture, (total, available), disks = _essentials(sources)
    cgroup, quota = memory.cgroup(sources)
    ram = min(total, cgroup.memory_limit or total)
    display, board = gpu.displays(sources), gpu.jetson(sources)
    return HostFacts(
        host=sources.host or clean(sources.text("hostname"), 253) or "unnamed",
        hostname=clean(sources.text("hostname"), 253),
        architecture=architecture,
        kernel=kernel,
        os=_os_release(sources),
        libc=_libc(sources),
        python=_python(sources),
        cpu=cpu.parse(sources, quota),
        board=clean(sources.text("device_tree_model"), 80),
        ram_bytes=ram,
        mem_total=total,
        mem_available=available,
        cgroup=cgroup,
        disks=disks,
        displays=display,
        nvidia=gpu.nvidia(sources, display, board, ram, architecture),
        passed_through=passthrough.given_away(sources, display),
        jetson=board,
        **_boot(sources),
        **_programs(sources),
        uid=integer(sources.text("uid")),
        listening=_places(sources.lines("listening")),
        orphaned_ports=_places(sources.lines("orphaned_ports") if sources.text_or_none("orphaned_ports") else []),
        service=service.parse(sources),
        receipt=_receipt(sources),
        lock=runs.lock(sources),
        journal=runs.journal(sources),
        gaps=sources.gaps,
        truncated=sources.truncated,
    )


def _essentials(sources: Sources) -> tuple[str, str, tuple[int, int | None], tuple[Disk, ...]]:
    """Return kernel, architecture, (MemTotal, MemAvailable) and disks; raises FactsError that names what is missing."""
    kernel, architecture = _uname(sources)
    total, available = memory.meminfo(sources)
    disks = memory.disks(sources)
    if total is not None and architecture and disks:
        return kernel, architecture, (total, available), disks
    essentials = {"MemTotal": total, "architecture": architecture, "disk": disks}
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


def _boot(sources: Sources) -> dict[str, Any]:
    return {
        "secure_boot": {"enabled": True, "disabled": False}.get(sources.text("secure_boot").strip()),
        "reboot_required": sources.text("reboot_required").lstrip().startswith("yes"),
        "init": clean(sources.text("init").strip().partition(" ")[0], 32),
        "boot_id": clean(sources.text("boot_id"), 64),
    }


def _programs(sources: Sources) -> dict[str, Any]:
    return {
        **{name: dotted(version_of(sources.text(source))) for name, source in _VERSIONS.items()},
        "docker_storage": clean(sources.text("docker_info").partition(" ")[0], 32),
        "containerd_store": "io.containerd.snapshotter" in sources.text("docker_info"),
        "docker_configured": integer(sources.text("daemon_json")) is not None,
    }


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
