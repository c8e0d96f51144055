"""A Python program of ours on a host, for as long as we hold on to it: what it says first, and its end with ours."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Mapping
from typing import Any

from phi4_edge.core.inventory import Host
from phi4_edge.errors import UnreachableError
from phi4_edge.ssh import held, interpreter
from phi4_edge.ssh.held import Held

# The text and its arguments come on standard input, so that no process list shows them.
_BOOT = (
    "import json,sys;P=sys.stdin.buffer;S=P.read(int(sys.argv[2]));A=json.loads(P.readline().decode());"
    'exec(compile(S,"phi4-edge-program","exec"),{"__name__":"__main__","MARK":sys.argv[1],"ARGS":A})'
)
_MOST_ANSWER = 4000


class Program:
    """It runs as the user who logs in; `answer` is the one JSON object that it says first: the host's word."""

    def __init__(self, host: Host, text: str, args: Mapping[str, Any], seconds: float = held.OPEN_SECONDS) -> None:
        """Raises UnreachableError where it says nothing that is such an object."""
        mark, source = secrets.token_hex(16), text.encode()
        run = interpreter.command(host, shlex.join(["-IBc", _BOOT, mark, str(len(source))]))
        awaited = re.compile(rb"^%s (\{[ -~]{0,%d}\})\r?$" % (mark.encode(), _MOST_ANSWER), re.MULTILINE)
        words = [*held.options(host), "--", host.address, run]
        given = source + json.dumps(dict(args)).encode() + b"\n"
        self._held = Held(words, awaited, seconds + host.ssh.timeout, given)
        try:
            found = json.loads(self._held.found[1]) if self._held.found else {}
        except (ValueError, RecursionError):
            self.close()
            raise UnreachableError("its answer is none of ours") from None
        self.answer: Mapping[str, Any] = found

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._held.alive

    def close(self) -> None:
        """It has ended on the host as soon as sshd knows; closing twice does nothing more."""
        self._held.close()
