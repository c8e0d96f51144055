"""Broken releases stay in the canary: the hosts beyond it are not touched, the canary serves what it served.

A release of ours is broken as releases are: by what a new version of phi4-edge installs, or by the model in its store.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.store import Store
from tests.e2e import other_version
from tests.e2e.fleet import Fleet, Fleets, rows
from tests.e2e.gateway import Cli, Gateway

pytestmark = pytest.mark.e2e

MODEL = "tiny/onnx-int4"
CANARY, BEYOND = "gw1", ("gw2", "gw3")
SERVE = "        server.run(chosen, worker_command(), [channel.dup() for channel in channels])\n"
CHAT = "    async def chat_completions(self, request: Request) -> Response:\n"
# File of the engine, a place in it, and what a bad version has there.
BROKEN = {
    "never opens its port": ("__main__.py", SERVE, "        import time\n        time.sleep(3600)\n"),
    "answers health and hangs on generation": (
        "app.py",
        CHAT,
        CHAT + "        import asyncio\n        await asyncio.sleep(3600)\n",
    ),
    "dies after 10 s": (
        "__main__.py",
        SERVE,
        "        import threading\n        threading.Timer(10, os._exit, (1,)).start()\n" + SERVE,
    ),
}
# The gate waits minutes for a slow board; these tests know that the lab is not one.
IMPATIENT = {"health_start_seconds": 20, "health_generation_seconds": 10}


@pytest.fixture(scope="module")
def three(fleets: Fleets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("broken")
    with fleets.lend(folder, 3) as found:
        found.variables = dict.fromkeys(found.names, IMPATIENT)
        found.write()
        yield found


@pytest.fixture
def gateways(three: Fleet) -> list[Gateway]:
    return [three.host(name) for name in three.names]


def bad_version(folder: Path, name: str, place: str, instead: str) -> dict[str, str]:
    """Environment in which the command is another version of phi4-edge, whose engine has this in that place."""
    environment = other_version.copied(folder)
    file = folder / "roles" / "onnx" / "files" / "engine" / "src" / "phi4_engine" / name
    text = file.read_text()
    assert text.count(place) == 1
    file.write_text(text.replace(place, instead))
    return environment


def contained(three: Fleet, cli: Cli, outcomes: set[str]) -> str:
    """The rollout ends in the canary, by the budget, with every host as before; the reason that it gives."""
    served, trees = three.releases(), {name: three.host(name).tree() for name in BEYOND}
    options = ["--canary", "1", "--wave", "100%", "--bake", "20"]
    done = cli.run("provision", *three.inventories, "--yes", "--output", "json", *options).expect(4)
    assert done.outcomes()[CANARY] in outcomes, done.err
    assert {done.outcomes()[name] for name in BEYOND} == {"untouched"}
    assert done.result["stopped"] == "budget"
    assert {name: three.host(name).tree() for name in BEYOND} == trees
    assert {name: three.serving(name) for name in three.names} == served == three.releases()
    return str(next(host["reason"] for host in done.result["hosts"] if host["host"] == CANARY))


# One that answers without generating is the gate's own test too.
@pytest.mark.parametrize("fault", rows(tuple(BROKEN), ("dies after 10 s",)))
def test_an_engine_that(three: Fleet, tmp_path: Path, fault: str) -> None:
    cli = dataclasses.replace(three.cli, extra={**three.cli.extra, **bad_version(tmp_path / "bad", *BROKEN[fault])})
    late = {"unhealthy"} if "after" in fault else set()
    reason = contained(three, cli, {"rolled_back"} | late)
    assert reason


@pytest.mark.full
def test_a_model_whose_bytes_changed(three: Fleet, tmp_path: Path) -> None:
    """Bytes that differ from the manifest are never sent; bytes that were wrong when they were hashed do not answer."""
    shutil.copytree(
        three.cli.store,
        tmp_path / "store",
        symlinks=True,
        ignore=shutil.ignore_patterns("environments", "tmp", "locks"),
    )
    copy = Store(tmp_path / "store")
    found = copy.manifest(MODEL)
    with copy.workspace("broken") as work:
        folder = work / "model"
        shutil.copytree(copy.path(found.digest), folder)
        (folder / manifest.NAME).unlink()
        os.truncate(folder / "model.onnx.data", (folder / "model.onnx.data").stat().st_size // 2)
        copy.adopt(folder, dataclasses.replace(found, files=manifest.describe(folder)))
    contained(three, dataclasses.replace(three.cli, store=tmp_path / "store"), {"rolled_back"})
    weights = copy.path(copy.digest(MODEL)) / "model.onnx.data"
    with weights.open("r+b") as stream:
        stream.write(b"another byte")
    trees = {name: three.host(name).tree() for name in three.names}
    done = dataclasses.replace(three.cli, store=copy.root).run("provision", *three.inventories, "--yes").expect(3)
    assert "model.onnx.data" in done.out + done.err
    assert {name: three.host(name).tree() for name in three.names} == trees


@pytest.mark.full
def test_the_good_version_goes_on(three: Fleet) -> None:
    three.next_release()
    done = three.run("provision", "--yes", "--output", "json", "--canary", "1", "--wave", "100%", "--bake", "3").expect(
        0
    )
    assert set(done.outcomes().values()) == {"done"}
