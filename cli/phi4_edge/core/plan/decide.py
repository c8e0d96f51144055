"""`decide`: from facts, table, catalog, overrides and the controller's store to the plan of one host.

Pure and deterministic. Nothing fitting is a plan too (`fits` False, with what is missing), never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.catalog.table import GB, ResourceTable
from phi4_edge.core.engines import directives
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.facts.init import hindrance
from phi4_edge.core.facts.model import HostFacts, to_plain
from phi4_edge.core.gateway.credentials import due
from phi4_edge.core.layout import UNIT
from phi4_edge.core.plan import contents, gates, needs, reasons
from phi4_edge.core.plan import steps as plan_steps
from phi4_edge.core.plan.changes import action, changes, recover
from phi4_edge.core.plan.choose import Attempt, choose, nearest, rejections
from phi4_edge.core.plan.context import Chosen, Inputs
from phi4_edge.core.plan.model import FORMAT, DiskNeed, Memory, Plan
from phi4_edge.core.plan.naming import awaited, fingerprint_of, release_of
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.core.plan.prompt_cache import prompt_cache
from phi4_edge.core.plan.settings import LIMIT_STEP, knobs, taken_at_once
from phi4_edge.core.plan.sizing import disk_available, disk_needs, native_disk
from phi4_edge.core.plan.switch import switch
from phi4_edge.core.release import release_files
from phi4_edge.core.text import canonical

__all__ = ["FORMAT", "Inputs", "Plan", "canonical", "decide"]

# Stands for the name of a release that has none yet, where names are compared: none of ours is written so.
UNNAMED = "unnamed"
# Repacked weights take so many times the model: each as it was and as it is packed, the output matrix once more.
REPACKED = 2.8


def decide(facts: HostFacts, table: ResourceTable, catalog: Catalog, overrides: Overrides, inputs: Inputs) -> Plan:
    """Return the plan of one host; equal arguments give equal plans. Never raises for a host that nothing fits."""
    catalog = _with_held(catalog, inputs)
    return needs.judged(_planned(facts, table, catalog, overrides, inputs), facts, catalog, overrides, inputs)


def _planned(facts: HostFacts, table: ResourceTable, catalog: Catalog, overrides: Overrides, inputs: Inputs) -> Plan:
    """Return the plan without what the judge says of the host."""
    choice = choose(facts, table, catalog, overrides)
    common: dict[str, Any] = {
        "host": overrides.host or facts.host,
        "bind": overrides.engine_bind,
        "port": overrides.port,
        "stability_seconds": overrides.stability_seconds,
        "layout": overrides.layout,
        "rejected": tuple(rejections(choice)),
    }
    if choice.attempt is None or choice.evaluation is None:
        closest = nearest(choice)
        return Plan(
            fits=False,
            forced=False,
            candidates=_candidates(closest),
            reasons=reasons.no_fit_reasons(choice),
            missing=reasons.missing(facts, choice, overrides),
            nearest_profile=closest.profile.name,
            **common,
        )
    return _fitting(Chosen(facts, table, catalog, overrides, inputs, choice, choice.attempt, choice.evaluation), common)


def _with_held(catalog: Catalog, inputs: Inputs) -> Catalog:
    """Return the catalog that knows what the controller has: that can be delivered wherever it is from."""
    here = [tuple(artifact.split("/", 1)) for artifact in inputs.artifacts if "/" in artifact]
    return replace(
        catalog,
        models={
            name: replace(model, held=frozenset(kind for owner, kind in here if owner == name))
            for name, model in catalog.models.items()
        },
    )


def _fitting(it: Chosen, common: Mapping[str, Any]) -> Plan:
    applied = _applied(it)
    plain = to_plain(applied)
    fingerprint = fingerprint_of(plain)
    release = release_of(fingerprint)
    install = plan_steps.install(it)
    steps = plan_steps.steps(it, install)
    first = recover(it.facts, release or UNNAMED)
    wanted = it.inputs.credentials
    brought = due(it.facts.credentials, wanted) if wanted is not None and it.overrides.gateway else ()
    kind = action(it.facts, fingerprint, install, first, brought)
    memory, disk = _memory(it, applied["knobs"]), _disk(it, applied)
    reason = _not_applicable(it)
    return Plan(
        fits=True,
        forced=it.forced,
        profile=it.attempt.profile.name,
        memory=memory,
        disk=disk,
        forecast=to_plain(it.evaluation.forecast),
        steps=steps,
        switch=switch(it, memory, kind, it.facts.receipt.fingerprint == fingerprint),
        install=install,
        prerequisites=plan_steps.prerequisites(it, install),
        image_delivery=it.overrides.image_delivery,
        image_mirror=it.overrides.image_mirror,
        applicable=not reason,
        not_applicable=reason,
        reasons=reasons.reasons(it.facts, it.table, it.choice, it.attempt, it.evaluation, it.overrides.prefer),
        warnings=(*reasons.warnings(it), *_ignored(it, plain)),
        candidates=_candidates(it.attempt),
        action=kind,
        changes=changes(it.facts, {**_compared(applied), "release": release}, first, kind, install, brought),
        recovery=str(first),
        release=release,
        fingerprint=fingerprint,
        awaits=awaited(plain),
        **{**common, **applied},
    )


def _ignored(it: Chosen, applied: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the note about directives that the host's systemd does not know; nothing depends on one of them."""
    names = directives.ignored(release_files.unit_texts(applied).values(), it.facts.systemd)
    return (f"systemd {it.facts.systemd} ignores what came later in the units: {names}",) if names else ()


def _compared(applied: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an operator wants to see named when it changes, under the names of `changes`."""
    model, runtime, image, page = applied["model"], applied["runtime"], applied["image"], applied["webui"]
    return {name: applied[name] for name in ("engine", "quantization", "bind", "port", "parallel")} | {
        "model": model.artifact,
        "model digest": model.digest,
        "context length": applied["context_length"],
        "threads": applied["knobs"].get("threads"),
        "engine files": runtime.id if runtime else None,
        "model store": applied["knobs"].get("store"),
        "service manager": applied["service_manager"],
        "image": image.key if image else None,
        "image digest": image.digest if image else None,
        "web page": page.image.key if page else None,
        "gateway": f"{gateway.bind}:{gateway.port}" if (gateway := applied["gateway"]) else None,
    }


def _applied(it: Chosen) -> dict[str, Any]:
    """Return what is carried out on the host: the fields that `naming.APPLIED` names."""
    chosen, model = it.evaluation, contents.model(it)
    found = {
        "engine": it.engine.name,
        "quantization": chosen.candidate.quantization,
        "accelerator": chosen.candidate.accelerator,
        "service_manager": chosen.verdict.service_manager,
        "context_length": chosen.sizing.context,
        "parallel": chosen.sizing.parallel,
        "kv_cache_type": chosen.sizing.kv_type,
        "bind": it.overrides.engine_bind,
        "port": it.overrides.port,
        "unit": UNIT,
        "knobs": knobs(it, model),
        "model": model,
        "runtime": contents.runtime(it),
        "image": contents.image(it.facts, it.inputs, chosen.verdict.image),
        "webui": contents.webui(it),
        "gateway": contents.gateway(it),
    }
    return {
        **found,
        "content": release_files.digest(
            to_plain({**found, "layout": it.overrides.layout}), it.catalog.webui.memory, it.inputs.runtimes
        ),
    }


def _memory(it: Chosen, settings: Mapping[str, Any]) -> Memory:
    chosen = it.evaluation
    sizing, pool = chosen.sizing, chosen.pool
    on_gpu = pool.kind == "vram"
    # vLLM takes its whole share at once, whatever the weights need.
    share = taken_at_once(settings, pool.total)
    prompts = prompt_cache(it)
    need = sizing.need if on_gpu else sizing.need + prompts
    return Memory(
        kind=pool.kind,
        weights=sizing.weights,
        kv_cache=sizing.kv_cache,
        overhead=sizing.overhead,
        prompt_cache=prompts,
        os_reserve=pool.os_reserve,
        need=need,
        available=pool.available,
        held_by_others=pool.held_by_others,
        # In steps, for the host's total is some pages more or less after a boot.
        ram_need=it.engine.gpu_ram + prompts if on_gpu else max(need, -(-share // LIMIT_STEP) * LIMIT_STEP),
        vram_need=0 if not on_gpu else share or sizing.need,
        later=prompts + (0 if on_gpu else _unasked(it)),
        measured=chosen.variant.measured,
    )


def _unasked(it: Chosen) -> int:
    """Return the bytes of KV cache that an engine does not take before it gives several answers at a time."""
    sizing = it.evaluation.sizing
    return sizing.kv_cache - sizing.kv_cache // sizing.parallel if ENGINES[it.engine.name].fills_slowly else 0


def _disk(it: Chosen, applied: Mapping[str, Any]) -> DiskNeed:
    facts, receipt, model = it.facts, it.facts.receipt, applied["model"]
    there = receipt.present and model.digest is not None and receipt.digest == model.digest
    native = native_disk(facts, it.engine, it.manager, it.accelerator, it.attempt.gpu)
    paths = (facts.layout.state, facts.layout.root, *((facts.images.path,) if it.images else ()))
    store, weights = it.engine.store, it.evaluation.variant.weights
    made = receipt.present and receipt.store != "" and receipt.store == applied["knobs"].get("store")
    own = native + sum(image.disk for image in it.images)
    making = store.peak(model.size) if store is not None and not made else 0
    packed = int(weights * REPACKED) if applied["knobs"].get("repacked") else 0
    # An image is staged and loaded before the store is made.
    staged, loaded = _loading(it, applied)
    new = (0 if there else model.size + packed) + (0 if receipt.present else native)
    return DiskNeed(
        need=max(int(it.attempt.profile.disk * GB), it.evaluation.disk_need) + packed,
        kept=weights + packed + (store.spare if store is not None else 0) + own,
        available=disk_available(facts, *paths),
        to_write=new + max(staged, making) + loaded,
        free=min(facts.disk(path).free for path in (facts.layout.state, facts.layout.root)),
    )


def _loading(it: Chosen, applied: Mapping[str, Any]) -> tuple[int, int]:
    """Return the bytes that loading the images writes where our own files are: (staged by us, by Docker)."""
    receipt, page = it.facts.receipt, applied["webui"]
    loaded = {image.digest for image in (receipt.image, receipt.webui_image) if image.digest}
    planned = [image for image in (applied["image"], page.image if page else None) if image is not None]
    # Planned and catalog's images are in the same order: first the engine's, then the page's.
    missing = [source for source, image in zip(it.images, planned, strict=True) if image.digest not in loaded]
    state, place = it.facts.layout.state, it.facts.images.path
    needs = disk_needs(it.facts, 0, 0, missing, it.overrides.image_delivery)
    shared = it.facts.disk(place).pool == it.facts.disk(state).pool
    return needs[state], needs[place] if shared else 0


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
            "source": item.forecast.source,
            "uncertainty": item.forecast.uncertainty,
        }
        for item in attempt.evaluations
    )


def _not_applicable(it: Chosen) -> str | None:
    label = f"{it.engine.name} {it.evaluation.candidate.quantization}"
    if why := gates.undeliverable(it.catalog, it.evaluation.candidate, it.overrides):
        return f"{label} {why}; phi4_quantization selects another"
    if it.manager not in it.engine.applicable:
        return f"this release of phi4-edge plans {label} under {it.manager}, but cannot install it yet"
    return hindrance(it.facts) or None
