"""The Docker objects of a lab as request bodies of the Engine API. Pure: every field is decided here."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Sequence
from typing import Any

from phi4_edge.lab import fake_gpu
from phi4_edge.lab.machine import Machine
from phi4_edge.lab.model import LABEL, MIRROR, Lab, LabHost
from phi4_edge.lab.profiles import Profile

PREFIX = "phi4-edge-lab"
_MIB = 1024**2
_MIRROR_RAM = 1024 * _MIB  # files go through the page cache, which gives way; the programs need a tenth of it


def network_name(lab: str) -> str:
    return f"{PREFIX}-{lab}"


def volume_name(host: LabHost) -> str:
    """The volume that holds /var/lib/docker of one host."""
    return f"{host.container}-docker"


def labels(lab: str, host: LabHost | None = None) -> dict[str, str]:
    """Labels by which `lab down` finds what belongs to a lab, even when the lab's files are gone."""
    extra = {f"{LABEL}.host": host.name, f"{LABEL}.profile": host.profile} if host else {}
    return {LABEL: lab, **extra}


def assign_cpus(wanted: int, available: Sequence[int], offset: int) -> tuple[int, ...]:
    """`wanted` CPUs of the machine, or all when it has fewer; `offset` spreads small hosts over different CPUs."""
    count = min(wanted, len(available))
    return tuple(sorted(available[(offset + step) % len(available)] for step in range(count)))


def lay_out(
    lab: str, profiles: Sequence[Profile], images: Sequence[tuple[str, str]], subnet: str, machine: Machine
) -> tuple[LabHost, ...]:
    """Hosts gw1, gw2, … with fixed addresses: the subnet's first one is the bridge's, ours follow.

    `images` has the operating system of each host and the tag of its image.
    """
    network = ipaddress.ip_network(subnet)
    hosts: list[LabHost] = []
    offset = 0
    for number, (profile, (system, image)) in enumerate(zip(profiles, images, strict=True), start=1):
        cpus = assign_cpus(profile.cpus, machine.cpus, offset)
        offset += len(cpus)
        name = f"gw{number}"
        hosts.append(
            LabHost(
                name=name,
                profile=profile.name,
                ram_bytes=profile.ram_bytes,
                cpus=cpus,
                disks=profile.disks,
                address=str(network[1 + number]),
                container=f"{PREFIX}-{lab}-{name}",
                image=image,
                system=system,
                fake_gpu=profile.fake_gpu,
            )
        )
    return tuple(hosts)


def mirror_host(lab: str, hosts: Sequence[LabHost], image: str, machine: Machine) -> LabHost:
    """The mirror beside `hosts`, at the address after theirs."""
    return LabHost(
        name=MIRROR,
        profile=MIRROR,
        ram_bytes=_MIRROR_RAM,
        cpus=machine.cpus,
        disks={},
        address=str(ipaddress.ip_address(hosts[-1].address) + 1),
        container=f"{PREFIX}-{lab}-{MIRROR}",
        image=image,
    )


def container_config(lab: Lab, host: LabHost, machine: Machine) -> dict[str, Any]:
    """Body of `POST /containers/create` for one host."""
    environment = ["container=docker", "TERM=dumb"]
    if machine.cgroup_v1:
        # systemd 256 and later refuse to boot on cgroup v1 unless told to.
        environment.append("SYSTEMD_PROC_CMDLINE=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1")
    return {
        "Hostname": host.name,
        "Image": host.image,
        "Entrypoint": ["/usr/local/sbin/lab-init"],
        "Env": environment,
        "Labels": labels(lab.name, host),
        "StopSignal": "SIGRTMIN+3",  # systemd's own signal for an orderly halt
        "Tty": True,  # gives systemd a console, so that its messages reach the container's log
        "HostConfig": _host_config(lab, host, machine),
        "NetworkingConfig": {
            "EndpointsConfig": {lab.network: {"IPAMConfig": {"IPv4Address": host.address}}},
        },
    }


def _host_config(lab: Lab, host: LabHost, machine: Machine) -> dict[str, Any]:
    tmpfs = {"/run": "", "/run/lock": "", "/tmp": "exec"}  # noqa: S108 - a mount point inside the host
    tmpfs |= {path: f"exec,mode=755,size={size}" for path, size in host.disks.items()}
    return {
        "NetworkMode": lab.network,
        "Memory": host.ram_bytes,
        "MemorySwap": host.ram_bytes,  # the sum of RAM and swap: no swap
        "CpusetCpus": ",".join(map(str, host.cpus)),
        # Not Privileged: that asks for every capability, and fails where the machine itself lacks one.
        "CapDrop": ["ALL"],
        "CapAdd": list(machine.capabilities),
        "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined", "label=disable"],
        "MaskedPaths": [],
        "ReadonlyPaths": [],
        "CgroupnsMode": "private",
        "Tmpfs": tmpfs,
        # A volume, because a Docker engine inside cannot use overlay2 on the overlay of this container.
        "Binds": [f"{volume_name(host)}:/var/lib/docker:rw", *machine.lxcfs_binds, *_own_binds(lab, host)],
        "ExtraHosts": [f"{lab.mirror.name}:{lab.mirror.address}"] if lab.mirror else [],
    }


def _own_binds(lab: Lab, host: LabHost) -> list[str]:
    """Directories of the lab's own that this host shows as something else."""
    binds = [f"{lab.bus_directory(host)}:{fake_gpu.PCI}:ro"] if host.fake_gpu else []
    return [*binds, f"{lab.published}:/srv/mirror:ro"] if host == lab.mirror else binds


def memory_note(hosts: Sequence[LabHost], machine: Machine) -> str | None:
    """A sentence when the hosts together have more RAM than the machine; limits are promises, so it is no error."""
    total = sum(host.ram_bytes for host in hosts)
    if total <= machine.ram_bytes:
        return None
    mix = ", ".join(f"{count} x {name}" for name, count in Counter(host.profile for host in hosts).items())
    return (
        f"note: {mix} have {total // _MIB} MiB of RAM together, this machine has {machine.ram_bytes // _MIB} MiB; "
        "fine as long as they do not all fill it"
    )
