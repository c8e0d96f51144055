"""Takes a model that comes with this package into the store: copied, and compared with the manifest beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import phi4_edge
from phi4_edge.artifacts.store import manifest, resources
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Model
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

# How it is called where a source is named, and the kind of source that the catalog gives such a model.
NAME = KIND = "package"
# data/<model>/<variant>/: an artifact as the store has it.
FOLDER = Path(phi4_edge.__file__).with_name("data")
_SPARE = 10_000_000  # bytes left free beside it


def offers(model: Model, variant: str) -> bool:
    """Whether the package has this artifact of the model."""
    return variant in variants(model)


def variants(model: Model) -> tuple[str, ...]:
    """The artifacts of the model that the package has, by the second part of their names."""
    if model.source.get("kind") != KIND:
        return ()
    return tuple(sorted(path.parent.name for path in (FOLDER / model.id).glob(f"*/{manifest.NAME}")))


def fetch(store: Store, model: Model, variant: str, progress: Progress = silent) -> str:
    """Have `<model>/<variant>` as the package has it in the store; return its digest.

    Raises ArtifactError where the package does not have it, a file of it was changed, or disk will not do.
    """
    target = manifest.artifact_id(f"{model.id}/{variant}")
    if not offers(model, variant):
        raise ArtifactError(f"the package has {', '.join(variants(model)) or 'nothing'} of {model.id}, not {variant}")
    source = FOLDER / model.id / variant
    wanted = Manifest.read(source / manifest.NAME)
    with store.making(target, progress):
        if store.digests().get(target) == wanted.digest and not store.damage(target):
            return wanted.digest
        resources.require_disk(store.root, wanted.size + _SPARE, f"fetching {target}")
        progress(Event(target, "copying from the package"))
        with store.workspace("package") as work:
            output = work / "output"
            output.mkdir()
            for entry in wanted.files:
                if (source / entry.path).is_file():
                    shutil.copyfile(source / entry.path, output / entry.path)
            if problems := manifest.damage(output, wanted, deep=True):
                raise ArtifactError(f"{source} is damaged: {'; '.join(problems)}. Install phi4-edge again.")
            return store.adopt(output, wanted)
