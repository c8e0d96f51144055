"""The things that a release is made of: model, engine files, container images, the chat page."""

from __future__ import annotations

import hashlib

from phi4_edge.core import image_reference
from phi4_edge.core.catalog.model import CatalogEngine, CatalogImage
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.gateway.model import METRICS_PORT
from phi4_edge.core.layout import LOOPBACK
from phi4_edge.core.plan.context import Chosen, Inputs
from phi4_edge.core.plan.model import PlannedGateway, PlannedImage, PlannedModel, Runtime, WebUi
from phi4_edge.core.plan.sizing import flavour
from phi4_edge.core.text import dotted, version_of

# About 750 words: more than a chat's answer has, and some minutes on a board.
ANSWER_TOKENS = 1024


def model(it: Chosen) -> PlannedModel:
    """Return the weights to serve."""
    found, variant = it.catalog.models[it.overrides.model], it.evaluation.variant
    artifact = f"{found.id}/{variant.artifact_for(it.evaluation.sizing.context)}"
    size = found.size if found.stand_in_for else variant.weights
    return PlannedModel(found.id, found.served_name, artifact, it.inputs.artifacts.get(artifact), size)


def runtime(it: Chosen) -> Runtime | None:
    """Return the files of an engine that runs natively; None for a container."""
    facts, engine, inputs = it.facts, it.engine, it.inputs
    if it.manager != "systemd":
        return None
    if engine.release is not None:
        return _released(facts, engine, inputs, flavour(facts, it.accelerator, it.attempt.gpu))
    python, digest = dotted(version_of(facts.python.version), 2), inputs.runtimes.get(f"phi4-edge/{engine.name}")
    tag = f"cp{python.replace('.', '')}-{facts.architecture}"
    return Runtime(None, digest, python, facts.architecture, f"{digest[:16]}-{tag}" if digest else None)


def _released(facts: HostFacts, engine: CatalogEngine, inputs: Inputs, build: str) -> Runtime:
    name = f"{engine.version}-{facts.architecture}-{build}"
    artifact = f"{engine.name}/{name}"
    digest = inputs.artifacts.get(artifact)
    made = f"{engine.name}-{name}-{digest[:12]}" if digest else None
    return Runtime(artifact, digest, "", facts.architecture, made)


def image(facts: HostFacts, inputs: Inputs, wanted: CatalogImage | None) -> PlannedImage | None:
    """Return one container image as this host needs it."""
    if wanted is None:
        return None
    architecture = image_reference.ARCHITECTURES.get(facts.architecture, facts.architecture)
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
    """Return the chat page where it is wanted. It asks nobody for a password of ours, so it stays on loopback.

    What it asks the model besides the question is off, for all of it waits for the engine's one place and reads the
    whole chat again; a GPU has the time for a title.
    """
    wanted = it.overrides
    planned = image(it.facts, it.inputs, it.catalog.webui.image) if wanted.webui_enabled else None
    if planned is None:
        return None
    return WebUi(
        image=planned,
        port=wanted.webui_port,
        bind=LOOPBACK,
        max_tokens=_answer_tokens(it),
        builtin_tools=wanted.webui_builtin_tools,
        titles=it.accelerator == "cuda" if wanted.webui_titles is None else wanted.webui_titles,
        follow_ups=wanted.webui_follow_ups,
        tags=wanted.webui_tags,
    )


# Of an answer in one piece the engine says nothing before its end; of ours it ends by itself before that.
_ANSWER_SECONDS, _AFTER_DEADLINE = 900, 60


def gateway(it: Chosen) -> PlannedGateway | None:
    """Return the gateway where it is wanted; then it has the address that others reach, and the engine has not."""
    wanted = it.overrides
    if not wanted.gateway:
        return None
    taken = {wanted.port, wanted.gateway_port, wanted.webui_port}
    free = (port for port in range(METRICS_PORT, METRICS_PORT + 5) if port not in taken)
    return PlannedGateway(
        bind=wanted.bind,
        port=wanted.gateway_port,
        tls=wanted.gateway_tls,
        queue=wanted.gateway_queue,
        answer_seconds=max(_ANSWER_SECONDS, (wanted.deadline_seconds or 0) + _AFTER_DEADLINE),
        metrics_port=next(free),
        exporter_port=next(free),
        client_certificates=bool(wanted.gateway_client_ca),
    )


def _answer_tokens(it: Chosen) -> int | None:
    """Return how long the page lets an answer be: at most half of the context, so that a question has room.

    Never more than phi4_max_tokens, which counts for Ollama only where a request says nothing.
    """
    context, wanted = it.evaluation.sizing.context, it.overrides.webui_max_tokens
    most = min(it.overrides.max_tokens or context, context // 2)
    if wanted is not None:
        return min(wanted, most)
    return None if ENGINES[it.engine.name].refuses_to_shorten else min(ANSWER_TOKENS, context // 4, most)
