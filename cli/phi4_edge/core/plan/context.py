"""What was chosen for one host, with everything that it was chosen from: what the parts of a plan are written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from phi4_edge.core.catalog.model import Catalog, CatalogEngine, CatalogImage
from phi4_edge.core.catalog.table import ResourceTable
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.gateway import credentials
from phi4_edge.core.plan.choose import Attempt, Choice, Evaluation
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.core.plan.sizing import beside


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the controller holds.

    `artifacts`: id to digest. `images`: key to digest of the manifest. `runtimes`: digest of the files of ours that
    things are made of: by repository an image of ours, "ollama store" Ollama's folder of models, else a program.
    `credentials`: what it would bring to the gateway of the one host; None where nobody looked.
    """

    artifacts: Mapping[str, str] = field(default_factory=dict)
    runtimes: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    credentials: credentials.Wanted | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """One host, what it may run, and the candidate that was chosen for it."""

    facts: HostFacts
    table: ResourceTable
    catalog: Catalog
    overrides: Overrides
    inputs: Inputs
    choice: Choice
    attempt: Attempt
    evaluation: Evaluation

    @property
    def engine(self) -> CatalogEngine:
        """The engine of the catalog."""
        return self.catalog.engines[self.evaluation.candidate.engine]

    @property
    def accelerator(self) -> str:
        """Where the model runs: cpu or cuda."""
        return self.evaluation.candidate.accelerator

    @property
    def manager(self) -> str:
        """What runs the service: systemd or compose."""
        return self.evaluation.verdict.service_manager

    @property
    def forced(self) -> bool:
        """Whether phi4_force set reasons aside."""
        return bool(self.choice.overruled)

    @property
    def beside(self) -> int:
        """Bytes of RAM that the chat page and the gateway take beside the engine."""
        return beside(self.catalog, self.overrides)

    @property
    def images(self) -> tuple[CatalogImage, ...]:
        """The container images that will be on the host."""
        page = self.catalog.webui.image if self.overrides.webui_enabled else None
        return tuple(image for image in (self.evaluation.verdict.image, page) if image is not None)

    @property
    def needs_docker(self) -> bool:
        """Whether containers will run on the host."""
        return self.manager == "compose" or self.overrides.webui_enabled

    @property
    def needs_toolkit(self) -> bool:
        """Whether Docker runs on a host whose GPU is used."""
        return self.accelerator == "cuda" and self.needs_docker
