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
from phi4_edge.lab import containers, fake_gpu, image, machine, recipe, seed
from phi4_edge.lab.model import Lab, LabHost
from phi4_edge.lab.profiles import Profile

if TYPE_CHECKING:
    from docker import DockerClient

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What was asked for: `kinds` has the kind of image of each host, `systems` its operating system."""

    name: str
    profiles: tuple[Profile, ...]
    kinds: tuple[str, ...]
    systems: tuple[str, ...]
    offline: bool
    mirror: bool


def wish(
    name: str,
    profiles: Sequence[Profile],
    kind: str | Sequence[str],
    system: str | Sequence[str],
    offline: bool,
    mirror: bool,
) -> Wish:
    """Raises LabError when `kind` or `system` is neither one for all hosts nor one for each, or not known."""
    kinds = _each(kind, len(profiles), "kinds of image")
    systems = _each(system or recipe.systems()[0], len(profiles), "operating systems")
    unknown = sorted(set(kinds) - set(recipe.HOST_KINDS))
    if unknown:
        raise LabError(f"no image {', '.join(unknown)} for a host; there are: {', '.join(recipe.HOST_KINDS)}")
    for one in systems:
        recipe.check_system(one)
    return Wish(name, tuple(profiles), kinds, systems, offline, mirror)


def _each(wanted: str | Sequence[str], hosts: int, what: str) -> tuple[str, ...]:
    found = (wanted,) * hosts if isinstance(wanted, str) else tuple(wanted)
    if len(found) != hosts:
        raise LabError(f"{len(found)} {what} for {hosts} hosts: give one for each host, or one for all")
    return found


def make(client: DockerClient, wanted: Wish, directory: Path, progress: Progress) -> Lab:
    """The lab's machines are started afterwards, with its key in them. Raises LabError."""
    mirror = ("mirror", recipe.systems()[0])
    each = [*zip(wanted.kinds, wanted.systems, strict=True)]
    images = dict.fromkeys([*each, *([mirror] if wanted.mirror else [])])
    tags = {one: image.ensure(client, *one, directory.parent, progress) for one in images}
    here = machine.inspect(client.info())
    network, subnet = _network(client, wanted.name, wanted.offline)
    hosts = containers.lay_out(wanted.name, wanted.profiles, [(one[1], tags[one]) for one in each], subnet, here)
    lab = Lab(wanted.name, network, directory, hosts, None, wanted.offline)
    if wanted.mirror:
        lab = replace(lab, mirror=containers.mirror_host(wanted.name, hosts, tags[mirror], here))
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
