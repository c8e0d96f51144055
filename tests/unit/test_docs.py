"""What the documentation says is what the code does: variables, links, environment, exit codes, commands, tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from phi4_edge import errors, inventory, lab
from phi4_edge.core.catalog.table import PROFILES
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.plan.overrides import (
    DELIVERIES,
    EXTRA,
    MODELS,
    PASSED,
    PREFERENCES,
    QUANTIZATIONS,
    VARIABLES,
    Overrides,
)
from phi4_edge.core.rollout import planned
from phi4_edge.core.values import AUTO
from phi4_edge.data import SCHEMAS, load_catalog, load_table
from phi4_edge.errors import InventoryError
from phi4_edge.main import cli

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SAMPLE = ROOT / "inventory" / "gateways.ini"

EXPLAINED = re.compile(r"^# ((?:phi4|webui|nvidia_runtime)_\w+)=(\S+) +# (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`]+)`")
# What has no exception of its own: all went well, and something would change or has drifted.
CODES_WITHOUT_ERROR = {0, 2}

by_name = pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)


def explained() -> dict[str, tuple[str, str]]:
    """Variable → default and explanation, as the sample inventory has them."""
    return {name: (default, text) for name, default, text in EXPLAINED.findall(SAMPLE.read_text())}


def test_the_sample_inventory_explains_every_variable_once() -> None:
    names = [name for name, _, _ in EXPLAINED.findall(SAMPLE.read_text())]
    # phi4_hosts is for a command line: which hosts a playbook is for.
    assert sorted([*names, "phi4_hosts"]) == sorted([*VARIABLES, *EXTRA, *PASSED])


def test_the_sample_inventory_shows_the_defaults() -> None:
    shown = {name: default for name, (default, _) in explained().items()}
    assert Overrides.from_vars("gw1", shown) == Overrides("gw1")


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("phi4_model", MODELS),
        ("phi4_profile", (AUTO, *PROFILES)),
        ("phi4_engine", (AUTO, *ENGINES)),
        ("phi4_quantization", (AUTO, *QUANTIZATIONS)),
        ("phi4_prefer", PREFERENCES),
        ("phi4_service_manager", (AUTO, "systemd", "compose")),
        ("phi4_force", ("false", "true")),
        ("phi4_metrics", ("false", "true")),
        ("phi4_prefix_cache", ("false", "true")),
        ("phi4_repacked", ("false", "true")),
        ("phi4_image_delivery", DELIVERIES),
        ("webui_enabled", ("false", "true")),
        ("webui_builtin_tools", ("false", "true")),
        ("webui_titles", (AUTO, "false", "true")),
        ("webui_follow_ups", ("false", "true")),
        ("webui_tags", ("false", "true")),
    ],
)
def test_the_sample_inventory_shows_the_choices(name: str, choices: tuple[str, ...]) -> None:
    shown = [choice.split()[0].rstrip(":") for choice in explained()[name][1].split("|")]
    assert sorted(shown) == sorted(choices)
    for choice in shown:
        Overrides.from_vars("gw1", {name: choice})


RANGES = {
    name: (int(found[1]), int(found[2]))
    for name, (_, text) in explained().items()
    if (found := re.search(r"(\d+) to (\d+)", text))
}


def test_ranges_are_shown_for_every_number() -> None:
    numbers = {"context_length", "parallel", "threads", "max_tokens", "port", "stability_seconds", "connections"}
    numbers |= {"deadline_seconds", "gateway_port", "gateway_queue"}
    assert set(RANGES) == {*(f"phi4_{name}" for name in numbers), "webui_port", "webui_max_tokens"}


@pytest.mark.parametrize("name", list(RANGES))
def test_the_sample_inventory_shows_the_right_range(name: str) -> None:
    least, most = RANGES[name]
    for value in (least, most):
        Overrides.from_vars("gw1", {name: value})
    for value in (least - 1, most + 1):
        with pytest.raises(InventoryError, match=name):
            Overrides.from_vars("gw1", {name: value})


def test_the_sample_inventory_can_be_used() -> None:
    hosts = inventory.load((str(SAMPLE),))
    assert len(hosts) > 1
    for host in hosts:
        assert Overrides.from_vars(host.name, host.vars).host == host.name
        assert host.become is True


@by_name
def test_variables_that_are_named_exist(path: Path) -> None:
    # What begins with phi4_edge_ is a metric: a real Prometheus is asked for those.
    named = set(re.findall(r"\bphi4_(?!edge_)[a-z_]+\b", path.read_text()))
    known = {*VARIABLES, *PASSED, *EXTRA, *planned.VARIABLES, planned.PREFIX, "phi4_edge", "phi4_docker_"}
    assert named <= known, sorted(named - known)


@by_name
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(path.read_text()):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), link
        assert ROOT in there.parents, link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in headings], link


def test_every_document_can_be_found_from_the_readme() -> None:
    linked = set(LINK.findall((ROOT / "README.md").read_text()))
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= linked


def test_every_variable_of_the_environment_is_documented() -> None:
    ours = re.compile(r"PHI4_EDGE_[A-Z][A-Z_]*")
    sources = [ROOT / "Makefile", ROOT / "hatch_build.py"]
    for folder in ("cli", "roles", "playbooks", "tests"):
        sources += [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yml")]
    used = {name for path in sources if path != Path(__file__) for name in ours.findall(path.read_text())}
    documented = {name for path in DOCS for name in ours.findall(path.read_text())}
    assert documented == used


def tree(of: type[errors.Phi4EdgeError]) -> Iterator[type[errors.Phi4EdgeError]]:
    yield of
    for child in of.__subclasses__():
        yield from tree(child)


def readme_codes() -> set[int]:
    return {int(code) for code in re.findall(r"^\| (\d+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)}


def test_the_table_of_exit_codes_is_complete() -> None:
    raised = {each.exit_code for each in tree(errors.Phi4EdgeError) if each.__module__ == errors.__name__}
    assert readme_codes() == raised | CODES_WITHOUT_ERROR


def commands(of: click.Command = cli, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command by its whole name; the program itself is ''."""
    yield name, of
    if isinstance(of, click.Group):
        context = click.Context(of)
        for each in of.list_commands(context):
            found = of.get_command(context, each)
            assert found is not None
            yield from commands(found, f"{name} {each}".strip())


TREE = dict(commands())


@pytest.mark.parametrize("name", [name for name in TREE if "Exit codes:" in (TREE[name].help or "")])
def test_help_names_exit_codes_of_the_table(name: str) -> None:
    told = (TREE[name].help or "").partition("Exit codes:")[2].partition("If several apply")[0]
    assert {int(code) for code in re.findall(r"(?:^|,)\s*(\d+) ", told)} <= readme_codes()


def options(command: click.Command) -> set[str]:
    shown = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    return shown | {"-h", "--help"}


ALL_OPTIONS = {option for command in TREE.values() for option in options(command)}


def shown_commands(text: str) -> list[str]:
    """Every command line of our program: in fenced blocks, and between backticks in the text."""
    lines = [line for kind, block in FENCE.findall(text) if kind in ("sh", "bash") for line in block.splitlines()]
    return [line for line in [*lines, *INLINE.findall(FENCE.sub("", text))] if line.startswith("phi4-edge ")]


def examples_of_help() -> Iterator[str]:
    for command in TREE.values():
        for line in (command.help or "").splitlines():
            if line.strip().startswith("phi4-edge "):
                yield line.strip()


EXAMPLES = [(path.name, line) for path in DOCS for line in shown_commands(path.read_text())]
EXAMPLES += [("help", line) for line in examples_of_help()]


def test_examples_were_found() -> None:
    assert {name for name, _ in EXAMPLES} >= {"README.md", "help", "decision.md", "host.md", "lab.md", "models.md"}


@pytest.mark.parametrize(("where", "line"), EXAMPLES)
def test_commands_and_options_that_are_shown_exist(where: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    name = ""
    while words and isinstance(TREE[name], click.Group) and not words[0].startswith("-"):
        name = f"{name} {words.pop(0)}".strip()
        assert name in TREE, f"{where}: {line}"
    for word in words:
        if word in ("--", "|", ">", ">>"):
            break
        if re.match(r"--?[A-Za-z]", word):
            assert word.partition("=")[0] in options(TREE[name]), f"{where}: {line}"


@by_name
def test_options_that_are_named_alone_exist(path: Path) -> None:
    alone = {code for code in INLINE.findall(path.read_text()) if re.fullmatch(r"--[a-z-]+", code)}
    assert alone <= ALL_OPTIONS


def rows(path: Path, heading: str) -> list[list[str]]:
    """Cells of the first table under a heading, without its head."""
    section = path.read_text().partition(f"\n## {heading}\n")[2]
    table = section[section.index("\n|") + 1 :].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_profiles_of_the_lab_are_those_of_the_lab() -> None:
    shown = [row[:3] for row in rows(ROOT / "docs" / "lab.md", "Profiles")]
    known = lab.load_profiles().rows.values()
    assert shown == [[each.name, f"{each.ram_bytes / 1024**3:.1f} GiB", str(each.cpus)] for each in known]


def size(number: float) -> str:
    return f"{number:g} GB" if number else "-"


def test_the_resource_table_in_the_documentation_is_the_one_that_decides() -> None:
    shown = rows(ROOT / "docs" / "decision.md", "1. The resource table")
    profiles = load_table().profiles.values()
    wanted = [
        [p.name, size(p.minimum_ram), size(p.recommended_ram), size(p.minimum_vram), size(p.disk), p.meant_for]
        for p in profiles
    ]
    assert sorted(shown) == sorted(wanted)
    assert [row[0] for row in shown][: len(load_table().auto_order)] == list(load_table().auto_order)


def test_the_candidates_in_the_documentation_are_those_of_the_catalog() -> None:
    for profile, listed in rows(ROOT / "docs" / "decision.md", "3. Candidates and gates"):
        known: list[Any] = list(load_catalog().candidates[profile])
        assert [" ".join(each.split()[:2]) for each in listed.split(", ")] == [
            f"{each.engine} {each.quantization}" for each in known
        ]


def test_every_schema_is_named() -> None:
    text = (ROOT / "docs" / "decision.md").read_text()
    assert [name for name in SCHEMAS if f"{name}.schema.json" not in text] == []
