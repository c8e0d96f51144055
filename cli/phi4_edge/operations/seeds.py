"""Gateways that serve what they have to others of their site while a run lasts: one copy crosses the line to a site."""

from __future__ import annotations

import ipaddress
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.serve import bucket, ranges, request, seeding
from phi4_edge.core.inventory import Host
from phi4_edge.core.manifest import File
from phi4_edge.core.text import clean
from phi4_edge.errors import UnreachableError
from phi4_edge.ssh.program import Program

VARIABLE = "phi4_artifact_seed"
# A seed that is itself receiving the files is waited for; one that has not begun gets a moment, for the tasks of a wave
# begin together; and one that has just received them puts them in their place first.
RECEIVING_SECONDS, BEGIN_SECONDS, PLACE_SECONDS, LOOK_SECONDS = 3600.0, 10.0, 30.0, 0.5
# A seed ends by itself after so long, where neither the run nor its connection ended it.
LIFE_SECONDS = 6 * 3600
CONNECTIONS = 128
_PARTS = (request, bucket, ranges, seeding)
_HEAD = """\
import sys, types
def _module(name):
    made = sys.modules[name] = types.ModuleType(name)
    made.__path__ = []
    if "." in name:
        setattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2], made)
    return made.__dict__
"""


def program() -> str:
    """The server of ranges as one text for a gateway's own Python."""
    package = ranges.__name__.rpartition(".")[0].split(".")
    lines = [_HEAD, *(f"_module({'.'.join(package[: depth + 1])!r})" for depth in range(len(package)))]
    for part in _PARTS:
        source = Path(str(part.__file__)).read_text(encoding="utf-8")
        lines.append(f"exec(compile({source!r}, {part.__name__!r}, 'exec'), _module({part.__name__!r}))")
    return "\n".join([*lines, f"sys.modules[{seeding.__name__!r}].main(MARK, ARGS)", ""])


@dataclass
class Receiving:
    """Who of a run receives which directory of the store now, and who has."""

    _change: threading.Condition = field(default_factory=threading.Condition)
    _now: set[tuple[str, Path]] = field(default_factory=set)
    _done: dict[tuple[str, Path], float] = field(default_factory=dict)

    def begin(self, host: str, source: Path) -> None:
        """The host receives it now."""
        with self._change:
            self._now.add((host, source))
            self._change.notify_all()

    def end(self, host: str, source: Path) -> None:
        """The host receives it no more."""
        with self._change:
            self._now.discard((host, source))
            self._done[host, source] = time.monotonic()
            self._change.notify_all()

    def over(self, host: str, source: Path) -> float | None:
        """When the host received it in this run (monotonic), after waiting for it where it does so now or soon.

        None where it did not.
        """
        key = (host, source)
        with self._change:
            if self._change.wait_for(lambda: key in self._now or key in self._done, BEGIN_SECONDS):
                self._change.wait_for(lambda: key not in self._now, RECEIVING_SECONDS)
            return self._done.get(key)


@dataclass
class Seeds:
    """The seeds of a run; each serves one directory of the store to all that name it, until `close`."""

    receiving: Receiving
    start: Callable[[Host, str, Mapping[str, Any]], Program] = Program
    _serving: dict[tuple[str, Path], tuple[Program, str, str]] = field(default_factory=dict)
    _locks: dict[tuple[str, Path], threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def way(self, seed: Host, source: Path, folder: str, files: Sequence[File]) -> tuple[str, str]:
        """URL and token at which `seed` serves `files`, which are in its `folder`.

        Raises UnreachableError where it does not, with the reason.
        """
        with self._guard:
            lock = self._locks.setdefault((seed.name, source), threading.Lock())
        with lock:
            known = self._serving.get((seed.name, source))
            if known is None or not known[0].alive:
                known = self._begun(seed, source, folder, files)
                with self._guard:
                    self._serving[seed.name, source] = known
        return known[1], known[2]

    def _begun(self, seed: Host, source: Path, folder: str, files: Sequence[File]) -> tuple[Program, str, str]:
        """It serves; a seed that is to get the files in this wave is waited for."""
        try:
            return self._started(seed, folder, files)
        except UnreachableError:
            received = self.receiving.over(seed.name, source)
            if received is None or time.monotonic() > received + PLACE_SECONDS:
                raise
        end = received + PLACE_SECONDS
        while True:
            try:
                return self._started(seed, folder, files)
            except UnreachableError:
                if time.monotonic() > end:
                    raise
                time.sleep(LOOK_SECONDS)

    def _started(self, seed: Host, folder: str, files: Sequence[File]) -> tuple[Program, str, str]:
        token = secrets.token_hex(32)
        wanted = [{"path": one.path, "size": one.size, "sha256": one.sha256} for one in files]
        limits = {"seconds": LIFE_SECONDS, "connections": CONNECTIONS}
        made = self.start(seed, program(), {"folder": folder, "files": wanted, "token": token, **limits})
        try:
            return made, place(made.answer), token
        except BaseException:
            made.close()
            raise

    def close(self) -> None:
        """No seed serves any more."""
        with self._guard:
            left, self._serving = list(self._serving.values()), {}
        for made, _, _ in left:
            made.close()


def place(answer: Mapping[str, Any]) -> str:
    """The URL of what a seed says of itself. It goes to another host, so it names an address of a network, no name.

    Raises UnreachableError for anything else.
    """
    if "missing" in answer:
        raise UnreachableError(f"it does not have {clean(str(answer['missing']), 200)} to give")
    address, port = answer.get("address"), answer.get("port")
    try:
        found = ipaddress.ip_address(address if isinstance(address, str) else "")
    except ValueError:
        found = None
    odd = found is None or found.is_loopback or found.is_unspecified or found.is_multicast or "%" in str(found)
    if odd or isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise UnreachableError("it names no address at which others could reach it")
    return f"http://{f'[{found}]' if found is not None and found.version == 6 else found}:{port}"
