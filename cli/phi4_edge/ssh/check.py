"""Checks hosts in parallel, each over one connection of its own."""

from __future__ import annotations

import re
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from phi4_edge.core import broken_python
from phi4_edge.core.inventory import Host
from phi4_edge.ssh import abreast, interpreter, login, session
from phi4_edge.ssh.finding import Refusal, Refused
from phi4_edge.ssh.keys import has_ticket
from phi4_edge.ssh.target import CONNECT_SECONDS, GSSAPI, MOST_CONNECT_SECONDS, Target, resolve
from phi4_edge.ssh.wire import Budget, Open, Wire

if TYPE_CHECKING:
    from paramiko import Transport

MAX_THREADS = 32
GRACE_SECONDS = 2.0  # behind the end of a host's budget: then its thread is left alone
RETRY_SECONDS = 1.0
SYSTEM_SECONDS = 5.0  # for a word of advice
OLDEST_PYTHON = (3, 8)
# Connection plugins that ask on a terminal about a host's key or for a password: a run has one, and nobody reads there.
_ASKING = frozenset({"paramiko", "paramiko_ssh", "libssh", "network_cli", "netconf", "httpapi", "winrm", "psrp"})
_NO_PASSWORD = "sudo -n true"  # noqa: S105  (a command)
# First its version, in words that any Python knows; then what every script of ours needs of the standard library.
_VERSION = (
    '-c \'import sys; print("%d %d" % sys.version_info[:2]); sys.stdout.flush(); '
    "import base64, hashlib, json, socket, subprocess, zlib'"
)


@dataclass(frozen=True)
class Rights:
    """What is to be tried on hosts that do not say otherwise, and the operator's passwords for those that name none."""

    become: bool
    become_password: str
    password: str


def check(
    hosts: Sequence[Host],
    become: bool = True,
    become_password: str | None = None,
    password: str | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[Refusal, ...]:
    """One finding for each host, in their order; nothing was changed anywhere, and nothing of a host is trusted.

    `become`: root rights will be wanted on hosts that do not say otherwise. The passwords are the operator's, for hosts
    whose inventory names none. A host gets HOST_SECONDS and HOST_BYTES in all, whatever it does with them. Raises
    InterruptedRunError soon after `stopping()` turned true.
    """
    rights, wires = Rights(become, become_password or "", password or ""), Open()
    longest = max((_seconds(host) for host in hosts), default=0.0)
    limits = abreast.Limits(longest + GRACE_SECONDS, _late)
    found = abreast.each(
        lambda host: _check(host, rights, wires), hosts, MAX_THREADS, cut=wires.cut, stopping=stopping, limits=limits
    )
    return tuple(found)


def _seconds(host: Host) -> float:
    """What a host may take in all: more where the operator has more patience than Ansible by itself."""
    patience = min(float(host.ssh.timeout), MOST_CONNECT_SECONDS) - CONNECT_SECONDS
    return session.HOST_SECONDS + max(0.0, patience)


def _late(host: Host) -> Refusal:
    """What is said of a host whose check hangs where no budget reaches: a name server, or an agent of ours."""
    return Refusal(
        host.name,
        "unreachable",
        f"found no end of the preflight check within {_seconds(host):g} s, needed one",
        "see that its name resolves, and that the ssh agent answers (ssh-add -l)",
    )


def _check(host: Host, rights: Rights, wires: Open) -> Refusal:
    if host.connection.rpartition(".")[2] in _ASKING:
        return Refusal(
            host.name,
            "asks",
            f"found ansible_connection={host.connection}, which may ask what nobody answers, needed ssh (or local)",
            "remove ansible_connection there, and in ansible.cfg and the environment what sets it",
        )
    if not host.over_ssh:
        return Refusal(host.name, "skipped", f"connection {host.connection} is left to Ansible")
    try:
        target = resolve(host)
    except ValueError as error:
        return Refusal(
            host.name, "skipped", f"ssh settings that cannot be read beforehand ({error})", "left to Ansible"
        )
    if target.indirect:
        return Refusal(host.name, "skipped", f"reached through {target.indirect[:100]}, which is left to Ansible")
    try:
        wire = _dialled(host, target)
    except Refused as refused:
        return _left_to_ssh(refused.finding(host.name), target)
    try:
        with wires.using(wire):
            return _left_to_ssh(_visit(host, target, rights, wire), target)
    finally:
        wire.close()


def _dialled(host: Host, target: Target) -> Wire:
    """A connection, at the first of as many attempts as Ansible would make. Raises Refused."""
    budget = Budget(_seconds(host), session.HOST_BYTES)
    for _ in range(host.ssh.retries):
        try:
            return session.dial(target, budget)
        except Refused:
            if budget.remaining <= RETRY_SECONDS:
                raise
            time.sleep(RETRY_SECONDS)
    return session.dial(target, budget)


def _left_to_ssh(finding: Refusal, target: Target) -> Refusal:
    """The finding, unless settings of this host give ssh itself another way than we have."""
    setting = target.only_ssh.get(finding.kind, "")
    if setting and (not setting.startswith(GSSAPI) or has_ticket()):
        return Refusal(finding.host, "skipped", f"{finding.reason}; left to Ansible, as ssh has {setting[:100]}")
    return finding


def _visit(host: Host, target: Target, rights: Rights, wire: Wire) -> Refusal:
    transport = None
    try:
        transport = session.connect(target, wire)
        session.authenticate(transport, target, host.ssh.password or rights.password)
        _check_python(transport, host, target)
        if rights.become if host.become is None else host.become:
            _check_sudo(transport, host, target, host.become_password or rights.become_password)
    except Refused as refused:
        finding = refused.finding(host.name)
        if transport is not None and refused.kind in ("no_python", "no_sudo"):
            return replace(finding, user=target.user, system=_system(transport))
        return _used_up(finding, wire.budget.over) if wire.budget.over else finding
    finally:
        if transport is not None:
            transport.close()
    return Refusal(host.name, "ok")


def _used_up(finding: Refusal, over: str) -> Refusal:
    """The host did not come to the end of all that was asked of it within its budget."""
    return replace(
        finding,
        kind="unreachable",
        reason=f"found {over} during the preflight check, needed short answers",
        next_step="see what the host is busy with, or leave it out with --limit",
    )


def _system(transport: Transport) -> str:
    """ID and ID_LIKE of the host's distribution in one line, "" where it does not say: for advice alone."""
    try:
        _, said = session.run(transport, "cat /etc/os-release", most_seconds=SYSTEM_SECONDS)
    except Refused:
        return ""
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
    raise Refused(
        "no_sudo",
        f"found that user {target.user} cannot use sudo with {with_password} ({last}), needed root rights",
        "install sudo and allow it for this user, or give its password with --ask-become-pass",
    )


def _check_python(transport: Transport, host: Host, target: Target) -> None:
    status, said = session.run(transport, interpreter.ended(host, _VERSION))
    version = _version(said)
    if status == 0 and version >= OLDEST_PYTHON:
        return
    _check_login(transport, target, said)
    found, step = _what_is_wrong(transport, host, status, said, version)
    raise Refused("no_python", f"found {found}, needed {broken_python.OLDEST}", step)


def _version(said: str) -> tuple[int, ...]:
    """Major and minor version in the last line that has one; () without any."""
    lines = [line.split() for line in said.splitlines() if re.fullmatch(r"\s*\d{1,3} \d{1,3}\s*", line)]
    return tuple(map(int, lines[-1])) if lines else ()


def _what_is_wrong(
    transport: Transport, host: Host, status: int, said: str, version: tuple[int, ...]
) -> tuple[str, str]:
    """What is the matter with the host's Python, and the next step."""
    if () < version < OLDEST_PYTHON:
        listed = broken_python.beside(_listed(transport))
        step = f"set ansible_python_interpreter={listed.others[0]}, which is there" if listed.others else ""
        return f"Python {version[0]}.{version[1]}", step or broken_python.INSTALL
    named = interpreter.named(host)
    fault = broken_python.fault(named, status, said)
    if fault is None and status == broken_python.NOT_FOUND:
        fault = broken_python.absent(named, _listed(transport))
    if fault is not None:
        return f"that {fault.found}", fault.step
    words = login.first_line(said)
    return f"no working {named or 'python3'}{f' ({words})' if words else ''}", broken_python.INSTALL


def _listed(transport: Transport) -> str:
    """Which Pythons lie on the host: for advice alone."""
    try:
        return session.run(transport, f"sh -c {shlex.quote(broken_python.LIST)}", most_seconds=SYSTEM_SECONDS)[1]
    except Refused:
        return ""


def _check_login(transport: Transport, target: Target, said: str) -> None:
    """Raises Refused where the login runs no commands at all; `said` is what it answered to one."""
    nonce = secrets.token_hex(8)
    _, echoed = session.run(transport, f"echo {nonce}")
    if nonce in map(str.strip, echoed.splitlines()):
        return
    words = login.first_line(said) or login.first_line(echoed) or "it says nothing and ends"
    raise Refused(
        "no_shell",
        f"found that the login of {target.user} runs no commands: {words}, needed a shell",
        login.no_commands(said, target.user, target.address),
    )
