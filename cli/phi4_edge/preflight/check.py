"""Checks hosts in parallel, each over one connection of its own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from phi4_edge.core.reach import Host
from phi4_edge.preflight import session
from phi4_edge.preflight.finding import Finding
from phi4_edge.preflight.target import Target, resolve

if TYPE_CHECKING:
    from paramiko import Transport

MAX_THREADS = 32
OLDEST_PYTHON = (3, 8)
_NO_PASSWORD = "sudo -n true"  # noqa: S105  (a command)
_FIND_PYTHON = 'p=/usr/bin/python3; [ -x "$p" ] || p=$(command -v python3) || exit 127; '
_VERSION = " -c 'import sys; print(sys.version_info[0], sys.version_info[1])'"


def check(
    hosts: Sequence[Host], become: bool = True, become_password: str | None = None, password: str | None = None
) -> tuple[Finding, ...]:
    """One finding for each host, in their order; nothing was changed anywhere, and nothing of a host is trusted.

    `become`: root rights will be wanted on hosts that do not say otherwise. The passwords are the operator's, for hosts
    whose inventory names none.
    """
    if not hosts:
        return ()
    with ThreadPoolExecutor(min(MAX_THREADS, len(hosts)), "preflight") as pool:
        return tuple(pool.map(lambda host: _check(host, become, become_password, password), hosts))


def _check(host: Host, become: bool, become_password: str | None, password: str | None) -> Finding:
    if not host.over_ssh:
        return Finding(host.name, "skipped", f"connection {host.connection} is checked by Ansible alone")
    try:
        target = resolve(host)
    except ValueError as error:
        return Finding(
            host.name, "skipped", f"ssh settings that cannot be read beforehand ({error})", "Ansible will tell"
        )
    if target.indirect:
        return Finding(host.name, "skipped", f"reached through {target.indirect[:100]}, which ssh alone can use")
    try:
        transport = session.connect(target)
    except session.Refused as refused:
        return refused.finding(host.name)
    try:
        session.authenticate(transport, target, host.ssh.password or password or "")
        _check_python(transport, host)
        if become if host.become is None else host.become:
            _check_sudo(transport, host, target, host.become_password or become_password or "")
    except session.Refused as refused:
        finding = refused.finding(host.name)
        inside = refused.kind in ("no_python", "no_sudo")
        return replace(finding, user=target.user, system=_system(transport)) if inside else finding
    finally:
        transport.close()
    return Finding(host.name, "ok")


def _system(transport: Transport) -> str:
    """ID and ID_LIKE of the host's distribution in one line, "" where it does not say: for advice alone."""
    _, said = session.run(transport, "cat /etc/os-release")
    values = dict(line.partition("=")[::2] for line in said.splitlines())
    names = " ".join(values.get(key, "") for key in ("ID", "ID_LIKE"))
    return re.sub(r"[^a-z0-9_ -]", "", names.lower())[:100].strip()


def _check_sudo(transport: Transport, host: Host, target: Target, password: str) -> None:
    """Raises Refused when sudo does not work. Other ways to become root, and other users, are Ansible's to try."""
    if target.user == "root" or host.become_method not in ("", "sudo", "ansible.builtin.sudo"):
        return
    if host.become_user not in ("", "root"):
        return
    if password:
        status, said = session.run(transport, "sudo -S -p '' true", password + "\n")
    else:
        status, said = session.run(transport, _NO_PASSWORD)
    if status == 0:
        return
    last = (said.strip().splitlines() or ["no answer"])[-1][:200]
    with_password = "the given password" if password else "no password"
    raise session.Refused(
        "no_sudo",
        f"found that user {target.user} cannot use sudo with {with_password} ({last}), needed root rights",
        "install sudo and allow it for this user, or give its password with --ask-become-pass",
    )


def _check_python(transport: Transport, host: Host) -> None:
    named = host.ssh.python
    if named and named != "auto" and not named.startswith("auto_"):
        status, said = session.run(transport, named + _VERSION)
    else:
        status, said = session.run(transport, "sh -c " + shlex.quote(_FIND_PYTHON + '"$p"' + _VERSION))
    words = (said.strip().splitlines() or [""])[-1].split()
    version = tuple(int(word) for word in words) if len(words) == 2 and all(map(str.isdigit, words)) else ()
    if status == 0 and version >= OLDEST_PYTHON:
        return
    found = f"Python {words[0]}.{words[1]}" if version else f"no working {named or 'python3'}"
    raise session.Refused(
        "no_python",
        f"found {found}, needed Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer",
        "install python3 there, or set ansible_python_interpreter to where one is",
    )
