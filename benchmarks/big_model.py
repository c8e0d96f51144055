"""A store whose tiny model has one more file, of random bytes: what is delivered is as large as wanted."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import harness

from phi4_edge.core import manifest as core_manifest

MODEL, FILE = "tiny/onnx-int4", "ballast.bin"
BLOCK = 1 << 20


@dataclass(frozen=True)
class BigModel:
    """The store, the file that makes the model big, its SHA-256, and the digest of the whole model."""

    store: Path
    file: Path
    size: int
    sha256: str
    digest: str

    @property
    def on_host(self) -> str:
        """Where a host has the model."""
        return f"/var/lib/phi4-edge/models/{self.digest}"


def make(folder: Path, size: int) -> BigModel:
    """A store below `folder`; what else is in the usual one is linked."""
    usual = Path(os.environ.get("PHI4_EDGE_STORE", harness.ROOT / "build" / "store")).resolve()
    store = folder / "store"
    store.mkdir()
    for name in ("wheelhouses", "environments"):
        (store / name).symlink_to(usual / name)
    index = json.loads((usual / "index.json").read_text())
    entry = index["artifacts"][MODEL]
    made = folder / "model"
    shutil.copytree(usual / entry["path"], made)
    sha256 = _random(made / FILE, size)
    document = json.loads((made / "manifest.json").read_text())
    document["files"].append({"path": FILE, "size": size, "sha256": sha256})
    files = [core_manifest.File(line["path"], line["size"], line["sha256"]) for line in document["files"]]
    digest, whole = core_manifest.digest(files), sum(file.size for file in files)
    (made / "manifest.json").write_text(json.dumps({**document, "digest": digest, "size": whole}))
    place = store / "artifacts" / digest
    place.parent.mkdir()
    made.rename(place)
    about = {"digest": digest, "path": f"artifacts/{digest}", "size": whole, "files": len(files)}
    (store / "index.json").write_text(json.dumps({"format": index["format"], "artifacts": {MODEL: about}}))
    return BigModel(store, place / FILE, size, sha256, digest)


def _random(path: Path, size: int) -> str:
    """Write bytes that nothing can compress, and return their SHA-256."""
    chance, found = random.Random(size), hashlib.sha256()
    with path.open("wb") as stream:
        for start in range(0, size, BLOCK):
            block = chance.randbytes(min(BLOCK, size - start))
            found.update(block)
            stream.write(block)
    return found.hexdigest()
