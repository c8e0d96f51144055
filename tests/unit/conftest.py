"""What tests of several rooms share."""

from __future__ import annotations

import pytest

from phi4_edge.core.facts import listener


@pytest.fixture
def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-ins of these tests belong to no unit of this machine; who listens is tested elsewhere."""
    monkeypatch.setattr(listener, "judge", lambda _: listener.Judgement("ours"))
