"""llama.cpp's own tools at a pinned version: its converter as source, and llama-quantize.

The sources come with the sdist of llama-cpp-python on PyPI, which carries llama.cpp whole; pip would build what it
downloads, so the file is fetched here, compared with its SHA-256 and only unpacked.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from phi4_edge.artifacts.convert import environment, process
from phi4_edge.artifacts.fetch import http, index, ollama
from phi4_edge.artifacts.store import files, manifest, resources
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.engines.ollama import NAME as ENGINE
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
SDIST = f"llama_cpp_python-{VERSION}.tar.gz"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
NAMED = f"{PACKAGE} {VERSION}"
SETTING = "PHI4_EDGE_LLAMA_CPP"
PROGRAM = "llama-quantize"
# 77 MB fetched, 60 MB unpacked, 120 MB while llama-quantize is built.
DISK = 400_000_000
_INNER = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/"
_NOT_NEEDED = ("docs", "models", "media", "benches", "tests")
_CMAKE = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_OPENMP": "OFF",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_SERVER": "OFF",
}
_PERCENT = re.compile(r"\[ *(\d+)%\]")


@dataclass(frozen=True)
class Quantizer:
    """llama-quantize: the program, the folder of its libraries, and where it came from as the manifest says it."""

    program: Path
    origin: str


def sources_name() -> str:
    """Folder name of the sources of this release."""
    return f"llama.cpp-{SHA256[:16]}"


def tool_name() -> str:
    """Folder name of the llama-quantize that is built from them on this machine."""
    return f"{PROGRAM}-{SHA256[:16]}-{platform.machine()}"


def sources(store: Store, progress: Progress = silent) -> Path:
    """Folder of llama.cpp's sources, fetched and unpacked when they are not there yet.

    Raises ArtifactError when the package index does not deliver the file with the pinned hash.
    """
    target = store.root / "environments" / sources_name()
    store.hold("environments", target.name)
    store.hold("partial", SDIST)
    with store.making("llama.cpp", progress):
        if target.is_dir():
            return target
        resources.require_disk(store.root, DISK, "llama.cpp's sources")
        archive = store.root / "partial" / SDIST
        if not archive.is_file() or manifest.sha256_of(archive) != SHA256:
            _fetch(archive, progress)
        with store.workspace("llama.cpp") as work:
            progress(Event("llama.cpp", "unpacking", SDIST))
            _unpack(archive, work / "sources")
            target.parent.mkdir(parents=True, exist_ok=True)
            (work / "sources").rename(target)
        archive.unlink()
    return target


def quantizer(store: Store, catalog: Catalog, progress: Progress = silent) -> Quantizer:
    """llama-quantize: the operator's own, the one built here, or the one of Ollama's release for this machine.

    The release is fetched when it is not there. Raises ArtifactError that says how to get one when there is none.
    """
    if chosen := os.environ.get(SETTING):
        return _operators(Path(chosen).expanduser())
    if (made := _built(store)).is_file():
        return Quantizer(made, f"built from {NAMED}")
    artifact = f"{ENGINE}/{catalog.engines[ENGINE].version}-{platform.machine()}-cpu"
    try:
        ollama.ensure(store, catalog, artifact, progress)
        folder = store.path(store.use(artifact) or store.digest(artifact))
    except ArtifactError as error:
        raise ArtifactError(f"{_how(artifact)} The release is not available: {error}") from error
    program = folder / "lib" / ENGINE / PROGRAM
    if not program.is_file():
        raise ArtifactError(f"{_how(artifact)} {artifact} in the store holds no {PROGRAM}.")
    return Quantizer(program, artifact)


def build(store: Store, progress: Progress = silent) -> Path:
    """llama-quantize, built from the pinned sources with the compiler of this machine (about 5 minutes on 2 cores).

    Raises ArtifactError when CMake or a compiler is missing, or the build fails.
    """
    target = _built(store)
    if target.is_file():
        return target
    lacking = [name for name in ("cmake", "c++") if not shutil.which(name)]
    if lacking:
        raise ArtifactError(f"{' and '.join(lacking)} not found; on Debian and Ubuntu: apt-get install cmake g++ make")
    tree = sources(store, progress)
    with store.making(target.parent.name, progress), store.workspace("build") as work:
        options = [f"-D{name}={value}" for name, value in _CMAKE.items()]
        _run(["cmake", "-S", tree, "-B", work / "build", *options], work, progress)
        command: list[str | Path] = [
            "cmake",
            "--build",
            work / "build",
            "--target",
            PROGRAM,
            "--parallel",
            str(os.cpu_count() or 1),
        ]
        _run(command, work, progress)
        target.parent.mkdir(parents=True, exist_ok=True)
        (work / "build" / "bin" / PROGRAM).replace(target)
        files.sync_folder(target.parent)
    return target


def quantize(chosen: Quantizer, source: Path, output: Path, kind: str, target: str, progress: Progress) -> None:
    """Quantize the GGUF file `source` to `output`. Raises ArtifactError with the tool's last words when it fails."""
    progress(Event(target, "quantizing", kind))
    command: list[str | Path] = [chosen.program, source, output, kind, str(os.cpu_count() or 1)]
    ended = process.run(command, process.environment(LD_LIBRARY_PATH=str(chosen.program.parent)), cwd=output.parent)
    if ended.status != 0:
        raise ArtifactError(f"{chosen.program} ended with status {ended.status}:\n{ended.last_words()}")
    if not output.is_file():
        raise ArtifactError(
            f"{chosen.program} wrote no file: it is not llama.cpp's own; 'phi4-edge model tools' builds it"
        )


def _built(store: Store) -> Path:
    """Where the llama-quantize of this release is, made or not; nobody prunes it meanwhile."""
    store.hold("environments", tool_name())
    return store.root / "environments" / tool_name() / PROGRAM


def _operators(chosen: Path) -> Quantizer:
    """The program that the operator named, when it is one that knows K-quants."""
    program = chosen / PROGRAM if chosen.is_dir() else chosen
    if not program.is_file() or not os.access(program, os.X_OK):
        raise ArtifactError(f"{SETTING} names {chosen}, needed {PROGRAM} or the folder it is in")
    ended = process.run([program, "--help"], process.environment(LD_LIBRARY_PATH=str(program.parent)))
    if not any("Q4_K_M" in line for line in ended.tail):
        raise ArtifactError(f"{program} does not know Q4_K_M ({ended.last_words().strip()}); needed llama.cpp's own")
    return Quantizer(program.absolute(), f"{PROGRAM} {manifest.sha256_of(program)[:16]}")


def _how(artifact: str) -> str:
    return (
        f"This conversion needs llama.cpp's {PROGRAM}. 'phi4-edge model tools' builds it here (CMake and a C++ "
        f"compiler, minutes); 'phi4-edge model fetch {artifact}' takes it from Ollama's release; {SETTING} names one "
        "that exists already."
    )


def _fetch(archive: Path, progress: Progress) -> None:
    def seen(held: int, total: int) -> None:
        progress(Event("llama.cpp", "fetching", SDIST, held, total))

    address = index.find(PACKAGE, SDIST)
    if isinstance(address, Path):
        archive.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(address, archive)
        if manifest.sha256_of(archive) != SHA256:
            archive.unlink()
            raise ArtifactError(f"{address} is not {SDIST} with sha256 {SHA256[:12]}…; remove it")
        return
    part = archive.with_name(f"{SDIST}.part")
    http.fetch(address, SHA256, part, 1 << 30, seen)
    part.replace(archive)


def _unpack(archive: Path, folder: Path) -> None:
    """The plain files of llama.cpp itself; nothing of what wraps it."""
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            inner = member.name.removeprefix(_INNER)
            if not member.isreg() or inner == member.name or PurePosixPath(inner).parts[0] in _NOT_NEEDED:
                continue
            target = folder / manifest.relative(inner)
            target.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None, "a regular member has content"  # noqa: S101
            with target.open("wb") as stream:
                shutil.copyfileobj(content, stream)


def _run(command: list[str | Path], work: Path, progress: Progress) -> None:
    def seen(line: str) -> bool:
        if match := _PERCENT.match(line):
            progress(Event("llama.cpp", "building", f"{match[1]} %"))
        return False

    ended = process.run(command, process.environment(TMPDIR=str(work)), seen, cwd=work)
    if ended.status != 0:
        raise ArtifactError(f"{PROGRAM} could not be built (status {ended.status}):\n{ended.last_words()}")


def recipe(*workers: str) -> str:
    """Names our own part of a conversion: the text of the worker scripts."""
    folder = Path(environment.__file__).with_name("scripts")
    return hashlib.sha256(b"".join((folder / f"{name}.py").read_bytes() for name in workers)).hexdigest()[:16]
