"""The controller's journal of a rollout: a directory that says what was meant, what happened, and how it ended.

Everything is durable when the call returns, or nearly so for events that only fill the picture. A journal that cannot
be written any more does not end the rollout: hosts in the middle of a switch matter more.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from phi4_edge import __version__
from phi4_edge.core.rollout.budget import Budget
from phi4_edge.core.rollout.waves import Wave
from phi4_edge.core.text import canonical
from phi4_edge.errors import LockedError, RecordError
from phi4_edge.runner.run import HostEvent

FOLDER = "rollouts"
HEADER, PLANS, WAVES, EVENTS, RESULT, ALIVE = (
    "header.json",
    "plans.json",
    "waves.json",
    "events.jsonl",
    "result.json",
    "alive",
)
# Events that a later run relies on; the others may be lost with the controller's power.
_DURABLE = frozenset({"waves", "wave", "wave_end", "host", "bake", "bake_end", "revert", "stop", "resumed", "result"})


def state_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of everything that this controller remembers of its runs: $PHI4_EDGE_STATE, or below XDG's.

    Raises RecordError where there is no home to put it in, as for a user of a container without a name.
    """
    try:
        if named := environment.get("PHI4_EDGE_STATE"):
            return Path(named).expanduser().absolute()
        base = environment.get("XDG_STATE_HOME")
        return (Path(base) if base else Path.home() / ".local" / "state") / "phi4-edge"
    except RuntimeError as error:
        raise RecordError(
            "found no home directory of this user, needed a place for the record of rollouts: name a folder in "
            "PHI4_EDGE_STATE"
        ) from error


def now() -> str:
    """The time, as all records have it: UTC to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def absolute(inventory: Sequence[str]) -> list[str]:
    """Sources of an inventory so that they mean the same in another directory; lists of hosts stay as they are."""
    return [path if "," in path else str(Path(path).expanduser().absolute()) for path in inventory]


class Journal:
    """One rollout's directory while the rollout runs; made with `begin` or `reopen`.

    `problem` says that something could not be written and why, "" while all could; `on_problem` hears of the first.
    """

    def __init__(self, folder: Path, on_problem: Callable[[str], None] | None = None) -> None:
        self.folder, self.id, self.problem = folder, folder.name, ""
        self._tell = on_problem
        self._guard = threading.Lock()
        self._roles: dict[str, str] = {}
        self._changed: dict[str, int] = {}
        self._until: dict[str, str] = {}
        self._alive = hold(folder / ALIVE)
        try:
            self._events = os.open(folder / EVENTS, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            size = os.fstat(self._events).st_size
            if size and os.pread(self._events, 1, size - 1) != b"\n":  # the last run died in the middle of a line
                os.write(self._events, b"\n")
        except OSError:
            os.close(self._alive)
            raise

    @classmethod
    def begin(cls, root: Path, header: Mapping[str, Any], on_problem: Callable[[str], None] | None = None) -> Journal:
        """The journal of a new rollout, with an id of its own.

        `header`: operation, inventory, limit and options, nothing secret. Raises RecordError when it cannot be
        written: a rollout without a journal could not be resumed, so it does not begin.
        """
        began = datetime.now(UTC)
        name = f"{began:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        document = {
            "format": "phi4-edge/rollout-header/1",
            "id": name,
            "started": now(),
            **_self(),
            **header,
            "inventory_paths": absolute(header.get("inventory", ())),
        }
        folder = root / FOLDER / name
        fresh = folder.with_name(f".{name}")  # nobody ever finds a directory without its header
        try:
            fresh.mkdir(parents=True, mode=0o700)
            (root / FOLDER).chmod(0o700)
            write(fresh / HEADER, document)
            fresh.rename(folder)
            sync(folder.parent)
            return cls(folder, on_problem)
        except OSError as error:
            raise RecordError(
                f"found no way to write the record of this rollout below {root} ({error.strerror or error}), needed it "
                "so that the run can be resumed: free some space there, or name another folder in PHI4_EDGE_STATE"
            ) from error

    @classmethod
    def reopen(cls, root: Path, name: str, on_problem: Callable[[str], None] | None = None) -> Journal:
        """The journal of a rollout that goes on; its last result is kept aside.

        Raises LockedError while another process drives it, and RecordError when it cannot be read or written.
        """
        folder = root / FOLDER / name
        try:
            journal = cls(folder, on_problem)
            aside = len(list(folder.glob("result-*.json"))) + 1
            if (folder / RESULT).exists():
                (folder / RESULT).rename(folder / f"result-{aside}.json")
                sync(folder)
        except LockedError:  # is an OSError too
            raise
        except OSError as error:
            raise RecordError(
                f"found a record of rollout {name} that cannot be continued ({error.strerror or error}), needed to "
                f"write to {folder}: see who owns it, or run without --resume"
            ) from error
        journal.event("resumed", **_self())
        return journal

    def plans(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """The plans as they are applied, with their digest."""
        plans = list(documents)
        self._write(PLANS, {"sha256": digest(plans), "plans": plans})

    def waves(self, waves: Sequence[Wave], budget: Budget | str) -> None:
        """Who is changed when, and how many may go wrong."""
        listed = [{"name": wave.name, "number": wave.number, "hosts": list(wave.hosts)} for wave in waves]
        document = {"waves": listed, "budget": str(budget)}
        self._write(WAVES, document)
        self.event("waves", **document)

    def event(self, name: str, /, **fields: Any) -> None:
        """One thing that happened, with its time."""
        if name == "host" and isinstance(found := fields.get("result"), Mapping):
            fields["until"] = self._until.get(str(found.get("host")))
            self._roles.pop(str(found.get("host")), None)
        self._append({"event": name, "at": now(), **fields}, durable=name in _DURABLE)

    def host_event(self, event: HostEvent) -> None:
        """Keeps that a host came to another role, and what failed there; never what a task returned."""
        self._until[event.host] = now()
        if event.kind == "changed":
            self._changed[event.host] = self._changed.get(event.host, 0) + 1
        if event.role and self._roles.get(event.host) != event.role:
            self._roles[event.host] = event.role
            self.event("step", host=event.host, role=event.role, changed=self._changed.get(event.host, 0))
        if event.kind in ("failed", "unreachable"):
            told = {"role": event.role, "task": event.task, "message": event.message}
            self.event("trouble", host=event.host, kind=event.kind, **told)

    def result(self, document: Mapping[str, Any]) -> None:
        """How it ended; the journal is closed afterwards."""
        self._write(RESULT, dict(document))
        self.event("result", exit_code=document.get("exit_code"))
        self.close()

    def close(self) -> None:
        """Nobody drives the rollout any more; without a result it counts as dead."""
        with self._guard:
            for handle in (self._events, self._alive):
                if handle >= 0:
                    os.close(handle)
            self._events = self._alive = -1

    def _append(self, entry: Mapping[str, Any], durable: bool) -> None:
        line = json.dumps(entry, ensure_ascii=True, default=str) + "\n"
        with self._guard:
            if self._events < 0:
                return
            try:
                _write_all(self._events, line.encode())
                if durable:
                    os.fsync(self._events)
            except OSError as error:
                self._failed(error)

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        try:
            write(self.folder / name, document)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if self.problem:
            return
        self.problem = (
            f"the record of this rollout is incomplete: found {error.strerror or error} in {self.folder}; the hosts "
            "were changed all the same, see phi4-edge status INVENTORY"
        )
        if self._tell is not None:
            self._tell(self.problem)


def hold(path: Path, tries: int = 10) -> int:
    """The handle of a file that says that its holder lives: the kernel lets go of it when that dies.

    Raises LockedError while somebody else holds it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for attempt in range(1, tries + 1):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:  # a reader that asks for a moment is no holder
            if attempt < tries:
                time.sleep(0.02)
    os.close(handle)
    raise LockedError(
        f"found rollout {path.parent.name} still running on this controller, needed it ended: wait for it, or end it "
        f"with Ctrl-C there; see phi4-edge rollout show {path.parent.name}"
    )


def held(path: Path) -> bool:
    """Whether somebody holds the file; a folder that cannot be read is held by nobody who could be asked."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def digest(plans: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of the plans, whatever the order of their keys."""
    return hashlib.sha256(canonical({"plans": list(plans)}).encode()).hexdigest()


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Replaces `path`; a reader sees the old or the new text, never a part, also after a power cut."""
    temporary = path.with_name(f".{path.name}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(handle, (json.dumps(document, indent=1, ensure_ascii=True, default=str) + "\n").encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.replace(path)
    sync(path.parent)


def sync(folder: Path) -> None:
    """The names in the folder are durable afterwards."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _self() -> dict[str, Any]:
    """Who drives it, from where."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user that has no name
        user = str(os.getuid())
    return {"user": user, "controller": socket.gethostname(), "pid": os.getpid(), "version": __version__}
