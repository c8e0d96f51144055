"""What hosts sent, as facts; and what is said of a host whose facts cannot be used."""

from __future__ import annotations

from phi4_edge.core.doctor.fix import see
from phi4_edge.errors import FactsError
from phi4_edge.rollout.result import HostResult, Outcome


def unusable(host: str, error: FactsError) -> HostResult:
    """The result of a host whose facts cannot be used."""
    return HostResult(host, Outcome.PREFLIGHT, str(error), see(host))
