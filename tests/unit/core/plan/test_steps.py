"""What is applied in which order, what is installed first, and versions that are too old."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from phi4_edge import content
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.judge.driver import BRANCH
from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.plan.overrides import COMPONENTS
from phi4_edge.core.text import version_of

Make = Callable[..., Any]
GPU = "xeon-rtx3060-driver570"
ALONE = "rtx3060-no-driver"
CTK = "NVIDIA Container Toolkit CLI version {}"
COMPOSE = {"service_manager": "compose"}


def texts(plan: Plan) -> str:
    return json.dumps([plan.blockers, plan.warnings, plan.prerequisites], ensure_ascii=False)


@pytest.mark.parametrize(
    ("name", "wishes", "steps"),
    [
        ("n150-8gb", {}, "artifact onnx service health receipt"),
        ("n150-8gb", COMPOSE, "docker artifact onnx service health receipt"),
        ("n150-8gb", {"engine": "ollama"}, "artifact ollama service health receipt"),
        ("n150-8gb", {"webui_enabled": True}, "docker artifact onnx webui service health receipt"),
        ("gtx1060-6gb", {}, "artifact ollama service health receipt"),
        ("gtx1060-6gb", COMPOSE, "docker nvidia_runtime artifact ollama service health receipt"),
        ("gtx1060-6gb", {"webui_enabled": True}, "docker nvidia_runtime artifact ollama webui service health receipt"),
        (GPU, {}, "docker nvidia_runtime artifact vllm service health receipt"),
        (ALONE, {"nvidia_runtime_driver_install": True}, "nvidia_runtime artifact onnx service health receipt"),
    ],
)
def test_the_roles_in_order(document: Make, plan: Make, name: str, wishes: Any, steps: str) -> None:
    assert plan(document(name), **wishes).steps == tuple(steps.split())


def test_no_fit_applies_nothing(document: Make, plan: Make) -> None:
    made = plan(document("gateway-2gb"), nvidia_runtime_driver_install=True)
    assert (made.steps, made.prerequisites, made.switch.mode, made.install.nvidia_driver) == ((), (), "none", False)


@pytest.mark.parametrize(
    ("docker", "compose", "installed", "said"),
    [
        (None, None, True, "Docker Engine with its Compose plugin is installed first"),
        ("28.5.2", None, True, "the Compose plugin for Docker 28.5.2 is installed first (it is missing)"),
        ("28.5.2", "1.29.2", True, "(the Compose found is 1.29.2)"),
        ("28.5.2", "2.40.3", False, ""),
        ("28.5.2", "5.0.1", False, ""),
    ],
)
def test_docker_is_installed_where_it_or_its_compose_is_missing(
    document: Make, plan: Make, docker: str | None, compose: str | None, installed: bool, said: str
) -> None:
    made = plan(document("n150-8gb", docker=docker, compose=compose), **COMPOSE)
    assert made.install.docker == installed and bool(made.prerequisites) == installed
    assert said in texts(made)
    assert not plan(document("n150-8gb", docker=docker, compose=compose)).install.docker


@pytest.mark.parametrize(
    ("name", "wishes", "there", "lacking"),
    [
        (GPU, {}, {}, "Docker with Compose 2 and the NVIDIA Container Toolkit"),
        (GPU, {}, {"docker": "28.5.2", "compose": "2.40.3"}, "the NVIDIA Container Toolkit"),
        (GPU, {"engine": "ollama"}, {}, ""),
        (GPU, {}, {"compose": "2.40.3", "nvidia_ctk": CTK.format("1.18.1")}, ""),
        (GPU, {}, {"docker": "28.5.2", "compose": "2.40.3", "nvidia_ctk": CTK.format("1.18.1")}, ""),
        ("n150-8gb", {"webui_enabled": True}, {}, "Docker with Compose 2"),
        (ALONE, {"nvidia_runtime_driver_install": True}, {}, "the NVIDIA driver"),
    ],
)
def test_what_cannot_be_installed_on_a_system_blocks_it(
    document: Make, plan: Make, name: str, wishes: Any, there: Any, lacking: str
) -> None:
    fedora = "ID=fedora\nVERSION_ID=42\nPRETTY_NAME='Fedora Linux 42'"
    sources = {"docker": None, "compose": None, "nvidia_ctk": None, **there}
    made = plan(document(name, os_release=fedora, **sources), **wishes)
    assert made.fits and bool(made.blockers) == bool(lacking)
    assert not lacking or made.blockers[0].startswith(f"Fedora Linux 42 without {lacking}, which phi4-edge")
    assert not any("which phi4-edge installs" in text for text in plan(document(name, **sources), **wishes).blockers)


@pytest.mark.parametrize(
    ("toolkit", "installed", "said"),
    [
        (None, True, "the NVIDIA Container Toolkit is installed first"),
        ("1.14.6", True, "1.14.6 is updated first (older than 1.17.8: CVE-2025-23266)"),
        ("1.17.8", False, ""),
        ("1.20.0", False, ""),
    ],
)
def test_the_toolkit_is_installed_or_updated(
    document: Make, plan: Make, toolkit: str | None, installed: bool, said: str
) -> None:
    made = plan(document(GPU, nvidia_ctk=CTK.format(toolkit) if toolkit else None))
    assert made.install.nvidia_toolkit == installed and said in texts(made)
    # What is installed first stands in nobody's way.
    assert not any("toolkit" in text for text in made.blockers)


def test_an_old_toolkit_of_a_jetson_is_in_the_way_for_nobody_updates_it(document: Make, plan: Make) -> None:
    old = document("jetson-orin-nano-8gb", nvidia_ctk=CTK.format("1.14.2"))
    made = plan(old, **COMPOSE)
    assert not made.install.nvidia_toolkit and "is updated first" not in texts(made)
    (text,) = made.blockers
    assert text.startswith("nvidia-container-toolkit 1.14.2: open to ") and ", needed 1.17.8 or newer: " in text
    assert plan(old, accept_below_floor="nvidia-container-toolkit", **COMPOSE).blockers == ()
    assert plan(document("jetson-orin-nano-8gb"), **COMPOSE).install.nvidia_toolkit


def test_an_old_toolkit_that_was_accepted_is_left_alone(document: Make, plan: Make) -> None:
    made = plan(document(GPU, nvidia_ctk=CTK.format("1.14.6")), accept_below_floor="nvidia-container-toolkit")
    assert not made.install.nvidia_toolkit and made.blockers == ()
    assert any("accepted below its floor: nvidia-container-toolkit 1.14.6" in text for text in made.warnings)


def test_versions_below_their_floor_block_until_they_are_accepted(document: Make, plan: Make) -> None:
    old = {"docker": "26.1.5+dfsg1", "compose": "2.26.1", "runc": "runc version 1.1.15+ds1"}
    made = plan(document("n150-8gb", **old), **COMPOSE)
    assert [text.split(":")[0] for text in made.blockers] == ["docker 26.1.5", "runc 1.1.15"]
    assert "needed 28.5.2 or newer" in made.blockers[0] and "needed 1.2.8 or newer" in made.blockers[1]
    assert "CVE-2025-31133" in made.blockers[1] and "phi4_accept_below_floor=runc" in made.blockers[1]
    one = plan(document("n150-8gb", **old), accept_below_floor="runc", **COMPOSE)
    assert len(one.blockers) == 1 and "docker 26.1.5" in one.blockers[0]
    both = plan(document("n150-8gb", **old), accept_below_floor=["docker", "runc"], **COMPOSE)
    assert both.blockers == () and sum("accepted below its floor" in text for text in both.warnings) == 2
    assert both.fingerprint == made.fingerprint
    assert plan(document("n150-8gb", **old)).blockers == ()  # no container of ours runs there


@pytest.mark.parametrize(
    ("runc", "blocked"),
    [("1.2.7", True), ("1.2.8", False), ("1.3.2", True), ("1.3.3", False), ("1.4.0", False), ("garbage", False)],
)
def test_each_branch_has_its_own_floor(document: Make, plan: Make, runc: str, blocked: bool) -> None:
    made = plan(document("n150-8gb", docker="28.5.2", compose="2.40.3", runc=f"runc version {runc}"), **COMPOSE)
    assert bool(made.blockers) == blocked


def test_a_host_that_serves_as_committed_is_not_blocked_by_a_new_floor(document: Make, named: Make) -> None:
    old = {"docker": "26.1.5", "compose": "2.26.1"}
    first = named(document("n150-8gb", **old), **COMPOSE)
    receipt = {"format": "phi4-edge/receipt/1", "plan_fingerprint": first.fingerprint}
    up = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled"
    there = document("n150-8gb", receipt=json.dumps({"present": True, "receipt": receipt}), service=up, **old)
    made = named(there, **COMPOSE)
    assert (made.action, made.blockers) == ("none", ())


def test_the_catalog_itself_is_above_the_floors(catalog: Catalog) -> None:
    for name, engine in catalog.engines.items():
        floor = catalog.floors[name]
        if name == "onnx":  # its floor is that of the converter's package of the same name
            continue
        assert version_of(engine.version) >= floor.for_version(version_of(engine.version)), name
    assert set(COMPONENTS) <= set(catalog.floors)


def test_the_driver_is_installed_only_on_request_and_the_cpu_serves_until_then(document: Make, plan: Make) -> None:
    assert not plan(document(ALONE)).install.nvidia_driver
    made = plan(document(ALONE), nvidia_runtime_driver_install=True)
    assert made.install.nvidia_driver and made.accelerator == "cpu"
    said = " ".join(made.prerequisites)
    assert "branch 580" in said and "--allow-reboot" in said and "run the same command again" in said
    assert made.fingerprint == plan(document(ALONE)).fingerprint


def test_the_branch_in_the_text_is_that_of_the_role() -> None:
    defaults = yaml.safe_load((content.roles() / "nvidia_runtime" / "defaults" / "main.yml").read_text())
    assert str(defaults["nvidia_runtime_driver_branch"]) == BRANCH
    assert defaults["nvidia_runtime_driver_install"] is False


def test_secure_boot_and_nouveau_are_named_before_the_driver(document: Make, plan: Make) -> None:
    found = document(ALONE, modules="nouveau 1 0 - Live 0x0", secure_boot="enabled")
    said = " ".join(plan(found, nvidia_runtime_driver_install=True).prerequisites)
    assert "nouveau is loaded instead of the driver" in said and "Secure Boot is on" in said
    plain = document(ALONE, modules="", secure_boot="disabled")
    said = " ".join(plan(plain, nvidia_runtime_driver_install=True).prerequisites)
    assert "nouveau" not in said and "Secure Boot" not in said


def test_a_missing_driver_is_something_to_do_on_a_host_that_serves(document: Make, plan: Make) -> None:
    first = plan(document(ALONE))
    receipt = {"format": "phi4-edge/receipt/1", "plan_fingerprint": first.fingerprint, "release": first.release}
    up = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled"
    found = document(ALONE, receipt=json.dumps({"present": True, "receipt": receipt}), service=up)
    assert plan(found).action == "none"
    made = plan(found, nvidia_runtime_driver_install=True)
    assert made.action == "repair"
    assert {"what": "NVIDIA driver", "before": None, "after": "installed"} in made.changes
    assert made.switch.mode == "none"  # the release that serves stays as it is


def test_a_jetson_has_its_toolkit_from_jetpack(document: Make, plan: Make) -> None:
    made = plan(document("jetson-orin-nano-8gb"), **COMPOSE)
    assert made.install.nvidia_toolkit and "is installed first from JetPack's packages" in texts(made)


def test_a_jetson_gets_no_driver_from_us(document: Make, plan: Make) -> None:
    for name in ("jetson-orin-nano-8gb", "jetson-orin-jetpack5"):
        assert not plan(document(name), nvidia_runtime_driver_install=True).install.nvidia_driver
