"""The converter environment: a Python environment of its own for PyTorch and the model builder, made on first use."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from phi4_edge.artifacts.convert import process, pytorch
from phi4_edge.artifacts.store import files, resources
from phi4_edge.artifacts.store.store import Store
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

# Measured: 1.3 GB installed, and 0.3 GB of wheels while it is made.
DISK = 2_000_000_000
LOCK = Path(__file__).with_name("converter.lock")
_STAMP = "converter.json"
_WORKERS = Path(__file__).with_name("scripts")
_VERSIONS = """
import importlib.metadata as m, json, platform, torch, transformers, onnxruntime_genai
names = ("torch", "transformers", "tokenizers", "onnx", "onnx-ir", "onnxruntime", "onnxruntime-genai")
print(json.dumps({"python": platform.python_version(), **{name: m.version(name) for name in names}}))
"""


@dataclass(frozen=True)
class Locked:
    """A small environment that is all in one lock: its kind, the lock, its bytes of disk, and what messages say of it.

    `packages` are those whose versions go into manifests.
    """

    kind: str
    lock: Path
    disk: int
    what: str
    packages: tuple[str, ...]

    @property
    def name(self) -> str:
        """Folder name of the environment for this lock, this Python and this machine."""
        text = f"{sys.version_info[0]}.{sys.version_info[1]} {platform.machine()}".encode() + self.lock.read_bytes()
        return f"{self.kind}-{hashlib.sha256(text).hexdigest()[:16]}"


@dataclass(frozen=True)
class Converter:
    """A complete converter environment: its interpreter and the versions of what is in it."""

    python: Path
    versions: dict[str, str]

    def command(self, worker: str, arguments: dict[str, object]) -> list[str | Path]:
        """The command line that runs `worker`, isolated from the user's own packages."""
        return [self.python, "-I", _WORKERS / f"{worker}.py", json.dumps(arguments, sort_keys=True)]


def base_python() -> str:
    """The interpreter that our own environment was made from."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def pip() -> list[str]:
    """The command of a pip on this controller. Raises ArtifactError, with what to do, when there is none."""
    for python in dict.fromkeys((sys.executable, base_python())):
        ended = process.run([python, "-I", "-m", "pip", "--version"], process.environment())
        if ended.status == 0:
            return [python, "-I", "-m", "pip"]
    raise ArtifactError(
        f"neither {sys.executable} nor {base_python()} has pip, which fetches and installs what the artifacts need. "
        f"Install it: '{sys.executable} -m ensurepip', or 'uv pip install pip' in an environment made by uv."
    )


def lock_digest() -> str:
    """Names the versions that convert; artifacts of another lock are made again on request."""
    return hashlib.sha256(LOCK.read_bytes() + pytorch.TORCH.encode()).hexdigest()[:16]


def name() -> str:
    """Folder name of the environment for this lock, this Python and this machine."""
    text = f"{lock_digest()} {sys.version_info[0]}.{sys.version_info[1]} {platform.machine()}"
    return f"converter-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def ensure(store: Store, progress: Progress = silent) -> Converter:
    """The converter environment, made now when it is not there yet (minutes, about 1.5 GB).

    Raises ArtifactError when disk, pip or a package is missing; nothing half made remains.
    """
    return made(store, name(), DISK, _build, progress)


def locked(store: Store, wanted: Locked, progress: Progress = silent) -> Converter:
    """The environment `wanted`, made now when it is not there yet. Raises ArtifactError when that is not possible."""
    versions = (
        f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {wanted.packages}}}))"
    )

    def build(folder: Path, progress: Progress) -> dict[str, str]:
        add(empty(folder, progress), wanted.lock, f"installing {wanted.what}", progress)
        return versions_of(folder, versions)

    return made(store, wanted.name, wanted.disk, build, progress)


def made(
    store: Store, called: str, disk: int, build: Callable[[Path, Progress], dict[str, str]], progress: Progress
) -> Converter:
    """The environment `called`, made by `build` in a folder of `disk` bytes when it is not there yet."""
    target = store.root / "environments" / called
    store.hold("environments", called)
    with store.making(called, progress):
        if (target / _STAMP).is_file() and (target / "bin" / "python").exists():
            versions = json.loads((target / _STAMP).read_text(encoding="utf-8"))
            return Converter(target / "bin" / "python", versions)
        resources.require_disk(store.root, disk, f"the {called.partition('-')[0]} environment")
        with store.workspace("environment") as work:
            built = work / "environment"
            versions = build(built, progress)
            files.write_json(built / _STAMP, versions)
            target.parent.mkdir(parents=True, exist_ok=True)
            files.erase(target)
            built.rename(target)
    return Converter(target / "bin" / "python", versions)


# No resolving, no building, no questions.
_OPTIONS = (
    *("--no-deps", "--no-input", "--no-compile", "--disable-pip-version-check", "--progress-bar", "off"),
    *("--only-binary", ":all:"),
)


def empty(folder: Path, progress: Progress) -> list[str | Path]:
    """Make an environment without anything in it; return the command of a pip that works there."""
    step([base_python(), "-I", "-m", "venv", "--without-pip", folder], "making the environment", progress)
    return [*pip(), "--python", folder / "bin" / "python"]


def add(pip_there: list[str | Path], lock: Path, what: str, progress: Progress) -> None:
    """Install what `lock` names, every file with its hash. Raises ArtifactError with pip's last words."""
    step([*pip_there, "install", *_OPTIONS, "--require-hashes", "-r", lock], what, progress)


def _build(folder: Path, progress: Progress) -> dict[str, str]:
    there = empty(folder, progress)
    pytorch.install(there, _OPTIONS, folder.parent, progress)
    add(there, LOCK, "installing the converter", progress)
    return versions_of(folder, _VERSIONS)


def versions_of(folder: Path, script: str) -> dict[str, str]:
    """What `script` prints in the environment in `folder`: a JSON object of versions."""
    ended = process.run([folder / "bin" / "python", "-I", "-c", script], process.environment())
    try:
        return dict(json.loads(ended.tail[-1]))
    except (ValueError, IndexError, TypeError) as error:
        raise ArtifactError(f"the environment was made but does not work:\n{ended.last_words()}") from error


def step(command: list[str | Path], what: str, progress: Progress) -> None:
    """Run one step of making an environment. Raises ArtifactError with the tool's last words when it fails."""
    progress(Event("converter", what))
    ended = process.run(command, process.fetching())
    if ended.status != 0:
        raise ArtifactError(
            f"{what} failed with status {ended.status}:\n{ended.last_words()}\n"
            "pip takes your usual configuration (PIP_INDEX_URL, PIP_FIND_LINKS, proxies); check it and try again."
        )
