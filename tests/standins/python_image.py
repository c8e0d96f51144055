"""An image with this machine's Python and nothing else: stands in for the base of the ONNX engine's image.

Usage: python_image.py --store DIRECTORY
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from phi4_edge.artifacts.images import held, oci
from phi4_edge.artifacts.images.registry import OCI_MANIFEST
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from tests.standins.ollama_release import MACHINES, base_layer, configuration


def adopt(store: Store, machine: str = "x86_64") -> str:
    """The store holds the image under the key of the catalog's base for ONNX; returns that key."""
    base = next(image.base for image in load_catalog().engines["onnx"].builds["cpu"].images if image.base)
    architecture = MACHINES[machine]
    key = f"{base.repository}:{base.tag}/{architecture}"
    layer = base_layer()
    raw = json.loads(configuration([layer], machine))
    raw["config"] = {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["python3"], "Labels": {"phi4-edge.stand-in": "Python"}}
    with store.workspace("image") as work:
        folder = work / "layout"
        folder.mkdir()
        packed = oci.write_blob(folder, oci.GZIP_TYPES[OCI_MANIFEST], gzip.compress(layer, 1, mtime=0))
        config = oci.write_blob(folder, oci.CONFIG_TYPES[OCI_MANIFEST], oci.encode(raw))
        image = oci.write_manifest(folder, OCI_MANIFEST, config, [packed])
        wanted = held.Wanted(key, base.repository, base.tag, architecture, image.document.digest, False)
        held.keep(Images(store), wanted, image, folder, {"kind": "stand-in"}, replace=True)
    return key


def main() -> None:
    """Make it and hand it over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    sys.stdout.write(adopt(Store(parser.parse_args().store)) + "\n")


if __name__ == "__main__":
    main()
