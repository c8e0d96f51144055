"""Files that people hand us: none of these is taken, none ends in a traceback, none waits, none takes much memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from phi4_edge import data, documents
from phi4_edge.core import strict_json
from phi4_edge.core.inventory import Host
from phi4_edge.errors import CatalogError
from phi4_edge.operations.plan import Planner, PlanSet, Seen, Source
from phi4_edge.rollout.result import HostResult, Outcome
from tests.unit.crafted import FILES, PLANS, reformed

pytestmark = pytest.mark.slow

HOSTS = Path(__file__).parents[1] / "fixtures" / "hosts"
MOST_MIB, MOST_SECONDS = 400, 20.0

# Runs the command in a process of its own, and says in what memory.
RUN = """
import sys
from phi4_edge.main import main
sys.argv[0] = "phi4-edge"
try:
    main()
except SystemExit as end:
    status = end.code
used = int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) >> 10
print(f"\\nused {used} MiB", file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    facts = json.loads((HOSTS / "n150-8gb.json").read_text())
    planned, _ = Planner({}).decide_all([Seen("gw1", facts, {})])
    source = Source.of(("hosts.ini",), None, [(Host("gw1"), {}), (Host("gw2"), {})])
    return PlanSet.of(planned, [HostResult("gw2", Outcome.UNREACHABLE, "gone")], source).to_dict()


def refused(exit_code: int, *words: str | Path, stdin: Path | None = None) -> str:
    """What is said; the command ended as it should, in time and in little memory."""
    began = time.monotonic()
    with (stdin or Path("/dev/null")).open("rb") as source:
        done = subprocess.run(
            [sys.executable, "-c", RUN, *map(str, words)],
            stdin=source, capture_output=True, text=True, timeout=MOST_SECONDS * 3, check=False,
        )  # fmt: skip
    said, _, used = done.stderr.rpartition("\nused ")
    assert done.returncode == exit_code, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert int(used.split()[0]) <= MOST_MIB
    assert time.monotonic() - began < MOST_SECONDS
    assert len(said) < 4000
    assert all(line.isprintable() for line in said.splitlines())
    assert done.stdout == ""
    return said


# The command line itself refuses these, as it does for every file that it takes.
BY_CLICK = ("a folder", "a link to nothing", "a link to itself")
STREAMS = ("an endless device", "a gigabyte of nothing", "many mappings", "empty", "no UTF-8")
NO_INVENTORIES = ("an endless device", "a FIFO that nobody writes", "a terminal", "a gigabyte of nothing")


@pytest.mark.parametrize("name", FILES)
def test_a_plan_file_that_is_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / "reviewed.json"
    FILES[name](path)
    said = refused(1 if name in BY_CLICK else 3, "provision", "gw1,", "--plan", path, "--yes")
    assert name in BY_CLICK or "needed a plan of format" in said


@pytest.mark.parametrize("name", FILES)
def test_a_facts_file_that_is_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / "gw1.json"
    FILES[name](path)
    assert "gw1" in refused(1, "plan", "--facts", path)


@pytest.mark.parametrize("name", STREAMS)
def test_standard_input_that_is_no_facts(tmp_path: Path, name: str) -> None:
    path = tmp_path / "gw1.json"
    FILES[name](path)
    assert refused(1, "plan", "--facts", "-", stdin=path).startswith("error: -")


@pytest.mark.parametrize("name", NO_INVENTORIES)
def test_an_inventory_that_is_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hosts"
    FILES[name](path)
    assert str(path) in refused(1, "detect", path)


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_file_that_was_crafted(tmp_path: Path, document: dict[str, Any], name: str) -> None:
    from phi4_edge.errors import PreflightError
    from phi4_edge.operations import plan_file

    path = tmp_path / "reviewed.json"
    path.write_bytes(reformed(document, PLANS[name]))
    began = time.monotonic()
    with pytest.raises(PreflightError, match=r"needed .*make and review a new one") as error:
        plan_file.read(path)
    assert time.monotonic() - began < MOST_SECONDS
    assert len(str(error.value)) < 1000
    assert str(error.value).isprintable()


def test_crafted_plans_are_refused_by_the_command(tmp_path: Path, document: dict[str, Any]) -> None:
    path = tmp_path / "reviewed.json"
    for name in ("a host 5,000 times", "an unknown name in a plan", "a host that a terminal obeys"):
        path.write_bytes(reformed(document, PLANS[name]))
        assert "found" in refused(3, "provision", "gw1,", "--plan", path, "--yes").lower()


def test_a_document_within_its_bounds_is_read(tmp_path: Path, document: dict[str, Any]) -> None:
    """As large as a fleet's, and as JSON may be written."""
    from phi4_edge.core.plan import review
    from phi4_edge.operations import plan_file

    plan = document["plans"][0]
    names = [f"gw{number}" for number in range(1000)]
    plans = [{**plan, "host": name} for name in names]
    fleet = {**document, "plans": [{**each, "digest": review.digest(each)} for each in plans], "problems": []}
    path = tmp_path / "reviewed.json"
    path.write_text(json.dumps({**fleet, "digest": review.digest(fleet)}, indent=2))
    assert list(plan_file.read(path).plans) == names


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": [1, -2.5e-3, "\\u00fc\\ud83d\\ude00", null, true]}',
        b" \n7\t",
        b"[" * 32 + b"]" * 32,
        b'{"a": "[[[[{{{{,,,,"}',
        b"1" * 19,
    ],
)
def test_what_is_sound_is_read_as_json_means_it(text: bytes) -> None:
    assert strict_json.loads(text) == json.loads(text)


def test_a_file_that_grows_while_it_is_read_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1" * 100)
    real = documents.os.fstat

    def grow(handle: int) -> Any:
        found = real(handle)
        path.write_bytes(b"1" * 5000)
        return found

    monkeypatch.setattr(documents.os, "fstat", grow)
    with pytest.raises(documents.DocumentError, match="more than 1 KiB"):
        documents.read(path, 1024)


def bomb(first: str, pattern: str) -> str:
    """Nine times the line before, line by line."""
    lines = [f"a: &a {first}"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} {pattern.format(', '.join([f'*{before}'] * 9))}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (bomb("[x, x]", "[{}]"), "needed at most 16 aliases"),
        (bomb("{x: 1}", "{{<<: [{}]}}"), "needed at most 16 aliases"),
        ("[" * 5000 + "]" * 5000, "needed at most 40 levels"),
        ("a: 1\na: 2\n", "found a twice"),
        ("a: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
        ("x" * (2 << 20), "found more than 1 MiB"),
        ("a: *a\n", "found undefined alias"),
        ("\x00", "unacceptable character|control characters"),
    ],
)
def test_yaml_that_is_more_than_it_seems(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "prompts.yml"
    path.write_text(text)
    began = time.monotonic()
    with pytest.raises(CatalogError, match=told):
        data.load_prompts(path)
    assert time.monotonic() - began < 5
