"""Has everything in the store that a plan is going to push, whole and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from phi4_edge.artifacts.progress import Event, Progress, silent
from phi4_edge.artifacts.store import Store
from phi4_edge.core.catalog import Catalog
from phi4_edge.errors import ArtifactError


class Content(Protocol):
    """Where the roles are; `phi4_edge.content` is one."""

    def roles(self) -> Path:
        """Directory of the roles."""


@dataclass(frozen=True)
class Delivery:
    """What lies ready for one plan. `made` says what had to be made now, in order; empty when all was there."""

    digest: str
    wheelhouse: Path | None
    made: tuple[str, ...]


def ensure(
    store: Store, catalog: Catalog, plan: Mapping[str, Any], content: Content, progress: Progress = silent
) -> Delivery:
    """Have the model artifact and the wheelhouse of `plan` (a plan's dict) in the store, every file checked.

    What is missing is fetched, converted and built; what another plan had checked in this process is not hashed again.
    Raises ArtifactError when something is damaged, cannot be made on this controller, or differs from what was planned.
    """
    made: list[str] = []
    artifact = str(plan["model"]["artifact"])
    if artifact not in store.digests():
        made += _make(store, catalog, artifact, progress)
    digest = store.digest(artifact)
    if digest not in store.checked:
        progress(Event(artifact, "checking"))
        store.verify(artifact, deep=True)
        store.checked.add(digest)
    planned = plan["model"]["digest"]
    if planned and planned != digest:
        raise ArtifactError(
            f"{artifact} is {digest[:12]}, the plan was made for {planned[:12]}: it was replaced since; plan again"
        )
    wheelhouse = _wheelhouse(store, plan.get("runtime"), content, progress, made)
    return Delivery(digest, wheelhouse, tuple(made))


def _make(store: Store, catalog: Catalog, artifact: str, progress: Progress) -> list[str]:
    from phi4_edge.artifacts import convert, fetch, tiny

    model, _, variant = artifact.partition("/")
    if model == tiny.MODEL:
        tiny.make(store, catalog, progress, variant)
        return [artifact]
    checkpoint = f"{model}/{convert.SOURCE}"
    made = [] if checkpoint in store.digests() else [checkpoint]
    if made:
        fetch.fetch(store, catalog, model, progress)
    convert.convert(store, catalog, model, variant, progress)
    return [*made, artifact]


def _wheelhouse(
    store: Store, runtime: Mapping[str, Any] | None, content: Content, progress: Progress, made: list[str]
) -> Path | None:
    """The wheelhouse for the host's Python; None for a plan whose engine brings no Python of ours."""
    if runtime is None:
        return None
    from phi4_edge.artifacts import wheelhouse

    name = str(runtime["id"])
    folder = store.root / "wheelhouses" / name
    if name in store.checked:
        return folder
    there = folder.is_dir()
    engine = content.roles() / "onnx" / "files" / "engine"
    built = wheelhouse.build(store, name, engine, str(runtime["python"]), str(runtime["arch"]), progress)
    store.checked.add(name)
    if not there:
        made.append(f"wheelhouse {name}")
    return built
