"""One operation for one host, as a command that any way to the host can run; and its answer, held to its schema."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.errors import FactsError
from phi4_edge.remote import answers, framing
from phi4_edge.remote.call import unpacked
from phi4_edge.remote.scripts import composed

NEXT = (
    "something else answers there, or somebody changed what does: look at the host; `phi4-edge detect INVENTORY --raw` "
    "shows what it sends"
)
# Beside the frame: what a login shell prints.
NOISE = 64 * 1024


@dataclass(frozen=True)
class Inquiry:
    """`line` is for a POSIX shell and reads `stdin`; the document of its answer has at most `size` bytes."""

    python: str
    nonce: str
    line: str
    stdin: bytes = field(repr=False)
    size: int

    @classmethod
    def of(cls, operation: answers.Key, python: str, args: Mapping[str, Any]) -> Inquiry:
        """The inquiry for a host whose interpreter is `python`, "" where its own is to be found."""
        role, script, do = operation
        return cls.sent(composed(role, script), python, {**args, "do": do}, answers.OPERATIONS[operation].size)

    @classmethod
    def sent(cls, text: str, python: str, args: Mapping[str, Any], size: int) -> Inquiry:
        """The same with the text of a script, and all that it is told."""
        nonce = secrets.token_hex(8)
        return cls(python, nonce, framing.command(python, nonce, text), framing.stdin(text, args), size)

    @property
    def most_bytes(self) -> int:
        """Most bytes of standard output."""
        return framing.frame_limit(self.size) + NOISE

    def answered(self, output: str) -> bool:
        """Whether the script on the host ran, whatever it said."""
        return f"{self.nonce}:BEGIN" in output

    def document(self, status: int | None, output: str, errors: str) -> dict[str, Any]:
        """What the host answered, held to no schema yet. Raises FactsError for what is none of ours."""
        return unpacked({"rc": status, "stdout": output, "stderr": errors}, self.nonce, self.python, self.size)


def held(operation: answers.Key, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of host `name`, held to the operation's schema. Raises FactsError for any other."""
    _role, script, do = operation
    try:
        return answers.read(operation, document)
    except answers.MismatchError as error:
        raise FactsError(
            f"found an invalid answer from {name} ({script} {do}: {error}), needed what our own script sends: {NEXT}"
        ) from None
