"""Runs a long child process that never outlives us and whose last words are kept for the error message."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phi4_edge.core.text import printable
from phi4_edge.environment import Need, allowed

_TETHER = Path(__file__).with_name("scripts") / "tether.py"
_KEPT_LINES = 25
_LINE_LIMIT = 2000


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit status (negative: killed by that signal) and the last lines it wrote."""

    status: int
    tail: tuple[str, ...]

    def last_words(self) -> str:
        """The tail as an indented block for an error message."""
        return "\n".join(f"    {line}" for line in self.tail) or "    (it said nothing)"


def environment(**extra: str) -> dict[str, str]:
    """What a child may see of our environment, plus `extra`: it computes, and has no business with any server."""
    return {**allowed(os.environ), **extra}


def fetching(**extra: str) -> dict[str, str]:
    """The same for pip, which also knows its own settings, proxies and certificates."""
    return {**allowed(os.environ, Need.PACKAGES), **extra}


def run(
    command: Sequence[str | Path],
    env: Mapping[str, str],
    on_line: Callable[[str], bool] | None = None,
    cwd: Path | None = None,
) -> Ended:
    """Run `command` to its end and return how it ended.

    `on_line` sees every line; a line for which it returns True is its own and is not kept in the tail. The child has a
    process group of its own, which is killed when we are interrupted, and is killed by the kernel when we die.
    """
    tail: deque[str] = deque(maxlen=_KEPT_LINES)
    arguments = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *map(str, command)]
    with subprocess.Popen(
        arguments,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as child:
        try:
            assert child.stdout is not None  # noqa: S101  for the type checker; PIPE was asked for
            for line in child.stdout:
                text = printable(line[:_LINE_LIMIT], lines=False).rstrip()
                if text and not (on_line and on_line(text)):
                    tail.append(text)
            status = child.wait()
        finally:
            _end_group(child)
    return Ended(status, tuple(tail))


def _end_group(child: subprocess.Popen[str]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
