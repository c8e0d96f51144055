"""Runs hostile bundles in processes of their own, with bounded memory and time, and says what came of each.

Arguments: the good bundle, a folder to work in. One line of JSON for each case on the standard output.
"""

from __future__ import annotations

import gc
import io
import json
import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from phi4_edge import content
from phi4_edge.artifacts.bundle import format as bundle_format
from phi4_edge.artifacts.bundle import handover, manifest, whole
from phi4_edge.artifacts.bundle.bundle import Bundle
from phi4_edge.artifacts.bundle.manifest import NAME
from phi4_edge.artifacts.store.store import Store
from phi4_edge.errors import Phi4EdgeError
from phi4_edge.main import cli
from tests.unit.artifacts.bundle import hostile_container, hostile_content, hostile_images, hostile_manifest
from tests.unit.artifacts.bundle.forge import Forge
from tests.unit.artifacts.bundle.full_store import Content

CASES = {**hostile_container.CASES, **hostile_manifest.CASES, **hostile_content.CASES, **hostile_images.CASES}
# What reading any bundle may take beside the program itself, and the memory and seconds after which it is ended.
MEMORY, SECONDS = 400 << 20, 60


def main(good: Path, work: Path) -> None:
    ours = Content()
    content.roles, content.runtimes = ours.roles, ours.runtimes  # type: ignore[assignment]
    forge = Forge(good)
    warm_up(good, work)
    for name, make in CASES.items():
        path = work / "case.tar"
        path.write_bytes(make(forge.copy()))
        found = {"name": name, "size": path.stat().st_size}
        for what, act in (("verify", verify), ("bring", bring), ("receive", receive)):
            found[what] = apart(act, path, work / "store")
            found[what]["left"] = left(work / "store")
        sys.stdout.write(json.dumps(found) + "\n")


def warm_up(good: Path, work: Path) -> None:
    """Imports what a command imports when it first runs: here once, not in each of the processes below."""
    for act in (verify, bring, receive):
        act(good, Store(work / "warm"))
    shutil.rmtree(work / "warm")
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page of ours


def left(root: Path) -> list[str]:
    """What lies in the store, which was empty before, and is gone now; locks and empty folders are no part of it."""
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() or path.is_symlink())
    shutil.rmtree(root, ignore_errors=True)
    return [path for path in found if not path.startswith("locks/")]


def apart(act: Callable[[Path, Store], dict[str, Any]], path: Path, root: Path) -> dict[str, Any]:
    """What `act` says in a process of its own, and the most memory that it took."""
    there, back = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(there)
        before = usage()
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 2 * MEMORY, size + 2 * MEMORY))
        signal.alarm(SECONDS)
        try:
            said = act(path, Store(root))
        except BaseException:
            said = {"outcome": "crash", "words": traceback.format_exc()[-1500:]}
        os.write(back, json.dumps({**said, "memory": usage() - before}).encode())
        os._exit(0)
    os.close(back)
    with os.fdopen(there, "rb") as stream:
        raw = stream.read()
    status = os.waitpid(child, 0)[1]
    return dict(json.loads(raw)) if raw else {"outcome": f"ended by {os.waitstatus_to_exitcode(status)}", "memory": 0}


def usage() -> int:
    """Bytes that this process has had in memory at most, beyond those that it had at its start."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def verify(path: Path, store: Store) -> dict[str, Any]:
    os.environ["PHI4_EDGE_STORE"] = str(store.root)
    done = CliRunner().invoke(cli, ["bundle", "verify", str(path)])
    crash = done.exception is not None and not isinstance(done.exception, SystemExit)
    outcome = "crash" if crash else "accepted" if done.exit_code == 0 else f"refused with {done.exit_code}"
    return {"outcome": outcome, "words": done.output[-1500:] if not crash else repr(done.exception)[:500]}


def bring(path: Path, store: Store) -> dict[str, Any]:
    try:
        Bundle.open(path, content).bring(store)
    except Phi4EdgeError as error:
        return {"outcome": f"refused with {error.exit_code}", "words": str(error)}
    return {"outcome": "accepted", "words": ""}


def receive(path: Path, store: Store) -> dict[str, Any]:
    """The same content, as a controller that was taken over would send it to a worker."""
    raw = path.read_bytes()
    try:
        length = int(raw[124:135], 8) if raw[: len(NAME)] == NAME.encode() else 0
    except ValueError:
        length = 0
    offered, rest = raw[512 : 512 + length], raw[512 + length + len(bundle_format.padding(length)) :]
    try:
        contents = manifest.decode(offered, "offered")
        lacking = Bundle(path, contents, {}, whole.engine_of(content)).lacking(store)
        first = handover.only(contents, lacking).encode()
        # With a shorter manifest the end is longer: empty blocks fill the last record.
        rest = bundle_format.header(NAME, len(first)) + first + bundle_format.padding(len(first)) + rest + b"\0" * 20480
    except Phi4EdgeError:
        rest = raw
    offer = json.dumps({"offer": offered.decode("utf-8", "replace")}).encode() + b"\n"
    try:
        handover.receive(store, content, io.BytesIO(offer + rest), io.BytesIO())
    except Phi4EdgeError as error:
        return {"outcome": f"refused with {error.exit_code}", "words": str(error)}
    return {"outcome": "accepted", "words": ""}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
