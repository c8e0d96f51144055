"""The controller-side store: what is fetched, converted and built once and pushed to gateways."""

from phi4_edge.artifacts import delivery
from phi4_edge.artifacts.delivery import Delivery, ensure
from phi4_edge.artifacts.store.store import Store
from phi4_edge.progress import Event, Progress, silent

__all__ = ["Delivery", "Event", "Progress", "Store", "delivery", "ensure", "silent"]
