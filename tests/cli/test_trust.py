"""`phi4-edge trust` and `bundle create --sign` as a user meets them: files, exit codes, messages."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phi4_edge.artifacts.signing.secret import SecretKey
from phi4_edge.main import cli

Run = Callable[..., Result]
OLD, NEW, STRANGER = (SecretKey(bytes([n]) * 8, bytes([n]) * 32) for n in (1, 2, 9))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PHI4_EDGE_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("PHI4_EDGE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PHI4_EDGE_STORE", str(tmp_path / "store"))
    return lambda *arguments: CliRunner().invoke(cli, [str(argument) for argument in arguments])


def secret_file(path: Path, key: SecretKey) -> Path:
    """The key without a password, as `minisign -G -W` writes it."""
    inner = key.number + key.seed + key.public.point
    checked = hashlib.blake2b(b"Ed" + inner, digest_size=32).digest()
    raw = b"Ed\0\0B2" + bytes(48) + inner + checked
    path.write_text(f"untrusted comment: minisign secret key\n{base64.b64encode(raw).decode()}\n")
    return path


def public_file(path: Path, key: SecretKey) -> Path:
    path.write_text(f"untrusted comment: minisign public key {key.public.id}\n{key.public.text}\n")
    return path


def listed(run: Run) -> list[str]:
    return [one["id"] for one in json.loads(run("trust", "list", "-o", "json").stdout)["keys"]]


def test_keys_are_added_listed_and_removed(run: Run, tmp_path: Path) -> None:
    assert "No key is trusted" in run("trust", "list").stdout
    done = run("trust", "add", public_file(tmp_path / "a.pub", OLD), "--name", "release")
    assert done.exit_code == 0, done.output
    assert run("trust", "add", NEW.public.text).exit_code == 0
    assert listed(run) == [OLD.public.id, NEW.public.id]
    assert run("trust", "remove", "release").exit_code == 0
    assert run("trust", "remove", NEW.public.id.lower()).exit_code == 0
    assert listed(run) == []
    gone = run("trust", "remove", "release")
    assert gone.exit_code == 3
    assert "found 0 trusted keys called 'release', needed one of: none" in gone.stderr


def test_files_are_for_their_owner_alone(run: Run, tmp_path: Path) -> None:
    run("trust", "add", OLD.public.text)
    run("trust", "site", "north")
    for path in (tmp_path / "config" / "trust.json", tmp_path / "state" / "trust" / "sites.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_file_that_others_may_write_is_not_believed(run: Run, tmp_path: Path, mode: int) -> None:
    run("trust", "add", OLD.public.text)
    (tmp_path / "config" / "trust.json").chmod(mode)
    done = run("trust", "list")
    assert done.exit_code == 3
    assert "may be written by others" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "phi4-edge/trust/1"}', "[" * 100_000, '{"format": "phi4-edge/trust/1", "keys": [{}]}',
     '{"format": "phi4-edge/trust/1", "keys": [], "removed": [5]}', "x" * 300_000, "\0"],
)  # fmt: skip
def test_a_damaged_file_of_keys_never_counts_as_none(run: Run, tmp_path: Path, text: str) -> None:
    run("trust", "add", OLD.public.text)
    (tmp_path / "config" / "trust.json").write_text(text)
    done = run("trust", "list")
    assert done.exit_code == 3
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.output


def test_a_file_of_keys_that_is_a_link_or_a_folder_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "trust.json").symlink_to(tmp_path / "elsewhere.json")
    assert run("trust", "list").exit_code == 3
    (tmp_path / "config" / "trust.json").unlink()
    (tmp_path / "config" / "trust.json").mkdir()
    assert run("trust", "list").exit_code == 3


@pytest.mark.parametrize("source", ["RWQ", "hello", "x" * 5000, "RW" + "A" * 54, "", "é" * 56])
def test_what_is_no_key_is_said(run: Run, source: str) -> None:
    done = run("trust", "add", source)
    assert done.exit_code == 3, done.output
    assert "found" in done.stderr
    assert "Traceback" not in done.output


def test_a_key_changes_by_its_own_word(run: Run, tmp_path: Path) -> None:
    run("trust", "add", OLD.public.text)
    old, new = secret_file(tmp_path / "old.key", OLD), public_file(tmp_path / "new.pub", NEW)
    done = run("trust", "rotate", new, "--sign", old, "--retire", "-o", tmp_path / "rotation.json")
    assert done.exit_code == 0, done.output
    assert f"{OLD.public.id} retires, {NEW.public.id} is new" in done.stdout
    assert listed(run) == [OLD.public.id]
    assert run("trust", "add", tmp_path / "rotation.json").exit_code == 0
    assert listed(run) == [NEW.public.id]
    again = run("trust", "add", tmp_path / "rotation.json")
    assert again.exit_code == 3
    assert "needed one that is trusted here" in again.stderr


def test_a_rotation_that_was_changed_or_lost_its_signature_is_refused(run: Run, tmp_path: Path) -> None:
    run("trust", "add", OLD.public.text)
    old, path = secret_file(tmp_path / "old.key", OLD), tmp_path / "rotation.json"
    run("trust", "rotate", NEW.public.text, "--sign", old, "-o", path)
    path.write_text(path.read_text().replace(NEW.public.text, STRANGER.public.text))
    done = run("trust", "add", path)
    assert (done.exit_code, "does not hold" in done.stderr) == (3, True)
    (tmp_path / "rotation.json.minisig").unlink()
    done = run("trust", "add", path)
    assert (done.exit_code, "cannot be read" in done.stderr) == (3, True)
    assert listed(run) == [OLD.public.id]


def test_what_cannot_be_rotated(run: Run, tmp_path: Path) -> None:
    old = secret_file(tmp_path / "old.key", OLD)
    assert run("trust", "rotate", "--sign", old, "-o", tmp_path / "r.json").exit_code == 1
    assert run("trust", "rotate", OLD.public.text, "--sign", old, "-o", tmp_path / "r.json").exit_code == 3
    assert run("trust", "rotate", "--retire", "--sign", public_file(tmp_path / "x", OLD), "-o", "r").exit_code == 3
    assert run("trust", "rotate", NEW.public.text, "--sign", old, "-o", tmp_path / "no" / "r.json").exit_code == 3


def test_a_password_is_never_waited_for_without_a_terminal(run: Run, tmp_path: Path) -> None:
    raw = b"EdScB2" + bytes(32) + (32768).to_bytes(8, "little") + (1 << 24).to_bytes(8, "little") + bytes(104)
    (tmp_path / "a.key").write_text(f"untrusted comment: x\n{base64.b64encode(raw).decode()}\n")
    asked = run("trust", "rotate", NEW.public.text, "--sign", tmp_path / "a.key", "-o", tmp_path / "r.json")
    assert asked.exit_code == 3
    assert "needed --password-file FILE" in asked.stderr
    (tmp_path / "password").write_text("wrong\n")
    given = ("--password-file", tmp_path / "password", "-o", tmp_path / "r.json")
    done = run("trust", "rotate", NEW.public.text, "--sign", tmp_path / "a.key", *given)
    assert done.exit_code == 3
    assert "the password is wrong" in done.stderr
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize("name", ["", "Ü", "../x", "a b", "x" * 80])
def test_a_site_has_a_plain_name(run: Run, name: str) -> None:
    assert run("trust", "site", name).exit_code == 1


def test_hosts_are_told_nothing_where_no_key_is_trusted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "gateways.ini").write_text("gw1 ansible_host=192.0.2.1\n")
    done = run("trust", "push", tmp_path / "gateways.ini", "--yes")
    assert done.exit_code == 3
    assert "found no trusted key on this controller" in done.stderr


def test_options_of_signing_need_a_key(run: Run, tmp_path: Path) -> None:
    done = run("bundle", "create", "--facts", "-", "--counter", "5", "-o", tmp_path / "x.tar")
    assert done.exit_code == 1
    assert "need --sign KEY" in done.stderr
