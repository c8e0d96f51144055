"""Makes what the lab's tests share, while `make test` is at the quick ones: images of hosts, and the engine of one.

They take minutes, on one core, and whoever wants a lab first waits for its own. As a program, without arguments.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from phi4_edge import lab as lab_room
from phi4_edge.lab import docker, image, model
from tests.e2e import warm_engine
from tests.e2e.gateway import Cli

# Kinds of hosts, in the order in which the tests want them.
KINDS = ("bare", "docker", "mirror")


def images() -> None:
    """The Docker engine has every image. Raises LabError."""
    lock: Path = model.labs_directory()
    lock.mkdir(parents=True, exist_ok=True, mode=0o700)
    with docker.connect() as client:
        for kind in KINDS:
            image.ensure(client, kind, "", lock, lambda text: sys.stdout.write(f"{text}\n"))


def engine(cli: Cli) -> None:
    """Labs can have the engine that a host of this one builds; raises AssertionError, or LabError."""
    if warm_engine.archive(cli).exists():
        return
    made = lab_room.up(f"engine-{os.getpid()}", [lab_room.load_profiles().get("gateway-6gb")])
    try:
        cli.run("model", "tiny", timeout=1800).expect(0)
        cli.run("provision", made.inventory, "--yes").expect(0)
        warm_engine.keep(cli, made, made.hosts[0].name)
    finally:
        lab_room.down(made.name)


def interrupted(_number: int, _frame: FrameType | None) -> None:
    """What was begun is taken away, as after Ctrl-C, which a job in the background does not hear."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupted)
    try:
        images()
        with tempfile.TemporaryDirectory() as folder:
            engine(Cli(Path(os.environ["PHI4_EDGE_STORE"]).resolve(), Path(folder)))
    except KeyboardInterrupt:
        sys.exit(130)
