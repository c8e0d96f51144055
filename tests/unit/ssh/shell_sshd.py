"""An SSH server in this process that really runs commands, and a stand-in for sudo that asks as sudo does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko

from tests.unit.ssh.test_check import Server

# Stands in for sudo with -S, -n and -p: a prompt without a line's end on standard error, three tries, its own words.
SUDO = """#!/bin/bash
prompt='[sudo] password: ' never=
while [ $# -gt 0 ]; do
  case $1 in
    -H|-S) shift;; -n) never=1; shift;; -p) prompt=$2; shift 2;; -u) shift 2;; *) break;;
  esac
done
printf '%s\\n' "$*" >>"$SUDO_LOG"
[ "$SUDO_RULE" = nopasswd ] && exec "$@"
[ "$SUDO_RULE" = tty ] && { echo 'sudo: sorry, you must have a tty to run sudo' >&2; exit 1; }
[ -n "$never" ] && { echo 'sudo: a password is required' >&2; exit 1; }
for try in 1 2 3; do
  printf '%s' "$prompt" >&2
  IFS= read -r given || { echo >&2; echo "sudo: $((try - 1)) incorrect password attempt" >&2; exit 1; }
  echo "$given" >>"$SUDO_LOG.tries"
  [ "$given" = "$SUDO_RULE" ] && exec "$@"
  echo 'Sorry, try again.' >&2
done
echo 'sudo: 3 incorrect password attempts' >&2
exit 1
"""


@dataclass
class ShellServer(Server):
    """Runs what it is told in a shell, with `environ` over ours; its streams are those of the channel."""

    environ: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.ran.append(command.decode())
        threading.Thread(target=self._shell, args=(channel, command.decode()), daemon=True).start()
        return True

    def _shell(self, channel: paramiko.Channel, command: str) -> None:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **self.environ},
            start_new_session=True,
        )
        threads = [
            threading.Thread(target=_copy, args=(process.stdout, channel.sendall)),
            threading.Thread(target=_copy, args=(process.stderr, channel.sendall_stderr)),
            threading.Thread(target=_feed, args=(channel, process)),
        ]
        for thread in threads:
            thread.start()
        while process.poll() is None and not channel.closed and channel.transport.is_active():
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):  # whoever was left; as sshd ends what its client leaves
            os.killpg(process.pid, signal.SIGKILL)
        for thread in threads[:2]:
            thread.join()
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            channel.send_exit_status(process.wait() % 256)
            channel.close()


def _copy(stream: Any, send: Callable[[bytes], object]) -> None:
    with stream, contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        while piece := os.read(stream.fileno(), 4096):
            send(piece)


def _feed(channel: paramiko.Channel, process: subprocess.Popen[bytes]) -> None:
    stdin = process.stdin
    assert stdin is not None
    with contextlib.suppress(OSError), stdin:
        while piece := channel.recv(4096):
            stdin.write(piece)
            stdin.flush()


def sudo(folder: Path, rule: str) -> dict[str, str]:
    """The environment in which the stand-in is found. `rule`: nopasswd, tty, or the password."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "sudo").write_text(SUDO)
    (folder / "bin" / "sudo").chmod(0o755)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return {"PATH": path, "SUDO_RULE": rule, "SUDO_LOG": str(folder / "sudo.log")}
