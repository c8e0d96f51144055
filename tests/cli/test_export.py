"""`phi4-edge export prometheus` from an inventory to files, once, again, and beside what others wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

NAMES = [
    ".phi4-edge-export.json", "README.txt", "alerts.yml", "dashboard-engine.json", "dashboard-fleet.json",
    "dashboard-host.json", "prometheus.yml", "targets.json",
]  # fmt: skip


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Three hosts: one with a gateway for everybody, one on loopback, one without."""
    path = tmp_path / "hosts.ini"
    path.write_text(
        "[edge]\ngw1 ansible_host=192.0.2.1 phi4_gateway=true phi4_bind=0.0.0.0\n"
        "gw2 ansible_host=192.0.2.2 phi4_gateway=true\n"
        "[plant_3]\ngw1\ngw3\n"
    )
    return path


@pytest.fixture
def export(invoke: Callable[..., Result], fleet: Path, tmp_path: Path) -> Callable[..., Result]:
    return lambda *more: invoke("export", "prometheus", fleet, "--directory", tmp_path / "out", *more)


def stamps(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.iterdir()}


def test_what_is_written_and_said(export: Callable[..., Result], tmp_path: Path) -> None:
    done = export()
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == NAMES
    assert done.stdout.splitlines() == [str(tmp_path / "out" / name) for name in NAMES[1:]]
    assert "gw2 is left out: its gateway listens on 127.0.0.1 alone" in done.stderr
    assert "gw3 is left out: it has no gateway" in done.stderr
    targets = json.loads((tmp_path / "out" / "targets.json").read_text())
    assert targets == [{"targets": ["192.0.2.1:8443"], "labels": {"host": "gw1", "groups": ",edge,plant_3,"}}]


def test_a_second_run_changes_nothing(export: Callable[..., Result], tmp_path: Path) -> None:
    export()
    before = stamps(tmp_path / "out")
    done = export()
    assert (done.exit_code, done.stdout.strip()) == (0, "")
    assert "nothing to write" in done.stderr
    assert stamps(tmp_path / "out") == before


def test_a_change_of_the_inventory_is_one_of_the_targets_alone(
    export: Callable[..., Result], fleet: Path, tmp_path: Path
) -> None:
    export()
    before = stamps(tmp_path / "out")
    fleet.write_text(fleet.read_text().replace("192.0.2.1", "192.0.2.9"))
    assert export().stdout.splitlines() == [str(tmp_path / "out" / "targets.json")]
    after = stamps(tmp_path / "out")
    assert {name for name in after if after[name] != before[name]} == {"targets.json", ".phi4-edge-export.json"}


def test_paths_of_the_operators(export: Callable[..., Result], tmp_path: Path) -> None:
    export("--credentials-file", "/run/secrets/key", "--ca-file", "/etc/ssl/certs/ca-certificates.crt")
    text = (tmp_path / "out" / "prometheus.yml").read_text()
    assert 'credentials_file: "/run/secrets/key"' in text
    assert 'ca_file: "/etc/ssl/certs/ca-certificates.crt"' in text


def test_a_gateway_that_wants_certificates_of_clients_is_shown_one(
    export: Callable[..., Result], fleet: Path, tmp_path: Path
) -> None:
    export()
    plain = (tmp_path / "out" / "prometheus.yml").read_text()
    assert "cert_file" not in plain and "client.pem" not in (tmp_path / "out" / "README.txt").read_text()
    inventory = fleet.read_text()
    fleet.write_text(inventory.replace("phi4_bind=0.0.0.0", "phi4_bind=0.0.0.0 phi4_gateway_client_ca=clients.pem"))
    changed = {Path(line).name for line in export().stdout.splitlines()}
    assert changed == {"prometheus.yml", "README.txt"}
    assert (
        'cert_file: "client.pem"\n      key_file: "client.key"\n' in (tmp_path / "out" / "prometheus.yml").read_text()
    )
    assert "client.pem and client.key, its key, belong there too" in (tmp_path / "out" / "README.txt").read_text()
    export("--cert-file", "/etc/pki/p.pem", "--cert-key-file", "/etc/pki/p.key")
    text = (tmp_path / "out" / "prometheus.yml").read_text()
    assert 'cert_file: "/etc/pki/p.pem"' in text and 'key_file: "/etc/pki/p.key"' in text
    fleet.write_text(inventory)
    export()
    assert (tmp_path / "out" / "prometheus.yml").read_text() == plain


@pytest.mark.parametrize("how", ["changed", "link", "folder"])
def test_what_is_somebody_elses_is_left_alone(export: Callable[..., Result], tmp_path: Path, how: str) -> None:
    export()
    theirs, other = tmp_path / "out" / "alerts.yml", tmp_path / "other"
    theirs.unlink()
    if how == "changed":
        theirs.write_text("groups: []\n")
    elif how == "link":
        other.write_text("theirs")
        theirs.symlink_to(other)
    else:
        theirs.mkdir()
    before = (tmp_path / "out" / "targets.json").read_bytes()
    done = export("-e", "phi4_gateway_port=9443")
    assert done.exit_code == 3
    assert f"found {theirs}, which is not as it was written here" in done.stderr
    assert (tmp_path / "out" / "targets.json").read_bytes() == before
    assert not other.exists() or other.read_text() == "theirs"


def test_files_of_ours_that_a_killed_run_left_are_taken_up(export: Callable[..., Result], tmp_path: Path) -> None:
    export()
    (tmp_path / "out" / ".phi4-edge-export.json").unlink()
    assert export().exit_code == 0
    assert (tmp_path / "out" / ".phi4-edge-export.json").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"format": "x"}', '{"format": "phi4-edge/export/1"}', "\xff"])
def test_a_record_that_is_none_makes_no_file_ours(export: Callable[..., Result], tmp_path: Path, text: str) -> None:
    export()
    (tmp_path / "out" / ".phi4-edge-export.json").write_text(text)
    assert export().exit_code == 0, "nothing there differs"
    (tmp_path / "out" / ".phi4-edge-export.json").write_text(text)
    assert export("--credentials-file", "other").exit_code == 3


def test_without_a_gateway_nothing_is_written(export: Callable[..., Result], tmp_path: Path) -> None:
    done = export("--limit", "gw3")
    assert done.exit_code == 3
    assert "found no host with a gateway that can be reached" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_directory_that_is_none_is_named(invoke: Callable[..., Result], fleet: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = invoke("export", "prometheus", fleet, "--directory", tmp_path / "file" / "in")
    assert done.exit_code == 3
    assert "cannot be written" in done.stderr


def test_a_variable_that_cannot_be_is_named(export: Callable[..., Result]) -> None:
    done = export("-e", "phi4_bind=somewhere")
    assert done.exit_code == 1
    assert "phi4_bind: found" in done.stderr
