"""What tests of whole commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi4_edge import artifacts
from phi4_edge.artifacts.store.store import Store
from phi4_edge.operations import rollout
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.rollout import Rolling
from tests.cli.rollout.played_site import Site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site()

    def look(fleet: Fleet, view: object, **_: object) -> Survey:
        return made.survey(fleet)

    monkeypatch.setenv("PHI4_EDGE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PHI4_EDGE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(Fleet, "survey", look)
    monkeypatch.setattr(rollout, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(Rolling, "executor", property(lambda self: made.fake))
    monkeypatch.setattr(artifacts, "ensure", lambda *arguments: None)
    monkeypatch.setattr(Store, "digests", lambda self: {"phi-4-mini-instruct/onnx-int4": "ab" * 32})
    return made
