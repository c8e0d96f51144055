"""Reads the catalog's plain data into its types and checks that all references in it hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from phi4_edge.core.catalog.fields import Row
from phi4_edge.core.catalog.library import read_library
from phi4_edge.core.catalog.model import (
    ACCELERATORS,
    SERVICE_MANAGERS,
    Architecture,
    Build,
    Candidate,
    Catalog,
    CatalogEngine,
    DriverRule,
    Floor,
    Model,
    ModelStore,
    Start,
    Variant,
    WebUiImage,
)
from phi4_edge.core.catalog.published import read_published
from phi4_edge.core.catalog.recipe import read_recipe
from phi4_edge.core.catalog.releases import read_image, read_release
from phi4_edge.core.catalog.speed import read_speed
from phi4_edge.core.catalog.table import PROFILES
from phi4_edge.core.engines import modelfile
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.text import version_of
from phi4_edge.errors import CatalogError

_REVISION = re.compile(r"[0-9a-f]{40}")
ENGINE_FIELDS = (
    *("version", "service_managers", "on_request", "applicable", "queue", "disk", "container_port", "shm_size"),
    *("gpu_ram", "prompt_cache", "store", "start", "release", "builds", "variants"),
)

BUILD_FIELDS = (
    *("kv_types", "kv_step", "architectures", "glibc", "pythons", "compute_capability", "drivers", "jetson", "images"),
)


def read(
    data: Mapping[str, Any],
    floors: Mapping[str, Any] | None = None,
    bounds: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
) -> Catalog:
    """Return the catalog in plain data; raises CatalogError that names row and field.

    `bounds`: by engine, those that an engine of ours has beside its code.
    """
    top = Row("catalog", data)
    top.only("models", "kv_types", "engines", "candidates", "speed", "variants", "webui")
    kv_row = top.row("kv_types")
    kv_types = {str(name): kv_row.integer(name) for name in kv_row.data}
    engines = {
        name: _engine(name, row, kv_types, (bounds or {}).get(name, {})) for name, row in top.rows("engines").items()
    }
    return Catalog(
        models=_models(top.rows("models")),
        kv_types=MappingProxyType(kv_types),
        engines=MappingProxyType(engines),
        candidates=_candidates(top.row("candidates"), engines),
        speed=read_speed(top.row("speed"), ACCELERATORS),
        variants=_variants(top.row("variants")),
        webui=_webui(top.row("webui")),
        floors=read_floors(floors or {"floors": {}}),
    )


def read_floors(data: Mapping[str, Any]) -> Mapping[str, Floor]:
    """Return the floors by component; raises CatalogError that names row and field."""
    return MappingProxyType({name: _floor(row) for name, row in Row("CVE floors", data).rows("floors").items()})


def _variants(row: Row) -> Mapping[str, Mapping[str, Any]]:
    try:
        return MappingProxyType(modelfile.check(row.data, {}))
    except ValueError as error:
        raise CatalogError(f"{row.where}: {error}. Correct the file and run again.") from error


def _webui(row: Row) -> WebUiImage:
    row.only("image", "memory")
    return WebUiImage(read_image(row.row("image")), row.integer("memory"))


def _floor(row: Row) -> Floor:
    row.only("minimum", "why", "watch", "branches")
    minimum = version_of(row.text("minimum"))
    if not minimum:
        row.fail("minimum", "a version such as 1.2.3")
    branches = row.row("branches") if "branches" in row.data else Row(row.where, {})
    return Floor(
        minimum,
        row.text("why"),
        MappingProxyType({version_of(str(key)): version_of(branches.text(key)) for key in branches.data}),
    )


def _models(rows: Mapping[str, Row]) -> Mapping[str, Model]:
    models = {name: _model(name, row) for name, row in rows.items()}
    for name, model in models.items():
        original = models.get(model.stand_in_for)
        if model.architecture is None and (original is None or original.architecture is None):
            rows[name].fail("stand_in_for", "a model with an architecture, where there is none of its own")
    return MappingProxyType(models)


def _model(name: str, row: Row) -> Model:
    row.only(
        "served_name", "stand_in_for", "licence", "source", "context_length", "architecture", "checkpoints", "library",
        "published",
    )  # fmt: skip
    source = row.row("source")
    source.integer("size")
    checkpoints = row.rows("checkpoints") if "checkpoints" in row.data else {}
    for checkpoint in checkpoints.values():
        checkpoint.only("kind", "repo", "revision", "allow", "size")
        checkpoint.integer("size")
        revision = checkpoint.data.get("revision")
        if revision is not None and not (isinstance(revision, str) and _REVISION.fullmatch(revision)):
            checkpoint.fail("revision", "the 40 hexadecimal digits of a commit, or null where none is known")
    shape = row.row("architecture") if "architecture" in row.data else None
    if shape is not None:
        shape.only("parameters", "layers", "kv_heads", "head_dim", "vocabulary")
    return Model(
        id=name,
        served_name=row.text("served_name"),
        licence=row.text("licence"),
        stand_in_for=row.text("stand_in_for", ""),
        source=MappingProxyType(dict(source.data)),
        context_length=row.integer("context_length"),
        architecture=None
        if shape is None
        else Architecture(
            parameters=shape.integer("parameters"),
            layers=shape.integer("layers"),
            kv_heads=shape.integer("kv_heads"),
            head_dim=shape.integer("head_dim"),
            vocabulary=shape.integer("vocabulary"),
        ),
        checkpoints=MappingProxyType({key: MappingProxyType(dict(item.data)) for key, item in checkpoints.items()}),
        library=read_library(row.row("library")) if "library" in row.data else None,
        published=read_published(row.row("published")) if "published" in row.data else None,
    )


def _engine(name: str, row: Row, kv_types: Mapping[str, int], bounds: Mapping[str, Sequence[int]]) -> CatalogEngine:
    row.only(*ENGINE_FIELDS)
    if name not in ENGINES:
        row.fail("name", f"one of {', '.join(ENGINES)} as the name of an engine")
    managers = {field: row.texts(field) for field in ("service_managers", "on_request", "applicable")}
    for field, values in managers.items():
        if not set(values) <= set(SERVICE_MANAGERS):
            row.fail(field, f"a list of {' and '.join(SERVICE_MANAGERS)}")
        if "systemd" in values and ENGINES[name].native is None:
            row.fail(field, "compose alone, under which this engine runs")
    return CatalogEngine(
        name=name,
        version=row.text("version"),
        **managers,
        queue=row.integer("queue", 0),
        disk=row.integer("disk"),
        container_port=row.integer("container_port"),
        shm_size=row.integer("shm_size"),
        gpu_ram=row.integer("gpu_ram", 0),
        prompt_cache=row.integer("prompt_cache", 0),
        store=_store(row.row("store")) if "store" in row.data else None,
        start=MappingProxyType({key: _start(inner) for key, inner in row.rows("start").items()}),
        release=read_release(row.row("release")) if "release" in row.data else None,
        builds=MappingProxyType({key: _build(key, inner, kv_types) for key, inner in row.rows("builds").items()}),
        variants=MappingProxyType({key: _variant(key, inner) for key, inner in row.rows("variants").items()}),
        bounds=MappingProxyType({variable: (low, high) for variable, (low, high) in bounds.items()}),
    )


def _build(accelerator: str, row: Row, kv_types: Mapping[str, int]) -> Build:
    row.only(*BUILD_FIELDS)
    if accelerator not in ACCELERATORS:
        row.fail("accelerator", f"one of {', '.join(ACCELERATORS)} as the name of a build")
    types = row.texts("kv_types")
    if not types or not set(types) <= set(kv_types):
        row.fail("kv_types", f"a list of {', '.join(kv_types)}")
    features = row.row("architectures")
    jetson = row.data.get("jetson", [])
    if not isinstance(jetson, list) or not all(type(release) is int for release in jetson):
        row.fail("jetson", "a list of major releases of Linux for Tegra")
    return Build(
        accelerator=accelerator,
        kv_types=types,
        kv_step=max(1, row.integer("kv_step", 1)),
        architectures=MappingProxyType({str(name): features.texts(name) for name in features.data}),
        glibc=row.text("glibc", ""),
        pythons=row.texts("pythons", ()),
        compute_capability=version_of(row.text("compute_capability", "")),
        drivers=tuple(
            DriverRule(version_of(rule.text("capability_to", "")), rule.integer("minimum"))
            for rule in row.each("drivers")
        ),
        jetson=tuple(jetson),
        images=tuple(read_image(image) for image in row.each("images")),
    )


def _store(row: Row) -> ModelStore:
    row.only("making", "spare")
    return ModelStore(row.integer("making"), row.integer("spare"))


def _start(row: Row) -> Start:
    row.only("seconds", "measured")
    return Start(row.integer("seconds"), row.flag("measured"))


def _variant(name: str, row: Row) -> Variant:
    row.only(
        "artifact", "bits", "weights", "overhead", "measured", "compute_capability", "not_applicable", "recipe",
        "context", "long",
    )  # fmt: skip
    if "long" in row.data and not row.integer("context", 0):
        row.fail("context", "the tokens above which the artifact in `long` serves")
    overhead = row.row("overhead")
    overhead.only(*ACCELERATORS)
    return Variant(
        quantization=name,
        artifact=row.text("artifact"),
        bits=row.integer("bits"),
        weights=row.integer("weights"),
        overhead=MappingProxyType({str(key): overhead.integer(key) for key in overhead.data}),
        measured=row.flag("measured"),
        compute_capability=version_of(row.text("compute_capability", "")),
        not_applicable=row.text("not_applicable", ""),
        recipe=read_recipe(row.row("recipe")) if "recipe" in row.data else None,
        context=row.integer("context", 0),
        long=row.text("long", ""),
    )


def _candidates(row: Row, engines: Mapping[str, CatalogEngine]) -> Mapping[str, tuple[Candidate, ...]]:
    row.only(*PROFILES)
    return MappingProxyType(
        {str(name): tuple(_candidate(item, str(name), engines) for item in row.each(name)) for name in row.data}
    )


def _candidate(row: Row, profile: str, engines: Mapping[str, CatalogEngine]) -> Candidate:
    row.only("engine", "quantization", "minimum_ram")
    engine = engines.get(row.text("engine"))
    if engine is None:
        row.fail("engine", f"one of {', '.join(engines)}")
    variant = engine.variants.get(row.text("quantization"))
    accelerator = "cuda" if profile == "production_gpu" else "cpu"
    if variant is None or accelerator not in variant.overhead or accelerator not in engine.builds:
        row.fail("quantization", f"a variant that {engine.name} has for {accelerator}")
    return Candidate(engine.name, variant.quantization, accelerator, row.number("minimum_ram", 0))
