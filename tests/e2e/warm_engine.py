"""The ONNX engine as an earlier lab host built it, for labs whose tests are about something else.

A host spends some 15 s of a core on installing and compiling one. Role onnx finds it there, whole, and goes on.
"""

from __future__ import annotations

import os
from pathlib import Path

from phi4_edge import content
from phi4_edge import lab as lab_room
from phi4_edge.lab import docker, faults
from tests.e2e.gateway import Cli

PLACE = "/opt/phi4-edge"


def archive(cli: Cli) -> Path:
    """Where the tar of the engine that this checkout makes is kept between labs."""
    return cli.store.parent / "e2e" / f"engine-{content.runtimes()['phi4-edge/onnx'][:16]}.tar"


def bring(cli: Cli, lab: lab_room.Lab, *names: str) -> None:
    """The hosts of these names, or all, have the engine, if a lab has built it before."""
    if not archive(cli).exists():
        return
    with docker.connect() as client:
        for host in [lab.host(name) for name in names] or lab.hosts:
            if faults.execute(lab, host.name, ["test", "-e", f"{PLACE}/engines"]).returncode == 0:
                continue
            faults.execute(lab, host.name, ["mkdir", "-p", "-m", "755", PLACE])
            with archive(cli).open("rb") as packed:
                client.containers.get(host.container).put_archive(PLACE, packed)


def keep(cli: Cli, lab: lab_room.Lab, name: str) -> None:
    """Later labs can have the engine of this host, which serves."""
    kept = archive(cli)
    if kept.exists():
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    fresh = kept.with_suffix(f".{os.getpid()}")
    with docker.connect() as client, fresh.open("wb") as packed:
        for piece in client.containers.get(lab.host(name).container).get_archive(f"{PLACE}/engines")[0]:
            packed.write(piece)
    fresh.replace(kept)
