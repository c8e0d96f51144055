"""Reads on this machine what `doctor` judges of it: programs, store, limits, and files with secrets."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.doctor.controller import Readings
from phi4_edge.core.facts.model import OperatingSystem
from phi4_edge.core.inventory import VaultSecret
from phi4_edge.core.plan.decide import Plan
from phi4_edge.environment import Need, allowed, narrowed
from phi4_edge.inventory import Host, unchecking
from phi4_edge.operations.options import Reach
from phi4_edge.runner.environment import config_file
from phi4_edge.ssh.target import resolve

SSH_SECONDS = 10
MOST_FILES, MOST_BYTES = 500, 1 << 20
OTHERS = 0o044
# A password in clear: no reference, and nothing that the vault encrypts.
_PASSWORD = re.compile(r"ansible_(?:ssh_|become_|sudo_)?pass(?:word)?[\"']?[ \t]*[=:][ \t]*(?![\"']?\{\{|!vault)\S")


def read(
    inventory: Sequence[str],
    reach: Reach,
    hosts: Sequence[Host],
    plans: Iterable[Plan],
    store_error: str,
    all_reached: bool,
) -> Readings:
    """What is so on this machine now; changes nothing and contacts nobody."""
    store, config = Store(), config_file(os.environ, Path.cwd())
    with narrowed(Need.ANSIBLE):
        unchecked = unchecking()
    return Readings(
        system=_system(),
        ansible=_ansible(),
        ssh=_ssh(),
        sshpass=shutil.which("sshpass") is not None,
        store=str(store.root),
        store_error=store_error or _not_ours(store.root),
        store_free=_free(store.root),
        to_fetch=_to_fetch(plans),
        forks=reach.forks,
        open_files=_open_files(),
        memory_available=_memory(),
        passwords=reach.login_password is not None or any(host.ssh.password for host in hosts),
        keys=tuple(_keys(hosts)),
        exposed=tuple(_exposed(inventory, reach.vaults)),
        ignored_config=_ignored_config(),
        config=unchecked or str(config or ""),
        host_keys_checked=not unchecked,
        all_reached=all_reached,
    )


def _system() -> OperatingSystem:
    try:
        found = platform.freedesktop_os_release()
    except OSError:
        found = {}
    name = found.get("ID", "")
    return OperatingSystem(
        name, found.get("VERSION_ID", ""), found.get("PRETTY_NAME", ""), tuple(found.get("ID_LIKE", "").split())
    )


def _ansible() -> str:
    beside = Path(sys.executable).parent / "ansible-playbook"
    if not beside.exists() and shutil.which("ansible-playbook") is None:
        return ""
    try:
        return metadata.version("ansible-core")
    except metadata.PackageNotFoundError:
        return ""


def _ssh() -> str:
    try:
        done = subprocess.run(
            ["ssh", "-V"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SSH_SECONDS,
            check=False,
            env=allowed(os.environ, Need.SSH),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stderr or done.stdout).strip()


def _nearest(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _not_ours(root: Path) -> str:
    """Why this user cannot keep anything in the store, "" where it can."""
    there = _nearest(root)
    if os.access(there, os.R_OK | os.W_OK | os.X_OK):
        return ""
    return f"{there} cannot be read and written by this user"


def _free(root: Path) -> int | None:
    try:
        return shutil.disk_usage(_nearest(root)).free
    except OSError:
        return None


def _to_fetch(plans: Iterable[Plan]) -> int:
    """Bytes of the models that the plans want and the store has not."""
    wanted = {}
    for plan in plans:
        if plan.model is not None and plan.model.digest is None and plan.action != "none":
            wanted[f"{plan.model.id}/{plan.model.artifact}"] = plan.model.size
    return sum(wanted.values())


def _open_files() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _memory() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _keys(hosts: Iterable[Host]) -> Iterator[tuple[str, str, str]]:
    """Private keys that ssh would refuse because others may read them, each once, with the first host that wants it."""
    told: set[Path] = set()
    for host in hosts:
        if not host.over_ssh:
            continue
        try:
            with narrowed(Need.SSH):  # `Match exec` of an ssh configuration runs programs
                paths = resolve(host).key_files
        except ValueError:
            continue  # ssh settings that cannot be read: Ansible tells
        for path in paths:
            mode = _mode(path)
            # ssh minds it only of a key that is this user's own.
            if mode & 0o077 and path.suffix != ".pub" and path not in told and path.stat().st_uid == os.getuid():
                told.add(path)
                yield host.name, str(path), f"{mode:04o}"


def _mode(path: Path) -> int:
    """Permission bits of a regular file, 0 where there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0
    return stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) else 0


def _exposed(inventory: Sequence[str], vaults: Iterable[VaultSecret]) -> Iterator[tuple[str, str]]:
    """Files with a password in clear, and the keys to the vaults, that others may read."""
    named = [vault.path for vault in vaults if vault.password is None]
    for name in dict.fromkeys(named or filter(None, [os.environ.get("ANSIBLE_VAULT_PASSWORD_FILE")])):
        mode = _mode(Path(name).expanduser())
        if mode & OTHERS and not mode & stat.S_IXUSR:  # a program holds no secret
            yield name, f"{mode:04o}"
    for path in _inventory_files(inventory):
        mode = _mode(path)
        if mode & OTHERS and _has_password(path):
            yield str(path), f"{mode:04o}"


def _inventory_files(inventory: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for source in inventory:
        path = Path(source).expanduser()
        if "," in source or not path.exists():
            continue
        base = path if path.is_dir() else path.parent
        found += [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        for folder in ("group_vars", "host_vars"):
            found += [file for file in (base / folder).rglob("*") if file.is_file()]
    return list(dict.fromkeys(found))[:MOST_FILES]


def _has_password(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            text = stream.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return False
    plain = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", ";")))
    return not plain.startswith("$ANSIBLE_VAULT") and _PASSWORD.search(plain) is not None


def _ignored_config() -> str:
    here = Path.cwd() / "ansible.cfg"
    open_to_all = bool(Path.cwd().stat().st_mode & stat.S_IWOTH)
    return str(here) if open_to_all and here.is_file() and "ANSIBLE_CONFIG" not in os.environ else ""
