"""The dashboards have what Grafana needs to import them: identities, places, data sources, questions."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as schema

from phi4_edge.core.monitoring.dashboards import DASHBOARDS, Dashboard

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
every = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.name)
# Of Grafana's list of units (@grafana/data, valueFormats/categories.ts).
UNITS = {"short", "s", "bytes", "percentunit", "celsius", "watt", "reqps"}


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    at = panel["gridPos"]
    return {*itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))}


def test_each_dashboard_has_an_identity_of_its_own() -> None:
    assert [one.file for one in DASHBOARDS] == [f"dashboard-{name}.json" for name in ("fleet", "host", "engine")]
    assert (
        len({one.document()["uid"] for one in DASHBOARDS}) == len({one.document()["title"] for one in DASHBOARDS}) == 3
    )
    assert all(re.fullmatch(r"[a-z0-9-]{1,40}", one.document()["uid"]) for one in DASHBOARDS)


@every
def test_it_is_plain_json_and_no_instance_of_grafana_is_in_it(dashboard: Dashboard) -> None:
    document = dashboard.document()
    assert json.loads(json.dumps(document)) == document
    assert "id" not in document
    assert {"title", "schemaVersion", "panels", "templating", "time"} < document.keys()


def lost(given: Any, back: Any, path: str = "") -> list[str]:
    """What of `given` is not the same in `back`, as paths."""
    if isinstance(given, dict) and isinstance(back, dict):
        return [one for key, value in given.items() for one in lost(value, back.get(key), f"{path}/{key}")]
    if isinstance(given, list) and isinstance(back, list) and len(given) == len(back):
        return [
            one for number, pair in enumerate(zip(given, back, strict=True)) for one in lost(*pair, f"{path}/{number}")
        ]
    return [] if given == back else [path]


def through_the_schema(document: dict[str, Any]) -> dict[str, Any]:
    """The dashboard as classes have it that Grafana's makers generate from its schema, the oldest that is promised.

    What the schema does not know is left out.
    """
    register_default_plugins()
    made: dict[str, Any] = json.loads(JSONEncoder().encode(schema.Dashboard.from_json(document)))
    return made


@every
def test_it_is_what_grafanas_schema_says(dashboard: Dashboard) -> None:
    document = dashboard.document()
    assert lost(document, through_the_schema(document)) == []


def test_what_is_not_in_the_schema_would_be_found() -> None:
    document = DASHBOARDS[0].document()
    first = document["panels"][0]
    for place, name in ((document, "refreshes"), (first, "colour"), (first["targets"][0], "question")):
        place[name] = "x"
    found = lost(document, through_the_schema(document))
    assert found == ["/panels/0/targets/0/question", "/panels/0/colour", "/refreshes"]


@every
def test_panels_have_ids_and_places_of_their_own(dashboard: Dashboard) -> None:
    panels = dashboard.document()["panels"]
    assert [panel["id"] for panel in panels] == [*range(1, len(panels) + 1)]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        here = cells(panel)
        assert not here & taken, panel["title"]
        assert max(x for x, _y in here) < 24
        taken |= here
    assert len({panel["title"] for panel in panels}) == len(panels)


@every
def test_panels_ask_the_chosen_data_source(dashboard: Dashboard) -> None:
    variables = {one["name"]: one for one in dashboard.document()["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    for panel in dashboard.document()["panels"]:
        assert panel["datasource"] == SOURCE
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == [chr(ord("A") + at) for at in range(len(letters))]
        for target in panel["targets"]:
            assert target["datasource"] == SOURCE
            assert target["instant"] is not target["range"]
            used = {*re.findall(r"\$(\w+)", target["expr"])} - {"__rate_interval"}
            assert used <= variables.keys() - {"datasource"}, target["expr"]


@every
def test_who_chooses_a_host_is_shown_that_one_alone(dashboard: Dashboard) -> None:
    chosen = {one["name"] for one in dashboard.document()["templating"]["list"]} - {"datasource"}
    for panel in dashboard.document()["panels"]:
        for target in panel["targets"]:
            for name in chosen:
                names = len(re.findall(r"(?:phi4_edge_|vllm:|haproxy_|scrape_)\w+", target["expr"]))
                # What a host says of itself has no engine.
                assert target["expr"].count(f'{name}=~"${name}"') == names, target["expr"]
