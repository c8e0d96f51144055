"""What the plans of a fleet need is in the controller's store, or it is said of which hosts it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from phi4_edge import artifacts, content
from phi4_edge.artifacts import delivery
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.plan.decide import Plan
from phi4_edge.data import load_catalog
from phi4_edge.errors import AGAIN, InterruptedRunError, PreflightError
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.view.telling import teller
from phi4_edge.view.view import View

NOTHING_CHANGED = f"nothing was changed on any host; {AGAIN}"


@dataclass(frozen=True)
class Making:
    """Where things are made. `check`: nothing is; `bundle`: path of the file that everything must have been in."""

    store: Store
    check: bool = False
    bundle: str = ""

    def ensure(self, plans: Mapping[str, Plan], view: View) -> list[HostResult]:
        """All that these plans need is in the store afterwards; hosts for which it is not come back.

        Raises InterruptedRunError for Ctrl-C.
        """
        catalog = load_catalog()
        unready: list[HostResult] = []
        failed: dict[tuple[object, ...], str] = {}
        for host, plan in plans.items():
            key = delivery.key(plan)
            if key not in failed:
                failed[key] = self._failure(catalog, plan, view)
            if failed[key]:
                step = "fix that on this controller, then run again; no host was changed"
                unready.append(HostResult(host, Outcome.PREFLIGHT, failed[key], step))
        return unready

    def _failure(self, catalog: Catalog, plan: Plan, view: View) -> str:
        """Empty when all is there; else why it is not."""
        if self.check and (lacking := delivery.missing(self.store, plan)):
            return f"{', '.join(lacking)}: not in the store, and --check makes and fetches nothing"
        try:
            artifacts.ensure(self.store, catalog, plan, content, teller(view), self.bundle)
        except PreflightError as error:
            return str(error)
        except KeyboardInterrupt as error:
            raise InterruptedRunError(f"interrupted while preparing artifacts; {NOTHING_CHANGED}") from error
        return ""
