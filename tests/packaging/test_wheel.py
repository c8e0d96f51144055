"""The wheel is complete and works from another directory, in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import hatch_build
from phi4_edge import __version__
from phi4_edge.runner.workers import link

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "hosts" / "n150-8gb.json"

pytestmark = pytest.mark.packaging


def run(*argv: str | Path, cwd: Path, code: int = 0) -> str:
    """Output of a command that must end with `code`."""
    done = subprocess.run(
        [str(word) for word in argv], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as a user would build it, without network."""
    out = tmp_path_factory.mktemp("dist")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        out,
        ROOT,
        cwd=out,
    )
    (path,) = out.glob("phi4_edge-*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a fresh environment with the wheel and its hash-locked dependencies, as a user installs them."""
    home = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(home, with_pip=True)
    pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--require-hashes", "-r", ROOT / "requirements" / "runtime.lock", cwd=home)
    run(*pip, "--no-deps", wheel, cwd=home)
    run(home / "bin" / "python", "-m", "pip", "check", cwd=home)
    return home / "bin"


PARTS = (
    "CHANGELOG.md",
    "LICENSES",
    "README.md",
    "SECURITY.md",
    "changelogs",
    "galaxy.yml",
    "meta",
    "playbooks",
    "plugins",
    "roles",
)
TREE = "ansible_collections/phi4_edge/edge/"


def collection_of_checkout() -> set[str]:
    """Every file of the collection that git tracks; the engine's tests are for work on it."""
    listed = run("git", "ls-files", *PARTS, cwd=ROOT).split()
    tests = "roles/onnx/files/engine/tests/"
    return {name for name in listed if (ROOT / name).is_file() and not name.startswith(tests)}


def described(wheel: Path) -> str:
    """The metadata of a wheel, which end with the README."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return archive.read(name).decode()


def test_the_readme_of_the_wheel_has_no_link_to_a_file_beside_it(wheel: Path) -> None:
    said = described(wheel)
    assert "docs/rollout.md" in said and "Content-Type: text/markdown" in said
    assert [link.group() for link in hatch_build.LINK.finditer(said)] == []
    assert "Project-URL" not in said  # nobody said where


@pytest.mark.parametrize(
    ("text", "named", "linked"),
    [
        ("see [docs/a.md](docs/a.md#b).", "see docs/a.md.", "see [docs/a.md](https://x.example/v1/docs/a.md#b)."),
        ("[`a.ini`](a.ini)", "`a.ini`", "[`a.ini`](https://x.example/v1/a.ini)"),
        ("[the plan](docs/a.md)", "the plan (docs/a.md)", "[the plan](https://x.example/v1/docs/a.md)"),
        ("[x](#limits) [y](https://y.example/z) [z](mailto:a@b.example)",) * 3,
    ],
)
def test_links_lead_to_the_sources_where_they_are_known(text: str, named: str, linked: str) -> None:
    assert hatch_build.readable(text, "") == named
    assert hatch_build.readable(text, "https://x.example/v1") == linked


def test_wheel_holds_the_whole_collection_and_no_caches(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.removeprefix(TREE) for name in names if name.startswith(TREE)} == collection_of_checkout()
    assert f"{TREE}plugins/inventory/planned.py" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".orig"))]
    package = {name.removeprefix("cli/") for name in run("git", "ls-files", "cli", cwd=ROOT).split()}
    there = {name for name in package if (ROOT / "cli" / name).is_file()}
    assert {"phi4_edge/data/catalog.yml", "phi4_edge/data/rollout.schema.json"} <= there
    assert {f"phi4_edge/report/rollout/page.{kind}" for kind in ("css", "html.j2")} <= names
    assert not there - names, f"not in the wheel: {sorted(there - names)}"


def test_installed_command_plans_from_another_directory(installed: Path, tmp_path: Path) -> None:
    python = installed / "python"
    where = run(python, "-c", "import phi4_edge.content as c; print(c.root())", cwd=tmp_path).strip()
    assert where.startswith(str(installed.parent)), where
    assert "provision" in run(python, "-m", "phi4_edge", "--help", cwd=tmp_path)
    text = run(python, "-m", "phi4_edge", "plan", "--facts", FIXTURE, "--output", "json", cwd=tmp_path)
    assert '"engine": "onnx"' in text


def test_installed_command_is_a_worker_for_what_it_was_built_from(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "phi4-edge", "worker", cwd=tmp_path)
    hello = link.Hello.read(done.encode())
    assert hello is not None, done
    assert (hello.version, hello.code) == (__version__, link.code_digest())


def test_installed_roles_run_under_ansible(installed: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.ini"
    inventory.write_text(f"here ansible_connection=local ansible_python_interpreter={sys.executable}\n")
    text = run(installed / "python", "-m", "phi4_edge", "detect", inventory, "--output", "json", cwd=tmp_path)
    assert '"here"' in text
