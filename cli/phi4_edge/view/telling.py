"""What work on artifacts tells, shown in a view."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phi4_edge.progress import Event, Progress
    from phi4_edge.view.view import View


def teller(view: View) -> Progress:
    """A progress callback that shows each event in `view`."""

    def tell(event: Event) -> None:
        view.progress(event.artifact, event.step, event.detail, event.done, event.total)

    return tell
