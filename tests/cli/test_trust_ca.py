"""`phi4-edge trust ca` as a user meets it: files, exit codes, messages."""

from __future__ import annotations

import json
import re
import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from phi4_edge.artifacts.certificates.authority import Authority
from phi4_edge.main import cli
from phi4_edge.operations import trust

Run = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config"


@pytest.fixture
def run(config: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PHI4_EDGE_CONFIG", str(config))
    monkeypatch.setenv("COLUMNS", "100")
    return lambda *arguments: CliRunner().invoke(cli, ["trust", "ca", *arguments])


def shown(run: Run, *arguments: str) -> dict[str, Any]:
    done = run("-o", "json", *arguments)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def states(done: Result) -> list[str]:
    """CAs of the table, by state."""
    assert done.exit_code == 0, done.output
    return [line.split()[4] for line in done.stdout.splitlines() if line.startswith("phi4-edge CA ")]


def test_the_first_call_makes_it_and_the_next_shows_it(run: Run, config: Path) -> None:
    first, again = run(), run()
    assert states(first) == ["issues"]
    assert first.stdout == again.stdout
    assert first.stderr == ""
    digest = re.search("^SHA-256 ([0-9a-f]{64})$", first.stdout, re.MULTILINE)
    assert digest
    assert digest[1] == Authority.load(config / "ca-key.pem").digest
    assert f"Clients are to trust {config / 'ca.pem'}" in first.stdout
    assert stat.S_IMODE((config / "ca-key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(config.stat().st_mode) == 0o700


def test_what_programs_get(run: Run, config: Path) -> None:
    found = shown(run)
    authority = Authority.load(config / "ca-key.pem")
    assert found["file"] == str(config / "ca.pem")
    (one,) = found["authorities"]
    assert one["sha256"] == authority.digest
    assert one["issues"] is True
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", one["expires"])
    assert run("-o", "yaml").stdout.startswith("file: ")


def test_clients_get_what_they_can_load_and_no_key(run: Run, config: Path) -> None:
    text = run("--pem").stdout
    assert text == (config / "ca.pem").read_text()
    ssl.create_default_context(cadata=text)
    private = (config / "ca-key.pem").read_text()
    secret = private.split("\n")[1]
    assert "BEGIN PRIVATE KEY" in private
    for arguments in ((), ("--pem",), ("-o", "json"), ("--rotate",), ("--retire",)):
        assert secret not in run(*arguments).output


def test_a_rotation_from_its_beginning_to_its_end(run: Run) -> None:
    old = run("--pem").stdout
    assert states(run("--rotate")) == ["issues", "previous"]
    both = run("--pem").stdout
    assert both.endswith(old)
    assert both.count("BEGIN CERTIFICATE") == 2
    assert [one["issues"] for one in shown(run)["authorities"]] == [True, False]
    assert states(run("--retire")) == ["issues"]
    assert run("--pem").stdout == both.removesuffix(old)
    assert states(run("--rotate", "--retire")) == ["issues"]
    assert run("--pem").stdout not in both


def test_rotate_makes_the_first_one_too(run: Run) -> None:
    assert states(run("--rotate")) == ["issues"]


@pytest.mark.parametrize("arguments", [("--pem", "-o", "json"), ("--pem", "-o", "yaml"), ("now",), ("--days", "3")])
def test_usage(run: Run, config: Path, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code in (1, 2)
    assert not config.exists()


def _after(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    now = trust.now() + days * 86_400
    monkeypatch.setattr(trust, "now", lambda: now)


def test_one_that_ends_soon_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    _after(monkeypatch, 3650 - 181)
    assert run().stderr == ""
    _after(monkeypatch, 2)
    done = run()
    assert done.exit_code == 0
    assert "the CA expires at 20" in done.stderr
    assert "--rotate" in done.stderr


@pytest.mark.parametrize(
    ("days", "said"), [(3651, "found a CA that expired at"), (-2, "found a CA that is not valid before")]
)
def test_one_that_is_not_valid_is_not_given_to_clients(
    run: Run, monkeypatch: pytest.MonkeyPatch, days: int, said: str
) -> None:
    run()
    _after(monkeypatch, days)
    for arguments in ((), ("--pem",), ("-o", "json")):
        done = run(*arguments)
        assert (done.exit_code, done.stdout) == (3, "")
        assert said in " ".join(done.stderr.split())
    assert states(run("--rotate"))[0] == "issues"


@pytest.mark.parametrize(
    ("raw", "mode", "said"),
    [
        (b"", 0o600, "found 0 private keys"),
        (b"\xff" * 1000, 0o600, "found 0 private keys"),
        (b"x" * (1 << 20), 0o600, "found more than 65536 bytes"),
        (None, 0o644, "may be read or written by others"),
        (None, 0o620, "may be read or written by others"),
    ],
)
@pytest.mark.parametrize("arguments", [(), ("--pem",), ("--rotate",)])
def test_a_damaged_one_is_said_and_never_replaced(
    run: Run, config: Path, raw: bytes | None, mode: int, said: str, arguments: tuple[str, ...]
) -> None:
    run()
    path = config / "ca-key.pem"
    if raw is not None:
        path.write_bytes(raw)
    path.chmod(mode)
    before = path.read_bytes()
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (3, "")
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
    assert path.read_bytes() == before


def test_where_it_cannot_be_kept_is_said(run: Run, config: Path) -> None:
    config.write_text("a file")
    done = run()
    assert done.exit_code == 3
    assert "cannot be written" in done.stderr
    assert "PHI4_EDGE_CONFIG" in done.stderr
