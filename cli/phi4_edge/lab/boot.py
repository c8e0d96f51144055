"""From a wish to started containers: network, key, mirror, hosts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from phi4_edge.environment import allowed
from phi4_edge.errors import LabError
from phi4_edge.lab import containers, fake_gpu, image, machine, seed
from phi4_edge.lab.model import Lab, LabHost
from phi4_edge.lab.profiles import Profile

if TYPE_CHECKING:
    from docker import DockerClient

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What was asked for: `kinds` has the kind of image of each host."""

    name: str
    profiles: tuple[Profile, ...]
    kinds: tuple[str, ...]
    offline: bool
    mirror: bool


def wish(name: str, profiles: Sequence[Profile], kind: str | Sequence[str], offline: bool, mirror: bool) -> Wish:
    """Raises LabError when `kind` is neither one kind for all hosts nor one for each."""
    kinds = (kind,) * len(profiles) if isinstance(kind, str) else tuple(kind)
    if len(kinds) != len(profiles):
        raise LabError(f"{len(kinds)} kinds of image for {len(profiles)} hosts: give one for each host, or one for all")
    unknown = sorted(set(kinds) - set(image.HOST_KINDS))
    if unknown:
        raise LabError(f"no image {', '.join(unknown)} for a host; there are: {', '.join(image.HOST_KINDS)}")
    return Wish(name, tuple(profiles), kinds, offline, mirror)


def make(client: DockerClient, wanted: Wish, directory: Path, progress: Progress) -> Lab:
    """The lab's machines are started afterwards, with its key in them. Raises LabError."""
    kinds = dict.fromkeys([*wanted.kinds, *(["mirror"] if wanted.mirror else [])])
    tags = {kind: image.ensure(client, kind, directory.parent, progress) for kind in kinds}
    here = machine.inspect(client.info())
    network, subnet = _network(client, wanted.name, wanted.offline)
    hosts = containers.lay_out(wanted.name, wanted.profiles, [tags[kind] for kind in wanted.kinds], subnet, here)
    lab = Lab(wanted.name, network, directory, hosts, None, wanted.offline)
    if wanted.mirror:
        lab = replace(lab, mirror=containers.mirror_host(wanted.name, hosts, tags["mirror"], here))
    _tell(lab, here, progress)
    _prepare(lab)
    key = _new_key(lab)
    for host in lab.machines:
        _start(client, lab, host, key, here)
        progress(f"{host.name}: {host.profile} started at {host.address}")
    return lab


def _tell(lab: Lab, here: machine.Machine, progress: Progress) -> None:
    if note := containers.memory_note(lab.hosts, here):
        progress(note)
    if not here.lxcfs_binds:
        progress(
            "note: lxcfs does not run here, so /proc/meminfo in a host shows the RAM of this machine; its limit applies"
        )


def _prepare(lab: Lab) -> None:
    """The directories that containers show as their own exist afterwards. Raises LabError where that cannot work."""
    if lab.mirror:
        lab.published.mkdir()
        lab.published.chmod(0o755)
    for host in lab.hosts:
        if host.fake_gpu is None:
            continue
        if not Path(fake_gpu.PCI).is_dir():
            raise LabError(
                f"{host.name} cannot have a simulated GPU here: this machine has no {fake_gpu.PCI} to put it over; "
                "choose a profile without fake_gpu"
            )
        fake_gpu.write_bus(fake_gpu.load(host.fake_gpu), lab.bus_directory(host))


def _start(client: DockerClient, lab: Lab, host: LabHost, key: bytes, here: machine.Machine) -> None:
    client.volumes.create(name=containers.volume_name(host), labels=containers.labels(lab.name, host))
    config = containers.container_config(lab, host, here)
    container = client.api.create_container_from_config(config, host.container)  # type: ignore[no-untyped-call]
    client.api.put_archive(container["Id"], "/", seed.archive(seed.files(lab, host, key)))
    client.api.start(container["Id"])


def _new_key(lab: Lab) -> bytes:
    """Make the lab's key pair; returns the public half."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {lab.name}", "-f", str(lab.key)]
    env = allowed(os.environ)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        raise LabError(f"ssh-keygen could not make {lab.key}: {done.stderr.strip()}")
    return lab.key.with_name("key.pub").read_bytes()


def _network(client: DockerClient, name: str, offline: bool) -> tuple[str, str]:
    """A bridge network of the lab's own and its subnet; offline, it leads nowhere but to this machine.

    The engine accepts fixed addresses only in a subnet that the caller named, and only the engine knows which one is
    free: ask it by making the network once, then make it again with that subnet.
    """
    from docker.types import IPAMConfig, IPAMPool

    label, title = containers.labels(name), containers.network_name(name)
    probe = client.networks.create(title, driver="bridge", labels=label)
    probe.reload()
    subnet = str(probe.attrs["IPAM"]["Config"][0]["Subnet"])
    probe.remove()
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])
    client.networks.create(title, driver="bridge", labels=label, ipam=pool, internal=offline)
    return title, subnet
