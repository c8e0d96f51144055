"""The collection as people of Ansible install it: the wheel in an environment, the tarball in an empty place."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from phi4_edge import __version__, ansible_version
from tests.e2e.gateway import ROOT

# Such as these lie beside other people's playbooks: were they ours, every host would fail.
STRANGERS = ("docker", "health", "lock", "plan", "probe", "service")
VERSION = __version__
FOREIGN = ROOT / "tests" / "fixtures" / "foreign_variables.yml"


@dataclass(frozen=True)
class Installation:
    """A Python environment with our wheel, and a directory with nothing but what a stranger has there."""

    python: Path
    home: Path
    collections: Path | None = None

    def play(self, *words: str | Path, store: Path, code: int = 0) -> str:
        """Output of ansible-playbook in the directory, which must end with `code`."""
        env = {"PATH": os.defpath, "HOME": str(self.home), "LC_ALL": "C.UTF-8", "PHI4_EDGE_STORE": str(store)}
        if self.collections is not None:
            env["ANSIBLE_COLLECTIONS_PATH"] = str(self.collections)
        return run(self.python.parent / "ansible-playbook", *words, cwd=self.home, env=env, code=code)


def run(*argv: str | Path, cwd: Path, env: dict[str, str] | None = None, code: int = 0) -> str:
    """Output of a command that must end with `code`."""
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def environment(folder: Path, python: str, *wanted: Sequence[str | Path]) -> Path:
    """The interpreter of a fresh environment in which these are installed, one call of pip after the other."""
    run(python, "-m", "venv", folder, cwd=ROOT)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for words in wanted:
        run(*pip, *words, cwd=ROOT)
    return folder / "bin" / "python"


def wheel(folder: Path) -> Path:
    """Our wheel, as a user builds it."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "--wheel-dir", folder, ROOT, cwd=ROOT)
    (path,) = folder.glob("phi4_edge-*.whl")
    return path


def tarball(folder: Path, galaxy: Path) -> Path:
    """The collection's tarball, as it is published."""
    run(galaxy, "collection", "build", "--output-path", folder, cwd=ROOT)
    (path,) = folder.glob("phi4_edge-edge-*.tar.gz")
    return path


def strangers(home: Path, roles: Sequence[str] = STRANGERS) -> None:
    """Roles of somebody else beside the playbook, with the names that ours have inside their collection."""
    for name in roles:
        tasks = home / "roles" / name / "tasks"
        tasks.mkdir(parents=True)
        (tasks / "main.yml").write_text(f"- ansible.builtin.fail: {{msg: a stranger's role {name}}}\n")


def foreign_variables() -> str:
    """Lines of an inventory with every variable that other people's roles for Docker document, set to nonsense."""
    return "\n".join(f"{name}=nonsense" for name in yaml.safe_load(FOREIGN.read_text())) + "\n"


def works(python: str) -> bool:
    """Whether an interpreter starts and can make environments."""
    code = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"
    done = subprocess.run([python, "-c", code], capture_output=True, check=False)
    return done.returncode == 0


def end_of_range(folder: Path, pythons: Sequence[str], wheel: Path, end: str) -> tuple[Path, tuple[int, ...]]:
    """An environment with the oldest or newest ansible-core of the range that a Python of this machine can run."""
    series = [(2, minor) for minor in range(ansible_version.OLDEST[1], ansible_version.BELOW[1])]
    tried = []
    for version in series if end == "oldest" else reversed(series):
        for python in pythons if end == "oldest" else reversed(pythons):
            home = folder / f"{Path(python).name}-{version[1]}"
            try:
                wanted = f"ansible-core=={version[0]}.{version[1]}.*"
                return environment(home, python, [wanted, wheel]), version
            except AssertionError as error:  # this Python cannot run it: pip says so
                tried.append(str(error)[-300:])
    raise AssertionError("\n".join(tried))
