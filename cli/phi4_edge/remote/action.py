"""What every action plugin calls: one operation on the host of a task, and its answer as a result of Ansible.

Takes the plugin as any object and imports no Ansible. What a host says stays under the one key `answer` of a result:
Ansible's strategies act upon many other keys of it (`add_host`, `ansible_facts`, …), on the controller.

What a hostile host can do: it lies about itself within the schema, stays silent or drips (one deadline ends the whole
exchange), or sends without end (this worker process may not hold more of it than the operation's answer needs).
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from phi4_edge.core import values
from phi4_edge.core.layout import STANDARD, Layout
from phi4_edge.core.text import clean
from phi4_edge.errors import FactsError, HostFailedError, InventoryError, Phi4EdgeError
from phi4_edge.remote import answers, collection, series
from phi4_edge.remote.call import call, doubted, held
from phi4_edge.remote.inquiry import NEXT
from phi4_edge.remote.inquiry import held as held_to_schema
from phi4_edge.remote.scripts import composed, composed_series

# For a command that does nothing: a login may print a banner.
NOTHING_MEMORY = 20 * 1024 * 1024
# What is sent is copied too: into the text of standard input, and by the connection plugin.
COPIES = 3
RETRY_SECONDS = 2.0
# For a command that does nothing, over the slowest line that is still one.
NOTHING_SECONDS = 60.0
_CORRECT = "Correct the inventory; nothing was changed."
# Of a role that is included without what finds it out.
NO_PLAN = "found no fact phi4_plan, needed it; include phi4_edge.edge.probe and phi4_edge.edge.plan before this role"


class HostRefusedError(HostFailedError):
    """The host did the operation's script and says why it could not; `details` are what the schema has besides."""

    def __init__(self, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.details = dict(details)

    def late(self) -> dict[str, Any]:
        """What Ansible calls it when a task took too long; {} for any other reason."""
        return {"timedout": self.details["timedout"]} if "timedout" in self.details else {}


class _LateError(BaseException):
    """The exchange took too long. No Exception, so that nothing on the way takes it for a failure of its own."""


def on_host(
    action: Any,
    variables: Mapping[str, Any],
    operation: answers.Key,
    args: Mapping[str, Any],
    payload: bytes = b"",
    seconds: float = 0.0,
    sudoable: bool = True,
) -> dict[str, Any]:
    """The answer of an operation on the host of the task, held to its schema.

    `variables`: those of the task. `seconds`: another deadline than the operation's own; Ansible's timeout ends an
    exchange that has less time left. `sudoable`: as the user that the task becomes, not as the one who logs in.

    Raises HostRefusedError when the script on the host says why not, FactsError when what came back is no answer of
    ours, or none came in time, HostFailedError where the plugin is of another version than this package.
    """
    collection.check(action)
    _ours(args)
    (role, script, do), known = operation, answers.OPERATIONS[operation]
    limit, memory = seconds or known.seconds, known.memory + COPIES * len(payload)
    name = _named(variables)
    with _within(name, limit, memory) as left:
        sent = _Sent(composed(role, script), {**args, "do": do}, payload, left, sudoable, known.size)
        answer = held_to_schema(operation, name, _exchanged(action, variables, sent))
    return accepted(answer)


def on_host_in_turn(
    action: Any, variables: Mapping[str, Any], steps: Sequence[series.Step], args: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The answers of several operations on the host of the task, in one exchange; `args` are for each of them.

    The last one may be a failure; there are fewer answers than steps where one failed, or did not answer what the next
    ones need. Raises as `on_host` does, but for HostRefusedError.
    """
    collection.check(action)
    _ours(args)
    steps = [replace(step, args={**args, **step.args}) for step in steps]
    limit, size, name = series.seconds(steps), series.size(steps), _named(variables)
    with _within(name, limit, answers.memory(size)) as left:
        text = composed_series(tuple(dict.fromkeys(step.script for step in steps)))
        sent = _Sent(text, {"series": [step.to_dict() for step in steps]}, b"", left, True, size)
        return series.read(steps, name, _exchanged(action, variables, sent))


def accepted(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer of an operation. Raises HostRefusedError for one that failed."""
    if "error" in answer:
        raise HostRefusedError(answer.pop("error"), answer)
    return answer


def _named(variables: Mapping[str, Any]) -> str:
    return str(variables.get("inventory_hostname", "the host"))


@contextlib.contextmanager
def _within(name: str, limit: float, memory: int) -> Iterator[float]:
    """Seconds that are left for what is inside. Raises FactsError when it takes longer, or more than `memory` bytes."""
    try:
        with deadline(limit) as left, limited_memory(memory):
            yield left
    except MemoryError:
        raise FactsError(
            f"found more output from {name} than {memory} bytes of memory can hold, needed a short answer: {NEXT}"
        ) from None
    except _LateError:
        raise FactsError(f"found no answer from {name} after {limit:.0f} s, needed one: {NEXT}") from None


def placed(args: Mapping[str, Any]) -> Layout:
    """Where the host of a task has what is installed, by the task's `root` and `state`. Raises as `_ours` does."""
    _ours(args)
    return Layout(str(args["root"]), str(args["state"]))


def _ours(args: Mapping[str, Any]) -> None:
    """Raises InventoryError for a `root` or `state` that would not be ours alone.

    The plan holds both to all that they must be; a play may have none.
    """
    for name in ("root", "state"):
        try:
            values.place(args.get(name, STANDARD.root))
        except ValueError as error:
            found = clean(repr(args[name]), 120)
            raise InventoryError(f"phi4_{name}: found {found}, needed {error}. {_CORRECT}") from None


@dataclass(frozen=True, slots=True)
class _Sent:
    """A script with its arguments and payload, seconds until its answer, and most bytes of that."""

    text: str
    args: Mapping[str, Any]
    payload: bytes
    seconds: float
    sudoable: bool
    size: int


def _exchanged(action: Any, variables: Mapping[str, Any], sent: _Sent) -> dict[str, Any]:
    """The document of the host, as it came."""
    python = action._templar.template(variables.get("ansible_python_interpreter"))

    def execute(line: str, in_data: bytes) -> Mapping[str, Any]:
        found: Mapping[str, Any] = action._low_level_execute_command(line, in_data=in_data, sudoable=sent.sudoable)
        return found

    known = action._templar.available_variables
    lock, paths = held(known), doubted(known)
    given = {**sent.args, **({"doubted": paths} if paths else {})}
    nonce = secrets.token_hex(8)
    return call(execute, nonce, python, sent.text, given, sent.payload, sent.seconds, lock, sent.size)


def nothing(action: Any, sudoable: bool) -> str:
    """What comes back for a command that does nothing, within the same bounds. Raises FactsError where none ends."""
    try:
        with deadline(NOTHING_SECONDS), limited_memory(NOTHING_MEMORY):
            return str(action._low_level_execute_command("true", sudoable=sudoable).get("stdout") or "")
    except (MemoryError, _LateError):
        raise FactsError(f"found no answer to a command that does nothing, needed one: {NEXT}") from None


def task(
    action: Any,
    variables: Mapping[str, Any],
    operation: answers.Key,
    args: Mapping[str, Any],
    payload: bytes = b"",
    seconds: float = 0.0,
) -> dict[str, Any]:
    """The same as a task result: `changed`, `answer`, and `diff` where there is one; or `failed` with the reason."""
    try:
        return result(on_host(action, variables, operation, args, payload, seconds))
    except Phi4EdgeError as error:
        return failure(error)


def result(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as a task result; nothing of it but what the schema knows as such becomes a key of Ansible's."""
    diff = {"diff": answer["diff"]} if answer.get("diff") else {}
    shown = {name: value for name, value in answer.items() if name not in ("diff", "changed")}
    return {"changed": bool(answer.get("changed")), "answer": shown, **diff}


def unplanned() -> dict[str, Any]:
    """A failed task on a host without a plan, before anything was done."""
    return {"changed": False, "failed": True, "msg": NO_PLAN}


def failure(error: Exception) -> dict[str, Any]:
    """A failed task with the reason, and with what the host said besides."""
    told = error.details if isinstance(error, HostRefusedError) else {}
    late = error.late() if isinstance(error, HostRefusedError) else {}
    return {"changed": False, "failed": True, "msg": str(error), "answer": told, **late}


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[float]:
    """Seconds that are left; when they are over, what is inside ends and so do the programs that it started.

    A timeout of Ansible's own that comes earlier stays as it is.
    """
    theirs, there = signal.getitimer(signal.ITIMER_REAL)[0], children()
    if 0 < theirs <= seconds:
        with ended(there):
            yield theirs
        return

    def over(_signal: int, _frame: FrameType | None) -> None:
        raise _LateError

    before, began = signal.signal(signal.SIGALRM, over), time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with ended(there):
            yield seconds
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if theirs:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, theirs - (time.monotonic() - began)))


@contextlib.contextmanager
def ended(before: frozenset[int]) -> Iterator[None]:
    """When a timeout or an interruption ends what is inside, so do the processes that it started.

    Nobody reads what they say any more, and an ssh that goes on keeps the host's script alive.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException:
        for pid in children() - before:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        raise


def children() -> frozenset[int]:
    """Process ids of the programs that this process has started and that have not ended."""
    try:
        lists = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    except OSError:  # not Linux, or a kernel without the list: then the connection's end has to do
        return frozenset()
    return frozenset(int(pid) for pids in lists for pid in pids.split())


@contextlib.contextmanager
def limited_memory(limit: int) -> Iterator[None]:
    """This process cannot allocate more than `limit` bytes beyond what it has (Linux; a no-op elsewhere)."""
    status = Path("/proc/self/status")
    found = re.search(r"^VmData:\s+(\d+) kB", status.read_text(), re.MULTILINE) if status.exists() else None
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if found is None or soft != resource.RLIM_INFINITY:
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (int(found[1]) * 1024 + limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def repeated(ask: Callable[[], dict[str, Any]], lost: type[Exception], retries: int) -> dict[str, Any]:
    """The answer of `ask`, which may be repeated without harm; a connection that is `lost` is tried again."""
    for _attempt in range(retries):
        try:
            return ask()
        except lost:
            time.sleep(RETRY_SECONDS)
    return ask()
