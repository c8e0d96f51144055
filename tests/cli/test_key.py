"""`phi4-edge key` as a user meets it: stdout, files, exit codes, messages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phi4_edge import main
from phi4_edge.inventory.loader import load

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    # No host applies keys so far, and so the program does not offer them.
    monkeypatch.setitem(main.COMMANDS, "key", "Manage the keys with which clients use the gateways.")
    return lambda *arguments: CliRunner().invoke(main.cli, ["key", *map(str, arguments)])


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "gateways.ini"
    path.write_text("[gateways]\ngw1\n")
    return path


def test_a_key_is_shown_once_and_alone_on_stdout(run: Run, inventory: Path) -> None:
    limits = ("--per-minute", 60, "--at-once", 2, "--tokens-per-day", 50_000)
    made = run("add", inventory, "north", *limits, "--until", "2999-12-31")
    assert made.exit_code == 0, made.output
    token = made.stdout.strip()
    assert token.startswith("p4e_")
    assert "shown this once" in made.stderr
    assert token not in made.stderr
    listed = run("list", inventory)
    assert listed.exit_code == 0
    assert token not in listed.output
    assert listed.stdout.splitlines()[1].split() == ["north", "60", "2", "50000", "2999-12-31"]
    document = json.loads(run("list", inventory, "-o", "json").stdout)
    sha256 = hashlib.sha256(token.encode()).hexdigest()
    wanted = {
        "name": "north",
        "sha256": sha256,
        "per_minute": 60,
        "at_once": 2,
        "tokens_per_day": 50_000,
        "until": "2999-12-31",
        "expired": False,
    }
    assert document == {"keys": [wanted]}


def test_where_tokens_per_day_are_not_held_is_said(run: Run, inventory: Path) -> None:
    assert "tokens per day" not in run("add", inventory, "north").stderr
    made = run("add", inventory, "south", "--tokens-per-day", 1)
    said = " ".join(made.stderr.split())
    assert "held on hosts whose engine is onnx; ollama and vllm do not count them" in said
    assert (made.stdout[:4], made.stdout.count("\n")) == ("p4e_", 1)
    assert [line.split()[3] for line in run("list", inventory).stdout.splitlines()[1:]] == ["any", "1"]


def test_the_largest_limits_fit_into_80_columns(run: Run, inventory: Path) -> None:
    most = ("--per-minute", 60_000, "--at-once", 256, "--tokens-per-day", 1_000_000_000, "--until", "2020-12-31")
    assert run("add", inventory, "press-4-of-the-northern-hall", *most).exit_code == 0
    lines = run("list", inventory).stdout.splitlines()
    assert (len(lines), max(map(len, lines))) == (2, 80)


def test_one_that_is_over_is_told(run: Run, inventory: Path) -> None:
    assert run("add", inventory, "old", "--until", "2020-12-31").exit_code == 0
    assert "2020-12-31 (over)" in run("list", inventory).stdout
    assert json.loads(run("list", inventory, "-o", "json").stdout)["keys"][0]["expired"] is True


def test_no_key_is_said(run: Run, inventory: Path) -> None:
    assert run("list", inventory).stdout == "No key was made: nobody is let in.\n"


def test_a_revoked_key_is_gone(run: Run, inventory: Path) -> None:
    run("add", inventory, "north")
    assert run("revoke", inventory, "north").exit_code == 0
    assert json.loads(run("list", inventory, "-o", "json").stdout) == {"keys": []}
    again = run("revoke", inventory, "north")
    assert again.exit_code == 3
    assert "found no key called 'north'" in again.stderr


def test_a_file_of_another_name_holds_them(run: Run, inventory: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "south.txt"
    assert run("add", inventory, "north", "--keys", other).exit_code == 0
    assert other.exists()
    assert run("list", inventory).stdout.startswith("No key was made")
    assert "north" in run("list", inventory, "--keys", other).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("North",), "the key's name 'North'"),
        (("a b",), "the key's name 'a b'"),
        (("north", "--per-minute", "1"), "found 1 requests per minute"),
        (("north", "--per-minute", "60001"), "--per-minute"),
        (("north", "--tokens-per-day", "-1"), "--tokens-per-day"),
        (("north", "--tokens-per-day", "1000000001"), "--tokens-per-day"),
        (("north", "--until", "tomorrow"), "found 'tomorrow', needed a day such as 2027-01-31"),
    ],
)
def test_what_cannot_be_is_a_usage_error(run: Run, inventory: Path, arguments: tuple[str, ...], said: str) -> None:
    found = run("add", inventory, *arguments)
    assert (found.exit_code, found.stdout) == (1, "")
    assert said in " ".join(found.stderr.split())
    assert not (inventory.parent / "gateway-keys.txt").exists()


def test_a_name_twice_and_a_damaged_file_are_3(run: Run, inventory: Path) -> None:
    run("add", inventory, "north")
    assert run("add", inventory, "north").exit_code == 3
    (inventory.parent / "gateway-keys.txt").write_text("nonsense")
    for arguments in (("add", inventory, "south"), ("list", inventory), ("revoke", inventory, "north")):
        found = run(*arguments)
        assert (found.exit_code, found.stdout) == (3, "")
        assert "cannot be used" in " ".join(found.stderr.split())
        assert "Traceback" not in found.output


def test_no_inventory_is_said(run: Run, tmp_path: Path) -> None:
    found = run("list", tmp_path / "gone.ini")
    assert found.exit_code == 1
    assert "found no inventory" in found.stderr


def test_a_folder_of_inventories_does_not_read_the_keys(run: Run, inventory: Path) -> None:
    """Ansible reads every file of such a folder, but for some kinds."""
    run("add", inventory, "north")
    hosts = load([str(inventory.parent)])
    assert [host.name for host in hosts] == ["gw1"]
