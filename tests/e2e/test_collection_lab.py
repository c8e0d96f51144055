"""People of Ansible: an empty directory, ansible-core, the wheel and the tarball make the same as the command does."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from phi4_edge import ansible_version, content
from phi4_edge import lab as lab_room
from tests.e2e import collection_site, warm_engine
from tests.e2e.gateway import ROOT, Cli, Gateway

pytestmark = pytest.mark.e2e

OURS = ("/opt/phi4-edge", "/etc/systemd/system", "/var/lib/phi4-edge")
# The others install what they need from an index first.
SANITY = (
    "action-plugin-docs", "compile", "empty-init", "ignores", "line-endings", "no-assert", "no-get-exception",
    "no-illegal-filenames", "no-smart-quotes", "replace-urlopen", "shebang", "symlinks", "use-argspec-type-path",
    "use-compat-six",
)  # fmt: skip
LOCKED = ["--require-hashes", "-r", str(ROOT / "requirements" / "runtime.lock")]


@dataclass(frozen=True)
class Fleet:
    """Two gateways that are alike: one for the command, one for plain Ansible."""

    lab: lab_room.Lab
    ours: Gateway
    theirs: Gateway

    def inventory(self, folder: Path, gateway: Gateway, more: str = "") -> Path:
        """The lab's inventory with one gateway alone."""
        other = self.ours if gateway is self.theirs else self.theirs
        kept = [line for line in self.lab.inventory.read_text().splitlines() if not line.startswith(f"{other.name} ")]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{gateway.name}.ini"
        path.write_text("\n".join(kept) + f"\n[all:vars]\n{more}")
        return path


@pytest.fixture(scope="module")
def fleet(ready: Cli) -> Iterator[Fleet]:
    name = f"collection-{os.getpid()}"
    profile = lab_room.load_profiles().get("gateway-6gb")
    lab = lab_room.up(name, [profile, profile])
    try:
        warm_engine.bring(ready, lab)
        first, second = (Gateway(lab, host.name) for host in lab.hosts)
        yield Fleet(lab, first, second)
    finally:
        lab_room.down(name)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collection_site.wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> collection_site.Installation:
    """Wheel and tarball of one version; the wheel's own copy of the collection is away, so that the tarball's runs."""
    home = tmp_path_factory.mktemp("stranger")
    python = collection_site.environment(
        tmp_path_factory.mktemp("installed") / "venv", sys.executable, LOCKED, ["--no-deps", wheel]
    )
    galaxy = python.parent / "ansible-galaxy"
    packed = collection_site.tarball(tmp_path_factory.mktemp("tarball"), galaxy)
    collection_site.run(
        galaxy, "collection", "install", packed, "-p", home / "collections", "--no-deps", "--force", cwd=home
    )
    collection_site.strangers(home)
    return collection_site.Installation(python, home, home / "collections")


def files(tree: Path) -> dict[str, bytes]:
    """Content of every file of a collection by its path, what only an installation adds aside."""
    added = {"MANIFEST.json", "FILES.json", "galaxy.yml"}
    found = {path.relative_to(tree) for path in tree.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return {path.as_posix(): (tree / path).read_bytes() for path in found if path.as_posix() not in added}


def test_wheel_tarball_and_checkout_hold_the_same_tree(installed: collection_site.Installation) -> None:
    assert installed.collections is not None
    unpacked = files(installed.collections / "ansible_collections" / "phi4_edge" / "edge")
    code = "import phi4_edge.content as c; print(c.root())"
    wheel = files(Path(collection_site.run(installed.python, "-c", code, cwd=installed.home).strip()))
    assert unpacked.keys() == wheel.keys()
    assert unpacked == wheel
    assert {name: (ROOT / name).read_bytes() for name in wheel} == wheel


def test_it_passes_what_ansible_test_checks_without_a_network(installed: collection_site.Installation) -> None:
    assert installed.collections is not None
    tree = installed.collections / "ansible_collections" / "phi4_edge" / "edge"
    # Of this Python alone: others that are on the PATH need not work.
    words = ["--python", f"{sys.version_info[0]}.{sys.version_info[1]}"]
    words += [word for name in SANITY for word in ("--test", name)]
    env = {"PATH": f"{installed.python.parent}:{os.environ['PATH']}", "HOME": str(installed.home), "LC_ALL": "C.UTF-8"}
    told = collection_site.run(installed.python.parent / "ansible-test", "sanity", *words, cwd=tree, env=env)
    assert [name for name in SANITY if f'Running sanity test "{name}"' not in told] == []


def test_ansible_from_an_empty_directory_makes_what_the_command_makes(
    ready: Cli, fleet: Fleet, installed: collection_site.Installation, tmp_path: Path
) -> None:
    done = ready.run("provision", fleet.inventory(tmp_path, fleet.ours), "--yes").expect(0)
    assert "changed=" in done.out + done.err
    warm_engine.keep(ready, fleet.lab, fleet.ours.name)
    theirs = fleet.inventory(tmp_path / "theirs", fleet.theirs, collection_site.foreign_variables())
    words = ("phi4_edge.edge.provision", "-i", theirs)
    installed.play(*words, store=ready.store)
    ours, made = fleet.ours.receipt(), fleet.theirs.receipt()
    assert ours["release"] == made["release"]
    assert sorted(line["path"] for line in ours["files"]) == sorted(line["path"] for line in made["files"])
    trees = []
    for gateway in (fleet.ours, fleet.theirs):
        tree = {path: what for path, what in gateway.tree().items() if path.startswith(OURS)}
        # Compiled files hold the time of their source; journals and receipts name their host and run.
        trees.append({path: what for path, what in tree.items() if not path.endswith((".pyc", ".json", "/journal"))})
    assert trees[0] == trees[1]
    again = installed.play(*words, store=ready.store)
    assert "changed=0" in again
    assert "a stranger's role" not in again
    ready.run("plan", theirs, "--detailed-exitcode").expect(0)


def interpreters() -> list[str]:
    """Pythons of this machine that phi4-edge accepts, oldest first."""
    names = [f"python3.{minor}" for minor in range(11, 15)]
    pyenv = [str(path) for name in names for path in sorted(Path.home().glob(f".pyenv/versions/*/bin/{name}"))]
    found = dict.fromkeys([sys.executable, *(path for name in names if (path := shutil.which(name))), *pyenv])
    return [path for path in found if collection_site.works(path)]


@pytest.mark.full
@pytest.mark.parametrize("end", ["oldest", "newest"])
def test_both_ends_of_the_range_of_ansible_core(
    ready: Cli, fleet: Fleet, wheel: Path, tmp_path: Path, end: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    python, version = collection_site.end_of_range(tmp_path / "venv", interpreters(), wheel, end)
    low, high = ansible_version.OLDEST, ansible_version.BELOW
    assert low <= version < high
    other = collection_site.Installation(python, home)
    port = {"oldest": 8091, "newest": 8092}[end]
    inventory = fleet.inventory(tmp_path, fleet.theirs, f"phi4_port={port}\n")
    made = other.play("phi4_edge.edge.provision", "-i", inventory, store=ready.store)
    assert "failed=0" in made
    assert fleet.theirs.chat("Hello", port=port)["choices"]
    assert "changed=0" in other.play("phi4_edge.edge.provision", "-i", inventory, store=ready.store)
    command = [python.parent / "phi4-edge", "status", inventory]
    assert "serving" in collection_site.run(*command, cwd=home, env={**ready.env, "HOME": str(home)})


def test_the_collection_of_another_version_is_told_in_one_sentence(
    ready: Cli, fleet: Fleet, installed: collection_site.Installation, tmp_path: Path
) -> None:
    assert installed.collections is not None
    copy = tmp_path / "collections"
    shutil.copytree(installed.collections, copy)
    manifest = copy / "ansible_collections" / "phi4_edge" / "edge" / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace(f'"version": "{collection_site.VERSION}"', '"version": "9.9.9"'))
    other = collection_site.Installation(installed.python, installed.home, copy)
    inventory = fleet.inventory(tmp_path, fleet.theirs)
    told = other.play("phi4_edge.edge.detect", "-i", inventory, store=ready.store, code=2)
    assert "found collection phi4_edge.edge 9.9.9 and package phi4-edge" in told
    assert "Traceback" not in told
    assert content.root() == ROOT
