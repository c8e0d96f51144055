"""A change of settings alone takes the links of the committed release, where both are made of the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.remote import change
from tests.ansible.host_scripts import ONE, TWO, Host, args, hostdocker, hostlib, release, stage

PLAN: dict[str, Any] = {
    "engine": "ollama", "service_manager": "systemd", "model": {"digest": "d" * 64}, "runtime": {"id": "e-1"},
    "knobs": {"store": "s-1"},
}  # fmt: skip
MADE_OF = {keys: change._of(PLAN, keys) for keys in change.MADE_OF}
LINKS = {"engine": "../../engines/e-1", "store": "/var/lib/phi4-edge/stores/s-1"}

NOTHING: dict[str, Any] = {"complete": False, "changed": False, "images": {}}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    found = Host(tmp_path)
    stage(found, ONE, {"plan.json": json.dumps({**PLAN, "release": ONE})}, LINKS)
    hostlib.link_atomic(f"releases/{ONE}", str(found.root / "current"))
    found.state.mkdir(parents=True, exist_ok=True)
    found.receipt.write_text(json.dumps({"release": ONE}))
    return found


def inherit(host: Host, **made_of: Any) -> dict[str, Any]:
    return dict(release.inherit(args(host, release=TWO, made_of={**MADE_OF, **made_of}), b""))


def links(host: Host) -> dict[str, str]:
    folder = host.root / "releases" / TWO
    return {path.name: str(path.readlink()) for path in folder.glob("*")} if folder.exists() else {}


def test_the_links_are_taken_over_once(host: Host) -> None:
    assert inherit(host) == {"complete": True, "changed": True, "images": {}}
    assert links(host) == LINKS
    assert inherit(host) == {"complete": True, "changed": False, "images": {}}


@pytest.mark.parametrize(
    "made_of",
    [{"engine": "onnx"}, {"service_manager": "compose"}, {"model.digest": "f" * 64}, {"runtime.id": "e-2"},
     {"knobs.store": "s-2"}, {"runtime.id": None}, {"image.digest": "sha256:" + "a" * 64}],
)  # fmt: skip
def test_a_release_of_something_else_is_left_to_the_roles(host: Host, made_of: dict[str, Any]) -> None:
    assert inherit(host, **made_of) == NOTHING
    assert links(host) == {}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"release": "r-1/../x"}', '{"release": 7}', '{"release": null}'])
def test_without_a_committed_release_nothing_is_taken_over(host: Host, text: str) -> None:
    host.receipt.write_text(text)
    assert inherit(host) == NOTHING


def test_another_current_release_or_a_damaged_plan_gives_nothing(host: Host) -> None:
    hostlib.link_atomic(f"releases/{TWO}", str(host.root / "current"))
    assert inherit(host)["complete"] is False
    hostlib.link_atomic(f"releases/{ONE}", str(host.root / "current"))
    (host.root / "releases" / ONE / "plan.json").write_text('["engine"]')
    assert inherit(host)["complete"] is False
    assert links(host) == {}


def test_the_images_of_the_committed_release_are_told_unless_one_is_lost(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {"engine": "sha256:" + "a" * 64}
    monkeypatch.setattr(hostdocker, "named", lambda _release: images)
    monkeypatch.setattr(hostdocker, "lost", lambda _images: [])
    assert inherit(host)["images"] == images
    monkeypatch.setattr(hostdocker, "lost", lambda found: list(found.values()))
    assert inherit(host) == NOTHING
