"""What the mirror serves, and the wish from which a lab is made."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.errors import LabError
from phi4_edge.lab import boot, mirror, profiles
from phi4_edge.lab.model import Lab, LabHost

PAIR = profiles.load().choose(hosts=2)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    machine = LabHost("mirror", "mirror", 1024**3, (0,), {}, "127.0.0.9", "c", "m:t")
    made = Lab("dev", "n", tmp_path / "lab", (), machine)
    made.published.mkdir(parents=True)
    return made


def test_addresses_work_by_number_or_by_the_name_that_hosts_know(lab: Lab) -> None:
    assert mirror.url(lab) == "http://127.0.0.9:8000"
    assert mirror.url(lab, "mirror") == "http://mirror:8000"
    assert (mirror.registry(lab), mirror.registry(lab, "mirror")) == ("127.0.0.9:5000", "mirror:5000")


def test_a_directory_is_published_with_modes_that_another_user_can_read(lab: Lab, tmp_path: Path) -> None:
    source = tmp_path / "repo"
    (source / "dists").mkdir(parents=True, mode=0o700)
    (source / "dists" / "Release").write_text("one")
    (source / "dists" / "Release").chmod(0o600)
    assert mirror.publish(lab, source, "/docker") == "http://127.0.0.9:8000/docker"
    served = lab.published / "docker" / "dists" / "Release"
    assert served.read_text() == "one"
    assert served.stat().st_mode & 0o777 == 0o644
    assert served.parent.stat().st_mode & 0o777 == 0o755


def test_publishing_again_replaces_files_and_keeps_the_others(lab: Lab, tmp_path: Path) -> None:
    first = tmp_path / "a.txt"
    first.write_text("one")
    assert mirror.publish(lab, first, "/ollama/v1/a.txt") == "http://127.0.0.9:8000/ollama/v1/a.txt"
    mirror.publish(lab, first, "/ollama/v1/b.txt")
    first.write_text("two")
    mirror.publish(lab, first, "ollama/v1/a.txt")
    folder = lab.published / "ollama" / "v1"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a.txt": "two", "b.txt": "one"}


def test_nothing_is_published_outside(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="below the mirror's root"):
        mirror.publish(lab, tmp_path, "/a/../../x")


def test_a_lab_without_a_mirror_says_how_to_get_one(lab: Lab, tmp_path: Path) -> None:
    for call in (mirror.url, mirror.registry, lambda none: mirror.publish(none, tmp_path)):
        with pytest.raises(LabError, match="lab up --mirror"):
            call(replace(lab, mirror=None))


def test_a_mirror_that_does_not_answer_is_named(lab: Lab) -> None:
    with pytest.raises(LabError, match=r"mirror does not answer at 127\.0\.0\.9:8000: .*refused"):
        mirror.wait(lab, time.monotonic() + 0.5)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("bare", ("bare", "bare")), (["bare", "docker"], ("bare", "docker")), ("docker", ("docker",) * 2)],
)
def test_each_host_has_an_image_of_its_own_kind(kind: str | list[str], expected: tuple[str, ...]) -> None:
    assert boot.wish("dev", PAIR, kind, "", offline=False, mirror=False).kinds == expected


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (["bare"], "1 kinds of image for 2 hosts"),
        ("mirror", "no image mirror for a host"),
        (["bare", "x"], "no image x"),
    ],
)
def test_a_wrong_kind_is_refused(kind: str | list[str], message: str) -> None:
    with pytest.raises(LabError, match=message):
        boot.wish("dev", PAIR, kind, "", offline=False, mirror=False)


def test_what_is_no_layout_is_not_pushed(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="is no OCI layout"):
        mirror.push(lab, tmp_path, "a/b", "1")


def test_a_registry_that_does_not_answer_is_named(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [{"digest": "sha256:m", "mediaType": "x"}]}))
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "blobs" / "sha256" / "m").write_text(json.dumps({"config": {"digest": "sha256:c"}, "layers": []}))
    with pytest.raises(LabError, match=r"the registry 127\.0\.0\.9:5000 does not answer: .*refused"):
        mirror.push(lab, tmp_path, "a/b", "1")
