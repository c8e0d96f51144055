"""What a host gets for its plan besides model and engine: the release's text files and programs of ours. Pure.

A release is named after this, and never after the text of our own source: a comment, or another name of a file of ours,
changes nothing on a host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from phi4_edge.core import layout
from phi4_edge.core.engines import compose, container_unit, units
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.release import gateway_unit, guard_unit, heal_unit, measure_unit, metrics_unit
from phi4_edge.core.text import canonical

Plan = Mapping[str, Any]
# What begins the chat page; it is inside of the page's Compose document.
PAGE_START = "start.py"
# Stands in a plan's texts for the name of its release, which is made of them.
_UNNAMED = "r-000000000000"


def programs(plan: Plan) -> tuple[str, ...]:
    """Return the names of the programs that lie in the release of a plan."""
    contained = plan["service_manager"] == "compose" or plan.get("webui")
    healing = heal_unit.PROGRAMS if heal_unit.wanted(plan) else ()
    telling = metrics_unit.PROGRAMS if gateway_unit.wanted(plan) else ()
    measuring = measure_unit.PROGRAMS if measure_unit.wanted(plan) else ()
    ported = (container_unit.PORT,) if contained else ()
    return (*ENGINES[plan["engine"]].programs, *ported, *healing, *telling, *measuring)


def unit_files(plan: Plan, release: str) -> dict[str, str]:
    """Return the units and settings in the release by name; `release`: its directory on the host."""
    found = {layout.UNIT: units.service(plan, release)}
    if units.handed(plan):
        found[layout.SOCKET_UNIT] = units.socket(plan)
    if ENGINES[plan["engine"]].loader:
        found[layout.LOAD_UNIT] = units.loader(plan, release)
    if plan["service_manager"] == "systemd":
        found[units.ENVIRONMENT_FILE] = units.environment(plan, release)
    found |= gateway_unit.files(plan, release)
    if gateway_unit.wanted(plan):
        found[layout.METRICS_UNIT] = metrics_unit.service(plan, release)
        found[layout.GUARD_UNIT] = guard_unit.unit(plan)
    if measure_unit.wanted(plan):
        found[layout.MEASURE_UNIT] = measure_unit.service(plan, release)
    if heal_unit.wanted(plan):
        found |= {layout.HEAL_UNIT: heal_unit.service(plan, release), layout.HEAL_TIMER: heal_unit.timer()}
    return found


def unit_texts(plan: Plan) -> dict[str, str]:
    """Return all of a plan's units and settings by name, the chat page's too, whatever its release will be called."""
    named = {**plan, "release": _UNNAMED}
    release = units.release_directory(named)
    page = {layout.WEBUI_UNIT: units.page(named, release)} if plan["webui"] else {}
    return {**unit_files(named, release), **page}


def digest(plan: Plan, page_memory: int, held: Mapping[str, str]) -> str:
    """Return the digest of all of it. `page_memory`: limit of the chat page in bytes; `held`: digest of each program.

    What a document has of the images on the host is left out: the plan names them.
    """
    named = {**plan, "release": _UNNAMED}
    release = units.release_directory(named)
    names, texts = programs(plan), unit_texts(plan)
    documents: dict[str, Any] = {}
    if plan["service_manager"] == "compose":
        documents[units.COMPOSE_FILE] = compose.document(named, {"engine": ""}, release_dir=release)
    if plan["webui"]:
        names = (*names, PAGE_START)
        documents[units.WEBUI_FILE] = compose.webui_document(named, "", memory=page_memory, start="")
    of_ours = {name: held.get(name, "") for name in names}
    whole = {"texts": texts, "documents": documents, "programs": of_ours}
    return hashlib.sha256(canonical(whole).encode()).hexdigest()
