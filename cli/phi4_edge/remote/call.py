"""One exchange with a host: one script there, one document back.

Nothing here does input or output: the caller passes the function that executes a command and the random nonce.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from phi4_edge.core import broken_python
from phi4_edge.errors import FactsError
from phi4_edge.remote import framing

# Ansible's `_low_level_execute_command`: (command line, in_data=…) → {"rc", "stdout", "stderr"}.
Execute = Callable[..., Mapping[str, Any]]
# Characters of what a host says that are searched for why its Python did not run: the end of a traceback and more.
MOST_SAID = 8000


def held(variables: Mapping[str, Any]) -> dict[str, Any]:
    """What scripts on a host are told about the lock that this run has there, from the fact of role lock; {} for none.

    `variables` are those of a task.
    """
    facts = variables.get("ansible_facts")
    lock = facts.get("phi4_lock") if isinstance(facts, Mapping) else None
    if not isinstance(lock, Mapping) or lock.get("state") != "taken":
        return {}
    texts = {name: str(lock.get(name) or "") for name in ("id", "operation", "folder")}
    return {**texts, "controller": dict(lock.get("controller") or {})}


def doubted(variables: Mapping[str, Any]) -> list[str]:
    """Files that a look found changed on the host and the run repairs: no stamp of theirs is believed there.

    `variables` are those of a task.
    """
    facts = variables.get("ansible_facts")
    plan = facts.get("phi4_plan") if isinstance(facts, Mapping) else None
    changes = plan.get("changes") if isinstance(plan, Mapping) else None
    paths = [str(each.get("what")) for each in changes or () if each.get("before") == "changed"]
    return [path for path in paths if path.startswith("/")]


def call(
    execute: Execute,
    nonce: str,
    python: str | None,
    script: str,
    args: Mapping[str, Any],
    payload: bytes = b"",
    seconds: float = 0.0,
    lock: Mapping[str, Any] | None = None,
    size: int = framing.MAX_DOCUMENT,
) -> dict[str, Any]:
    """The answer of `script` on the host. Raises FactsError with the host's own words when there is none.

    `seconds`: what is left of the time that the exchange may take, which the script keeps to; 0 means for ever.
    `lock`: that of the run, from `held`; without one the host's journal is not written.
    `size`: most bytes of the answer.
    """
    line = framing.command(python, nonce, script)
    given = {**args, **({"seconds_left": seconds} if seconds else {}), **({"lock": dict(lock)} if lock else {})}
    return unpacked(execute(line, in_data=framing.stdin(script, given, payload)), nonce, python or "", size)


def unpacked(done: Mapping[str, Any], nonce: str, python: str, size: int) -> dict[str, Any]:
    """The document in what a command said ("stdout", "stderr", "rc"). Raises FactsError that says why there is none."""
    try:
        return framing.parse(str(done["stdout"]), nonce, size)
    except FactsError as error:
        raise FactsError(_why(error, python, done)) from None


def _why(error: FactsError, python: str, done: Mapping[str, Any]) -> str:
    """Why there is no answer: the host's Python where that shows, else what was found, with the host's own words."""
    status, words = done.get("rc"), str(done.get("stderr", ""))
    if isinstance(error, framing.NoAnswerError):
        named = "" if framing.found_by_host(python) else python
        ended = status if isinstance(status, int) else None
        fault = broken_python.fault(named, ended, words[-MOST_SAID:] or str(done["stdout"])[-MOST_SAID:])
        if fault is None and named and ended == broken_python.NOT_FOUND:
            fault = broken_python.absent(named, "")
        if fault is not None:
            return f"found on the host that {fault.found}, needed {broken_python.OLDEST}: {fault.step}"
    said = framing.excerpt(words, 600)
    return f"{error} (exit status {status}{f': {said}' if said else ''})"
