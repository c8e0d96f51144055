"""The lock of a host: one run at a time, from its first look until its end, and not after its controller has died.

A small process on the host, the keeper, gives a sign of life for the run while the process of sshd lives that serves
the run's connection: all tasks of a run share one. When the controller dies, that connection ends, the keeper beats one
last time, and the lock is stale some seconds later. Where no such process can be seen (another kind of connection), or
where it is known to end between two tasks, each script of the run starts the keeper again, and the lock is stale much
later. A script that its connection has left behind neither takes nor keeps a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from typing import Any, Iterator

from hostlib import HostError, Json, fsync_directory, own_directory, remove_tree, temporary_name, write_json
from hostlockstate import (
    LOCK_BEAT,
    LOCK_FORMAT,
    lock_boot,
    lock_lives,
    lock_now,
    lock_process,
    lock_read,
    lock_stale,
    lock_status,
)
from hostprivate import lock_file
from hosttime import connected

BEAT = LOCK_BEAT
GUARD = "/run/phi4-edge-lock.guard"  # held while lock and heartbeat are looked at and changed, never for long
# The process that ends with the run's connection, as OpenSSH (sshd-session since 9.8) and Dropbear call it.
SERVERS = ("sshd", "sshd-session", "dropbear")
# Of a lock whose keeper ends with each task: the controller may think that long between two of them.
UNSHARED_STALE_SECONDS = 300.0
TICK = 1.0
HEARTBEAT_SECONDS = 10.0


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Nobody else changes lock or heartbeat meanwhile."""
    handle = lock_file(GUARD)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def path_of(folder: str) -> str:
    """Where the lock is."""
    return os.path.join(folder, "lock")


def state(folder: str) -> Json:
    """Who holds the host, see `hostlockstate.lock_status`."""
    answer: Json = lock_status(folder, BEAT)
    return answer


def claim(wish: Json, folder: str) -> None:
    """The lock is this run's, durably, and kept. `wish`: what it says, with `watch` from `ancestor`. Under `guard`.

    Raises FileExistsError when somebody else made it meanwhile who knows no guard, and HostError when nobody waits for
    it any more.
    """
    still_wanted()
    before = lock_read(path_of(folder))
    made = before.get("made") is True if before is not None else not os.path.lexists(folder)
    above = before.get("above") if before is not None else missing(folder)
    own_directory(folder, 0o755)
    lock = {name: value for name, value in wish.items() if name != "watch"}
    lock.update(format=LOCK_FORMAT, boot_id=lock_boot(), at=lock_now(), made=made, above=above)
    if fleeting(lock, wish["watch"], 0.0):
        lock["stale_seconds"] = max(lock_stale(lock), UNSHARED_STALE_SECONDS)
    if before is None:
        create(path_of(folder), lock)
    else:
        write_json(path_of(folder), lock)
    keep(lock, wish["watch"], folder)


def missing(folder: str) -> list[str]:
    """Directories above that are not there, the nearest first: they are made with the folder."""
    found, path = [], os.path.dirname(folder)
    while not os.path.lexists(path):
        found.append(path)
        path = os.path.dirname(path)
    return found


def create(path: str, lock: Json) -> None:
    """The lock is at `path`, whole from the first moment. Raises FileExistsError as O_EXCL does."""
    temporary = temporary_name(path)
    write_json(temporary, lock)
    try:
        os.link(temporary, path)
    finally:
        os.unlink(temporary)
    fsync_directory(os.path.dirname(path))


def ancestor(controller: Json) -> list[int]:
    """[pid, start] of the process that ends when the run's connection does.

    The nearest one of an SSH server; on the controller itself the process that runs the play; else this script.
    """
    play = [controller.get("pid"), controller.get("start")]
    local = controller.get("boot_id") == lock_boot() and lock_lives(play)
    pid = os.getpid()
    while pid > 1:
        found = lock_process(pid)
        # Behind the play may come the SSH login of whoever called it, which outlives it.
        if found is None or (local and pid == play[0]):
            break
        if found[0] in SERVERS:
            return [pid, found[2]]
        pid = found[1]
    if local:
        return [int(play[0]), int(play[1])]  # type: ignore[arg-type]
    own = lock_process(os.getpid())
    return [os.getpid(), own[2] if own else 0]


def fleeting(lock: Json, watch: list[int], between: float) -> bool:
    """Whether what is watched may end while its run lives and thinks for more than `between` seconds."""
    play = lock.get("controller") or {}
    if watch == [play.get("pid"), play.get("start")]:
        return False
    persist = lock.get("persist")
    return watch[0] == os.getpid() or (isinstance(persist, (int, float)) and persist <= between)


def still_wanted() -> None:
    """Raises HostError when the run of this script is gone: it must neither take the host nor keep it.

    Call it after `ancestor`, which cannot tell a script that was left behind from one that no server can be seen of.
    """
    if not connected():
        raise HostError("the connection to the controller was lost; nothing was changed")


def keep(lock: Json, watch: list[int], folder: str) -> None:
    """A keeper beats for the lock from now on; what it needs is in memory, no file of it is on the host."""
    child = os.fork()
    if not child:
        keeper(lock, watch, folder)
    found = lock_process(child)
    beat(lock, [child, found[2] if found else 0], watch)


def beat(lock: Json, process: list[int], watch: list[int]) -> None:
    """The run of this lock lives now. Not durable: after a reboot nothing of it would be true."""
    sign = {"id": lock["id"], "boot_id": lock_boot(), "at": lock_now(), "keeper": process, "watch": watch}
    temporary = f"{BEAT}.new-{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(handle, "wb") as stream:
        stream.write(json.dumps(sign).encode())
    os.rename(temporary, BEAT)


def keeper(lock: Json, watch: list[int], folder: str) -> None:
    """The process that beats; never returns. It ends when its connection does, or when the lock is another's."""
    ended: list[int] = []
    try:
        os.setsid()
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.closerange(3, max(null, 4096) + 1)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
        with contextlib.suppress(OSError), open("/proc/self/comm", "w") as stream:
            stream.write("phi4-edge-lock")
        beating(lock, watch, folder, ended)
    finally:
        os._exit(0)


def beating(lock: Json, watch: list[int], folder: str, ended: list[int]) -> None:
    """Beats until the watched process or this one is to end, and once more then."""
    found = lock_process(os.getpid())
    own, last = [os.getpid(), found[2] if found else 0], lock_now()
    while True:
        time.sleep(TICK)
        over = bool(ended) or not lock_lives(watch)
        with guard():
            # Another run's, or ours but kept by another keeper: it must not be told that this run lives.
            if not ours(lock["id"], folder) or (lock_read(BEAT) or {}).get("keeper") not in (None, own):
                return
            if over or lock_now() - last >= float(lock.get("heartbeat_seconds") or HEARTBEAT_SECONDS):
                beat(lock, own, watch)
                last = lock_now()
        if over:
            return


def ours(name: str, folder: str) -> bool:
    """Whether the lock is there and has this id."""
    lock = lock_read(path_of(folder))
    return lock is not None and str(lock.get("id") or "") == name


def renew(held: Json) -> None:
    """The run of this script still has its lock, and a keeper beats for it.

    Raises HostError when another run took it over: this one must change nothing any more. A lock that is gone is no
    obstacle: an operator released it, and nobody has taken it since.
    """
    folder = str(held["folder"])
    watch = ancestor(held.get("controller") or {})
    still_wanted()
    with guard():
        lock = lock_read(path_of(folder))
        if lock is None:
            return
        # Also where another process goes on with the same run, as another worker does.
        theirs, own = lock.get("controller"), held.get("controller")
        if lock.get("id") != held["id"] or (theirs and own and theirs != own):
            who = f"{lock.get('user')}@{lock.get('host')} ({lock.get('operation')} since {lock.get('started')})"
            raise HostError(
                f"found the lock of {who} on this host, needed our own: the connection was lost too long, and another "
                "run took over. Nothing more was changed; look at that run, then run again"
            )
        if state(folder)["state"] == "held":
            return
        longer = max(lock_stale(lock), UNSHARED_STALE_SECONDS)
        if lock_stale(lock) < longer and fleeting(lock, watch, UNSHARED_STALE_SECONDS):
            lock["stale_seconds"] = longer
            write_json(path_of(folder), lock)
        keep(lock, watch, folder)


def drop(folder: str, name: str) -> None:
    """The lock with this id is gone, and its keeper; also the folders that the lock had made. Under `guard`."""
    lock, sign = lock_read(path_of(folder)) or {}, lock_read(BEAT) or {}
    if ours(name, folder):
        remove_tree(path_of(folder))
        fsync_directory(folder)
    if sign.get("id") == name:
        end(sign.get("keeper"), signal.SIGKILL)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(BEAT)
    if lock.get("made") is True and lock.get("id") == name:
        with contextlib.suppress(OSError):  # something else is in it by now: then it stays
            os.rmdir(folder)
            for path in lock.get("above") or ():
                if folder.startswith(f"{path}/"):
                    os.rmdir(path)


def end(process: Any, number: int) -> None:
    """The keeper gets this signal, if it is still the one that was meant."""
    if lock_lives(process) and (lock_process(process[0]) or ("",))[0] == "phi4-edge-lock":
        with contextlib.suppress(ProcessLookupError):
            os.kill(process[0], number)


def alone_in(folder: str) -> bool:
    """True for a directory that is there for the lock of this run alone, and goes with it."""
    return os.path.isdir(folder) and not os.path.islink(folder) and os.listdir(folder) == ["lock"]
