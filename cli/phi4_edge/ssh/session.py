"""One SSH connection of preflight: connect, verify the host's key, authenticate, run short commands."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from phi4_edge.core.text import printable
from phi4_edge.ssh import known_hosts, login
from phi4_edge.ssh.finding import Refused
from phi4_edge.ssh.keys import offer
from phi4_edge.ssh.target import Target
from phi4_edge.ssh.wire import Budget, OverBudget, Wire

if TYPE_CHECKING:
    from paramiko import Channel, PKey, Transport

# One host may take this long and send this much from the first packet to the last answer, whatever it does meanwhile.
# A loaded Raspberry Pi needs a few seconds for the key exchange; a chatty login shell and a banner are some kilobytes.
HOST_SECONDS = 30.0
HOST_BYTES = 256 * 1024
ANSWER_SECONDS = 15.0  # of one step among them
OUTPUT_LIMIT = 4096
NOT_RUN = -1  # in place of an exit status
# OpenSSH accepts a new key without asking when it is told so; then it is for ssh to write it down.
_ACCEPTING = frozenset({"accept-new", "no", "off", "false"})
# How sshd's own key files of each kind are called, by the kind without its curve.
_KEY_FILES = {"ssh-ed25519": "ed25519", "ecdsa": "ecdsa", "ssh-rsa": "rsa"}
# The algorithms that prove possession of a key of each kind that known_hosts files name.
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}


def dial(target: Target, budget: Budget) -> Wire:
    """A TCP connection to the host, all of whose use counts against `budget`. The caller closes it. Raises Refused."""
    where = f"{target.address}:{target.port}"
    try:
        sock = socket.create_connection((target.address, target.port), budget.wait(target.connect_seconds))
    except ConnectionResetError as error:  # it was accepted, and ended so soon that connecting tells of it
        raise _turned_away(where, *login.UNHEARD) from error
    except OSError as error:
        raise Refused(
            "unreachable",
            f"found no way to {where} ({error.strerror or error}), needed a host that answers SSH",
            login.no_way(error),
        ) from error
    return Wire(sock, budget)


def connect(target: Target, wire: Wire) -> Transport:
    """An SSH connection to a host whose key is known; not authenticated yet. The caller closes it. Raises Refused."""
    import paramiko

    logger = logging.getLogger("paramiko")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # else its worker threads write to our standard error
    known = _known(target)
    where = f"{target.address}:{target.port}"
    transport = paramiko.Transport(cast(socket.socket, wire))
    try:
        transport.banner_timeout = ANSWER_SECONDS
        _prefer_known(transport, known)
        transport.start_client(timeout=ANSWER_SECONDS)
        if not transport.initial_kex_done:  # it returns in silence when its time is over
            raise EOFError(f"no end of its greeting within {ANSWER_SECONDS:g} s")
        key = transport.get_remote_server_key()
        _verify(target, known, key.get_name(), key.asbytes())
    except paramiko.ssh_exception.IncompatiblePeer as error:
        transport.close()
        raise Refused(
            "skipped", f"only ssh itself may agree with {where} on algorithms ({_word(error)})", ""
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        transport.close()
        if told := login.turned_away(wire.heard, wire.ended):
            raise _turned_away(where, *told) from error
        raise Refused(
            "unreachable",
            f"found no SSH server at {where} that talks to us ({_word(error)}), needed one",
            f"try it: ssh -p {target.port} {target.address}",
        ) from error
    except Refused:
        transport.close()
        raise
    return transport


def _turned_away(where: str, how: str, step: str) -> Refused:
    return Refused("turned_away", f"found that {where} {how}, needed it let in", step)


def _known(target: Target) -> list[known_hosts.Entry]:
    """The entries under the first name that has any, as ssh looks them up."""
    for name in known_hosts.names(target.address, target.port, target.key_alias):
        found = known_hosts.entries(target.known_hosts, name)
        if found:
            return found
    return []


def _prefer_known(transport: Transport, known: Sequence[known_hosts.Entry]) -> None:
    """Asks the host for a key of a kind that we know first, as ssh does; it may have several."""
    options = transport.get_security_options()
    offered = list(options.key_types)
    wanted = [name for entry in known for name in _ALGORITHMS.get(entry.kind, (entry.kind,)) if name in offered]
    options.key_types = tuple(dict.fromkeys([*wanted, *offered]))


def _verify(target: Target, known: Sequence[known_hosts.Entry], kind: str, blob: bytes) -> None:
    verdict = known_hosts.judge(known, kind, blob)
    shown = f"{kind} {known_hosts.fingerprint(blob)}"
    name = known_hosts.names(target.address, target.port, target.key_alias)[0]
    if verdict == "changed":
        entry = next((each for each in known if each.kind == kind or each.blob == blob), known[0])
        raise Refused(
            "host_key_changed",
            f"the host key of {name} has changed: found {shown}, "
            f"needed {known_hosts.fingerprint(entry.blob)} ({entry.path}, line {entry.line})",
            "if the host was reinstalled, remove the old key: "
            f"ssh-keygen -f {entry.path} -R '{name}'; if not, someone may be in between: do not connect",
        )
    if verdict == "unknown" and target.strict not in _ACCEPTING:
        files = ", ".join(str(path) for path in target.known_hosts) or "(no known_hosts file)"
        raise Refused(
            "host_key_unknown",
            f"the host key of {name} is unknown: found {shown}, needed one that is in {files}",
            _how_to_add(target, kind),
        )


def _how_to_add(target: Target, kind: str) -> str:
    """How to compare the key with the host's own and write it down where ssh will look for it.

    Not ssh-keyscan: it writes down whatever answers. ssh itself shows the fingerprint and writes the key down only when
    it is answered with the same one (OpenSSH 8.0) or with yes.
    """
    file = target.known_hosts[0] if target.known_hosts else Path(os.devnull)
    if file == Path(os.devnull):
        return (
            "the ssh settings of this host name no file that can hold its key: name one, with "
            "-o UserKnownHostsFile=FILE in ansible_ssh_common_args, then run again"
        )
    public = f"/etc/ssh/ssh_host_{_KEY_FILES.get(kind.partition('-sha2-')[0], '*')}_key.pub"
    quoted = f'"{file}"' if any(map(str.isspace, str(file))) else str(file)  # ssh splits the value at blanks
    command = ["ssh", "-o", "StrictHostKeyChecking=ask", "-o", f"UserKnownHostsFile={quoted}"]
    command += ["-o", f"HostKeyAlias={target.key_alias}"] if target.key_alias else []
    command += ["-p", str(target.port)] if target.port != 22 else []
    command += [f"{target.user}@{target.address}", "exit"]
    return (
        f"see the host's own fingerprint on its console (ssh-keygen -lf {public}), then run this and answer its "
        f"question with that fingerprint; if they match, ssh adds the key to {file}: {shlex.join(command)}"
    )


def authenticate(transport: Transport, target: Target, password: str = "") -> None:
    """The host has let us in. Raises Refused with what was tried; kind "skipped" where only ssh itself can try."""
    import paramiko

    offered = offer(target)
    transport.auth_timeout = ANSWER_SECONDS
    tried: list[str] = []
    try:
        for key in offered.keys:
            tried.append(_shown(key))
            if _try_key(transport, target, key):
                return
        if password:
            tried.append("the password of the inventory")
            transport.auth_password(target.user, password)
            return
    except paramiko.BadAuthenticationType as error:
        tried.append(f"(the host takes only {', '.join(error.allowed_types)})")
    except paramiko.AuthenticationException:
        # The password was refused: said below with everything that was tried.
        _must_go_on(transport, target)
    except (paramiko.SSHException, OSError, EOFError) as error:
        _must_go_on(transport, target)
        tried.append(f"(the host ended the connection: {_word(error)})")
    raise _refusal(target, tried, offered.refused, offered.unsupported)


def _try_key(transport: Transport, target: Target, key: PKey) -> bool:
    import paramiko

    begun = time.monotonic()
    try:
        transport.auth_publickey(target.user, key)
    except paramiko.BadAuthenticationType:
        raise
    except paramiko.AuthenticationException as error:
        if time.monotonic() - begun >= ANSWER_SECONDS:  # paramiko calls silence a refusal too
            raise Refused(
                "unreachable",
                f"found no answer to a key within {ANSWER_SECONDS:g} s, needed yes or no",
                "see what the host is busy with, or leave it out with --limit",
            ) from error
        _must_go_on(transport, target)
        return False
    return transport.is_authenticated()


def _must_go_on(transport: Transport, target: Target) -> None:
    """Raises Refused where the host ended the login with a word: it may take the key, and lets nobody in at present."""
    if transport.is_active():
        return
    banner = getattr(transport.auth_handler, "banner", None)  # get_banner() has none once the connection is over
    if said := login.first_line(printable((banner or b"").decode("utf-8", "replace"))):
        raise Refused(
            "auth_refused",
            f"found that {target.address} ended the login of {target.user}: {said}, needed it let in",
            login.ended(said, target.user, target.address),
        )


def _refusal(target: Target, tried: Sequence[str], refused: Sequence[str], unsupported: Sequence[str]) -> Refused:
    if unsupported and not tried:
        return Refused("skipped", f"only ssh itself can use {'; '.join(unsupported)}", "left to Ansible")
    found = f"accepted none of: {', '.join(tried)}" if tried else "was offered no key"
    others = f" ({'; '.join([*refused, *unsupported])})" if refused or unsupported else ""
    return Refused(
        "auth_refused",
        f"found that {target.address} {found}{others}, needed a key that user {target.user} may log in with",
        f"add the public key there (ssh-copy-id {target.user}@{target.address}), or set "
        "ansible_ssh_private_key_file or ansible_user",
    )


def _shown(key: PKey) -> str:
    return f"{key.get_name()} {known_hosts.fingerprint(key.asbytes())}"


def _word(error: BaseException) -> str:
    return printable(str(error) or type(error).__name__, 200, lines=False)


def run(transport: Transport, command: str, stdin: str = "", most_seconds: float | None = None) -> tuple[int, str]:
    """(exit status, output and errors as printable text). NOT_RUN: it was not, or said more than OUTPUT_LIMIT bytes.

    Raises Refused when the host does not come to the end of its answer within `most_seconds` (without them
    ANSWER_SECONDS), or ends the connection.
    """
    import paramiko

    seconds = most_seconds or ANSWER_SECONDS
    budget = Budget(seconds, OUTPUT_LIMIT)
    channel = None
    try:
        channel = transport.open_session(timeout=seconds)
        channel.set_combine_stderr(True)
        channel.settimeout(budget.wait(None))
        channel.exec_command(command)
        if stdin:
            channel.sendall(stdin.encode())
        channel.shutdown_write()
        answer = _answer(channel, budget)
        if answer[0] == NOT_RUN and not transport.is_active():
            raise EOFError("the connection ended")
        return answer
    except paramiko.ChannelException as error:
        return NOT_RUN, _word(error)  # it is well, and runs no commands for us
    except (paramiko.SSHException, OSError, EOFError) as error:
        why = "" if isinstance(error, (TimeoutError, OverBudget)) else f" ({_word(error)})"
        raise Refused(
            "unreachable",
            f"found no complete answer within {seconds:g} s to a command{why}, needed one",
            "see what the host is busy with, or leave it out with --limit",
        ) from error
    finally:
        if channel is not None:
            with contextlib.suppress(OSError, EOFError):  # its connection may have ended, or been cut
                channel.close()


def _answer(channel: Channel, budget: Budget) -> tuple[int, str]:
    """Raises OSError when it does not end in time."""
    said = b""
    while chunk := channel.recv(OUTPUT_LIMIT):
        said += chunk
        if len(said) > OUTPUT_LIMIT:
            return NOT_RUN, printable(said[:OUTPUT_LIMIT].decode("utf-8", "replace"))
        channel.settimeout(budget.wait(None))
    if not channel.status_event.wait(budget.remaining):
        budget.exceed("no exit status")
    return channel.recv_exit_status(), printable(said.decode("utf-8", "replace"))
