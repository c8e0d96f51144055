"""What the roles' action plugins share: one script on a host, one answer back, one result for Ansible.

Nothing here does input or output: the caller passes the function that executes a command and the random nonce.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from phi4_edge.core import framing
from phi4_edge.errors import FactsError

# Ansible's `_low_level_execute_command`: (command line, in_data=…) → {"rc", "stdout", "stderr"}.
Execute = Callable[..., Mapping[str, Any]]


def compose(script: str, modules: Mapping[str, str]) -> str:
    """One script in which `import <name>` finds each of `modules` (name → source text) without any file."""
    head = ["import sys as _sys, types as _types"]
    for name, source in modules.items():
        head.append(f"_sys.modules[{name!r}] = _types.ModuleType({name!r})")
        head.append(f"exec(compile({source!r}, {name + '.py'!r}, 'exec'), _sys.modules[{name!r}].__dict__)")
    # `from __future__` must be the first statement of what is compiled, so the script is compiled on its own too.
    head.append(f"exec(compile({script!r}, 'phi4-edge-script.py', 'exec'))")
    return "\n".join(head) + "\n"


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


def call(
    execute: Execute,
    nonce: str,
    python: str | None,
    script: str,
    args: Mapping[str, Any],
    payload: bytes = b"",
    seconds: float = 0.0,
    lock: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The answer of `script` on the host. Raises FactsError with the host's own words when there is none.

    `seconds`: what is left of the time that the task may take, which the script keeps to; 0 means for ever. `lock`:
    that of the run, from `held`; without one the host's journal is not written.
    """
    line = framing.command(python, nonce, len(script.encode()))
    given = {**args, **({"seconds_left": seconds} if seconds else {}), **({"lock": dict(lock)} if lock else {})}
    done = execute(line, in_data=framing.stdin(script, given, payload))
    try:
        return framing.parse(str(done["stdout"]), nonce)
    except FactsError as error:
        said = framing.excerpt(str(done.get("stderr", "")), 600)
        raise FactsError(f"{error} (exit status {done.get('rc')}{f': {said}' if said else ''})") from None


def out_of_time(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What Ansible calls it when a task took too long, of an answer that says so; {} for any other."""
    return {name: answer[name] for name in ("timedout",) if name in answer}


def task(
    execute: Execute,
    nonce: str,
    python: str | None,
    script: str,
    args: Mapping[str, Any],
    payload: bytes = b"",
    seconds: float = 0.0,
    lock: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The answer as an Ansible task result. No answer, or one with `error`, is a failed task with that message."""
    try:
        answer = call(execute, nonce, python, script, args, payload, seconds, lock)
    except FactsError as error:
        return {"changed": False, "failed": True, "msg": str(error)}
    shown = {"changed": False, **{key: value for key, value in answer.items() if key != "error"}}
    return shown if "error" not in answer else {**shown, "failed": True, "msg": str(answer["error"])}
