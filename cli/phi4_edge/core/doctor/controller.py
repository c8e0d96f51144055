"""Checks of this machine, from which hosts are reached: from readings that the command takes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from phi4_edge.core.doctor.case import CONTROLLER, Finding
from phi4_edge.core.facts.model import OperatingSystem
from phi4_edge.core.judge.condition import Level
from phi4_edge.core.packages import commands
from phi4_edge.core.text import clean, dotted, gb, gib, version_of

OLDEST_ANSIBLE = (2, 17)
# ControlMaster with ControlPersist, which every run uses, is from OpenSSH 5.6; accept-new from 7.6.
OLDEST_SSH = (7, 6)
# Files that a worker of Ansible has open at its worst moment (pipes to ssh, its own, those it inherits), and memory.
FILES_PER_FORK, FILES_BESIDE = 16, 128
MEMORY_PER_FORK = 90 << 20
LEAST_FREE = 1_000_000_000
PASSED = ("ansible", "openssh", "store", "forks", "secrets", "ansible.cfg")


@dataclass(frozen=True, slots=True)
class Readings:
    """What was read on this machine. Sizes in bytes; None: could not be read. Texts "" where there is nothing."""

    system: OperatingSystem
    ansible: str  # version of ansible-core, "" when ansible-playbook is not there
    ssh: str  # what `ssh -V` says
    sshpass: bool
    store: str
    store_error: str
    store_free: int | None
    to_fetch: int
    forks: int
    open_files: int | None
    memory_available: int | None
    passwords: bool  # the inventory has a password for connections
    keys: tuple[tuple[str, str, str], ...] = ()  # (host, path, mode as in chmod) of private keys that others may read
    exposed: tuple[tuple[str, str], ...] = ()  # (path, mode) of files with secrets that others may read
    ignored_config: str = ""  # an ansible.cfg that Ansible does not read, for its directory is world-writable
    config: str = ""  # the ansible.cfg that it does read
    host_keys_checked: bool = True
    all_reached: bool = False  # every host was, so that no key that ssh passes over is needed


def examine(it: Readings) -> tuple[Finding, ...]:
    """Return the findings of this machine, worst first; each check that found nothing gives one that is ok."""
    found = [finding for check in (_programs, _store, _limits, _secrets, _config) for finding in check(it)]
    named = {finding.check for finding in found}
    found += [Finding(CONTROLLER, name, Level.OK) for name in PASSED if name not in named]
    return tuple(sorted(found, key=lambda finding: -finding.level.rank))


def _finding(check: str, level: Level, found: str, needed: str, fix: str) -> Finding:
    return Finding(CONTROLLER, check, level, clean(found, 600), clean(needed, 300), clean(fix, 900))


def _programs(it: Readings) -> Iterator[Finding]:
    if not it.ansible:
        fix = "pip install --force-reinstall phi4-edge in the environment that phi4-edge runs in"
        yield _finding("ansible", Level.PROBLEM, "no ansible-playbook", f"ansible-core {dotted(OLDEST_ANSIBLE)}", fix)
    elif version_of(it.ansible) < OLDEST_ANSIBLE:
        fix = "pip install --upgrade 'ansible-core>=2.17' in the environment that phi4-edge runs in"
        found = f"ansible-core {it.ansible}"
        yield _finding("ansible", Level.PROBLEM, found, f"{dotted(OLDEST_ANSIBLE)} or newer", fix)
    client = commands.install(it.system, "openssh-client")
    version = version_of(it.ssh.partition("OpenSSH_")[2])
    if not it.ssh:
        yield _finding("openssh", Level.PROBLEM, "no ssh", "OpenSSH's client", client)
    elif version and version < OLDEST_SSH:
        yield _finding("openssh", Level.WARNING, it.ssh, f"OpenSSH {dotted(OLDEST_SSH)} or newer", client)
    if it.passwords and not it.sshpass:
        fix = f"{commands.install(it.system, 'sshpass')}; better: keys (ssh-copy-id USER@HOST)"
        found = "SSH passwords in the inventory but no sshpass"
        yield _finding("openssh", Level.PROBLEM, found, "sshpass, which passes them to ssh", fix)


def _store(it: Readings) -> Iterator[Finding]:
    if it.store_error:
        fix = f"sudo chown -R $(id -un): {it.store}, or give another folder with PHI4_EDGE_STORE"
        yield _finding("store", Level.PROBLEM, f"{it.store}: {it.store_error}", "a folder owned by this user", fix)
    if it.store_free is None:
        return
    fix = (
        "see phi4-edge model list, remove what is not needed (phi4-edge model remove ARTIFACT); or a larger disk, with "
        "PHI4_EDGE_STORE"
    )
    if it.store_free < it.to_fetch:
        found = f"{gb(it.store_free)} free for the store {it.store}"
        needed = f"{gb(it.to_fetch)} for models that are not in it yet"
        yield _finding("store", Level.PROBLEM, found, needed, fix)
    elif it.store_free < LEAST_FREE:
        found = f"{gb(it.store_free)} free for the store {it.store}"
        yield _finding("store", Level.WARNING, found, f"{gb(LEAST_FREE)}", fix)


def _limits(it: Readings) -> Iterator[Finding]:
    files = it.forks * FILES_PER_FORK + FILES_BESIDE
    if it.open_files is not None and it.open_files < files:
        most = max(1, (it.open_files - FILES_BESIDE) // FILES_PER_FORK)
        found = f"{it.open_files} open files for --forks {it.forks}"
        yield _finding("forks", Level.WARNING, found, f"{files}", f"ulimit -n {files}, or --forks {most}")
    memory = it.forks * MEMORY_PER_FORK
    if it.memory_available is not None and it.memory_available < memory:
        most = max(1, it.memory_available // MEMORY_PER_FORK)
        found = f"{gib(it.memory_available)} of memory for --forks {it.forks}"
        yield _finding("forks", Level.WARNING, found, f"{gib(memory)}", f"--forks {most}")


def _secrets(it: Readings) -> Iterator[Finding]:
    for host, path, mode in it.keys:
        found = f"the private key {path} (for {host}) may be read by others (mode {mode})"
        level = Level.WARNING if it.all_reached else Level.PROBLEM
        yield _finding("secrets", level, found, "mode 0600: ssh refuses it otherwise", f"chmod 600 {path}")
    for path, mode in it.exposed:
        found = f"{path} holds a password or opens the vault, and may be read by others (mode {mode})"
        yield _finding("secrets", Level.WARNING, found, "mode 0600", f"chmod 600 {path}; ansible-vault encrypts values")


def _config(it: Readings) -> Iterator[Finding]:
    if it.ignored_config:
        folder = it.ignored_config.rpartition("/")[0] or "/"
        found = f"Ansible ignores {it.ignored_config}: anyone may write to its directory"
        fix = f"chmod o-w {folder}, or ANSIBLE_CONFIG={it.ignored_config} if you trust it"
        yield _finding("ansible.cfg", Level.WARNING, found, "a directory that only you can write to", fix)
    if not it.host_keys_checked:
        found = f"{it.config} switches host key checking off; phi4-edge checks anyway"
        fix = "remove host_key_checking from it: plain ansible-playbook would talk to anybody"
        yield _finding("ansible.cfg", Level.NOTE, found, "host_key_checking = True", fix)
