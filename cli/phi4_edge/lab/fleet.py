"""Making, finding and removing labs. Progress goes to a callable; nothing here prints."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phi4_edge.errors import LabError
from phi4_edge.lab import boot, docker, image, mirror, model, profiles, ready, ssh
from phi4_edge.lab.model import LABEL, Lab

if TYPE_CHECKING:
    from docker import DockerClient

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Status:
    """One lab as it is now. `states` maps a host to Docker's word for it; `lab` is None when its files are gone."""

    name: str
    lab: Lab | None
    states: dict[str, str]


def up(
    name: str = "lab",
    wanted: Sequence[profiles.Profile] = (),
    *,
    kind: str | Sequence[str] = "bare",
    system: str | Sequence[str] = "",
    offline: bool = False,
    with_mirror: bool = False,
    inventory: Path | None = None,
    timeout: float = 120,
    progress: Progress = lambda _: None,
) -> Lab:
    """Boot one host per profile (default: the three of profiles.yml) and wait until each accepts the lab's key.

    `kind` is `bare` or `docker`, `system` an operating system ("": Debian 13), for all hosts or one for each. `offline`
    gives them a network that no route leaves; `with_mirror` one more machine, called `mirror` in the hosts, that serves
    what mirror.publish() gets.
    After it the lab's directory holds inventory.ini (also copied to `inventory`), key, known_hosts and lab.json.
    `timeout` is in seconds, for all hosts together, from their start on. Raises LabError when the lab exists or cannot
    be made; then, and when interrupted, nothing of it is left.
    """
    model.check_name(name)
    chosen = boot.wish(name, tuple(wanted) or profiles.load().choose(hosts=3), kind, system, offline, with_mirror)
    _need_programs("ssh", "ssh-keygen")
    if inventory is not None and not inventory.absolute().parent.is_dir():
        raise LabError(f"cannot write {inventory}: there is no directory {inventory.parent}; make it first")
    with docker.connect() as client:
        if name in docker.lab_names(client):
            raise _exists(name)
        directory = _claim(name)
        try:
            return _boot(client, chosen, directory, inventory, timeout, progress)
        except BaseException:  # Ctrl-C too: half a lab is of no use to anybody
            try:
                progress(f"removing what was made of lab {name!r}")
            finally:
                docker.remove_objects(client, name)
                _remove_files(directory)
            raise


def _boot(
    client: DockerClient,
    chosen: boot.Wish,
    directory: Path,
    inventory: Path | None,
    timeout: float,
    progress: Progress,
) -> Lab:
    lab = boot.make(client, chosen, directory, progress)
    deadline = time.monotonic() + timeout
    ready.wait(client, lab, deadline, progress)
    if lab.mirror:
        mirror.wait(lab, deadline)
    model.save(lab)
    lab.inventory.write_text(ssh.inventory(lab), encoding="utf-8")
    if inventory is not None:
        shutil.copyfile(lab.inventory, inventory)
    return lab


def _exists(name: str) -> LabError:
    return LabError(
        f"a lab named {name!r} exists: remove it with `phi4-edge lab down --name {name}`, or choose another --name"
    )


def _claim(name: str) -> Path:
    """Make the lab's directory; of two runs that want the same name only one gets past this."""
    directory = model.labs_directory() / name
    try:
        directory.mkdir(parents=True, mode=0o700)
    except FileExistsError as error:
        raise _exists(name) from error
    except OSError as error:
        raise LabError(
            f"cannot make {directory} ({error.strerror}): make it writable, or set XDG_STATE_HOME"
        ) from error
    return directory


def _remove_files(directory: Path) -> None:
    """Remove the lab's directory, and those above it that are empty then."""
    try:
        shutil.rmtree(directory)
    except OSError as error:
        raise LabError(f"cannot remove {directory}: {error.strerror}; is it another user's?") from error
    for parent in (directory.parent, directory.parent.parent):
        with contextlib.suppress(OSError):  # not empty: another lab, or other state of this program, is in there
            parent.rmdir()


def _need_programs(*names: str) -> None:
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise LabError(
            f"{' and '.join(missing)} not found: install OpenSSH's client (`apt-get install openssh-client`)"
        )


def load(name: str = "lab") -> Lab:
    """The lab as `up` made it. Raises LabError when there is none."""
    return model.read(name)


def listing() -> tuple[Status, ...]:
    """Every lab of which the engine or the state directory holds anything, sorted by name. Raises LabError."""
    with docker.connect() as client:
        found = client.containers.list(all=True, ignore_removed=True, filters={"label": LABEL})
        states = [(c.labels[LABEL], c.labels.get(f"{LABEL}.host", str(c.name)), c.status) for c in found]
        names = docker.lab_names(client)
    folder = model.labs_directory()
    if folder.is_dir():
        names |= {entry.name for entry in folder.iterdir() if entry.is_dir()}
    return tuple(
        Status(name, _read_or_none(name), {host: state for lab, host, state in sorted(states) if lab == name})
        for name in sorted(names)
    )


def _read_or_none(name: str) -> Lab | None:
    try:
        return model.read(name)
    except LabError:
        return None  # half-made or damaged: listed all the same, so that it can be removed


def down(name: str = "lab", progress: Progress = lambda _: None) -> bool:
    """Remove every container, volume, network and file of the lab, whatever state it is in.

    Returns False when there was nothing to remove. Raises LabError when the engine refuses.
    """
    directory = model.labs_directory() / model.check_name(name)
    with docker.connect() as client:
        removed = docker.remove_objects(client, name)
    existed = directory.exists()
    if existed:
        _remove_files(directory)
    if removed or existed:
        progress(f"lab {name!r} is gone")
    return bool(removed or existed)


def down_all(progress: Progress = lambda _: None) -> tuple[str, ...]:
    """Remove all labs; returns their names."""
    names = tuple(status.name for status in listing())
    for name in names:
        down(name, progress)
    return names


def drop_images() -> int:
    """Remove the cached images that no host uses; returns how many. Raises LabError."""
    with docker.connect() as client:
        return image.remove_images(client)
