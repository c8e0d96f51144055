"""Has everything in the store that a plan is going to push, whole and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.image_reference import OURS
from phi4_edge.core.plan.model import Plan, PlannedImage, PlannedModel, Runtime
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent


class Content(Protocol):
    """Where the roles are and what engines are made of; `phi4_edge.content` is one."""

    def roles(self) -> Path:
        """Directory of the roles."""

    def runtimes(self) -> dict[str, str]:
        """Digest of what each engine's release is made of."""


@dataclass(frozen=True)
class Delivery:
    """What lies ready for one plan. `made` says what had to be made now, in order; empty when all was there.

    `digest` is the model's, `runtime` that of the engine's release archive (None: it brings none), `images` are the
    digests of manifests by key.
    """

    digest: str
    wheelhouse: Path | None
    made: tuple[str, ...]
    runtime: str | None = None
    images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sources:
    """Where things come from. With a `bundle` everything must have been in that file: nothing is made or fetched."""

    catalog: Catalog
    content: Content
    bundle: str = ""

    def refuse(self, what: str) -> None:
        """Raises ArtifactError, naming `what`, when only a bundle may deliver."""
        if self.bundle:
            raise ArtifactError(
                f"{what} is neither in {self.bundle} nor complete in the store, and with a bundle nothing is fetched "
                "or made: create the bundle again with 'phi4-edge bundle create' from this inventory"
            )


def ensure(
    store: Store,
    catalog: Catalog,
    plan: Plan,
    content: Content,
    progress: Progress = silent,
    bundle: str = "",
) -> Delivery:
    """Have everything that `plan` needs in the store, every file checked.

    That is the model, the wheels or the release archive of an engine that runs natively, and the images of one that
    runs in a container; where hosts pull images themselves, only their digest. What is missing is fetched, converted
    and built, unless a `bundle` was to bring it; what another plan had checked in this process is not hashed again.
    Raises ArtifactError when something is damaged, cannot be had, or differs from what was planned.
    """
    sources, made = Sources(catalog, content, bundle), list[str]()
    model, runtime = model_of(plan), plan.runtime
    digest = _artifact(store, sources, model.artifact, model.digest, progress, made)
    brought, wheelhouse = None, None
    if runtime and runtime.artifact:
        brought = _artifact(store, sources, runtime.artifact, runtime.digest, progress, made)
    elif runtime:
        wheelhouse = _wheelhouse(store, sources, runtime, progress, made)
    images = {}
    for planned in planned_images(plan):
        images[planned.key] = _image(store, sources, plan, planned, progress, made)
    return Delivery(digest, wheelhouse, tuple(made), brought, images)


def model_of(plan: Plan) -> PlannedModel:
    """The model that `plan` serves. Raises ArtifactError where nothing fits: that plan needs nothing."""
    if plan.model is None:
        raise ArtifactError(f"the plan of {plan.host} serves no model, needed one that fits the host: plan again")
    return plan.model


def planned_images(plan: Plan) -> list[PlannedImage]:
    """The images of the engine and of the chat page that `plan` names."""
    return [image for image in (plan.image, plan.webui and plan.webui.image) if image]


def pushes(plan: Plan, image: PlannedImage) -> bool:
    """Whether the host is sent `image`; one that we build is in no registry, whatever the plan says of others."""
    return plan.image_delivery == "push" or image.repository.startswith(OURS)


def key(plan: Plan) -> tuple[object, ...]:
    """Names what a plan needs: plans with equal keys need the same things."""
    images = tuple((image.key, image.digest) for image in planned_images(plan))
    how = (plan.image_delivery, plan.image_mirror) if images else ()
    return (model_of(plan).artifact, plan.runtime and (plan.runtime.artifact or plan.runtime.id), *images, *how)


def missing(store: Store, plan: Plan) -> list[str]:
    """Names of what `plan` would push and the store does not have; wheels are small and do not count."""
    held, images = store.digests(), Images(store)
    names = [model_of(plan).artifact, plan.runtime and plan.runtime.artifact]
    lacking = [name for name in names if name and name not in held]
    digests = images.digests()
    for planned in planned_images(plan):
        digest = digests.get(planned.key)
        if pushes(plan, planned) and (digest is None or not images.path(digest).is_dir()):
            lacking.append(planned.key)
    return lacking


def _artifact(
    store: Store, sources: Sources, artifact: str, planned: str | None, progress: Progress, made: list[str]
) -> str:
    if store.use(artifact) is None:
        sources.refuse(artifact)
        made += _make(store, sources.catalog, artifact, progress)
    digest = store.use(artifact) or store.digest(artifact)
    if digest not in store.checked:
        progress(Event(artifact, "checking"))
        store.verify(artifact, deep=True)
        store.checked.add(digest)
    if planned and planned != digest:
        raise ArtifactError(
            f"{artifact} is {digest[:12]}, the plan was made for {planned[:12]}: it was replaced since; plan again"
        )
    return digest


def _make(store: Store, catalog: Catalog, artifact: str, progress: Progress) -> list[str]:
    from phi4_edge.artifacts.convert import library, targets
    from phi4_edge.artifacts.convert.worker import SOURCE
    from phi4_edge.artifacts.fetch import model as fetch_model
    from phi4_edge.artifacts.fetch import ollama, packaged

    if ollama.is_release(artifact):
        ollama.ensure(store, catalog, artifact, progress)
        return [artifact]
    model, _, variant = artifact.partition("/")
    if variant.startswith(SOURCE):
        fetch_model.fetch(store, catalog, model, progress, variant)
        return [artifact]
    chosen = targets.source_of(store, catalog, model, variant)
    if chosen == packaged.NAME:
        targets.convert(store, catalog, model, variant, progress, chosen)
        return [artifact]
    if chosen != library.NAME:
        return _converted(store, catalog, artifact, chosen, progress)
    try:
        library.fetch(store, catalog, model, variant, progress)
        return [artifact]
    except library.UnusableError as error:
        progress(Event(artifact, "converting instead", f"nothing from Ollama's library: {error}"))
        try:
            return _converted(store, catalog, artifact, SOURCE, progress)
        except ArtifactError as second:
            raise ArtifactError(f"{second}\nOllama's library was asked first: {error}") from second


def _converted(store: Store, catalog: Catalog, artifact: str, chosen: str, progress: Progress) -> list[str]:
    """The artifact is made from another one of the model, which is fetched where it is not here."""
    from phi4_edge.artifacts.convert import targets
    from phi4_edge.artifacts.fetch import model as fetch_model

    model, _, variant = artifact.partition("/")
    source = f"{model}/{chosen}"
    made = [] if source in store.digests() else [source]
    if made:
        fetch_model.fetch(store, catalog, model, progress, chosen)
    targets.convert(store, catalog, model, variant, progress, chosen)
    return [*made, artifact]


def _wheelhouse(store: Store, sources: Sources, runtime: Runtime, progress: Progress, made: list[str]) -> Path:
    """The wheelhouse for the host's Python."""
    from phi4_edge.artifacts.convert import wheelhouse

    name = str(runtime.id)
    folder = store.root / "wheelhouses" / name
    store.hold("wheelhouses", name)
    if name in store.checked:
        return folder
    there = folder.is_dir()
    engine = sources.content.roles() / "onnx" / "files" / "engine"
    if not there or (sources.bundle and wheelhouse.faults(name, folder, engine)):
        sources.refuse(f"wheelhouse {name}")
    built = wheelhouse.build(store, name, engine, runtime.python, runtime.arch, progress)
    store.checked.add(name)
    if not there:
        made.append(f"wheelhouse {name}")
    return built


def _image(
    store: Store,
    sources: Sources,
    plan: Plan,
    planned: PlannedImage,
    progress: Progress,
    made: list[str],
) -> str:
    """Digest of one image: in the store, or only known where the host pulls it."""
    from phi4_edge.artifacts.images import delivery

    mirror, pushed = plan.image_mirror, pushes(plan, planned)
    if sources.bundle:
        return _bundled_image(store, sources, planned, pushed, progress)
    if pushed:
        held = delivery.ensure(store, sources.catalog, planned, mirror, progress, sources.content)
    else:
        held = delivery.pin(store, sources.catalog, planned, mirror, progress)
    if held.made:
        made.append(planned.key)
    return held.digest


def _bundled_image(store: Store, sources: Sources, planned: PlannedImage, pushed: bool, progress: Progress) -> str:
    """The image as the bundle brought it; nothing is asked of any registry."""
    shelf, name = Images(store), planned.key
    digest = shelf.use(name)
    if digest is None or (pushed and not shelf.path(digest).is_dir()):
        sources.refuse(name)
    assert digest is not None, "what is missing was refused"  # noqa: S101
    if planned.digest and planned.digest != digest:
        raise ArtifactError(f"{name} is {digest[:19]}, the plan was made for {planned.digest[:19]}: plan again")
    if pushed and digest not in store.checked:
        progress(Event(name, "checking"))
        if problems := shelf.damage(digest):
            raise ArtifactError(f"{name} is damaged in the store:\n  " + "\n  ".join(problems))
        store.checked.add(digest)
    return digest
