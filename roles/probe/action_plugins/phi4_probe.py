# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends the probe to a host over its Ansible connection and returns what it says, as plain data.

What a hostile host can do: it answers with whatever it likes (facts are data, decided on by pure code), stays silent
(the task's timeout ends it) or sends without end (this worker process may not hold more than MEMORY_LIMIT of it).
"""

from __future__ import annotations

import contextlib
import re
import resource
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

DOCUMENTATION = """
module: phi4_probe
short_description: Returns the raw facts document of a host
description: One command per host, a standard-library script on standard input. Changes nothing; supports check mode.
options:
  verify_seconds:
    description: Longest time for verifying the files that the host's receipt names.
    type: int
    default: 120
"""

ROLES = Path(__file__).resolve().parents[2]
PARTS = ("probe/files/tools", "probe/files/receipt", "receipt/files/hostlockstate", "probe/files/probe")
# The connection plugin collects all output in memory, and copies it a few times. 25 answers of the largest size.
MEMORY_LIMIT = 128 * 1024 * 1024


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    """This process cannot allocate more than MEMORY_LIMIT beyond what it has (Linux; a no-op elsewhere)."""
    status = Path("/proc/self/status")
    found = re.search(r"^VmData:\s+(\d+) kB", status.read_text(), re.MULTILINE) if status.exists() else None
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if found is None or soft != resource.RLIM_INFINITY:
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (int(found[1]) * 1024 + MEMORY_LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_probe`: sets the fact `phi4_facts`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = True
    _VALID_ARGS = frozenset({"verify_seconds"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The facts document, under its own key and as a fact. A host without an answer is a failed host."""
        try:
            from phi4_edge.core import framing
            from phi4_edge.errors import FactsError
        except ImportError as error:
            raise AnsibleActionFail(
                f"found no phi4_edge in Ansible's Python ({error}), needed for this role: install phi4-edge there"
            ) from error
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        script = "\n".join((ROLES / f"{name}.py").read_text(encoding="utf-8") for name in PARTS)
        nonce = secrets.token_hex(8)
        python = self._templar.template(variables.get("ansible_python_interpreter"))
        seconds = int(self._task.args.get("verify_seconds", 120))
        answer: dict[str, Any] = {"stdout": "", "stderr": "", "rc": 0}
        try:
            with limited_memory():
                answer = self._low_level_execute_command(
                    framing.command(python, nonce, len(script.encode())),
                    in_data=framing.stdin(script, {"verify_seconds": seconds}),
                )
                document = framing.parse(answer["stdout"], nonce)
        except (FactsError, MemoryError) as error:
            said = framing.excerpt(answer["stderr"])
            why = str(error) or f"found more output than {MEMORY_LIMIT} bytes of memory hold, needed a short answer"
            raise AnsibleActionFail(f"{why} (exit status {answer['rc']}{f', {said}' if said else ''})") from None
        document["host"] = str(variables.get("inventory_hostname", ""))
        return {**result, "changed": False, "phi4_facts": document, "ansible_facts": {"phi4_facts": document}}
