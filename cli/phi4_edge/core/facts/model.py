"""What is known about one host, parsed. Sizes are bytes, every text is one printable line of bounded length."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from phi4_edge.core.credentials import NONE, Found
from phi4_edge.core.facts.journal import Journal, Lock
from phi4_edge.core.facts.receipt import Receipt
from phi4_edge.core.facts.system import System
from phi4_edge.core.facts.units import Service
from phi4_edge.core.layout import Layout
from phi4_edge.core.speed import Speed


@dataclass(frozen=True, slots=True)
class Gap:
    """A source that gave nothing usable: kind is missing, timeout, failed, nonsense or denied."""

    source: str
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class OperatingSystem:
    """The distribution, from os-release; empty texts where it says nothing."""

    id: str
    version_id: str
    pretty_name: str
    like: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Userland:
    """What the host's programs are made for: bits of a pointer (None: unknown), and Debian's name for that, or ""."""

    bits: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Libc:
    """The C library that the host's Python is linked with; family "" when unknown."""

    family: str
    version: str


@dataclass(frozen=True, slots=True)
class Python:
    """The interpreter that ran the probe; version "" when unknown."""

    version: str
    path: str


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processors that a service may use.

    `processors` are hardware threads inside the cpuset, `cores` physical cores behind them, `fast_cores` those of the
    fastest kind, whose name `model` is. `quota`: number of CPUs that the tightest cgroup grants (None: unlimited). A
    limit that a container cannot see has shortened the first three already. `quota_by` and `cpuset_by`: the setting
    and the group that quota and cpuset are from, "" where there is no such limit.
    """

    model: str
    processors: int
    cores: int
    fast_cores: int
    quota: float | None
    features: frozenset[str]
    quota_by: str = ""
    cpuset_by: str = ""

    @property
    def usable_cores(self) -> int:
        """Fast cores inside cpuset and quota, at least 1: the thread count that decoding saturates at.

        An engine's threads wait for the slowest of them at every step.
        """
        allowed = self.fast_cores if self.quota is None else min(self.fast_cores, int(self.quota))
        return max(1, allowed)


@dataclass(frozen=True, slots=True)
class Cgroup:
    """Control group version ("v1", "v2", "hybrid" or "") and the tightest memory limit on a service (None: unlimited).

    `memory_by`: the setting and the group that it is from, such as "memory.max of cgroup /system.slice".
    """

    version: str
    memory_limit: int | None
    memory_by: str = ""


@dataclass(frozen=True, slots=True)
class Disk:
    """The filesystem that holds `path`; `ours` is what our own installation takes there.

    `pool` names the space that its free bytes come from: filesystems of one pool each show all of it.
    `standing`: what is at `path` that we must not write into (link, file, user: another user's directory), "closed" if
    not every user may get there, else "".
    `memory`: what makes it memory that the next boot empties (such as tmpfs), else "".
    """

    path: str
    total: int
    free: int
    filesystem: str
    ours: int
    pool: str
    standing: str = ""
    memory: str = ""
    read_only: bool = False
    noexec: bool = False


@dataclass(frozen=True, slots=True)
class Images:
    """Where Docker keeps images: new ones at `path`; `places` are its root and containerd's. `guessed`: a setting may
    have moved them elsewhere, and nobody asked.
    """

    path: str
    places: tuple[str, ...]
    guessed: bool


@dataclass(frozen=True, slots=True)
class Display:
    """One display controller on the PCI bus; vendor and device as four hexadecimal digits."""

    slot: str
    vendor: str
    device: str


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU that its driver reports. Unified memory: the host's RAM is also its memory.

    `exclusive`: the driver lets only one process at a time use it.
    """

    index: int
    name: str
    memory_total: int
    memory_used: int
    driver: str
    compute_capability: tuple[int, int] | None
    uuid: str
    unified: bool = False
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class UnusableGpu:
    """One NVIDIA GPU that its driver lists and that no engine can use.

    `problem`: mig (it is divided, and no process may use the whole), prohibited (no process may use it), memory (the
    driver does not tell how much it has, but `said`).
    """

    index: int
    name: str
    problem: str
    said: str


@dataclass(frozen=True, slots=True)
class Jetson:
    """An NVIDIA Jetson board; `l4t` is the Linux for Tegra release, "" when it could not be read."""

    model: str
    soc: str
    l4t: str


@dataclass(frozen=True, slots=True)
class Nvidia:
    """The state of NVIDIA hardware.

    `state`: none, usable, no_driver (on the bus, no kernel driver), mismatch (kernel driver and library
    differ), no_devices (driver sees none), unusable (each GPU is one of `unusable`), unreadable (driver there, no
    usable answer). `remarks`: what nvidia-smi said beside its rows.
    """

    state: str
    detail: str
    gpus: tuple[Gpu, ...]
    nouveau: bool
    unusable: tuple[UnusableGpu, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Everything that a plan may depend on.

    `architecture` is the kernel's word, `userland` that of the programs. `ram_bytes` is what an engine can have of
    `mem_total`: without huge pages, and within the control group's limit. Versions are "" where the program is not
    there or could not be asked, and a word ("dev") without a number; `toolkit` is NVIDIA's. `podman`: version of what
    answers as `docker` and is Podman. `containerd_store`: Docker keeps images in containerd's store. `orphaned_ports`:
    where Docker listens for no container. `passed_through`: NVIDIA GPUs of virtual machines, each with its driver.
    `layout`: where we looked; `installed`: where its unit is. `credentials`: what lets clients in at its gateway.
    """

    host: str
    hostname: str
    architecture: str
    kernel: str
    os: OperatingSystem
    userland: Userland
    libc: Libc
    python: Python
    cpu: Cpu
    board: str
    ram_bytes: int
    mem_total: int
    mem_available: int | None
    huge_pages: int
    cgroup: Cgroup
    disks: tuple[Disk, ...]
    displays: tuple[Display, ...]
    nvidia: Nvidia
    passed_through: tuple[str, ...]
    jetson: Jetson | None
    secure_boot: bool | None
    reboot_required: bool
    init: str
    system: System
    systemd: str
    docker: str
    compose: str
    podman: str
    runc: str
    toolkit: str
    docker_storage: str
    containerd_store: bool
    images: Images
    docker_configured: bool
    uid: int | None
    boot_id: str
    listening: tuple[tuple[str, int], ...]
    orphaned_ports: tuple[tuple[str, int], ...]
    service: Service | None
    receipt: Receipt
    lock: Lock
    journal: Journal
    layout: Layout
    installed: Layout | None
    speed: Speed
    gaps: tuple[Gap, ...]
    truncated: tuple[str, ...]
    credentials: Found = NONE

    @property
    def ram_by(self) -> str:
        """Return the setting and the control group that leave less RAM than the machine has, "" where none does."""
        return self.cgroup.memory_by if self.ram_bytes < self.mem_total - self.huge_pages else ""

    @property
    def orphaned(self) -> str:
        """Return the address and port of our release that Docker holds for no container, "" where it does not."""
        ours = [place for place in self.orphaned_ports if place[1] == self.receipt.port and self.receipt.port]
        return f"{ours[0][0]}:{ours[0][1]}" if ours else ""

    def board_of(self, gpu: Gpu | None) -> Jetson | None:
        """Return the Jetson that `gpu` is a part of, None for a card with memory of its own in whatever board."""
        return self.jetson if gpu is not None and gpu.unified else None

    def disk(self, path: str) -> Disk:
        """Return the filesystem for `path`; where it was not measured, the one that holds the models."""
        by_path = {disk.path: disk for disk in self.disks}
        return by_path.get(path) or by_path.get(self.layout.state) or self.disks[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain JSON data, sets sorted."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def to_plain(value: Any) -> Any:
    """Return `value` as dicts, lists and scalars; dataclasses become dicts, sets sorted lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(to_plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value
