"""The things that a release is made of: model, engine files, container images, the chat page."""

from __future__ import annotations

import hashlib

from phi4_edge.core import reference
from phi4_edge.core.catalog import Engine, Image
from phi4_edge.core.chosen import Chosen, Inputs
from phi4_edge.core.host import HostFacts
from phi4_edge.core.plan_types import PlannedImage, PlannedModel, Runtime, WebUi
from phi4_edge.core.sizing import flavour
from phi4_edge.core.text import dotted, version_of

LOOPBACK = "127.0.0.1"


def model(it: Chosen) -> PlannedModel:
    """Return the weights to serve."""
    found, variant = it.catalog.models[it.overrides.model], it.evaluation.variant
    artifact = f"{found.id}/{variant.artifact}"
    size = found.size if found.stand_in_for else variant.weights
    return PlannedModel(found.id, found.served_name, artifact, it.inputs.artifacts.get(artifact), size)


def runtime(it: Chosen) -> Runtime | None:
    """Return the files of an engine that runs natively; None for a container."""
    facts, engine, inputs = it.facts, it.engine, it.inputs
    if it.manager != "systemd":
        return None
    if engine.release is not None:
        return _released(facts, engine, inputs, it.accelerator)
    python, digest = dotted(version_of(facts.python.version), 2), inputs.runtimes.get(f"phi4-edge/{engine.name}")
    tag = f"cp{python.replace('.', '')}-{facts.architecture}"
    return Runtime(None, digest, python, facts.architecture, f"{digest[:16]}-{tag}" if digest else None)


def _released(facts: HostFacts, engine: Engine, inputs: Inputs, accelerator: str) -> Runtime:
    name = f"{engine.version}-{facts.architecture}-{flavour(facts, accelerator)}"
    artifact = f"{engine.name}/{name}"
    digest = inputs.artifacts.get(artifact)
    made = f"{engine.name}-{name}-{digest[:12]}" if digest else None
    return Runtime(artifact, digest, "", facts.architecture, made)


def image(facts: HostFacts, inputs: Inputs, wanted: Image | None) -> PlannedImage | None:
    """Return one container image as this host needs it."""
    if wanted is None:
        return None
    architecture = reference.ARCHITECTURES.get(facts.architecture, facts.architecture)
    tag = wanted.tag
    if wanted.base is not None and (content := inputs.runtimes.get(wanted.repository)):
        # Ours is another image as soon as what it is built from is another: our files, or the base in the catalog.
        below = f"{wanted.base.repository}:{wanted.base.tag}@{wanted.base.digests.get(architecture, '')}"
        tag = f"{tag}-{hashlib.sha256(f'{content} {below}'.encode()).hexdigest()[:12]}"
    key = f"{wanted.repository}:{tag}/{architecture}"
    digest = wanted.digests.get(architecture) or inputs.images.get(key)
    asked = f"{wanted.repository}:{tag}" + (f"@{digest}" if digest else "")
    return PlannedImage(wanted.repository, tag, architecture, key, digest, asked, wanted.cuda, wanted.disk)


def webui(it: Chosen) -> WebUi | None:
    """Return the chat page where it is wanted. It asks nobody for a password of ours, so it stays on loopback."""
    planned = image(it.facts, it.inputs, it.catalog.webui.image) if it.overrides.webui_enabled else None
    return WebUi(planned, it.overrides.webui_port, LOOPBACK) if planned is not None else None
