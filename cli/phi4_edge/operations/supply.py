"""Workers have in their own stores what their hosts are going to be sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from phi4_edge import content
from phi4_edge.core.plan.model import Plan
from phi4_edge.errors import ArtifactError, RunnerError
from phi4_edge.runner.workers.link import connect
from phi4_edge.view.telling import teller

if TYPE_CHECKING:
    from phi4_edge.artifacts import Store
    from phi4_edge.runner.workers.pool import Pool
    from phi4_edge.view.view import View


def supply(pool: Pool, plans: Iterable[Plan], store: Store, view: View) -> None:
    """Every worker has what `plans`, whose needs are in `store`, name; what it has already is not sent again.

    Every worker gets everything, because each may have to take over the hosts of another. One that is lost meanwhile
    takes no part. Raises ArtifactError when a worker that can be reached does not take it.
    """
    from phi4_edge.artifacts.bundle import handover  # with all that may make things

    wanted = [plan for plan in plans if plan.fits]
    for worker in tuple(pool.workers) if wanted else ():
        try:
            link, _ = connect(worker.target)
            with link:
                link.say({"do": "store"})
                sent = handover.send(store, wanted, content, link.source, link.sink, worker.target, teller(view))
                if sent:
                    view.note(f"worker {worker.target}: {sent / 1e6:.0f} MB copied to its store")
        except (OSError, RunnerError) as error:
            pool.give_up(worker, str(error))
        except ArtifactError as error:
            raise ArtifactError(f"worker {worker.target} did not get what its hosts need: {error}") from error
