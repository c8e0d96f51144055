"""Builds the container image of the ONNX engine: a Python base image and one layer from the wheelhouse.

Nothing is executed and nothing is installed: wheels are archives with a defined layout. So an image for another
architecture than the controller's is made in the same way, without Docker and without a network on the host.
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from phi4_edge.artifacts.convert import wheelhouse
from phi4_edge.artifacts.images import fetch, held, oci
from phi4_edge.artifacts.images.held import Content, Held, Wanted
from phi4_edge.artifacts.images.oci import Item
from phi4_edge.artifacts.store import manifest, resources
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.image_reference import ARCHITECTURES
from phi4_edge.core.plan.model import PlannedImage
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress

# Another number: images that were built before are built again.
RECIPE = 1
ROOT = "opt/phi4-edge/engine"
USER = "65532:65532"
PORT = 8080
# The layer is 60 MB, the wheels 54 MB, the base 45 MB, and all of it exists twice while it is made.
DISK = 400_000_000
_PYTHON = re.compile(r"(?:usr/local/bin|usr/bin|bin)/python(3\.\d+)")
_FORBIDDEN = (".data/scripts/", ".data/headers/")


def build(store: Store, catalog: Catalog, wanted: Wanted, content: Content, mirror: str, progress: Progress) -> Held:
    """Have the image `wanted` in the store. Raises ArtifactError when base or wheels are not to be had.

    One that was built before is used again after it was checked, while base, wheels, engine and recipe are the same.
    """
    shelf = Images(store)
    base = _base(store, catalog, wanted, mirror, progress)
    engine = content.roles() / "onnx" / "files" / "engine"
    python, folder = find_python(shelf, base.digest)
    machine = next(name for name, image_name in ARCHITECTURES.items() if image_name == wanted.architecture)
    runtime = f"{content.runtimes()[wanted.repository][:16]}-cp{python.replace('.', '')}-{machine}"
    wheels = wheelhouse.build(store, runtime, engine, python, machine, progress)
    source = {
        "kind": "built", "recipe": RECIPE, "base": base.digest, "python": python,
        "wheels": Manifest.read(wheels / manifest.NAME).digest,
        "engine": content.runtimes()[wanted.repository],
    }  # fmt: skip
    if (same := _same(shelf, wanted, source, progress)) is not None:
        return same
    resources.require_disk(store.root, DISK, f"building {wanted.key}")
    progress(Event(wanted.key, "building", f"Python {python} for {wanted.architecture}"))
    with store.workspace("image") as work:
        layout = work / "layout"
        layout.mkdir()
        items = [*wheel_items(wheels, python), *package_items(engine / "src", python), *venv_items(folder, python)]
        image = _assemble(shelf, base.digest, items, layout, _settings(wanted, python))
        shelf.hold(image.document.digest)
        return held.keep(shelf, wanted, image, layout, source, replace=True)


def _base(store: Store, catalog: Catalog, wanted: Wanted, mirror: str, progress: Progress) -> Held:
    offered = [image for image in held.catalog_images(catalog) if image.repository == wanted.repository]
    base = next((image.base for image in offered if image.base is not None), None)
    if base is None:
        raise ArtifactError(f"the catalog names no base image for {wanted.repository}, needed one with Python")
    name = f"{base.repository}:{base.tag}"
    planned = PlannedImage(
        base.repository,
        base.tag,
        wanted.architecture,
        f"{name}/{wanted.architecture}",
        None,
        name,
        base.cuda,
        base.disk,
    )
    shelf = Images(store)
    with store.making(held.lock_name(planned), progress):
        return fetch.fetched(shelf, held.wanted(shelf, catalog, planned), mirror, progress)


def _same(shelf: Images, wanted: Wanted, source: Mapping[str, Any], progress: Progress) -> Held | None:
    if wanted.digest:
        shelf.hold(wanted.digest)
    image = held.whole(shelf, wanted, progress) if wanted.digest else None
    if image is None or image.folder is None:
        return None
    found = Manifest.read(image.folder / manifest.NAME).source
    return image if all(found.get(name) == value for name, value in source.items()) else None


def find_python(shelf: Images, digest: str) -> tuple[str, str]:
    """Version ("3.13") and folder ("/usr/local/bin") of the Python in a base image, as its PATH would find it.

    Raises ArtifactError when it has none.
    """
    found: dict[str, set[str]] = {}
    for layer in layers_of(shelf, digest):
        with tarfile.open(layer) as archive:
            for member in archive:
                path = PurePosixPath("/", member.name)
                if match := _PYTHON.fullmatch(path.as_posix().lstrip("/")):
                    found.setdefault(path.parent.as_posix(), set()).add(match[1])
    environment = held.config_of(shelf, digest).get("config", {}).get("Env") or []
    paths = next((line[5:] for line in environment if line.startswith("PATH=")), "/usr/local/bin:/usr/bin:/bin")
    for folder in paths.split(":"):
        if versions := found.get(folder.rstrip("/")):
            return max(versions, key=lambda text: int(text.partition(".")[2])), folder.rstrip("/")
    raise ArtifactError(f"the base image {digest[:19]} has no python3 in {paths}: name another one in the catalog")


def layers_of(shelf: Images, digest: str) -> list[Path]:
    """Files of the layers of an image in the store, the lowest first."""
    return [shelf.path(digest) / layer.path for layer in shelf.walk(digest).layers]


def wheel_items(folder: Path, python: str) -> Iterator[Item]:
    """What the wheels in `folder` install, placed as pip would place it; pip itself, scripts and headers are left out.

    Raises ArtifactError for a wheel with a name that leaves its place, or for two that bring the same file.
    """
    taken: dict[str, str] = {}
    for wheel in sorted(folder.glob("*.whl")):
        if wheel.name.startswith("pip-"):  # nothing is installed there later
            continue
        with zipfile.ZipFile(wheel) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
        for info in members:
            place = _place(info.filename, wheel.name, python)
            if place is None:
                continue
            if taken.setdefault(place, wheel.name) != wheel.name:
                raise ArtifactError(f"{wheel.name} and {taken[place]} both bring {place}: the lock is not consistent")
            yield Item(place, _member(wheel, info.filename), info.file_size, bool(info.external_attr >> 16 & 0o100))


def package_items(source: Path, python: str) -> Iterator[Item]:
    """Our own engine."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            place = f"{site_packages(python)}/{path.relative_to(source).as_posix()}"
            yield Item(place, _file(path), path.stat().st_size)


def venv_items(folder: str, python: str) -> Iterator[Item]:
    """What makes the folder a virtual environment of the base's Python, whose own packages stay out of sight."""
    text = f"home = {folder}\ninclude-system-site-packages = false\nversion = {python}\n".encode()
    yield Item(f"{ROOT}/pyvenv.cfg", _bytes(text), len(text))
    yield Item(f"{ROOT}/bin/python", target=f"{folder}/python{python}")


def site_packages(python: str) -> str:
    """Where packages are, relative to the image's root."""
    return f"{ROOT}/lib/python{python}/site-packages"


def _assemble(shelf: Images, base: str, items: list[Item], layout: Path, settings: Mapping[str, Any]) -> oci.OciImage:
    """The image in `layout`: the base's layers, one of `items`, and the base's configuration with `settings` in it."""
    walked = shelf.walk(base)
    kind, below = walked.manifest.media_type, walked.layers
    for blob in below:
        if not shelf.borrow(blob.digest, blob.size, layout / blob.path):
            raise ArtifactError(f"the base image {base[:19]} is damaged in the store: remove it and try again")
    layer, diff_id = oci.write_layer(items, layout, oci.GZIP_TYPES[kind])
    config = held.config_of(shelf, base)
    inner = {key: value for key, value in (config.get("config") or {}).items() if key not in ("Cmd", "Image")}
    environment = [*(inner.get("Env") or []), *settings["Env"]]
    labels = {**(inner.get("Labels") or {}), **settings["Labels"]}
    document: dict[str, Any] = {
        **{key: config[key] for key in ("architecture", "os", "variant", "created") if key in config},
        "config": {**inner, **settings, "Env": environment, "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [*config["rootfs"]["diff_ids"], diff_id]},
        "history": [*(config.get("history") or []), {"created_by": "phi4-edge", "created": config.get("created", "")}],
    }
    blob = oci.write_blob(layout, oci.CONFIG_TYPES[kind], oci.encode(document))
    return oci.write_manifest(layout, kind, blob, [*below, layer])


def _settings(wanted: Wanted, python: str) -> dict[str, Any]:
    return {
        "User": USER,
        "WorkingDir": "/",
        "Entrypoint": [f"/{ROOT}/bin/python", "-I", "-m", "phi4_engine"],
        # onnxruntime reports to its maker otherwise; the file system is read-only where this runs.
        "Env": ["ORT_DISABLE_TELEMETRY=1", "PYTHONDONTWRITEBYTECODE=1"],
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "StopSignal": "SIGTERM",
        "Labels": {
            "org.opencontainers.image.title": wanted.repository,
            "org.opencontainers.image.version": wanted.tag,
            "phi4-edge.python": python,
        },
    }


def _place(name: str, wheel: str, python: str) -> str | None:
    """Where a member of a wheel is installed, relative to the image's root; None for what is not installed."""
    manifest.relative(name)
    if any(part in name for part in _FORBIDDEN):
        return None
    data = re.fullmatch(r"[^/]+\.data/(purelib|platlib|data)/(.+)", name)
    if data and data[1] == "data":
        return f"{ROOT}/{data[2]}"
    if ".data/" in name.partition("/")[0] + "/" and not data:
        raise ArtifactError(f"{wheel} installs {name} in a way that is not known here")
    return f"{site_packages(python)}/{data[2] if data else name}"


def _member(wheel: Path, name: str) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        archive = zipfile.ZipFile(wheel)
        stream = archive.open(name)
        archive.close()  # the stream keeps the file open until it is closed itself
        return stream

    return opened


def _file(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _bytes(data: bytes) -> Callable[[], IO[bytes]]:
    return lambda: io.BytesIO(data)
