"""The dashboards of Grafana: fleet, host and engine, as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.monitoring import panels
from phi4_edge.core.monitoring.panels import Panel, Query

# Of Grafana 10.0; later ones take it and bring it up to date.
_SCHEMA_VERSION = 38
_COLUMNS = 24
_TAG = "phi4-edge"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard. `variables`: what can be chosen, by name, with the query for its values."""

    name: str
    title: str
    panels: Sequence[Panel]
    variables: Sequence[tuple[str, str]] = ()

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"dashboard-{self.name}.json"

    def document(self) -> dict[str, Any]:
        """Return what Grafana imports. Its uid is always the same: importing it again replaces it."""
        return {
            "uid": f"phi4-edge-{self.name}",
            "title": self.title,
            "tags": [_TAG],
            "schemaVersion": _SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "timezone": "browser",
            "annotations": {"list": []},
            "links": [
                {
                    "type": "dashboards",
                    "tags": [_TAG],
                    "title": "phi4-edge",
                    "asDropdown": False,
                    "keepTime": True,
                    "includeVars": True,
                }
            ],
            "templating": {"list": [_datasource(), *(_variable(*each) for each in self.variables)]},
            "panels": list(_placed(self.panels)),
        }


_HOST = ("host", "label_values(phi4_edge_release_info, host)")
_ENGINE = ("engine", "label_values(phi4_edge_release_info, engine)")
DASHBOARDS = (
    Dashboard("fleet", "Phi-4 gateways: fleet", panels.FLEET),
    Dashboard("host", "Phi-4 gateways: host", panels.HOST, (_HOST,)),
    Dashboard("engine", "Phi-4 gateways: engine", panels.ENGINE, (_HOST, _ENGINE)),
)


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


def _placed(found: Sequence[Panel]) -> Iterator[dict[str, Any]]:
    """The panels, side by side while there is room."""
    x = y = height = 0
    for number, panel in enumerate(found, 1):
        if x + panel.width > _COLUMNS:
            x, y, height = 0, y + height, 0
        place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
        yield _panel(panel, number, place)
        x, height = x + panel.width, max(height, panel.height)


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.least is not None:
        defaults["min"] = panel.least
    made: dict[str, Any] = {
        "id": number,
        "title": panel.title,
        "description": panel.description,
        "type": panel.kind,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [_target(query, panel.kind, at) for at, query in enumerate(panel.queries)],
    }
    if panel.kind == "table":
        hidden = dict.fromkeys(("Time", "Value", "__name__", "instance", "job", "groups"), True)
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return made


def _target(query: Query, kind: str, at: int) -> dict[str, Any]:
    now = kind != "timeseries"
    return {
        "refId": chr(ord("A") + at),
        "datasource": _SOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend,
        "format": "table" if kind == "table" else "time_series",
        "instant": now,
        "range": not now,
    }


_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "auto",
    },
    "table": {"showHeader": True},
}
