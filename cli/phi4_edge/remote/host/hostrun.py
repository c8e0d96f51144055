"""How a script on a host runs: one at a time, one answer for one request, programs bounded in time.

Sent in front of the script that uses it, behind hostlib; Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import time
from typing import Any, Callable, Container, Iterator, Mapping

import hostjournal
import hostlock
from hostjournal import unprivileged
from hostlib import DOUBTED, HostError, Json, disk_full
from hostpath import search_path
from hostprivate import lock_file
from hosttime import Lost, OutOfTime, bounded, late

# Only root may open it: a file that others could lock would let them keep us out.
LOCK = "/run/phi4-edge.lock"
# Longer than a board with an SD card takes to install the wheels of an engine.
LOCK_SECONDS = 1800.0


def clean(text: str, limit: int = 4000) -> str:
    """`text` without control characters, its last `limit` characters: it came from programs that we do not trust."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace("\r\n", "\n"))
    visible = "".join(c if c.isprintable() or c == "\n" else " " for c in plain)
    return visible[-limit:].strip()


def command(*argv: str, timeout: float = 120.0, limit: int = 4000) -> tuple[int, str]:
    """Exit status and the last `limit` characters of the cleaned output of a program.

    127 when it is missing, 124 when it took longer than `timeout` seconds.
    """
    environment = dict(os.environ, PATH=search_path(), LC_ALL="C.UTF-8", SYSTEMD_COLORS="0", SYSTEMD_PAGER="")
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=timeout, check=False, env=environment,
        )  # fmt: skip
    except FileNotFoundError:
        return 127, f"{argv[0]}: not found"
    except subprocess.TimeoutExpired as late:
        return 124, clean((late.stdout or b"").decode("utf-8", "replace")) + f"\n(no end after {timeout:.0f} s)"
    return done.returncode, clean(done.stdout.decode("utf-8", "replace"), limit)


@contextlib.contextmanager
def alone(seconds: float) -> Iterator[None]:
    """No other script of ours changes this host meanwhile; root only, others have nothing to change.

    A script goes on when its connection is lost, and the next run must not work beside it. Raises HostError when the
    other one has not ended after `seconds`.
    """
    if os.geteuid():
        yield
        return
    handle = lock_file(LOCK)
    try:
        end = time.monotonic() + seconds
        while not locked(handle):
            if time.monotonic() > end:
                raise HostError(f"another run is still at work on this host (it holds {LOCK}): try later")
            time.sleep(0.2)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def idle() -> Iterator[bool]:
    """Whether no script of ours is at work on this host; if so, none begins meanwhile."""
    handle = lock_file(LOCK)
    try:
        yield locked(handle)
    finally:
        os.close(handle)


def locked(handle: int) -> bool:
    """True when this process holds the lock from now on."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def serve(
    scope: Mapping[str, Any],
    operations: Mapping[str, Callable[[Json, bytes], Json]],
    changes: bool = True,
    uncut: Container[str] = (),
) -> None:
    """Do what `ARGS["do"]` names and emit its answer; a HostError or an OSError becomes {"error": …}.

    The payload is read whole first: a script that stopped reading would look like a lost connection. `changes`: the
    operations are for one script at a time. `ARGS["seconds_left"]`: how long the controller will wait for the answer.
    One whose connection is lost is ended soon, with what it started, except for those in `uncut`.
    `ARGS["doubted"]`: files that are read although their stamps are as recorded. `ARGS["lock"]`: the lock of the run,
    which must still be its own; the journal has the operation then.
    """
    os.umask(0o022)
    args, began = scope["ARGS"], time.monotonic()
    DOUBTED.update(args.get("doubted") or ())
    do, seconds = args["do"], float(args.get("seconds_left") or 0)
    payload = scope["PAYLOAD"].read()
    try:
        in_time = bounded(seconds, began, do, scope["EMIT"], do not in uncut)
        with in_time, alone(LOCK_SECONDS) if changes else contextlib.nullcontext():
            answer = under_lock(operations[do], args, payload)
    except Lost as error:
        answer = {"error": str(error)}
    except OutOfTime:
        answer = late(do, seconds)
    except HostError as error:
        answer = dict(error.details, error=str(error))
    except OSError as error:
        full = "the disk is full: " if disk_full(error) else ""
        answer = {"error": f"{full}{error.strerror or error}: {error.filename or do}"}
    try:
        scope["EMIT"](answer)
    except BrokenPipeError:  # nobody waits for it any more; what Python would still write out at its end is dropped
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def under_lock(operation: Callable[[Json, bytes], Json], args: Json, payload: bytes) -> Json:
    """The operation's answer, of a run that still has the lock of this host, and recorded in its journal."""
    if args.get("lock") and not unprivileged():
        hostlock.renew(args["lock"])
    with hostjournal.recorded(args):
        return operation(args, payload)
