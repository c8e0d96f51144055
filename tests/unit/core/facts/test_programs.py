"""Programs on a host: one without a number is not one that is missing, and Podman is not an old Docker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import parse as facts_parse

Make = Callable[..., Any]
THERE = {"docker": "28.5.2", "compose": "2.40.3", "runc": "runc version 1.3.3"}
COMPOSE = {"service_manager": "compose"}


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("28.5.2", "28.5.2"),
        ("28.5.2+dfsg4", "28.5.2"),
        ("29.0.0-rc.1\n", "29.0.0"),
        ("v2.17.2", "2.17.2"),
        ("2.40.3+ds1-0ubuntu1", "2.40.3"),
        ("docker-compose version 1.29.2, build unknown", "1.29.2"),
        ("dev\n", "dev"),
        ("library-import", "library-import"),
        ("Docker Compose version dev", "dev"),
        ("Docker version library-import, build library-import", "library-import"),
        # A commit, and what a build without a version is called.
        ("3f2a1b9c", "3f2a1b9c"),
        ("dev-3f2a1b9", "dev-3f2a1b9"),
        ("0.0.0-20250101120000-abc", "0.0.0-20250101120000-abc"),
        ("<no value>", ""),
        ("", ""),
    ],
)
def test_a_version_is_a_number_or_the_programs_word_for_it(document: Make, said: str, version: str) -> None:
    found = facts_parse.parse(document("n150-8gb", docker=said, compose=said, runc=said, nvidia_ctk=said))
    assert {found.docker, found.compose, found.runc, found.toolkit} == {version}


@pytest.mark.parametrize("system", ["debian", "arch"])
@pytest.mark.parametrize(
    ("sources", "named"),
    [
        ({"compose": "dev"}, ["Compose is there without a version number (dev)"]),
        ({"docker": "dev"}, ["Docker is there without a version number (dev)"]),
        ({"docker": "library-import", "compose": "dev", "runc": "runc version main"},
         ["Docker is there", "Compose is there", "runc is there without a version number (main)"]),
        ({}, []),
    ],
)  # fmt: skip
def test_what_answers_without_a_number_is_not_installed_again(
    document: Make, plan: Make, system: str, sources: dict[str, str], named: list[str]
) -> None:
    release = 'ID=arch\nPRETTY_NAME="Arch Linux"\n' if system == "arch" else 'ID=debian\nVERSION_ID="13"\n'
    made = plan(document("n150-8gb", os_release=release, **{**THERE, **sources}), **COMPOSE)
    assert made.applicable and not made.install.docker
    assert (made.prerequisites, made.blockers) == ((), ())
    warnings = [text for text in made.warnings if "without a version number" in text]
    assert len(warnings) == len(named) and all(word in text for word, text in zip(named, warnings, strict=True))


def test_what_is_missing_or_too_old_is_installed_as_before(document: Make, plan: Make) -> None:
    for compose in ("1.29.2", {"gap": "missing", "detail": "docker-compose"}, {"gap": "failed", "detail": "exit 1"}):
        made = plan(document("n150-8gb", **{**THERE, "compose": compose}), **COMPOSE)
        assert made.install.docker and "Compose plugin" in made.prerequisites[0]
    silent = plan(document("n150-8gb", **{**THERE, "docker": {"gap": "failed", "detail": "exit 1"}}), **COMPOSE)
    assert silent.install.docker


def test_a_toolkit_without_a_number_is_there(document: Make, plan: Make) -> None:
    gpu = "workstation-rtx4090-driver580"
    made = plan(document(gpu, nvidia_ctk="NVIDIA Container Toolkit CLI version unreleased"))
    assert made.engine == "vllm" and not made.install.nvidia_toolkit
    assert "NVIDIA Container Toolkit is there without a version number (unreleased)" in " ".join(made.warnings)
    assert plan(document(gpu, nvidia_ctk=None)).install.nvidia_toolkit
    assert plan(document(gpu, nvidia_ctk="NVIDIA Container Toolkit CLI version 1.10.0")).install.nvidia_toolkit


PODMAN = [
    {"docker_program": "podman version 5.4.2"},
    {"docker_program": "Docker version 28.5.2, build ecc694\nPodman Engine Conmon OCI Runtime (crun) "},
    {
        "docker_info": {
            "gap": "failed",
            "detail": "exit status 125: Error: template: can't evaluate field Driver in type",
        }
    },
]


@pytest.mark.parametrize("sources", PODMAN)
@pytest.mark.parametrize("release", ['ID=debian\nVERSION_ID="13"', 'ID=fedora\nVERSION_ID="43"'])
def test_podman_is_named(document: Make, plan: Make, sources: dict[str, Any], release: str) -> None:
    whole = document("n150-8gb", os_release=release, **{**THERE, "docker": "5.4.2", **sources})
    found = facts_parse.parse(whole)
    assert (found.docker, found.compose, found.podman) == ("", "", "5.4.2")
    made = plan(whole, **COMPOSE)
    (blocker,) = [text for text in made.blockers if "Podman" in text]
    assert blocker.startswith("Podman 5.4.2 as `docker`, needed Docker Engine")
    assert "CVE" not in " ".join(made.blockers) and "older than" not in " ".join(made.blockers)
    # Without containers it is nobody's business.
    assert [text for text in plan(whole).blockers if "Podman" in text] == []


def test_dockers_own_program_is_not_podman(document: Make) -> None:
    said = "Docker version 28.5.2, build ecc694264d\nEngine containerd runc docker-init "
    for sources in ({"docker_program": said}, {}, {"docker_info": {"gap": "denied", "detail": "permission denied"}}):
        found = facts_parse.parse(document("n150-8gb", **THERE, **sources))
        assert (found.docker, found.podman) == ("28.5.2", "")
