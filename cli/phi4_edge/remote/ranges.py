"""Has a host fetch an artifact in ranges from the server of this run, where there is one.

The run's depot is asked over a unix socket that only this user can reach: one line of JSON each way. While the
connection to it is open, the host has a token and a way to the server. What does not come over it comes in the pieces
of push.py, from where it stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from phi4_edge.core.manifest import File
from phi4_edge.errors import FactsError

# One look at how far it is: what came is told, and a lost connection costs no more than a slice of it.
SLICE_SECONDS = 15.0
# How often a way that was cut goes on by itself.
MOST_CUTS = 5
# A piece may take so long, and what its bandwidth needs beyond that: several share it.
PIECE_SECONDS, SHARED_BY = 120.0, 8
# Seconds for the depot's answer: it may have to read the artifact once, and a seed may have to receive it first.
DEPOT_SECONDS = 3600.0
_MOST_LINE = 64 << 20
# (what, arguments, payload) → the answer of fetch.py.
Ask = Callable[[str, Mapping[str, Any], bytes], Mapping[str, Any]]


@dataclass(frozen=True)
class Carrier:
    """`depot`: path of the socket, "" where the run has none. `rate`: bytes per second at most, 0 for no limit.

    `least`: with fewer missing bytes another connection takes longer than the pieces.
    """

    depot: str
    host: str
    rate: int
    least: int
    ask: Ask
    say: Callable[[str], None]

    def carry(self, source: Path, common: Mapping[str, Any], files: Sequence[File], missing: int) -> bool:
        """Whether the host was asked to fetch `files`, of which it lacks `missing` bytes. What came was verified there.

        Raises HostFailedError and FactsError as the host's operations do.
        """
        if not self.depot or missing < self.least or not _ours(self.depot):
            return False
        with _Line(self.depot) as line:
            wanted: dict[str, Any] = {
                "host": self.host,
                "source": str(source),
                "files": [file.sha256 for file in files if file.size],
            }
            wanted |= {"name": common["name"], "folder": common["destination"], "rate": self.rate}
            offer = line.asked(wanted)
            if not isinstance(offer.get("pieces"), dict):
                return False
            more = {"pieces": offer["pieces"], "piece_bytes": int(offer["piece_bytes"]), "seconds": SLICE_SECONDS}
            more["piece_seconds"] = PIECE_SECONDS + (SHARED_BY * more["piece_bytes"] / self.rate if self.rate else 0)
            return self._by_each(line, {**common, **more}, missing)

    def _by_each(self, line: _Line, args: Mapping[str, Any], missing: int) -> bool:
        """One way after the other, until all is there or the depot knows none; False where it knew none at all."""
        received, why, tried = 0, "", False
        while "base" in (way := line.asked({"next": why, "received": received})):
            came, why, done = self._by(way, args, received, missing)
            received, tried = received + came, True
            if done:
                line.asked({"done": True, "received": received})
                break
        return tried

    def _by(self, way: Mapping[str, Any], args: Mapping[str, Any], before: int, missing: int) -> tuple[int, str, bool]:
        """Bytes that came this way, why no more did, and whether all is there."""
        here, cuts = 0, 0
        given = {**args, "base": str(way["base"]), "token": str(way["token"])}
        while True:
            began = time.monotonic()
            answer = self.ask("fetch", given, b"")
            came, why = int(answer["received"]), str(answer["why"])
            early = not answer["done"] and not why and time.monotonic() - began < SLICE_SECONDS / 2
            if early or came > missing - before - here + args["piece_bytes"]:
                # Else it could have us ask for ever.
                raise FactsError(
                    f"found an invalid answer from the host (fetch: {came} bytes, and more to come), needed what is "
                    "missing, or what came in its time: look at what answers there"
                )
            here, cuts = here + came, cuts + bool(why)
            if answer["done"] or not came or cuts > MOST_CUTS:
                return here, why or "no piece came in time", bool(answer["done"])
            self.say(f"{args['name']} {min(100, (before + here) * 100 // max(missing, 1))} % of {missing} bytes")


class _Line:
    """The connection to the depot. Where it breaks there is no way: `asked` then gives {}."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(DEPOT_SECONDS)
        self._file = self._socket.makefile("rwb")
        with contextlib.suppress(OSError):
            self._socket.connect(path)

    def asked(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            self._file.write(json.dumps(dict(question)).encode() + b"\n")
            self._file.flush()
            found = json.loads(self._file.readline(_MOST_LINE))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def __enter__(self) -> _Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self._socket.close()


def _ours(path: str) -> bool:
    """Whether a socket of this user is there: on a worker the depot of its controller is not."""
    try:
        found = Path(path).lstat()
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid == os.geteuid()
