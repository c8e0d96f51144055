"""Usage errors end with 1 and say what was meant; help is complete and needs nothing heavy."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable

import click
import pytest
from click.testing import Result

from phi4_edge.errors import InterruptedRunError, NoFitError, UnreachableError
from phi4_edge.main import COMMANDS, cli

Invoke = Callable[..., Result]

HEAVY = {"ansible", "ansible_runner", "docker", "paramiko", "rich", "yaml", "huggingface_hub", "requests"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prvision", "x"], "Did you mean 'provision'?"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["--debgu"], "Did you mean '--debug'?"),
        (["plan", "--limt", "x"], "Did you mean '--limit'?"),
        (["plan"], "needed an INVENTORY to probe, or --facts FILE"),
        (["provision"], "Missing argument 'INVENTORY...'"),
        (["provision", "x", "--output", "xml"], "'xml' is not one of 'table', 'json'"),
        (["detect", "x", "--forks", "0"], "0 is not in the range"),
        (["plan", "--facts", "x", "--set", "port=1"], "needed phi4_NAME=VALUE"),
        (["ask", "x", "question", "--temperature", "9"], "9.0 is not in the range"),
        (["plan", "--facts", "x", "-e", "phi4_port=1"], "needed --set KEY=VALUE"),
        (["provision", "x", "--tags", "plan,deploy"], "found tag 'deploy', needed some of detect, plan, apply"),
        (["provision", "x", "--tags", "all"], "found tag 'all'"),
        (["provision", "x", "--tags", "Plan"], "found tag 'Plan'"),
        (["provision", "x", "--tags", ","], "found no tag"),
        (["provision", "x", "--tags", "plan", "--resume"], "found --tags plan and --resume, needed one of them"),
        (["provision", "x", "--tags", "detect", "--plan", "pyproject.toml"], "found --tags detect and --plan"),
        (["status", "x", "--vault-id", "dev@missing"], "found no file 'missing', needed [LABEL@]FILE"),
        (["status", "x", "--vault-id", "dev@"], "found no file ''"),
        (["detect", "x", "--vault-password-file", "setup.py", "--vault-password-file", "/"], "--vault-password-file"),
    ],
)
def test_a_usage_error_is_exit_1_with_help_on_stderr(invoke: Invoke, arguments: list[str], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_no_command_shows_the_commands_and_is_exit_1(invoke: Invoke) -> None:
    result = invoke()
    assert result.exit_code == 1
    assert "provision" in result.stderr


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command_in_the_order_of_use(invoke: Invoke, flag: str) -> None:
    result = invoke(flag)
    assert result.exit_code == 0
    positions = [result.stdout.index(f"\n  {name} ") for name in COMMANDS]
    assert positions == sorted(positions)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_is_there_and_shows_examples(invoke: Invoke, name: str) -> None:
    command = importlib.import_module(f"phi4_edge.commands.{name}").command
    assert isinstance(command, click.Command)
    result = invoke(name, "-h")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert f"phi4-edge {name}" in result.stdout


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from phi4_edge.main import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    shown = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert "provision" in shown.stdout
    assert not {name.split(".")[0] for name in shown.stderr.split()} & HEAVY


@pytest.mark.parametrize("error", [NoFitError("nothing fits"), UnreachableError("gone"), InterruptedRunError("stop")])
def test_an_expected_error_is_one_message_and_its_exit_code(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, error: NoFitError
) -> None:
    monkeypatch.setattr(cli, "get_command", lambda ctx, name: _raising(error))
    result = invoke("plan")
    assert result.exit_code == error.exit_code
    assert result.stderr == f"error: {error}\n"


def test_debug_shows_the_traceback_of_an_expected_error(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "get_command", lambda ctx, name: _raising(NoFitError("nothing fits")))
    result = invoke("--debug", "plan")
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("error: nothing fits\n")


def test_an_error_message_cannot_reach_the_terminal_raw(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "get_command", lambda ctx, name: _raising(NoFitError("a\x1b[2Jb\x9b31mc")))
    assert invoke("plan").stderr == "error: abc\n"


def test_an_unexpected_error_keeps_its_traceback_and_asks_for_a_report(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "get_command", lambda ctx, name: _raising(ZeroDivisionError("oops")))
    result = invoke("plan")
    assert result.exit_code == 1
    assert "ZeroDivisionError: oops" in result.stderr
    assert "please report it" in result.stderr


def test_ctrl_c_is_exit_130_and_says_how_to_go_on(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "get_command", lambda ctx, name: _raising(KeyboardInterrupt()))
    result = invoke("plan")
    assert result.exit_code == 130
    assert "run the same command again" in result.stderr


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    command = f"{sys.executable} -m phi4_edge --help | true; echo ${{PIPESTATUS[0]}}"
    shown = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert shown.stderr == ""


def _raising(error: BaseException) -> click.Command:
    def fail() -> None:
        raise error

    return click.Command("plan", callback=fail)
