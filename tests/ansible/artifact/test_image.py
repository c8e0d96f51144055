"""Images reach Docker as they lie in the store, once, or not at all. Docker is this machine's own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ansible.artifact.image_bench import Bench, docker, docker_runs, sent, wrapper
from tests.ansible.host_scripts import load

host = load("artifact", "image")
NOISE = hashlib.shake_256(b"layer").digest(600_000)
BELOW, ABOVE = {"etc/base": NOISE}, {"srv/own": hashlib.shake_256(b"own").digest(200_000)}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    if not docker_runs():
        pytest.skip("no Docker answers here; .ci/host-setup starts one")
    made = Bench(tmp_path)
    # Of this test alone: layers that Docker has from elsewhere are not sent.
    made.image("1.0", {**BELOW, "id": made.repository.encode()}, ABOVE)
    yield made
    made.clean()


def largest(bench: Bench) -> Path:
    return max((bench.folder_of_image / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)


def test_an_image_is_loaded_once_under_our_name_and_leaves_no_staging(bench: Bench) -> None:
    checked = bench.deliver("--check")
    assert checked.recap("here")["changed"] == 1
    assert "bytes would be sent" in checked.output
    assert (bench.loaded(), bench.staging.exists()) == ("", False)
    first = bench.deliver()
    assert first.status == 0, first.output
    assert bench.loaded() in first.output
    assert sent(first) > 800_000
    assert list(bench.staging.iterdir()) == []
    again = bench.deliver()
    assert (again.recap("here")["changed"], "already there" in again.output) == (0, True)


def test_layers_that_docker_has_are_not_sent(bench: Bench) -> None:
    bench.deliver()
    bench.image("2.0", {**BELOW, "id": bench.repository.encode()}, {"srv/own": b"another"})
    second = bench.deliver()
    assert second.status == 0, second.output
    assert sent(second) < 10_000
    assert len(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", bench.name).split(",")) == 2


def test_a_flipped_byte_on_the_controller_is_refused_by_name(bench: Bench) -> None:
    data = bytearray(largest(bench).read_bytes())
    data[-100] ^= 1
    largest(bench).write_bytes(bytes(data))
    failed = bench.deliver()
    assert failed.status == 2
    assert f"{largest(bench)} on the controller is not what its manifest says" in failed.output
    assert bench.loaded() == ""


def test_a_truncated_layer_stops_before_the_host_is_touched(bench: Bench) -> None:
    largest(bench).write_bytes(largest(bench).read_bytes()[:-1])
    failed = bench.deliver()
    assert failed.status == 2
    assert "is damaged on the controller" in failed.output
    assert (bench.loaded(), bench.staging.exists()) == ("", False)


def test_too_little_disk_is_said_before_the_first_byte(bench: Bench) -> None:
    failed = bench.deliver(artifact_reserve_bytes=1 << 60)
    assert failed.status == 2
    assert f"not enough disk for the image {bench.planned['key']}: found" in failed.output
    assert not bench.staging.exists()


def test_a_run_that_was_killed_while_loading_goes_on_without_sending_again(bench: Bench, tmp_path: Path) -> None:
    killed = f'[ "$1" = load ] && [ ! -e {tmp_path}/once ] && touch {tmp_path}/once && kill -9 $PPID'
    cut = bench.deliver(path=wrapper(tmp_path / "bin", killed))
    assert cut.status == 2
    assert bench.loaded() == ""
    again = bench.deliver()
    assert again.status == 0, again.output
    assert sent(again) == 0
    assert bench.loaded() != ""
    assert list(bench.staging.iterdir()) == []


def test_a_disk_that_fills_up_while_loading_gets_its_room_back(bench: Bench, tmp_path: Path) -> None:
    full = '[ "$1" = load ] && { cat >/dev/null; echo "write /layer.tar: no space left on device" >&2; exit 1; }'
    failed = bench.deliver(path=wrapper(tmp_path / "bin", full))
    assert failed.status == 2
    assert "the disk became full" in failed.output
    assert list(bench.staging.iterdir()) == []


def test_what_docker_says_about_a_refused_image_is_shown(bench: Bench, tmp_path: Path) -> None:
    refused = '[ "$1" = load ] && { echo "invalid diffID for layer 1" >&2; exit 1; }'
    failed = bench.deliver(path=wrapper(tmp_path / "bin", refused))
    assert failed.status == 2
    assert "invalid diffID for layer 1" in failed.output


def test_layers_that_docker_lost_in_between_are_sent_after_all(bench: Bench, tmp_path: Path) -> None:
    bench.deliver()
    bench.image("2.0", {**BELOW, "id": bench.repository.encode()}, {"srv/own": b"another"})
    once = f'[ "$1" = load ] && [ ! -e {tmp_path}/once ] && touch {tmp_path}/once && exit 1'
    again = bench.deliver(path=wrapper(tmp_path / "bin", once))
    assert again.status == 0, again.output
    assert sent(again) > 600_000
    assert bench.loaded() != ""


def test_another_image_under_our_name_is_replaced(bench: Bench) -> None:
    mine = dict(bench.planned)
    bench.image("2.0", {"other": b"content"})
    bench.deliver()
    other = bench.loaded()
    bench.planned = mine
    docker("tag", other, bench.name)
    healed = bench.deliver()
    assert healed.status == 0, healed.output
    assert bench.loaded() not in ("", other)


def test_an_image_that_lost_our_name_gets_it_back_without_being_sent(bench: Bench) -> None:
    bench.deliver()
    found = bench.loaded()
    docker("tag", bench.name, f"{bench.repository}:other")
    docker("image", "rm", bench.name)
    again = bench.deliver()
    assert "has our name now" in again.output
    assert bench.loaded() == found
    assert bench.deliver().recap("here")["changed"] == 0


def test_a_host_without_docker_is_told_what_is_missing(bench: Bench, tmp_path: Path) -> None:
    failed = bench.deliver(path=wrapper(tmp_path / "bin", "echo 'Cannot connect to the Docker daemon' >&2; exit 1"))
    assert failed.status == 2
    assert "found no running Docker on the host (Cannot connect" in failed.output


def test_an_image_that_is_not_in_the_store_is_named(bench: Bench) -> None:
    bench.planned = {**bench.planned, "digest": "sha256:" + "0" * 64}
    failed = bench.deliver()
    assert failed.status == 2
    assert f"found no image {bench.planned['key']}" in failed.output
    assert "phi4-edge provision" in failed.output


@pytest.mark.parametrize(
    ("item", "right"),
    [
        ({"Id": "sha256:config", "RootFS": {"Layers": ["a", "b"]}, "Architecture": "amd64"}, True),
        ({"Id": "sha256:manifest", "RootFS": {"Layers": ["a", "b"]}, "Architecture": "amd64"}, True),
        ({"Id": "sha256:x", "RepoDigests": ["r/i@sha256:manifest"], "RootFS": {"Layers": ["a", "b"]},
          "Architecture": "amd64"}, True),
        ({"Id": "sha256:x", "RootFS": {"Layers": ["a", "b"]}, "Architecture": "amd64"}, False),
        ({"Id": "sha256:config", "RootFS": {"Layers": ["a"]}, "Architecture": "amd64"}, False),
        ({"Id": "sha256:config", "RootFS": {"Layers": ["a", "b"]}, "Architecture": "arm64"}, False),
        ({"Id": "sha256:config"}, False),
    ],
)  # fmt: skip
def test_an_image_is_judged_by_id_layers_and_architecture(item: dict[str, object], right: bool) -> None:
    image = {"id": "sha256:config", "digest": "sha256:manifest", "layers": ["a", "b"], "architecture": "amd64"}
    assert host.matches(item, image) is right


def test_a_staged_file_that_cannot_be_read_does_not_leave_docker_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for it holds the lock of this host as well."""
    tool = tmp_path / "bin" / "docker"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nexec /bin/cat > /dev/null\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    monkeypatch.setattr(host, "LOAD_SECONDS", 30.0)
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match=host.DOCKER_MANIFEST):
        host.stream(str(tmp_path / "empty"))
    assert time.monotonic() - start < 20
