"""`plan --facts`: no host, no Ansible; the same document shape for one host and for many."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

Invoke = Callable[..., Result]
FactsFile = Callable[..., Path]
Facts = Callable[..., dict[str, Any]]


def plans(invoke: Invoke, *arguments: object) -> dict[str, Any]:
    result = invoke("plan", *arguments, "--output", "json")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_json_is_always_an_envelope(invoke: Invoke, facts_file: FactsFile) -> None:
    one = plans(invoke, "--facts", facts_file("gw1"))
    two = plans(invoke, "--facts", facts_file("gw1"), facts_file("gw2"))
    assert one["format"] == two["format"] == "phi4-edge/plans/1"
    assert [plan["host"] for plan in one["plans"]] == ["gw1"]
    assert [plan["host"] for plan in two["plans"]] == ["gw1", "gw2"]
    assert one["plans"][0]["engine"] == "onnx"


def test_yaml_holds_the_same_data(invoke: Invoke, facts_file: FactsFile) -> None:
    path = facts_file()
    shown = invoke("plan", "--facts", path, "--output", "yaml").stdout
    assert yaml.safe_load(shown) == plans(invoke, "--facts", path)


def test_json_lines_and_stdin_are_read(invoke: Invoke, facts: Facts) -> None:
    lines = "\n".join(json.dumps(facts(host)) for host in ("gw1", "gw2"))
    result = invoke("plan", "--facts", "-", "--output", "json", input=lines)
    assert [plan["host"] for plan in json.loads(result.stdout)["plans"]] == ["gw1", "gw2"]


def test_a_variable_from_the_command_line_decides(invoke: Invoke, facts_file: FactsFile) -> None:
    found = plans(invoke, "--facts", facts_file(), "--set", "phi4_port=9000", "--set", "phi4_context_length=2048")
    assert (found["plans"][0]["port"], found["plans"][0]["context_length"]) == (9000, 2048)


def test_no_fit_is_exit_3_and_the_other_plans_are_still_there(invoke: Invoke, facts_file: FactsFile) -> None:
    result = invoke("plan", "--facts", facts_file("small", ram_gib=1.9), facts_file("good"), "--output", "json")
    assert result.exit_code == 3
    assert [plan["fits"] for plan in json.loads(result.stdout)["plans"]] == [False, True]
    table = invoke("plan", "--facts", facts_file("small", ram_gib=1.9), facts_file("good"))
    assert table.exit_code == 3
    assert "small: no fit (nearest profile: edge_optimized)" in table.stdout
    assert table.stdout.endswith("2 hosts: 1 to install, 1 no fit\n")


def test_an_override_that_does_not_fit_is_exit_3_with_numbers(invoke: Invoke, facts_file: FactsFile) -> None:
    result = invoke("plan", "--facts", facts_file(ram_gib=5.8), "--set", "phi4_profile=production_cpu")
    assert result.exit_code == 3
    assert "5.8 GiB" in result.stdout


def test_detailed_exitcode_tells_that_something_would_change(invoke: Invoke, facts_file: FactsFile) -> None:
    assert invoke("plan", "--facts", facts_file(), "--detailed-exitcode").exit_code == 2
    assert invoke("plan", "--facts", facts_file()).exit_code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "no JSON (line 1"),
        ("", "empty"),
        ("[]", "an empty list"),
        ("9" * 10_000, "it has a number of 10000 digits"),
        ('"text"', "found a JSON str, needed a facts document"),
        ("{}", "gw1"),
        ('{"format": "phi4-edge/facts/1", "sources": {"uname": {"text": "Linux 6 x86_64"}}}', "MemTotal"),
        ("[" * 100_000, "nested more than 32 levels"),
    ],
)
def test_a_facts_file_that_cannot_be_used_is_exit_1(invoke: Invoke, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gw1.json"
    path.write_text(text)
    result = invoke("plan", "--facts", path)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_facts_file_that_is_not_there_or_not_text_is_exit_1(invoke: Invoke, tmp_path: Path) -> None:
    missing = invoke("plan", "--facts", tmp_path / "none.json")
    assert (missing.exit_code, "No such file" in missing.stderr) == (1, True)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    binary = invoke("plan", "--facts", tmp_path / "binary")
    assert (binary.exit_code, "not UTF-8" in binary.stderr) == (1, True)


def test_the_same_host_twice_is_exit_1(invoke: Invoke, facts_file: FactsFile) -> None:
    result = invoke("plan", "--facts", facts_file(), facts_file())
    assert (result.exit_code, "give each host once" in result.stderr) == (1, True)


def test_an_unknown_variable_is_exit_1_with_the_name_that_was_meant(invoke: Invoke, facts_file: FactsFile) -> None:
    result = invoke("plan", "--facts", facts_file(), "--set", "phi4_prot=9000")
    assert result.exit_code == 1
    assert "did you mean phi4_port?" in result.stderr


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_what_a_host_says_never_reaches_the_terminal_raw(
    invoke: Invoke, facts: Facts, tmp_path: Path, output: str
) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e[bold red]gw"
    document = facts(
        evil, hostname=evil, os_release=f'PRETTY_NAME="{evil}"', cpuinfo=f"processor : 0\nmodel name : {evil}"
    )
    path = tmp_path / "evil.json"
    path.write_text(json.dumps(document))
    result = invoke("plan", "--facts", path, "--output", output)
    shown = result.stdout + result.stderr
    assert "gw" in shown
    assert not [char for char in shown if (char < " " and char != "\n") or "\x7f" <= char <= "\x9f" or char == "\u202e"]


def test_planning_from_files_imports_no_ansible(facts_file: FactsFile, tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    code = "import sys; from phi4_edge.main import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    shown = subprocess.run(
        [sys.executable, "-c", code, "plan", "--facts", str(facts_file())],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PHI4_EDGE_STORE": str(tmp_path / "store")},
    )
    loaded = {name.split(".")[0] for name in shown.stderr.split()}
    assert "phi4_edge" in loaded
    assert not loaded & {"ansible", "ansible_runner", "docker", "paramiko", "rich", "huggingface_hub", "requests"}
