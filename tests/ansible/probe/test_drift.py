"""What the probe finds beside the files of a receipt: edits of the receipt itself, drop-ins, Docker's settings."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.ansible.plays import ROOT
from tests.ansible.probe.test_receipt import entry
from tests.ansible.probe_run import place, probe

sys.path.insert(0, str(ROOT / "cli" / "phi4_edge" / "remote" / "host"))
import hostaround
import hostseal

RECEIPT = "/var/lib/phi4-edge/receipt.json"


def verified(root: Path, **args: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(probe(root, **args)["receipt"]["text"])
    return answer


def test_a_receipt_that_was_edited_is_told_and_its_files_are_looked_at_all_the_same(tmp_path: Path) -> None:
    line = entry(tmp_path, "/opt/phi4-edge/releases/r-1/environment", b"A=1")
    text = hostseal.sealed({"release": "r-1", "port": 8080, "files": [line]})
    place(tmp_path, RECEIPT, text)
    assert "error" not in verified(tmp_path)
    assert "seal" not in verified(tmp_path)["receipt"]
    place(tmp_path, RECEIPT, text.replace(b"8080", b"8081"))
    (tmp_path / "opt/phi4-edge/releases/r-1/environment").write_bytes(b"A=2")
    answer = verified(tmp_path)
    assert answer["edited"] is True and "was edited" in answer["error"]
    assert [item["problem"] for item in answer["drift"]] == ["changed"]


def test_a_seal_is_of_the_text_as_it_is_written() -> None:
    text = hostseal.sealed({"b": 1, "a": '"seal":"' + "0" * 64})
    assert hostseal.intact(text) and json.loads(text)["a"] == '"seal":"' + "0" * 64
    bare = json.dumps({**json.loads(text), "seal": "0" * 64}, sort_keys=True, separators=(",", ":")) + "\n"
    assert json.loads(text)["seal"] == hashlib.sha256(bare.encode()).hexdigest()
    assert not hostseal.intact(json.dumps(json.loads(text)).encode())
    assert hostseal.intact(b"{}")


def test_only_a_deep_look_sees_bytes_that_changed_behind_their_stamp(tmp_path: Path) -> None:
    line = entry(tmp_path, "/var/lib/phi4-edge/models/d/model.onnx", b"aaa")
    place(tmp_path, RECEIPT, json.dumps({"files": [line]}))
    path = tmp_path / "var/lib/phi4-edge/models/d/model.onnx"
    with path.open("r+b") as stream:
        stream.write(b"b")
    os.utime(path, ns=(line["stamp"][1], line["stamp"][1]))
    assert verified(tmp_path)["drift"] == []
    assert verified(tmp_path, deep=True)["drift"] == [{"path": line["path"], "problem": "changed"}]


def test_what_extends_a_unit_of_ours_is_named_wherever_systemd_takes_it_from(tmp_path: Path) -> None:
    place(tmp_path, RECEIPT, json.dumps({"files": []}))
    named = [
        "/etc/systemd/system.control/phi4-edge.service",
        "/etc/systemd/system/phi4-.service.d/x.conf",
        "/etc/systemd/system/phi4-edge.service.d/a.conf",
        "/run/systemd/system/phi4-edge-load.service.d/b.conf",
        "/usr/lib/systemd/system/phi4-edge.socket.d/c.conf",
    ]
    for path in named:
        place(tmp_path, path, "[Service]\n")
    for path in ("sshd.service.d/a.conf", "phi4-edge.service.d/note.txt", "phi4-edge-rehearsal.service.d/a.conf"):
        place(tmp_path, f"/etc/systemd/system/{path}", "")
    place(tmp_path, "/etc/systemd/system/service.d/all.conf", "")
    answer = verified(tmp_path)
    assert answer["drift"] == [{"path": path, "problem": "added"} for path in named]
    assert answer["general"] == ["/etc/systemd/system/service.d/all.conf"]


def docker(root: Path, current: str | None, steps: list[str]) -> list[dict[str, str]]:
    place(root, RECEIPT, json.dumps({"files": [], "steps": steps}))
    noted = {"daemon": {"added": {"live-restore": True, "log-opts": {"max-size": "10m"}}},
             "wishes": {"nvidia_runtime": {"required": {"features": {"cdi": True}}}}}  # fmt: skip
    place(root, "/var/lib/phi4-edge/docker.json", json.dumps(noted))
    if current is not None:
        place(root, "/etc/docker/daemon.json", current)
    found: list[dict[str, str]] = verified(root)["drift"]
    return found


def test_docker_must_have_what_we_gave_it_and_may_have_other_values(tmp_path: Path) -> None:
    whole = {"live-restore": True, "log-opts": {"max-size": "10m"}, "features": {"cdi": True}}
    path = "/etc/docker/daemon.json"
    assert docker(tmp_path, None, ["docker"]) == [{"path": path, "problem": "missing"}]
    assert docker(tmp_path, json.dumps(whole), ["docker"]) == []
    assert docker(tmp_path, json.dumps({**whole, "log-opts": {"max-size": "1m"}, "debug": True}), ["docker"]) == []
    for lacking in ({"live-restore": True}, {**whole, "log-opts": {}}, {**whole, "features": {}}):
        assert docker(tmp_path, json.dumps(lacking), ["docker"]) == [{"path": path, "problem": "changed"}]
    assert docker(tmp_path, "{", ["nvidia_runtime"]) == [{"path": path, "problem": "changed"}]
    # A release that has no use for Docker any more.
    assert docker(tmp_path, "{", ["onnx", "service"]) == []


def test_what_the_host_noted_of_itself_comes_along_as_data(tmp_path: Path) -> None:
    place(tmp_path, RECEIPT, json.dumps({"files": []}))
    place(tmp_path, "/var/lib/phi4-edge/heal.json", '{"format": "x"}')
    assert verified(tmp_path)["heal"] == {"format": "x"}
    place(tmp_path, "/var/lib/phi4-edge/heal.json", "[" * 100_000)
    assert verified(tmp_path)["heal"] == {}


class Docker:
    """Docker's answers about images, by id."""

    def __init__(self, told: dict[str, tuple[int, Any]]) -> None:
        self.told, self.asked = told, ""

    def ask(self, path: str, limit: int) -> tuple[int, Any]:
        """Status and document."""
        return self.told[path.split("/")[2].replace("%3A", ":")]


def test_an_image_that_is_gone_or_has_lost_our_name_is_told() -> None:
    gone, bare, ours = ("sha256:" + letter * 64 for letter in "abc")
    docker = Docker(
        {
            gone: (404, {"message": "No such image"}),
            bare: (200, {"RepoTags": ["other:1"]}),
            ours: (200, {"RepoTags": ["x:1", "phi4-edge/ollama:1"]}),
        }
    )
    for image, found in ((gone, [("image k", "missing")]), (bare, [("image k", "untagged")]), (ours, [])):
        assert list(hostaround.images(docker, {"image": {"id": image, "key": "k"}})) == found
    assert list(hostaround.images(docker, {"image": {"id": "../containers"}, "webui_image": 7})) == []
