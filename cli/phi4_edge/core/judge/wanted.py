"""What a plan asks of its host, as far as the judge has to know it."""

from __future__ import annotations

from dataclasses import dataclass

from phi4_edge.core.layout import STANDARD, Layout
from phi4_edge.core.values import AUTO


@dataclass(frozen=True, slots=True)
class Installs:
    """What the roles install before the release."""

    docker: bool = False
    toolkit: bool = False
    driver: bool = False

    @property
    def any(self) -> bool:
        """Whether the host's package manager has something to do."""
        return self.docker or self.toolkit or self.driver


@dataclass(frozen=True, slots=True)
class Wanted:
    """The needs of one plan. Without a fit nothing but our own folders is needed, which every plan has.

    `idle`: the host is as planned, so that nothing is in the way of anything. `native`: programs run from the releases.
    `docker`: containers run. `cuda`: the model runs on a GPU, which is `gpu` (its UUID, "" where it has none).
    `gpu_welcome`: the inventory leaves it to us to use a GPU. `write`: bytes that this change adds below our folders,
    `free` those that are free there now. `memory`: bytes of RAM that `label` needs now, None where a release of ours
    may hold them. `ports`: (port, address, variable) that must be free. `engine`, `quantization` and `driver_install`
    are the inventory's; `accepted` are components that it accepts below their floor, `layout` where it
    wants our folders.
    """

    idle: bool = False
    native: bool = False
    docker: bool = False
    cuda: bool = False
    gpu: str = ""
    gpu_welcome: bool = True
    installs: Installs = Installs()
    force: bool = False
    write: int = 0
    free: int = 0
    memory: int | None = None
    label: str = ""
    ports: tuple[tuple[int, str, str], ...] = ()
    engine: str = AUTO
    quantization: str = AUTO
    driver_install: bool = False
    accepted: tuple[str, ...] = ()
    layout: Layout = STANDARD
