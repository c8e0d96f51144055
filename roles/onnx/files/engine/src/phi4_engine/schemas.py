"""Whether the form that a client asks for can be had: decided before the request is queued."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence

from phi4_engine.errors import ApiError, not_serving
from phi4_engine.forms import refused
from phi4_engine.grammar_check import CPU_SECONDS
from phi4_engine.limits import Rare
from phi4_engine.supervisor import worker_command
from phi4_engine.wire import Form

WALL_SECONDS = 10.0
"""Of which a check may compute for CPU_SECONDS: the rest is for hosts that are busy."""
_WAITING = 8
_KEPT = 256
_TOO_COMPLEX = f"too complex: compiling it takes more than {CPU_SECONDS} s, or too much memory, or is nested too deeply"


class Schemas:
    """What was found out about forms. One check at a time; few wait, so that nobody can fill the host with them."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = tuple(command or worker_command("phi4_engine.grammar_check"))
        self._checking = asyncio.Lock()
        self._waiting = 0
        self._ended = Rare("%d schemas in the last while could not be checked (exit status %d)")
        self._found: OrderedDict[str, str | None] = OrderedDict()

    async def require(self, form: Form) -> None:
        """Raises ApiError: 400 for a form that cannot be had, 503 where too many are being checked."""
        name = hashlib.sha256(form.text.encode()).hexdigest()
        if name not in self._found:
            if self._waiting >= _WAITING:
                raise _busy()
            self._waiting += 1
            try:
                async with self._checking:
                    if name not in self._found:
                        self._found[name] = await self._check(form)
            finally:
                self._waiting -= 1
            while len(self._found) > _KEPT:
                self._found.popitem(last=False)
        problem = self._found[name]
        if problem is not None:
            raise refused(form, problem)

    async def _check(self, form: Form) -> str | None:
        """What is wrong with it."""
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
            )
        except OSError as error:
            raise _busy() from error
        try:
            async with asyncio.timeout(WALL_SECONDS):
                said, _ = await process.communicate(form.text.encode())
        except TimeoutError as error:
            # Not kept: next time the host may be less busy.
            raise refused(form, _TOO_COMPLEX) from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            self._ended.log(process.returncode)
            return _TOO_COMPLEX
        found = json.loads(said)
        if "missing" in found:
            raise ApiError(
                400,
                f"JSON and forced tools need glibc 2.31 on this gateway, found {found['missing']}: leave out "
                "response_format (text.format), strict, and tool_choice other than auto and none",
                param=form.places[0],
                code="unsupported_parameter",
            )
        problem = found["error"]
        return None if problem is None else str(problem)


def _busy() -> ApiError:
    return not_serving("too many new schemas at once: try again", code="too_many_requests", retry_after=5)
