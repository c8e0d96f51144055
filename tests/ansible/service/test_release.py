"""What a release is made of, how it is switched to, and what is kept and removed after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi4_edge import content
from phi4_edge.remote import release as remote_release
from tests.ansible.host_scripts import ONE, Host, args, hostdocker, hostunit, receipt, release, stage
from tests.ansible.plays import ROOT

PLAN: dict[str, Any] = {
    "engine": "vllm", "quantization": "bf16", "service_manager": "compose", "accelerator": "cpu", "bind": "127.0.0.1",
    "port": 8080, "knobs": {"memory_max": 1 << 30}, "release": "r-000000000000", "runtime": None,
    "switch": {"mode": "beside", "port": 18080, "down_seconds": 9, "reason": ""},
}  # fmt: skip


PLUGIN = ("tool_parser.py", "tool_calls.py", "chat_template.jinja")


def test_what_a_release_and_its_rehearsal_have_of_their_own() -> None:
    """plan.json without what changes from look to look, and the compose file of each."""
    plan = {
        **PLAN, "model": {"digest": "d" * 64, "served_name": "phi"}, "context_length": 4096, "parallel": 1,
        "memory": {"weights": 7, "ram_need": 8, "vram_need": 0, "held_by_others": 0, "available": 9},
        "action": "change",
        "knobs": {"memory_max": 1 << 30, "threads": 2, "queue": 8, "shm_size": 1 << 20, "container_port": 8000,
                  "max_num_seqs": 1, "kv_cache_space_gib": 1},
    }  # fmt: skip
    files = remote_release.staged(plan, {"engine": "sha256:" + "a" * 64}, "/opt/phi4-edge")
    kept = json.loads(files["plan.json"])
    assert kept["memory"] == {"weights": 7, "ram_need": 8, "vram_need": 0, "held_by_others": 0}
    assert not {"action", "switch"} & set(kept)
    for name in (*PLUGIN, "port.py"):
        assert files[name] == content.program(name).read_text()
    assert set(files) == {"plan.json", "compose.yml", "phi4-edge.service", "port.py", *PLUGIN}
    served = yaml.safe_load(files["compose.yml"])
    other = yaml.safe_load(
        remote_release.rehearsed(plan, {"engine": "sha256:" + "a" * 64}, "/opt/phi4-edge")["compose.yml"]
    )
    assert (served["name"], other["name"]) == ("phi4-edge", "phi4-edge-rehearsal")
    ports = [document["services"]["engine"]["ports"][0] for document in (served, other)]
    assert [(port["host_ip"], port["published"]) for port in ports] == [("127.0.0.1", "8080"), ("127.0.0.1", "18080")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_everything_that_a_kept_release_links_to_stays(host: Host, tmp_path: Path) -> None:
    for kind, name in (("opt/engines", "e"), ("opt/engines", "old"), ("var/stores", "s"), ("var/stores", "old")):
        (tmp_path / kind / name).mkdir(parents=True)
        (tmp_path / kind / f"{name}.json").write_text("{}")
    host.release(ONE, "m")
    stage(host, ONE, {}, {"engine": "../../engines/e", "store": str(host.state / "stores" / "s")})
    (host.state / "stores" / "s" / "blob").write_text("b")
    found = host.commit(ONE, "m")
    assert {Path(path).name for path in found["pruned"]} == {"old", "old.json"}
    body = json.loads(host.receipt.read_text())
    assert str(host.state / "stores" / "s" / "blob") in {line["path"] for line in body["files"]}
    assert {Path(line["path"]).name for line in body["links"]} == {"current", "engine", "model", "store"}
    assert receipt.sweep(args(host), b"") == {"changed": False, "pruned": []}


@pytest.mark.parametrize(
    ("settings", "left"), [("PHI4_REPACKED=/x\n", {"m-cpu-1"}), ("PHI4_PORT=8080\n", set()), (None, set())]
)
def test_repacked_weights_stay_while_the_release_wants_them_and_has_their_model(
    host: Host, tmp_path: Path, settings: str | None, left: set[str]
) -> None:
    folder = host.state / "repacked"
    for name in ("m-cpu-1", "gone-cpu-1", ".gone-cpu-1.new"):
        (folder / name).mkdir(parents=True)
    host.release(ONE, "m")
    stage(host, ONE, {} if settings is None else {"environment": settings}, {})
    host.commit(ONE, "m")
    assert ({path.name for path in folder.iterdir()} if folder.exists() else set()) == left
    assert receipt.sweep(args(host), b"") == {"changed": False, "pruned": []}


def test_a_unit_starts_with_what_its_text_names_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostunit, "FOLDER", str(tmp_path))
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(hostunit, "must", lambda *argv: said.append(argv))
    monkeypatch.setattr(hostunit, "shown", lambda unit: {"UnitFileState": "enabled"})
    for target in ("multi-user.target.wants", "docker.service.wants"):
        (tmp_path / target).mkdir()
        (tmp_path / target / "phi4-edge.service").symlink_to(tmp_path / "phi4-edge.service")
    assert hostunit.enable("phi4-edge.service", "[Install]\nWantedBy=multi-user.target\n") is True
    assert [Path(path).parent.name for path in hostunit.wants("phi4-edge.service")] == ["multi-user.target.wants"]
    assert hostunit.enable("phi4-edge.service", "[Install]\nWantedBy=multi-user.target\n") is False
    assert said == []
    assert [path.name for path in tmp_path.iterdir()] == ["multi-user.target.wants"], "a folder of nothing is none"
    assert hostunit.enable("phi4-edge.service", "[Install]\nWantedBy=multi-user.target docker.service\n") is True
    assert said == [("enable", "--quiet", "--no-reload", "phi4-edge.service")]


def test_folders_of_links_go_where_nothing_else_is_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostunit, "FOLDER", str(tmp_path))
    for target in ("multi-user.target.wants", "nftables.service.wants"):
        (tmp_path / target).mkdir()
        (tmp_path / target / "phi4-edge-guard.service").symlink_to(tmp_path / "phi4-edge-guard.service")
    (tmp_path / "multi-user.target.wants" / "ssh.service").symlink_to("/lib/systemd/system/ssh.service")
    hostunit.unwant("phi4-edge-guard.service")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [
        "multi-user.target.wants", "multi-user.target.wants/ssh.service",
    ]  # fmt: skip


def test_images_of_a_release_are_read_from_its_compose_files(tmp_path: Path) -> None:
    engine, page = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    (tmp_path / "compose.yml").write_text(f"services:\n  engine:\n    image: {engine}\n    labels: {{image: other}}\n")
    (tmp_path / "webui.yml").write_text(f"services:\n  webui:\n    image: '{page}'\n")
    assert hostdocker.named(str(tmp_path)) == {"engine": engine, "webui": page}
    assert hostdocker.named(str(tmp_path / "none")) == {}


def test_a_stranger_in_the_place_of_a_compose_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").symlink_to("/etc/passwd")
    assert hostdocker.named(str(tmp_path)) == {}


def test_only_images_under_our_own_name_that_nobody_needs_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        hostdocker, "ours", lambda: [("sha256:a", "phi4-edge/vllm:1"), ("sha256:b", "phi4-edge/vllm:2")]
    )
    monkeypatch.setattr(hostdocker, "docker", lambda *argv: (asked.append(argv), (0, ""))[1])
    assert hostdocker.remove_images({"sha256:b"}) == ["image phi4-edge/vllm:1"]
    assert asked == [("image", "rm", "phi4-edge/vllm:1")]


@pytest.mark.parametrize("name", ["../r-111111111111", "r-1"])
def test_a_rehearsal_of_no_release_is_refused(host: Host, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "end_rehearsal", lambda: False)
    with pytest.raises(release.HostError, match="refusing the release name"):
        release.rehearse(args(host, release=name, files={}), b"")


def docker_that(monkeypatch: pytest.MonkeyPatch, state: int, answer: int) -> None:
    """What systemd says of Docker's unit, and what every docker command ends with."""
    monkeypatch.setattr(hostdocker, "command", lambda *argv, **_more: (state if argv[0] == "systemctl" else answer, ""))


def test_a_native_release_is_switched_to_while_docker_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The release before it ran in containers; to fail here would leave the host without any service."""
    monkeypatch.setattr(release, "shown", lambda unit: {})
    monkeypatch.setattr(hostdocker, "wanted", lambda root: True)
    docker_that(monkeypatch, state=3, answer=1)
    release.halt("/opt/phi4-edge")
    docker_that(monkeypatch, state=0, answer=1)
    with pytest.raises(release.HostError, match="found no answer from Docker"):
        release.halt("/opt/phi4-edge")


def test_there_is_no_way_back_to_a_release_whose_image_is_gone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    image = "sha256:" + "a" * 64
    stage(host, ONE, {"plan.json": json.dumps({"release": ONE}), "compose.yml": f"  image: {image}\n"}, {})
    host.receipt.parent.mkdir()
    host.receipt.write_text(json.dumps({"release": "r-222222222222", "previous_release": ONE}))
    docker_that(monkeypatch, state=0, answer=0)
    assert release.previous(args(host), b"")["images"] == {"engine": image}
    docker_that(monkeypatch, state=0, answer=1)
    with pytest.raises(release.HostError, match=f"found no image {image} on this host, .* Nothing was switched"):
        release.previous(args(host), b"")


@pytest.mark.parametrize("text", ["{}", '{"release": "r-222222222222"}', '{"release": 7}'])
def test_nothing_is_swept_under_a_receipt_that_names_no_release_that_is_here(host: Host, text: str) -> None:
    host.release(ONE, "a")
    host.receipt.write_text(text)
    assert receipt.sweep(args(host), b"") == {"changed": False, "pruned": []}
    assert host.names() == {ONE, "a"}


def test_what_somebody_else_runs_in_a_folder_of_our_name_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose calls a project after its folder: their containers, networks and volumes have our project's label too."""
    here = {
        "container": {"0f" * 6: {"com.docker.compose.project=phi4-edge", "phi4-edge.release"},
                      "ee" * 6: {"com.docker.compose.project=phi4-edge"}},
        "network": {"0f" * 6: {"com.docker.compose.project=phi4-edge", "com.docker.compose.network=engine"},
                    "ee" * 6: {"com.docker.compose.project=phi4-edge", "com.docker.compose.network=default"}},
        "volume": {"ee" * 6: {"com.docker.compose.project=phi4-edge"}},
    }  # fmt: skip

    def docker(kind: str, verb: str, *words: str) -> tuple[int, str]:
        if verb == "rm":
            del here[kind][words[-1]]
            return 0, ""
        labels = {word[len("label=") :] for word in words if word.startswith("label=")}
        return 0, "\n".join(name for name, has in here[kind].items() if labels <= has)

    monkeypatch.setattr(hostdocker, "docker", docker)
    assert hostdocker.down("phi4-edge") == ["container 0f0f0f0f0f0f", "network 0f0f0f0f0f0f"]
    assert {kind: set(names) for kind, names in here.items()} == {kind: {"ee" * 6} for kind in here}


def test_our_documents_name_no_volume_and_no_other_network() -> None:
    for path in sorted((ROOT / "tests" / "golden").rglob("*.yml")):
        document = yaml.safe_load(path.read_text())
        if "services" in document:
            assert "volumes" not in document, path
            assert set(document.get("networks", {})) <= {"engine"}, path


def test_a_warning_of_the_docker_client_is_no_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes with success where root's config.json is damaged; taken for a name it would end the switch half way."""
    warning = "WARNING: Error loading config file: /root/.docker/config.json: invalid character '['\n"
    said = {"ls": "0f0f0f0f0f0f\n", "inspect": '[\n    {"Id": "0f"}\n]', "rm": "0f0f0f0f0f0f"}
    monkeypatch.setattr(hostdocker, "command", lambda *argv, **_more: (0, warning + said[argv[2]]))
    assert hostdocker.listed("container", "phi4-edge") == ["0f0f0f0f0f0f"]
    assert hostdocker.inspect("phi4-edge") == [{"Id": "0f"}]
