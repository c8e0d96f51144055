"""The phases of provision, in their order, and what one of them leaves out of the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from phi4_edge import artifacts, content
from phi4_edge.errors import ArtifactError
from phi4_edge.operations import drivers
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.provision import Provisioning
from phi4_edge.operations.rollout import Rolling
from tests.cli.rollout.played_site import HOSTS, Site, outcomes, result


@pytest.fixture
def course(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run does, as it comes."""
    found: list[str] = []

    def told(where: Any, name: str, step: str) -> None:
        real: Callable[..., Any] = getattr(where, name)

        def wrapped(*given: Any, **named: Any) -> Any:
            found.append(step)
            return real(*given, **named)

        monkeypatch.setattr(where, name, wrapped)

    told(Rolling, "look", "look")
    told(Fleet, "decide", "decide")
    told(Provisioning, "hindrance", "ask")
    told(drivers, "waiting", "drivers")
    told(artifacts, "ensure", "artifacts")
    told(Rolling, "drive", "drive")
    return found


def test_provision_does_one_thing_after_the_other(site: Site, course: list[str]) -> None:
    found = site.run("provision", "--bake", "0")
    assert found.exit_code == 0, found.output
    # All hosts have the same plan, so what it needs is made once.
    assert course == ["look", "decide", "ask", "drivers", "artifacts", "decide", "drive"]


def test_where_nothing_can_be_made_nothing_is_driven(
    site: Site, course: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ArtifactError("found no network, needed one")

    monkeypatch.setattr(artifacts, "ensure", refuse)
    found = site.run("provision", "--output", "json")
    assert found.exit_code == 3
    assert course == ["look", "decide", "ask", "drivers", "decide"]
    assert outcomes(found) == dict.fromkeys(HOSTS, "preflight")
    first = result(found)["hosts"][0]
    assert first["reason"] == "found no network, needed one"
    assert first["next_step"] == "fix that on this controller, then run again; no host was changed"
    assert site.fake.calls == []


def test_the_playbook_is_told_where_the_store_is_for_each_role_that_reads_it(site: Site) -> None:
    site.run("provision", "--bake", "0")
    told = site.fake.calls[0][0].extra_vars
    stores = {name for name in told if name.endswith("_store")}
    paths = content.roles().glob("*/meta/argument_specs.yml")
    specs = (yaml.safe_load(path.read_text()) for path in paths if path.parts[-3] != "doctor")  # not in that playbook
    options = {name for spec in specs for part in spec["argument_specs"].values() for name in part["options"]}
    assert stores == {name for name in options if name.endswith("_store")}
    assert len({told[name] for name in stores}) == 1
    assert list(told["plan_expected"]) == list(HOSTS)
