"""What the controller needs so that each operation is reached: plans, an artifact, images, a vendor's key."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.images import oci
from phi4_edge.artifacts.images.held import Wanted, keep
from phi4_edge.artifacts.images.registry import OCI_MANIFEST
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.facts import parse
from phi4_edge.core.packages import openpgp
from phi4_edge.core.plan.decide import Inputs, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.data import load_catalog, load_table

ROOT = Path(__file__).parents[2]
INPUTS = Inputs(
    {"phi-4-mini-instruct/onnx-int4": "c" * 64, "phi-4-mini-instruct/gguf-q8_0": "d" * 64},
    {"onnx": "e" * 64, "phi4-edge/onnx": "e" * 64, "ollama": "f" * 64},
)
# What a release keeps of its plan (see docs): all that was applied.
KEPT = (
    "format", "host", "profile", "engine", "quantization", "accelerator", "service_manager", "context_length",
    "parallel", "kv_cache_type", "bind", "port", "unit", "knobs", "model", "runtime", "image", "webui", "content",
    "steps", "stability_seconds", "release", "fingerprint",
)  # fmt: skip


@cache
def fixture(name: str = "n150-8gb") -> dict[str, Any]:
    """The document of a host's probe."""
    document: dict[str, Any] = json.loads((ROOT / "tests" / "fixtures" / "hosts" / f"{name}.json").read_text())
    return document


def planned(engine: str = "onnx", **variables: Any) -> dict[str, Any]:
    """A real plan."""
    wanted = Overrides.from_vars("host", {"phi4_engine": engine, **variables})
    plan = decide(parse.parse(fixture()), load_table(), load_catalog(), wanted, INPUTS).to_dict()
    assert plan["engine"] == engine
    return dict(json.loads(json.dumps(plan)))


def kept(plan: dict[str, Any]) -> dict[str, Any]:
    """What the release on the host says of its plan."""
    memory = {name: plan["memory"][name] for name in ("weights", "ram_need", "vram_need") if name in plan["memory"]}
    return {**{name: plan[name] for name in KEPT if name in plan}, "memory": memory}


class Material:
    """Files of the controller."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, folder / "store"

    def artifact(self) -> Path:
        """A directory with a manifest, as the store has them."""
        made = self.folder / "artifact"
        made.mkdir(parents=True, exist_ok=True)
        data = bytes(4096)
        (made / "weights").write_bytes(data)
        line = {"path": "weights", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (made / "manifest.json").write_text(json.dumps({"format": "phi4-edge/manifest/1", "files": [line]}))
        return made

    def images(self) -> tuple[dict[str, Any], dict[str, Any], str]:
        """A plan's image that is pushed, one that the host pulls, and the id of the first."""
        wanted = Wanted("phi4-edge/onnx:1/amd64", "phi4-edge/onnx", "1", "amd64", "", False)
        store = Store(self.store)
        with store.workspace("test") as work:
            layout = work / "layout"
            layout.mkdir()
            item = oci.Item("file", lambda: io.BytesIO(b"content"), 7)
            blob, diff_id = oci.write_layer([item], layout, oci.GZIP_TYPES[OCI_MANIFEST])
            config = oci.encode({"os": "linux", "architecture": "amd64", "config": {"Cmd": ["/none"]},
                                 "rootfs": {"type": "layers", "diff_ids": [diff_id]}})  # fmt: skip
            held = oci.write_blob(layout, oci.CONFIG_TYPES[OCI_MANIFEST], config)
            image = oci.write_manifest(layout, OCI_MANIFEST, held, [blob])
            one = keep(Images(store), wanted, image, layout, {"kind": "test"}, replace=False)
        both = {"repository": "ollama/ollama", "tag": "1", "architecture": "amd64"}
        pulled = {**both, "key": "ollama/ollama:1/amd64", "digest": "sha256:" + "6" * 64}
        pushed = {**both, "repository": "phi4-edge/onnx", "key": one.key, "digest": one.digest}
        return pushed, pulled, one.id

    def key(self) -> tuple[Path, str]:
        """An armoured public key and its fingerprint. Nothing is signed with it, so any numbers do."""
        body = b"\x04" + bytes(4) + b"\x01" + b"\x00\x10\xff\xff" * 2
        packet = bytes([0x80 | 6 << 2, len(body)]) + body
        text = f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{base64.b64encode(packet).decode()}\n"
        path = self.folder / "vendor.asc"
        path.write_text(text + "-----END PGP PUBLIC KEY BLOCK-----\n")
        return path, openpgp.fingerprints(path.read_bytes())[0]
