"""What hosts fetch from while a run lasts: a server of ranges, and who opens a way to it for one host at a time.

Ansible's tasks ask over a unix socket in a private directory, in memory. Each gets a token for its own host and files,
and its way is open while its connection is: however the task ends, the host can fetch nothing more.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedRWPair
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.delivery import planned_images
from phi4_edge.artifacts.serve.digests import PIECE_BYTES, Digests
from phi4_edge.artifacts.serve.ranges import Grant, RangeServer
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core import manifest
from phi4_edge.core.inventory import Host
from phi4_edge.core.plan.model import Plan
from phi4_edge.core.text import clean
from phi4_edge.core.values import endpoint
from phi4_edge.errors import ArtifactError, UnreachableError
from phi4_edge.operations.seeds import VARIABLE as SEED
from phi4_edge.operations.seeds import Receiving, Seeds
from phi4_edge.runner.private import private_directory
from phi4_edge.ssh.forward import Forward
from phi4_edge.view.view import NO_DETAIL, DetailedView, View

# Names of the two sockets, and the variable of the play that names the first.
ASK, RANGES, VARIABLE = "ask", "ranges", "artifact_depot"
# A way that worked for a while is opened again so often.
AGAIN = 3
NONE = "none"
_REST = "it is sent over Ansible's connection"
_MOST_LINE = 16 << 20
_END_SECONDS = 2.0
_NONSENSE = (ValueError, TypeError, KeyError)  # of a line that no task of ours says


@dataclass
class Way:
    """One way to the bytes, as `by` names it for people; `opened` gives URL and token while it is open."""

    by: str
    opened: Callable[[], contextlib.AbstractContextManager[tuple[str, str]]]


@dataclass
class Wanted:
    """What a task asks for: files of `source`, which are in `folder` on hosts; `files` by SHA-256."""

    host: Host
    name: str
    source: Path
    folder: str
    files: tuple[manifest.File, ...]
    rate: int

    @classmethod
    def read(cls, line: Mapping[str, Any], host: Host, folders: frozenset[Path]) -> Wanted:
        """Raises ArtifactError for what this run does not deliver."""
        source, hashes = Path(str(line["source"])), {str(one) for one in line["files"]}
        if source not in folders:
            raise ArtifactError(f"found {source}, needed a directory that a plan of this run names")
        every, _ = manifest.manifest((source / "manifest.json").read_text(), None)
        files = tuple({one.sha256: one for one in every if one.sha256 in hashes}.values())
        return cls(host, str(line["name"]), source, str(line["folder"]), files, int(line["rate"]))


@dataclass
class Depot:
    """`folders`: directories of the store that this run delivers, and no other. `told`: lines for the operator."""

    hosts: Mapping[str, Host]
    folders: frozenset[Path]
    digests: Digests
    server: RangeServer
    ranges: Path
    seeds: Seeds = field(default_factory=lambda: Seeds(Receiving()))
    told: deque[str] = field(default_factory=deque)
    sent: dict[str, int] = field(default_factory=dict)
    _ports: dict[tuple[str, int], int] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, file: BufferedRWPair) -> None:
        """One task's questions are answered until it hangs up."""
        asked = _read(file)
        host = self.hosts.get(str(asked.get("host")))
        if host is None:
            return
        try:
            wanted = Wanted.read(asked, host, self.folders)
            places = {one.sha256: (wanted.source / one.path, one.size) for one in wanted.files}
            pieces = {sha256: self.digests.of(path, sha256, size) for sha256, (path, size) in places.items()}
        except (ArtifactError, OSError) as error:
            self.told.append(f"{host.name}: {error}")
            _say(file, {})
            return
        self.seeds.receiving.begin(host.name, wanted.source)
        try:
            with self.server.granted(places, wanted.rate) as grant:
                _say(file, {"pieces": pieces, "piece_bytes": PIECE_BYTES})
                try:
                    self._offer(file, wanted, grant)
                finally:
                    with self._guard:
                        self.sent[host.name] = self.sent.get(host.name, 0) + grant.sent
        finally:
            self.seeds.receiving.end(host.name, wanted.source)
        _say(file, {})  # the last word: its token has ended and its bytes are counted when the task hears it

    def _offer(self, file: BufferedRWPair, wanted: Wanted, grant: Grant) -> None:
        """One way after the other is opened, until the task has what it wants or there is no other."""
        asked, ways = _read(file), list(self.ways(wanted, grant))
        for way, following in zip(ways, [*(f"{way.by} is tried" for way in ways[1:]), _REST], strict=True):
            for _time in range(AGAIN):
                before, found = int(asked.get("received", 0)), {}
                try:
                    with way.opened() as (base, token):
                        _say(file, {"base": base, "token": token})
                        found = _read(file)
                except (BrokenPipeError, ConnectionResetError):  # the task is gone
                    return
                except (UnreachableError, OSError) as error:
                    found = {**asked, "next": str(error)}
                if not found or found.get("done"):
                    return
                asked = found
                if int(asked.get("received", 0)) <= before:
                    break
            why = clean(str(asked["next"]), 400)
            self.told.append(f"{wanted.host.name}: {wanted.name} does not come over {way.by} ({why}); {following}")

    def ways(self, wanted: Wanted, grant: Grant) -> Iterator[Way]:
        """How a host may get what it wants, the best first."""
        host, seed = wanted.host, str(wanted.host.vars.get(SEED) or NONE).strip()
        if seed.lower() != NONE and seed != host.name:
            yield Way(f"the seed {seed}", lambda: self._seeded(seed, wanted))
        address, port = endpoint(host.vars.get("phi4_artifact_address"))
        if address:
            yield Way(f"http://{address}", lambda: self._listening(address, port, grant.token))
        yield Way("an SSH tunnel", lambda: self._tunnel(host, grant.token))

    @contextlib.contextmanager
    def _seeded(self, name: str, wanted: Wanted) -> Iterator[tuple[str, str]]:
        """Another host of the site serves it, until the run ends."""
        seed = self.hosts.get(name)
        if seed is None:
            raise UnreachableError("it is no host of this run")
        if str(seed.vars.get(SEED) or NONE).strip().lower() not in (NONE, name.lower()):
            raise UnreachableError("it names a seed itself")  # two that wait for each other would do so for long
        yield self.seeds.way(seed, wanted.source, wanted.folder, wanted.files)

    @contextlib.contextmanager
    def _listening(self, address: str, port: int, token: str) -> Iterator[tuple[str, str]]:
        """The server listens there too, from now until the run ends: other hosts use the same port."""
        with self._guard:
            if (address, port) not in self._ports:
                self._ports[address, port] = self.server.listen_on(address, port)
        yield f"http://{f'[{address}]' if ':' in address else address}:{self._ports[address, port]}", token

    @contextlib.contextmanager
    def _tunnel(self, host: Host, token: str) -> Iterator[tuple[str, str]]:
        with Forward(host, self.ranges) as forward:
            yield f"http://127.0.0.1:{forward.port}", token


@contextlib.contextmanager
def opened(root: Path, hosts: Iterable[Host], folders: frozenset[Path]) -> Iterator[tuple[Depot, str]]:
    """A depot of these folders of the store at `root`, and the path at which tasks ask it; gone afterwards."""
    with private_directory({}) as folder, RangeServer() as server:
        ranges, ask = folder / RANGES, folder / ASK
        known = {host.name: host for host in hosts}
        depot = Depot(known, folders, Digests(root), server, ranges)
        try:
            server.listen_at(ranges)
            counter = _Counter(depot, ask)
        except OSError as error:  # names of sockets are short, and a folder for temporary files may have a long one
            depot.told.append(f"large files are sent over Ansible's connection: no socket in {folder} ({error})")
            yield depot, ""
            return
        try:
            with counter:
                yield depot, str(ask)
        finally:
            depot.seeds.close()


def delivered(store: Store, plans: Iterable[Plan]) -> frozenset[Path]:
    """The directories of the store whose files these plans have hosts get."""
    folders, digests = set(), Images(store).digests()
    for plan in plans:
        artifacts = [plan.model and plan.model.digest, plan.runtime and plan.runtime.artifact and plan.runtime.digest]
        folders |= {store.root / "artifacts" / digest for digest in artifacts if digest}
        if plan.runtime and plan.runtime.id and not plan.runtime.artifact:
            folders.add(store.root / "wheelhouses" / plan.runtime.id)
        for image in planned_images(plan):
            digest = image.digest or digests.get(image.key)
            folders |= {Images(store).path(digest)} if digest else set()
    return frozenset(folders)


class _Counter:
    """Where tasks ask: one thread for each that does. Leaving it ends them all."""

    def __init__(self, depot: Depot, path: Path) -> None:
        self._depot = depot
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._door.bind(str(path))
            self._door.listen(128)
        except OSError:
            self._door.close()
            raise
        self._lines: dict[socket.socket, threading.Thread] = {}
        self._guard = threading.Lock()
        self._ended = False

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._door.accept()
            except OSError:
                if self._ended:
                    return
                time.sleep(0.1)  # out of file descriptors, most likely
                continue
            thread = threading.Thread(target=self._serve, args=(line,), daemon=True)
            with self._guard:  # whoever ends them all finds none that has not begun, and none comes later
                if self._ended:
                    line.close()
                    return
                thread.start()
                self._lines[line] = thread

    def _serve(self, line: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError, *_NONSENSE), line.makefile("rwb") as file:  # they hung up
                self._depot.serve(file)
        finally:
            with self._guard:
                self._lines.pop(line, None)
            line.close()

    def __enter__(self) -> _Counter:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        with self._guard:
            lines = dict(self._lines)
        for one in (self._door, *lines):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in lines.values():
            thread.join(_END_SECONDS)
        self._door.close()


class Aloud(DetailedView):
    """A view that tells what the depot has to say with the next thing that happens."""

    def __init__(self, view: View, lines: deque[str]) -> None:
        super().__init__(view, NO_DETAIL)
        self._lines = lines

    def event(self, event: Any) -> None:
        self.tell()
        self._view.event(event)

    def tell(self) -> None:
        """Nothing is left to be told."""
        while self._lines:
            self._view.note(self._lines.popleft())


def _read(file: BufferedRWPair) -> dict[str, Any]:
    """One line of a task; {} where it hung up."""
    line = file.readline(_MOST_LINE)
    found = json.loads(line) if line else {}
    return found if isinstance(found, dict) else {}


def _say(file: BufferedRWPair, line: Mapping[str, Any]) -> None:
    file.write(json.dumps(dict(line)).encode() + b"\n")
    file.flush()
