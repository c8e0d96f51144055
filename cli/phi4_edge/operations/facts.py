"""What hosts sent, as facts; and what is said of a host whose facts cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge.core.facts.sources import layout
from phi4_edge.core.packages.commands import see
from phi4_edge.errors import FactsError
from phi4_edge.rollout.result import HostResult, Outcome


def looked_at(document: Mapping[str, Any]) -> dict[str, str]:
    """The variables that say where the host of a facts document was looked at. Raises FactsError for nonsense."""
    return layout(document.get("layout")).variables


def unusable(host: str, error: FactsError) -> HostResult:
    """The result of a host whose facts cannot be used."""
    return HostResult(host, Outcome.PREFLIGHT, str(error), see(host))
