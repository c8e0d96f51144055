"""What is wrong with a host that let us in: its shell, its Python, its sudo. Asked with short commands, one by one."""

from __future__ import annotations

import re
import secrets
import shlex
from typing import TYPE_CHECKING

from phi4_edge.core import broken_python
from phi4_edge.core.inventory import Host
from phi4_edge.ssh import interpreter, login, session
from phi4_edge.ssh.errand import Rights, Said, no_sudo
from phi4_edge.ssh.finding import Refused
from phi4_edge.ssh.target import Target

if TYPE_CHECKING:
    from paramiko import Transport

SYSTEM_SECONDS = 5.0  # for a word of advice
OLDEST_PYTHON = (3, 8)
_NO_PASSWORD = "sudo -n true"  # noqa: S105  (a command)
# First its version, in words that any Python knows; then what every script of ours needs of the standard library.
_VERSION = (
    '-c \'import sys; print("%d %d" % sys.version_info[:2]); sys.stdout.flush(); '
    "import base64, hashlib, json, socket, subprocess, zlib'"
)


def check(transport: Transport, host: Host, target: Target, become: bool, password: str) -> None:
    """Raises Refused where commands, Python or sudo do not work there.

    `become`: root rights will be wanted, where the host does not say otherwise. Other ways to become root than sudo,
    and other users, are Ansible's to try.
    """
    _check_python(transport, host, target)
    if not (become if host.become is None else host.become):
        return
    if target.user != "root" and host.by_sudo:
        _check_sudo(transport, target, host.become_password or password)


def explain(transport: Transport, host: Host, target: Target, rights: Rights, said: Said) -> None:
    """Raises Refused where it shows why a command of ours got no answer but `said`; else the answer itself is wrong."""
    if not said.entered:
        words = f"{said.output}\n{said.errors}"
        _check_login(transport, target, words)
        raise no_sudo(target.user, words, bool(rights.password))
    _check_python(transport, host, target)


def system(transport: Transport) -> str:
    """ID and ID_LIKE of the host's distribution in one line, "" where it does not say: for advice alone."""
    try:
        _, said = session.run(transport, "cat /etc/os-release", most_seconds=SYSTEM_SECONDS)
    except Refused:
        return ""
    values = dict(line.partition("=")[::2] for line in said.splitlines())
    names = " ".join(values.get(key, "") for key in ("ID", "ID_LIKE"))
    return re.sub(r"[^a-z0-9_ -]", "", names.lower())[:100].strip()


def _check_sudo(transport: Transport, target: Target, password: str) -> None:
    if password:
        status, said = session.run(transport, "sudo -S -p '' true", password + "\n")
    else:
        status, said = session.run(transport, _NO_PASSWORD)
    if status:
        raise no_sudo(target.user, said, bool(password))


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
