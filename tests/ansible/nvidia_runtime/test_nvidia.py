"""NVIDIA's container toolkit on a host, with the lab's fake nvidia-ctk, which refuses what the real one refuses."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import hostlib, load
from tests.ansible.plays import ROOT

nvidia = load("nvidia_runtime", "nvidia")
UUID = "GPU-3f1c9a52-8c1f-6f0e-9f35-5d3b8f9f8a10"


class Tools:
    """nvidia-ctk, nvidia-smi and systemctl on the PATH of the test alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.specs = folder / "bin", folder / "run" / "cdi"
        self.folder.mkdir()
        text = (ROOT / "tests" / "standins" / "fake_nvidia_ctk.py").read_text()
        folders = f'["{folder}/etc/cdi", "{self.specs}"]'
        self.add("nvidia-ctk", text.replace("#!/usr/bin/python3", f"#!{sys.executable}").replace(
            '["/etc/cdi", "/var/run/cdi"]', folders))  # fmt: skip
        self.add("nvidia-smi", f"#!/bin/sh\necho '0, {UUID}'\n")
        self.add("systemctl", "#!/bin/sh\nexit 1\n")

    def add(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def service(self, names: str) -> None:
        """systemctl knows the toolkit's service, which writes a specification with these names for devices."""
        made = f"nvidia-ctk cdi generate --device-name-strategy={names} --output={self.specs}/nvidia.yaml"
        self.add("systemctl", f'#!/bin/sh\n[ "$1" = restart ] && {made}\nexit 0\n')


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return Tools(tmp_path)


def cdi(tmp_path: Path, **more: Any) -> dict[str, Any]:
    args = {"gpu": UUID, "spec": str(tmp_path / "etc" / "cdi" / "ours.yaml"), "check": False, **more}
    return dict(nvidia.cdi(args, b""))


@pytest.mark.usefixtures("tools")
def test_the_settings_are_those_of_the_tool_and_its_copy_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvidia.tempfile, "tempdir", str(tmp_path))
    assert nvidia.settings({}, b"")["settings"] == {
        "runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}, "features": {"cdi": True},
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_a_tool_that_fails_is_quoted(tools: Tools) -> None:
    tools.add("nvidia-ctk", "#!/bin/sh\necho 'flag provided but not defined: -x' >&2\nexit 1\n")
    with pytest.raises(hostlib.HostError, match="nvidia-ctk runtime configure failed: flag provided but not defined"):
        nvidia.settings({}, b"")


def test_a_default_runtime_is_never_taken_over(tools: Tools) -> None:
    tools.add(
        "nvidia-ctk",
        '#!/bin/sh\nfor a; do case $a in --config=*) echo \'{"default-runtime":"nvidia"}\' >${a#*=};; esac; done\n',
    )
    with pytest.raises(hostlib.HostError, match="unexpected configuration"):
        nvidia.settings({}, b"")


def test_the_toolkits_service_makes_the_devices(tools: Tools, tmp_path: Path) -> None:
    tools.service("uuid")
    assert cdi(tmp_path)["changed"]
    again = cdi(tmp_path)
    assert not again["changed"]
    assert f"nvidia.com/gpu={UUID}" in again["devices"]
    assert not (tmp_path / "etc" / "cdi" / "ours.yaml").exists()


def test_ours_steps_in_where_the_service_names_gpus_otherwise(tools: Tools, tmp_path: Path) -> None:
    tools.service("index")
    assert cdi(tmp_path)["changed"]
    assert (tmp_path / "etc" / "cdi" / "ours.yaml").exists()
    assert not cdi(tmp_path)["changed"]


@pytest.mark.usefixtures("tools")
def test_ours_follows_the_driver_and_goes_again(tmp_path: Path) -> None:
    spec = tmp_path / "etc" / "cdi" / "ours.yaml"
    assert cdi(tmp_path)["changed"]
    made = spec.read_text()
    assert json.loads(made)["kind"] == "nvidia.com/gpu"
    spec.write_text(made.replace("void", "older"))
    assert cdi(tmp_path)["changes"] == [str(spec)]
    assert spec.read_text() == made
    args = {"spec": str(spec), "check": True}
    assert nvidia.remove(args, b"")["changed"]
    assert spec.exists()
    nvidia.remove({**args, "check": False}, b"")
    assert not spec.exists()
    assert not nvidia.remove({**args, "check": False}, b"")["changed"]


@pytest.mark.usefixtures("tools")
def test_a_gpu_that_is_no_device_is_named(tmp_path: Path) -> None:
    with pytest.raises(hostlib.HostError, match=rf"found the CDI devices .*{UUID}.*, needed nvidia.com/gpu=GPU-other"):
        cdi(tmp_path, gpu="GPU-other")


def test_a_driver_that_does_not_answer_is_quoted(tools: Tools, tmp_path: Path) -> None:
    (tools.folder / "nvidia-smi").unlink()
    with pytest.raises(hostlib.HostError, match="failed to initialize NVML"):
        cdi(tmp_path)


def test_check_mode_asks_and_changes_nothing(tools: Tools, tmp_path: Path) -> None:
    tools.add("systemctl", '#!/bin/sh\n[ "$1" = cat ]\n')
    assert len(cdi(tmp_path, check=True)["changes"]) == 2
    assert not tools.specs.exists()


def test_nouveau_is_kept_away_once(tools: Tools, tmp_path: Path) -> None:
    args = {"path": str(tmp_path / "modprobe.d" / "nouveau.conf"), "check": False}
    tools.add("update-initramfs", f"#!/bin/sh\necho run >>{tmp_path}/initramfs\n")
    assert nvidia.nouveau({**args, "check": True}, b"")["changed"]
    assert not (tmp_path / "initramfs").exists()
    assert nvidia.nouveau(args, b"")["changed"]
    assert "blacklist nouveau" in Path(args["path"]).read_text()
    assert not nvidia.nouveau(args, b"")["changed"]
    assert (tmp_path / "initramfs").read_text() == "run\n"


def test_the_fake_tool_refuses_what_the_real_one_refuses(tools: Tools) -> None:
    assert shutil.which("nvidia-ctk") == str(tools.folder / "nvidia-ctk")
    for words in (["cdi", "generate", "--force"], ["runtime", "configure", "--runtime=podman"], ["cdi", "frobnicate"]):
        with pytest.raises(hostlib.HostError, match="nvidia-ctk"):
            nvidia.ctk(*words)
