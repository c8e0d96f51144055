"""`decide`: from facts, table, catalog, overrides and the controller's store to the plan of one host.

Pure and deterministic. Nothing fitting is a plan too (`fits` False, with what is missing), never an exception.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.core import advice
from phi4_edge.core.catalog import Catalog, Engine
from phi4_edge.core.changes import action, changes
from phi4_edge.core.choose import Attempt, Choice, Evaluation, choose, nearest, rejections
from phi4_edge.core.host import DOCKER_PATH, MODELS_PATH, RELEASES_PATH, HostFacts, to_plain
from phi4_edge.core.knobs import knobs
from phi4_edge.core.overrides import Overrides
from phi4_edge.core.plan_types import FORMAT, UNIT, DiskNeed, Memory, Plan, PlannedImage, PlannedModel, Runtime
from phi4_edge.core.sizing import disk_available
from phi4_edge.core.table import GB, ResourceTable
from phi4_edge.core.text import dotted, version_of

__all__ = ["FORMAT", "Inputs", "Plan", "canonical", "decide"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the controller holds: artifact id to digest, and engine to digest of its installed content."""

    artifacts: Mapping[str, str] = field(default_factory=dict)
    runtimes: Mapping[str, str] = field(default_factory=dict)


def decide(facts: HostFacts, table: ResourceTable, catalog: Catalog, overrides: Overrides, inputs: Inputs) -> Plan:
    """Return the plan of one host; equal arguments give equal plans. Never raises for a host that nothing fits."""
    choice = choose(facts, table, catalog, overrides)
    common: dict[str, Any] = {
        "host": overrides.host or facts.host,
        "bind": overrides.bind,
        "port": overrides.port,
        "stability_seconds": overrides.stability_seconds,
        "rejected": tuple(rejections(choice)),
    }
    if choice.attempt is None or choice.evaluation is None:
        closest = nearest(choice)
        return Plan(
            fits=False,
            forced=False,
            candidates=_candidates(closest),
            reasons=advice.no_fit_reasons(choice),
            missing=advice.missing(choice, overrides),
            nearest_profile=closest.profile.name,
            **common,
        )
    return _fitting(
        _Chosen(facts, table, catalog, overrides, inputs, choice, choice.attempt, choice.evaluation), common
    )


def canonical(data: Mapping[str, Any]) -> str:
    """Return JSON text that is equal for equal data: sorted keys, no spaces, ASCII."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Everything that a plan with a fit is written from."""

    facts: HostFacts
    table: ResourceTable
    catalog: Catalog
    overrides: Overrides
    inputs: Inputs
    choice: Choice
    attempt: Attempt
    evaluation: Evaluation

    @property
    def engine(self) -> Engine:
        return self.catalog.engines[self.evaluation.candidate.engine]

    @property
    def forced(self) -> bool:
        return bool(self.choice.overruled)


def _fitting(it: _Chosen, common: Mapping[str, Any]) -> Plan:
    applied = _applied(it)
    fingerprint = hashlib.sha256(canonical(to_plain(applied)).encode()).hexdigest()
    release = f"r-{fingerprint[:12]}"
    kind = action(it.facts, fingerprint)
    model: PlannedModel = applied["model"]
    disk = _disk(it, model)
    reason = _not_applicable(it.engine, it.evaluation)
    return Plan(
        fits=True,
        forced=it.forced,
        profile=it.attempt.profile.name,
        memory=_memory(it.evaluation),
        disk=disk,
        forecast=to_plain(it.evaluation.forecast),
        applicable=not reason,
        not_applicable=reason,
        reasons=advice.reasons(it.facts, it.table, it.choice, it.attempt, it.evaluation),
        warnings=advice.warnings(it.facts, it.table, it.overrides, it.choice, it.attempt, it.evaluation),
        blockers=advice.blockers(it.facts, it.overrides, it.evaluation, disk, kind),
        candidates=_candidates(it.attempt),
        action=kind,
        changes=changes(it.facts, _compared(applied), release, kind),
        release=release,
        fingerprint=fingerprint,
        **{**common, **applied},
    )


def _compared(applied: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an operator wants to see named when it changes, under the names of `changes`."""
    model, runtime = applied["model"], applied["runtime"]
    return {name: applied[name] for name in ("engine", "quantization", "bind", "port", "parallel")} | {
        "model": model.artifact,
        "model digest": model.digest,
        "context length": applied["context_length"],
        "threads": applied["knobs"].get("threads"),
        "engine files": runtime.id if runtime else None,
    }


def _applied(it: _Chosen) -> dict[str, Any]:
    """Return what is carried out on the host, and nothing else: this is what the fingerprint is made of."""
    chosen = it.evaluation
    return {
        "engine": it.engine.name,
        "quantization": chosen.candidate.quantization,
        "accelerator": chosen.candidate.accelerator,
        "service_manager": chosen.verdict.service_manager,
        "context_length": chosen.sizing.context,
        "parallel": it.overrides.parallel,
        "kv_cache_type": chosen.sizing.kv_type,
        "bind": it.overrides.bind,
        "port": it.overrides.port,
        "unit": UNIT,
        "knobs": knobs(it.facts, it.table, it.engine, chosen, it.overrides, it.attempt.gpu, it.forced),
        "model": _model(it.catalog, it.overrides, it.inputs, chosen),
        "runtime": _runtime(it.facts, it.engine, it.inputs, chosen),
        "image": _image(chosen),
    }


def _model(catalog: Catalog, overrides: Overrides, inputs: Inputs, chosen: Evaluation) -> PlannedModel:
    model = catalog.models[overrides.model]
    artifact = f"{model.id}/{chosen.variant.artifact}"
    size = model.size if model.stand_in_for else chosen.variant.weights
    return PlannedModel(model.id, model.served_name, artifact, inputs.artifacts.get(artifact), size)


def _runtime(facts: HostFacts, engine: Engine, inputs: Inputs, chosen: Evaluation) -> Runtime | None:
    """Return the Python environment that an engine with wheels needs; None for all others and for containers."""
    pythons = engine.builds[chosen.candidate.accelerator].pythons
    if chosen.verdict.service_manager != "systemd" or not pythons:
        return None
    python, digest = dotted(version_of(facts.python.version), 2), inputs.runtimes.get(engine.name)
    tag = f"cp{python.replace('.', '')}-{facts.architecture}"
    return Runtime(digest, python, facts.architecture, f"{digest[:16]}-{tag}" if digest else None)


def _image(chosen: Evaluation) -> PlannedImage | None:
    image = chosen.verdict.image
    if image is None:
        return None
    reference = f"{image.repository}:{image.tag}" + (f"@{image.digest}" if image.digest else "")
    return PlannedImage(image.repository, image.tag, image.digest, reference, image.cuda, image.disk)


def _memory(chosen: Evaluation) -> Memory:
    sizing, pool = chosen.sizing, chosen.pool
    return Memory(
        kind=pool.kind,
        weights=sizing.weights,
        kv_cache=sizing.kv_cache,
        overhead=sizing.overhead,
        os_reserve=pool.os_reserve,
        need=sizing.need,
        available=pool.available,
        held_by_others=pool.held_by_others,
        measured=chosen.variant.measured,
    )


def _disk(it: _Chosen, model: PlannedModel) -> DiskNeed:
    facts, chosen = it.facts, it.evaluation
    there = facts.receipt.present and model.digest is not None and facts.receipt.digest == model.digest
    image = chosen.verdict.image.disk if chosen.verdict.image else 0
    native = chosen.disk_need - chosen.sizing.weights - image
    paths = (MODELS_PATH, RELEASES_PATH, DOCKER_PATH) if image else (MODELS_PATH, RELEASES_PATH)
    return DiskNeed(
        need=max(int(it.attempt.profile.disk * GB), chosen.disk_need),
        available=disk_available(facts, *paths),
        to_write=(0 if there else model.size) + (0 if facts.receipt.present else native),
        free=min(facts.disk(MODELS_PATH).free, facts.disk(RELEASES_PATH).free),
    )


def _candidates(attempt: Attempt) -> tuple[Mapping[str, Any], ...]:
    """Return each candidate of the profile with what it would bring; `available` is what its need must not exceed."""
    return tuple(
        {
            "engine": item.candidate.engine,
            "quantization": item.candidate.quantization,
            "fits": not item.reasons and not attempt.lacks,
            "need": item.full.need if item.lacks else item.sizing.need,
            "available": item.pool.usable,
            "decode_tokens_per_second": item.forecast.decode_tokens_per_second,
            "measured": item.forecast.measured,
        }
        for item in attempt.evaluations
    )


def _not_applicable(engine: Engine, chosen: Evaluation) -> str | None:
    manager = chosen.verdict.service_manager
    if manager in engine.applicable and chosen.variant.applicable:
        return None
    return (
        f"this release of phi4-edge plans {engine.name} {chosen.candidate.quantization} under {manager}, "
        "but cannot install it yet; phi4_engine chooses another"
    )
