"""A store with one thing of each kind, and plans that need them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from phi4_edge.artifacts.bundle import whole
from phi4_edge.artifacts.convert import wheelhouse
from phi4_edge.artifacts.images import oci
from phi4_edge.artifacts.images.registry import OCI_MANIFEST
from phi4_edge.artifacts.store import files, manifest
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.plan.model import Plan, PlannedImage, PlannedModel, Runtime, WebUi
from phi4_edge.data import load_catalog
from tests.unit.artifacts.convert.test_wheelhouse import ID, wheel
from tests.unit.artifacts.fetch.ollama_archive import CPU
from tests.unit.artifacts.sample import put

# The archive that the catalog pins; what the made-up release was unpacked from, as it says.
SHA256 = load_catalog().engines["ollama"].release.sha256["ollama-linux-amd64.tar.zst"]  # type: ignore[union-attr]
WHEEL_TAG = "cp313-cp313-manylinux_2_28_x86_64"
MODEL, KEY = "tiny/gguf-q4_0", "docker.io/ollama/ollama:0.35.0/amd64"


# Roles of an installation whose lock names one made-up wheel.
_ROLES = TemporaryDirectory(prefix="phi4-edge-roles-")


class Content:
    """Our own files, of which only the digests and the lock of the wheels matter here."""

    def roles(self) -> Path:
        locks = Path(_ROLES.name) / "onnx" / "files" / "engine" / "locks"
        if not locks.is_dir():
            locks.mkdir(parents=True)
            (locks / "cp313.txt").write_text(f"sample==1.0 \\\n    --hash=sha256:{wheel(locks, WHEEL_TAG)}\n")
        return Path(_ROLES.name)

    def runtimes(self) -> dict[str, str]:
        return {"onnx": "a" * 64, "ollama": "b" * 64, "phi4-edge/onnx": ID[:16] + "c" * 48}


def filled(root: Path) -> Store:
    """A model, a release, a wheelhouse and two images that share a layer."""
    store = Store(root)
    put(store, MODEL, {"model.gguf": b"GGUF" * 700})
    with store.workspace("release") as work:
        (work / "tree" / "bin").mkdir(parents=True)
        (work / "tree" / "bin" / "ollama").write_bytes(b"program")
        (work / "tree" / "bin" / "ollama").chmod(0o755)
        (work / "tree" / "link").symlink_to("bin/ollama")
        entries, links = manifest.describe_tree(work / "tree")
        source = {"kind": "release", "url": "https://github.com/ollama/ollama/releases/download/v0.35.0",
                  "assets": {"ollama-linux-amd64.tar.zst": SHA256}}  # fmt: skip
        parameters = {"version": "0.35.0", "flavour": "cpu"}
        store.adopt(work / "tree", Manifest(CPU, entries, "MIT", source, {}, parameters, links))
    folder = store.root / "wheelhouses" / ID
    folder.mkdir(parents=True)
    wheel(folder, WHEEL_TAG)
    lock = wheelhouse.lock_of(whole.engine_of(Content()), "3.13")
    (folder / wheelhouse.REQUIREMENTS).write_bytes(lock.read_bytes())
    held = Manifest("wheelhouse/cp313-x86_64", manifest.describe(folder), "see each wheel")
    files.write_json(folder / manifest.NAME, held.to_dict())
    image(store, KEY, b"configuration one")
    image(store, "ghcr.io/open-webui/open-webui:v1/amd64", b"configuration two")
    return store


def image(store: Store, key: str, config: bytes, other: bytes = b"") -> str:
    """Adopt an image of `config` and one layer; its digest. With `other` it is another image of this name."""
    layer = b"layer" * 300
    shelf = Images(store)
    with store.workspace("image") as work:
        layout = work / "layout"
        parts = [oci.write_blob(layout, oci.GZIP_TYPES[OCI_MANIFEST], layer)]
        document = {
            "os": "linux", "architecture": "amd64", "config": {"Cmd": [config.decode(), other.decode(), key]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "d" * 64]},
        }  # fmt: skip
        blob = oci.write_blob(layout, oci.CONFIG_TYPES[OCI_MANIFEST], oci.encode(document))
        made = oci.write_manifest(layout, OCI_MANIFEST, blob, parts)
        digest = made.document.digest.removeprefix("sha256:")
        line = {
            "digest": made.document.digest, "id": blob.digest, "path": f"images/{digest}", "size": made.size,
            "reference": key.rpartition("/")[0],
        }  # fmt: skip
        shelf.adopt(key, layout, line, {"kind": "test"}, replace=True)
    return digest


def plan(store: Store, host: str = "gw1", **changes: Any) -> Plan:
    """A plan for Ollama under systemd, as far as delivery reads it."""
    made = Plan(
        host, fits=True, bind="127.0.0.1", port=8080, forced=False, stability_seconds=1.0, engine="ollama",
        service_manager="systemd", model=served(MODEL, store.digests().get(MODEL)),
        runtime=Runtime(CPU, store.digests().get(CPU), "", "x86_64", None),
    )  # fmt: skip
    return replace(made, **changes)


def served(artifact: str, digest: str | None = None) -> PlannedModel:
    return PlannedModel("m", "m", artifact, digest, 1)


def planned_image(store: Store, key: str = KEY) -> PlannedImage:
    name, _, architecture = key.rpartition("/")
    repository, _, tag = name.rpartition(":")
    return PlannedImage(repository, tag, architecture, key, Images(store).digests().get(key), name, "", 1)


def wheels() -> Runtime:
    return Runtime(None, "a" * 64, "3.13", "x86_64", ID)


def fleet(store: Store) -> list[Plan]:
    """Three hosts: one of each way to run."""
    page = planned_image(store, "ghcr.io/open-webui/open-webui:v1/amd64")
    webui = WebUi(page, 3000, "127.0.0.1", 1024, builtin_tools=False, titles=False, follow_ups=False, tags=False)
    return [
        plan(store),
        plan(store, "gw2", runtime=None, service_manager="compose", image=planned_image(store), webui=webui),
        plan(store, "gw3", engine="onnx", runtime=wheels()),
    ]
