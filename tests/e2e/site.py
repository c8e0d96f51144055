"""A site for the engine tests: a lab with a mirror, a store of its own, and what vendors publish, under their names.

Ollama is the stand-in (its binary is in no package registry), vLLM and ONNX are real.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phi4_edge import lab as lab_room
from phi4_edge.lab.model import Lab
from tests.e2e import warm_engine
from tests.e2e.gateway import Cli, Done, Gateway
from tests.standins.own_store import own_store

__all__ = ["ACCEPTED", "Site", "layout", "open_site", "own_store", "serving_site"]
OLLAMA_VERSION = "0.35.0"
# What Debian 13 has, which is below the floors; the site knows and accepts it.
ACCEPTED = {"phi4_accept_below_floor": "docker,runc", "phi4_docker_source": "distribution"}


@dataclass(frozen=True)
class Site:
    """The lab, the command with the site's store and mirror, and the inventory files."""

    lab: Lab
    cli: Cli
    folder: Path

    @property
    def inventories(self) -> list[Path]:
        return [self.lab.inventory, self.folder / "vars.ini"]

    @property
    def names(self) -> list[str]:
        return [host.name for host in self.lab.hosts]

    def host(self, name: str) -> Gateway:
        return Gateway(self.lab, name)

    def write(self, hosts: Mapping[str, Mapping[str, object]]) -> None:
        """The inventory says this of its hosts from now on."""
        common = {**ACCEPTED, "phi4_image_mirror": f"http://{lab_room.mirror.registry(self.lab)}"}
        lines = ["[gateways]"]
        for name, wanted in hosts.items():
            lines.append(" ".join([name, *(f"{key}='{value}'" for key, value in {**common, **wanted}.items())]))
        (self.folder / "vars.ini").write_text("\n".join(lines) + "\n")

    def run(self, command: str, *words: str | Path, timeout: float = 1500) -> Done:
        """A command over the site's inventory."""
        return self.cli.run(command, self.inventories[0], self.inventories[1], *words, timeout=timeout)


def files_of_model(host: Gateway) -> dict[str, tuple[int, int]]:
    """Inode and bytes of each file that the host has of its model, pushed or made, with the records of both."""
    digest = host.receipt()["model"]["digest"]
    places = f"/var/lib/phi4-edge/models/{digest}* /var/lib/phi4-edge/stores"
    lines = [line.split(maxsplit=2) for line in host.sh(f"find {places} -type f -printf '%i %s %p\\n'").splitlines()]
    return {path: (int(inode), int(size)) for inode, size, path in lines}


def on_disk(files: Mapping[str, tuple[int, int]]) -> int:
    """Bytes of all of them; what is linked counts once."""
    return sum(dict(files.values()).values())


def open_site(lab: Lab, store: Path, folder: Path) -> Site:
    """Ollama's release and image are on the lab's mirror, by hash; the command knows where."""
    from tests.standins import ollama_release

    released = ollama_release.release(folder / "release")
    asset = next(released.glob("*.tar.zst"))
    base = lab_room.mirror.publish(lab, released, f"/ollama/v{OLLAMA_VERSION}")
    lab_room.mirror.push(
        lab, layout(folder / "image", *ollama_release.registry_image()), "ollama/ollama", OLLAMA_VERSION
    )
    where = {
        "PHI4_EDGE_OLLAMA_URL": base.rsplit("/", 1)[0],
        "PHI4_EDGE_OLLAMA_SHA256": f"{asset.name}={hashlib.sha256(asset.read_bytes()).hexdigest()}",
    }
    return Site(lab, Cli(store, folder, where), folder)


@contextlib.contextmanager
def serving_site(
    ready: Cli, folder: Path, name: str, profiles: Sequence[str], wanted: Mapping[str, str]
) -> Iterator[Site]:
    """A site whose hosts, one for each profile, all serve what `wanted` says; its lab is gone afterwards."""
    made = lab_room.up(name, lab_room.load_profiles().choose(profiles), kind="bare", with_mirror=True)
    try:
        found = open_site(made, own_store(ready.store, folder / "store"), folder)
        found.write(dict.fromkeys(found.names, wanted))
        warm_engine.bring(ready, made)
        found.run("provision", "--yes").expect(0)
        yield found
    finally:
        lab_room.down(name)


def layout(folder: Path, manifest: bytes, blobs: Mapping[str, bytes]) -> Path:
    """`folder` is an OCI layout of one image."""
    files = folder / "blobs" / "sha256"
    files.mkdir(parents=True)
    digest = hashlib.sha256(manifest).hexdigest()
    for name, data in [*blobs.items(), (f"sha256:{digest}", manifest)]:
        (files / name.removeprefix("sha256:")).write_bytes(data)
    entry = {"mediaType": json.loads(manifest)["mediaType"], "digest": f"sha256:{digest}", "size": len(manifest)}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return folder
