"""An image of the stand-in for Open WebUI, laid out as the real one is where our compose file looks.

Usage: webui_image.py [--archive FILE] [--store DIRECTORY]
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from phi4_edge.artifacts.images import held, oci
from phi4_edge.artifacts.images.registry import OCI_MANIFEST
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from tests.standins.ollama_release import MACHINES, base_layer, member

CONFIG_TYPE, LAYER_TYPE = oci.CONFIG_TYPES[OCI_MANIFEST], oci.GZIP_TYPES[OCI_MANIFEST]


def modules() -> dict[str, bytes]:
    """The stand-in's files, under the names that they have in its image."""
    here = Path(__file__).parent
    names = {"uvicorn.py": "standin_webui.py", "standin_webui_chat.py": "standin_webui_chat.py"}
    return {name: (here / source).read_bytes() for name, source in names.items()}


def layer() -> bytes:
    """The program where the real image has its own, and a root file system that nobody but root may write."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        files = {f"app/backend/{name}": data for name, data in modules().items()}
        files["app/build/static/favicon.png"] = b"\x89PNG stand-in"
        for name, data in files.items():
            tar.addfile(member(name, len(data)), io.BytesIO(data))
    return packed.getvalue()


def configuration(layers: list[bytes], machine: str) -> bytes:
    """The image's configuration, with the settings of the real one that we have to overrule."""
    ids = ["sha256:" + hashlib.sha256(each).hexdigest() for each in layers]
    config = {
        "Cmd": ["bash", "start.sh"],
        "WorkingDir": "/app/backend",
        "User": "0:0",
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "PORT=8080", "WEBUI_SECRET_KEY=", "OLLAMA_BASE_URL=/ollama",
                "OPENAI_API_BASE_URL=", "HOME=/root"],
        "Labels": {"phi4-edge.stand-in": "Open WebUI"},
    }  # fmt: skip
    document = {
        "architecture": MACHINES[machine], "os": "linux", "created": "2026-11-01T00:00:00Z", "config": config,
        "rootfs": {"type": "layers", "diff_ids": ids},
    }  # fmt: skip
    return oci.encode(document)


def archive(path: Path, tag: str = "standin/open-webui:test", machine: str = "x86_64") -> str:
    """`path` is an archive for `docker load`; returns the image's id."""
    layers = [base_layer(), layer()]
    config = configuration(layers, machine)
    name = hashlib.sha256(config).hexdigest()
    files = {f"{name}.json": config} | {f"{index}/layer.tar": each for index, each in enumerate(layers)}
    listed = [{"Config": f"{name}.json", "RepoTags": [tag], "Layers": [one for one in files if one.endswith(".tar")]}]
    with tarfile.open(path, "w") as tar:
        for inside, data in [*files.items(), ("manifest.json", json.dumps(listed).encode())]:
            tar.addfile(member(inside, len(data)), io.BytesIO(data))
    return f"sha256:{name}"


def adopt(store: Store, machine: str = "x86_64") -> str:
    """The store holds the image under the catalog's key for Open WebUI; returns that key."""
    of_catalog = load_catalog().webui.image
    architecture = MACHINES[machine]
    key = f"{of_catalog.repository}:{of_catalog.tag}/{architecture}"
    layers = [base_layer(), layer()]
    with store.workspace("image") as work:
        folder = work / "layout"
        folder.mkdir()
        packed = [oci.write_blob(folder, LAYER_TYPE, gzip.compress(each, 1, mtime=0)) for each in layers]
        config = oci.write_blob(folder, CONFIG_TYPE, configuration(layers, machine))
        image = oci.write_manifest(folder, OCI_MANIFEST, config, packed)
        wanted = held.Wanted(key, of_catalog.repository, of_catalog.tag, architecture, image.document.digest, False)
        held.keep(Images(store), wanted, image, folder, {"kind": "stand-in"}, replace=True)
    return key


def main() -> None:
    """Make it, and hand over as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--store", type=Path)
    asked = parser.parse_args()
    if asked.archive:
        sys.stdout.write(archive(asked.archive) + "\n")
    if asked.store:
        sys.stdout.write(adopt(Store(asked.store)) + "\n")


if __name__ == "__main__":
    main()
