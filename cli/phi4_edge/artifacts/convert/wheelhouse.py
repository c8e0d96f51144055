"""Wheelhouses: every wheel that an engine needs on a gateway, downloaded and checked on the controller."""

from __future__ import annotations

import re
from pathlib import Path

from phi4_edge.artifacts.convert import environment, process
from phi4_edge.artifacts.store import files, manifest, resources
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core import wheel_lock
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

REQUIREMENTS = wheel_lock.REQUIREMENTS
ARCHITECTURES = ("x86_64", "aarch64")
# glibc floors of wheels that run on every gateway we take (onnxruntime-genai itself needs 2.28), and of the one wheel
# that the engine can do without: llguidance's. One wheelhouse serves hosts on both sides of it.
_GLIBC_MINORS = (31, 28, 27, 26, 24, 17, 12, 5)
# A wheelhouse is 60 MB; twice that while it is made.
DISK = 150_000_000
_RUNTIME_ID = re.compile(r"[0-9a-f]{16}-cp(3\d+)-(x86_64|aarch64)")


def build(store: Store, runtime_id: str, engine_dir: Path, python: str, arch: str, progress: Progress = silent) -> Path:
    """Folder with the wheels, requirements.txt and manifest.json for gateways with `python` ("3.13") on `arch`.

    A folder made before is used again after every hash was checked; a damaged one is made anew. Raises ArtifactError
    when there is no lock for this Python, no pip on this controller, or a wheel with the locked hash is not to be had.
    """
    _require_id(runtime_id, python, arch)
    lock = lock_of(engine_dir, python)
    target = store.root / "wheelhouses" / runtime_id
    store.hold("wheelhouses", runtime_id)
    with store.making(runtime_id, progress):
        if target.is_dir() and not damage(target, lock, arch):
            return target
        resources.require_disk(store.root, DISK, f"the wheelhouse {runtime_id}")
        with store.workspace("wheelhouse") as work:
            built = work / "wheels"
            _download(built, lock, python, arch, progress, runtime_id)
            if problems := damage(built, lock, arch):
                raise ArtifactError(f"the wheelhouse {runtime_id} is not as locked: {'; '.join(problems)}")
            files.sync_tree(built)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.rename(work / "damaged")
            built.rename(target)
            files.sync_folder(target.parent)
    return target


def adopt(store: Store, runtime_id: str, folder: Path, engine_dir: Path) -> Path:
    """Move `folder`, a wheelhouse that was made elsewhere, into the store; it then no longer exists.

    Raises ArtifactError, and adopts nothing, unless it is as the lock of this installation has it.
    """
    if problems := faults(runtime_id, folder, engine_dir):
        raise ArtifactError(f"the wheelhouse {runtime_id} is not as locked: {'; '.join(problems)}")
    files.sync_tree(folder)
    target = store.root / "wheelhouses" / runtime_id
    with store.making(runtime_id), store.exclusive():
        target.parent.mkdir(parents=True, exist_ok=True)
        store.discard(target)
        folder.rename(target)
        files.sync_folder(target.parent)
    return target


def faults(runtime_id: str, folder: Path, engine_dir: Path) -> list[str]:
    """What is wrong with the folder of the wheelhouse `runtime_id`, which says what the wheels are for; as `damage`."""
    match = _RUNTIME_ID.fullmatch(runtime_id)
    if not match:
        raise ArtifactError(f"{runtime_id!r} is not the id of a runtime")
    return damage(folder, lock_of(engine_dir, f"3.{match[1][1:]}"), match[2])


def lock_of(engine_dir: Path, python: str) -> Path:
    """The hash lock for `python`. Raises ArtifactError, listing what there is, when the engine has none."""
    lock = engine_dir / "locks" / f"cp{python.replace('.', '')}.txt"
    if not re.fullmatch(r"3\.\d+", python) or not lock.is_file():
        held = ", ".join(sorted(path.stem for path in (engine_dir / "locks").glob("cp*.txt")))
        raise ArtifactError(f"the ONNX engine has no lock for Python {python}; it has {held}")
    return lock


def damage(folder: Path, lock: Path, arch: str) -> list[str]:
    """What is wrong with the wheelhouse `folder`, one line per file: against its manifest and against `lock`.

    Whole is exactly one wheel for each line of the lock, with a hash of that line, and the lock itself beside them.
    """
    try:
        found = Manifest.read(folder / manifest.NAME)
        present = manifest.describe(folder)
    except ArtifactError as error:
        return [str(error)]
    problems = [f"{folder / entry.path}: missing or changed" for entry in sorted(set(found.files) - set(present))]
    problems += [f"{folder / entry.path}: not in the manifest" for entry in sorted(set(present) - set(found.files))]
    held = {entry.path: entry.sha256 for entry in present}
    return problems + [f"{folder}: {line}" for line in wheel_lock.problems(_text(lock), arch, held)]


def _text(lock: Path) -> str:
    return lock.read_bytes().decode("utf-8")


def _require_id(runtime_id: str, python: str, arch: str) -> None:
    match = _RUNTIME_ID.fullmatch(runtime_id)
    if not match or (match[1], match[2]) != (python.replace(".", ""), arch):
        raise ArtifactError(f"{runtime_id!r} is not the id of a runtime for Python {python} on {arch}")


def _download(folder: Path, lock: Path, python: str, arch: str, progress: Progress, runtime_id: str) -> None:
    def seen(line: str) -> bool:
        if line.startswith("Collecting "):
            progress(Event(runtime_id, "downloading wheels", line.removeprefix("Collecting ").split(" ")[0]))
        return False

    folder.mkdir()
    ended = process.run(_command(folder, lock, python, arch), process.fetching(), seen)
    if ended.status != 0:
        raise ArtifactError(
            f"pip could not download the wheels of {lock.name} for {arch}:\n{ended.last_words()}\n"
            "It takes your usual configuration (PIP_INDEX_URL, PIP_FIND_LINKS, proxies); check it and try again."
        )
    (folder / REQUIREMENTS).write_bytes(lock.read_bytes())
    description = Manifest(
        artifact=f"wheelhouse/cp{python.replace('.', '')}-{arch}",
        files=manifest.describe(folder),
        licence="see each wheel",
        source={"kind": "pypi", "lock": lock.name},
    )
    files.write_json(folder / manifest.NAME, description.to_dict())


def _command(folder: Path, lock: Path, python: str, arch: str) -> list[str | Path]:
    """pip for another Python and machine than ours: wheels only, no resolving, every hash as locked."""
    command: list[str | Path] = [*environment.pip(), "download", "--dest", folder, "--require-hashes", "-r", lock]
    command += ["--no-deps", "--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
    for tag in (*(f"manylinux_2_{minor}" for minor in _GLIBC_MINORS), "manylinux2014"):
        command += ["--platform", f"{tag}_{arch}"]
    return [*command, "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
