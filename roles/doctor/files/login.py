"""What the login shell of the connection's user costs each command that comes over SSH, and what it prints.

Runs on the host as that user: Python 3.8, standard library, writes nothing. sshd gives each command to the login shell
(`SHELL -c COMMAND`), and some shells read their start files even then. Both sides are measured here on the host, so
that the way there is not blamed on the shell.
"""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import time
from typing import Any

ARGS, EMIT = globals()["ARGS"], globals()["EMIT"]  # the bootstrap's
ROUNDS = 5
SLOW_ROUNDS = 3  # enough where one takes longer than a second
LONGEST = 10.0  # seconds for one command
TEXT_LIMIT = 2000
# What shells may read for a command that is not interactive; named in the advice.
START_FILES = (
    ".bashrc", ".bash_env", ".zshenv", ".kshrc", ".cshrc", ".tcshrc", ".config/fish/config.fish",
    "/etc/bash.bashrc", "/etc/bashrc", "/etc/zsh/zshenv", "/etc/zshenv", "/etc/csh.cshrc",
)  # fmt: skip


def environment(user: pwd.struct_passwd) -> dict[str, str]:
    """What sshd sets for a command; bash tells by SSH_CLIENT and an absent SHLVL that it was started by sshd."""
    here = {"SSH_CLIENT": "127.0.0.1 1 22", "SSH_CONNECTION": "127.0.0.1 1 127.0.0.1 22"}
    kept = {name: os.environ.get(name, text) for name, text in here.items()}
    home = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "SHELL": user.pw_shell}
    return {**kept, **home, "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/games"}


def once(argv: list[str], env: dict[str, str], folder: str) -> tuple[float, int, str]:
    """(seconds, exit status, output) of one command with a socket as standard input, as sshd gives it."""
    ours, theirs = socket.socketpair()
    began = time.monotonic()
    try:
        done = subprocess.run(
            argv, stdin=theirs.fileno(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=folder,
            timeout=LONGEST, check=False,
        )  # fmt: skip
        return time.monotonic() - began, done.returncode, done.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired as late:
        return LONGEST, -1, (late.stdout or b"").decode("utf-8", "replace")
    finally:
        ours.close()
        theirs.close()


def measure(user: pwd.struct_passwd) -> dict[str, Any]:
    """Seconds of a command given to the login shell, and of the same command alone, in turns."""
    folder = user.pw_dir if os.access(user.pw_dir, os.X_OK) else "/"
    env, shell = environment(user), user.pw_shell or "/bin/sh"
    with_shell: list[float] = []
    without: list[float] = []
    status, output = 0, ""
    while len(with_shell) < ROUNDS:
        seconds, status, output = once([shell, "-c", "/bin/sh -c true"], env, folder)
        with_shell.append(seconds)
        without.append(once(["/bin/sh", "-c", "true"], env, folder)[0])
        if max(with_shell) > 1 and len(with_shell) >= SLOW_ROUNDS:
            break
    return {"with_shell": with_shell, "without": without, "output": output[:TEXT_LIMIT], "status": status}


def main() -> None:
    first = time.time()
    user = pwd.getpwuid(os.getuid())
    paths = {name: os.path.join(user.pw_dir, name) for name in START_FILES}
    found = {
        "format": "phi4-edge/doctor-login/1",
        "user": user.pw_name,
        "shell": user.pw_shell,
        "start_files": [path for path in paths.values() if os.path.isfile(path)],
    }
    if ARGS.get("measure", True):
        try:
            found.update(measure(user))
        except OSError as error:
            found["unmeasured"] = "%s: %s" % (user.pw_shell, error.strerror or error)
    EMIT(dict(found, first=first, last=time.time()))


main()
