"""A site for the engine tests: a lab with a mirror, a store of its own, and what vendors publish, under their names.

Ollama is the stand-in (its binary is in no package registry), vLLM and ONNX are real.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from e2e_support import ROOT, Cli, Done, Gateway

from phi4_edge import lab as lab_room
from phi4_edge.lab.model import Lab

sys.path.insert(0, str(ROOT / "tests" / "standins"))

OLLAMA = "docker.io/ollama/ollama"
OLLAMA_VERSION = "0.35.0"
# What Debian 13 has, which is below the floors; the site knows and accepts it.
ACCEPTED = {"phi4_accept_below_floor": "docker,runc", "docker_source": "distribution"}


def own_store(shared: Path, folder: Path) -> Path:
    """A store with the tiny model of the shared one, its environments and wheels, and no image or release of before."""
    folder.mkdir(parents=True)
    for name in ("environments", "wheelhouses"):
        (shared / name).mkdir(exist_ok=True)
        (folder / name).symlink_to(shared / name)
    index = json.loads((shared / "index.json").read_text())
    index["artifacts"] = {name: line for name, line in index["artifacts"].items() if name.startswith("tiny/")}
    for line in index["artifacts"].values():
        shutil.copytree(shared / line["path"], folder / line["path"])
    (folder / "index.json").write_text(json.dumps(index))
    return folder


@dataclass(frozen=True)
class Site:
    """The lab, the command with the site's store and mirror, and the inventory files."""

    lab: Lab
    cli: Cli
    folder: Path

    @property
    def inventories(self) -> list[Path]:
        return [self.lab.inventory, self.folder / "vars.ini"]

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


def open_site(lab: Lab, store: Path, folder: Path) -> Site:
    """Ollama's release and image are on the lab's mirror; the command knows where."""
    import ollama_release

    released = ollama_release.release(folder / "release")
    base = lab_room.mirror.publish(lab, released, f"/ollama/v{OLLAMA_VERSION}")
    document, blobs = ollama_release.registry_image()
    push(lab_room.mirror.registry(lab), "ollama/ollama", OLLAMA_VERSION, document, blobs)
    sums = [line.split() for line in (released / "sha256sum.txt").read_text().splitlines()]
    own = ",".join(f"{name.removeprefix('./')}={value}" for value, name in sums)
    settings = {"PHI4_EDGE_OLLAMA_URL": base.rsplit("/", 1)[0], "PHI4_EDGE_OLLAMA_SHA256": own}
    return Site(lab, Cli(store, folder, settings), folder)


def push(registry: str, repository: str, tag: str, manifest: bytes, blobs: Mapping[str, bytes]) -> None:
    """The registry has the image `repository:tag`."""
    host, _, port = registry.partition(":")
    for digest, data in blobs.items():
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        connection.request("POST", f"/v2/{repository}/blobs/uploads/")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 202, answer.status
        where = urlsplit(str(answer.headers["Location"]))
        query = f"{where.query}&digest={digest}".lstrip("&")
        connection.request("PUT", f"{where.path}?{query}", data, {"Content-Type": "application/octet-stream"})
        done = connection.getresponse()
        assert done.status == 201, (done.status, done.read())
        connection.close()
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    kind = json.loads(manifest)["mediaType"]
    connection.request("PUT", f"/v2/{repository}/manifests/{tag}", manifest, {"Content-Type": kind})
    done = connection.getresponse()
    assert done.status == 201, (done.status, done.read())
    connection.close()


def python_base() -> tuple[bytes, dict[str, bytes]]:
    """An image with a Python and nothing else, as the base of the ONNX engine's image: manifest, blobs by digest."""
    import gzip

    import ollama_release

    layer = ollama_release.base_layer()
    config = json.loads(ollama_release.configuration([layer], "x86_64"))
    config["config"] = {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["python3"]}
    raw, packed = json.dumps(config).encode(), gzip.compress(layer, 1, mtime=0)
    kind = "application/vnd.oci.image."
    parts = [
        {"mediaType": kind + end, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}
        for end, data in (("config.v1+json", raw), ("layer.v1.tar+gzip", packed))
    ]
    document = {
        "schemaVersion": 2, "mediaType": kind + "manifest.v1+json", "config": parts[0], "layers": parts[1:],
    }  # fmt: skip
    return json.dumps(document).encode(), {parts[0]["digest"]: raw, parts[1]["digest"]: packed}  # type: ignore[dict-item]
