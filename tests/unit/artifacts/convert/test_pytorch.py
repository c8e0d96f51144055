"""PyTorch for the converter: which build is taken from which index, what is said, and what is refused.

pip is the real one, the indexes and what they hold are stand-ins on loopback.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import environment, process, pytorch
from phi4_edge.artifacts.store import resources
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event
from tests.unit.artifacts.fetch.standin_files import StandinFiles

pytestmark = pytest.mark.slow

NOBODY = "http://127.0.0.1:9/whl/cpu"  # port 9, discard: nothing listens there


def wheel(version: str) -> tuple[str, bytes]:
    """Name and content of a wheel of torch in which there is nothing but its version."""
    info, out = f"torch-{version}.dist-info", io.BytesIO()
    texts = {
        "torch/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*texts, f"{info}/RECORD"])
    with zipfile.ZipFile(out, "w") as packed:
        for name, text in {**texts, f"{info}/RECORD": record}.items():
            packed.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text)
    return f"torch-{version}-py3-none-any.whl", out.getvalue()


CPU, CUDA = wheel(f"{pytorch.VERSION}+cpu"), wheel(pytorch.VERSION)


def index(*wheels: tuple[str, bytes]) -> StandinFiles:
    """A package index whose project torch has these wheels."""
    links = "".join(f'<a href="/files/{name.replace("+", "%2B")}">{name}</a>\n' for name, _content in wheels)
    page = f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
    files = {f"/files/{name.replace('+', '%2B')}": content for name, content in wheels}
    return StandinFiles({"/simple/torch/": page, **files})


@dataclass
class Site:
    """An empty environment, and what was said while PyTorch was installed there."""

    folder: Path
    lock: Path
    told: list[Event] = field(default_factory=list)

    def install(self) -> str:
        """Version of the torch that is there afterwards."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.folder], check=True)
        there = [sys.executable, "-I", "-m", "pip", "--python", self.folder / "bin" / "python"]
        pytorch.install(there, environment._OPTIONS, self.folder.parent, self.told.append)
        ask = [self.folder / "bin" / "python", "-c", "import torch; print(torch.__version__)"]
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()

    def said(self) -> str:
        return "\n".join(f"{event.step} {event.detail}" for event in self.told)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CERT", pytorch.TORCH_INDEX_SETTING):
        monkeypatch.delenv(name, raising=False)
    lock = tmp_path / "pytorch.lock"
    lock.write_text(f"torch=={pytorch.VERSION} --hash=sha256:{hashlib.sha256(CUDA[1]).hexdigest()}\n")
    monkeypatch.setattr(pytorch, "LOCK", lock)
    monkeypatch.setattr(pytorch, "TORCH_INDEX", NOBODY)
    (tmp_path / "work").mkdir()
    return Site(tmp_path / "work" / "environment", lock)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., StandinFiles]]:
    """Starts an index with wheels; the first is the one that pip is configured for."""
    started: list[StandinFiles] = []

    def start(*wheels: tuple[str, bytes]) -> StandinFiles:
        one = index(*wheels).__enter__()
        if not started:
            monkeypatch.setenv("PIP_INDEX_URL", f"{one.url}/simple")
        started.append(one)
        return one

    yield start
    for one in started:
        one.__exit__()


def test_the_cpu_build_of_pips_own_index_goes_before_everything(site: Site, serve: Callable[..., StandinFiles]) -> None:
    serve(CUDA, CPU)
    assert site.install() == f"{pytorch.VERSION}+cpu"
    assert [event.step for event in site.told] == ["installing PyTorch from pip's own indexes"]


def test_the_cpu_build_of_pytorchs_index_is_the_next(
    site: Site, serve: Callable[..., StandinFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(CUDA)
    monkeypatch.setattr(pytorch, "TORCH_INDEX", serve(CPU).url + "/simple")
    assert site.install() == f"{pytorch.VERSION}+cpu"
    assert f"found torch {pytorch.VERSION}, needed {pytorch.VERSION}+cpu" in site.said()


def test_a_controller_that_reaches_a_package_index_alone_takes_its_build(
    site: Site, serve: Callable[..., StandinFiles]
) -> None:
    serve(CUDA)
    assert site.install() == pytorch.VERSION
    said = site.said()
    assert f"found torch {pytorch.VERSION}, needed {pytorch.VERSION}+cpu" in said
    assert f"no CPU build of PyTorch from {NOBODY}:" in said
    assert "Connection refused" in said
    size = f"{resources.gigabytes(pytorch.FETCHED)} to fetch, {resources.gigabytes(pytorch.INSTALLED)} on the disk"
    assert size in said.splitlines()[-1]


def test_it_is_held_to_the_lock_and_every_attempt_is_told(site: Site, serve: Callable[..., StandinFiles]) -> None:
    serve(wheel(f"{pytorch.VERSION}"))
    site.lock.write_text(f"torch=={pytorch.VERSION} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ArtifactError) as caught:
        site.install()
    said = str(caught.value)
    # Why nobody answered is the machine's to say: mostly that the connection was refused.
    told = rf"pip's own indexes: found torch .*\n\s+{re.escape(NOBODY)}: .+\n.*with CUDA from pip's own"
    assert re.search(told, said), said
    assert "Got        " in said or "hash" in said.lower()
    assert pytorch.TORCH_INDEX_SETTING in said


def test_too_little_disk_is_refused_before_anything_large_is_fetched(
    site: Site, serve: Callable[..., StandinFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = serve(CUDA)
    monkeypatch.setattr(resources, "disk_free", lambda _path: pytorch.INSTALLED)
    with pytest.raises(ArtifactError, match=r"PyTorch with CUDA, .* needs 7\.7 GB of disk, .* has 4\.9 GB free"):
        site.install()
    assert not [path for path in own.requests if path.startswith("/files/")]


def test_an_index_that_was_set_is_the_only_one(
    site: Site, serve: Callable[..., StandinFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(CUDA)
    monkeypatch.setenv(pytorch.TORCH_INDEX_SETTING, NOBODY)
    with pytest.raises(
        ArtifactError, match=r"(?s)could not install torch==.*Connection refused.*PHI4_EDGE_TORCH_INDEX"
    ):
        site.install()
    monkeypatch.setenv(pytorch.TORCH_INDEX_SETTING, serve(CPU).url + "/simple")
    assert site.install() == f"{pytorch.VERSION}+cpu"
    assert "CUDA" not in site.said()


RETRYING = "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by "
POOL = "(\"HTTPSConnectionPool(host='index.example', port=443): "


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            f"{RETRYING}'NameResolutionError{POOL}Failed to resolve 'index.example' ([Errno -2] Unknown)\")': /t/",
            "Failed to resolve 'index.example' ([Errno -2] Unknown)",
        ),
        (
            f"{RETRYING}'ReadTimeoutError{POOL}Read timed out. (read timeout=15)\")': /t/",
            "Read timed out. (read timeout=15)",
        ),
        (
            f"{RETRYING}'ConnectTimeoutError(<HTTPSConnection(host='index.example', port=443) at 0x7f>, 'Connection to "
            "index.example timed out. (connect timeout=15)')': /t/",
            "Connection to index.example timed out. (connect timeout=15)",
        ),
        (
            f"{RETRYING}'ProxyError('Unable to connect.', OSError('Tunnel connection failed: 403 Forbidden'))': /t/",
            "Tunnel connection failed: 403 Forbidden",
        ),
        ("ERROR: No matching distribution found for torch", "ERROR: No matching distribution found for torch"),
    ],
)
def test_the_reason_is_in_the_words_of_the_system(line: str, reason: str) -> None:
    last = () if line.startswith("ERROR") else ("ERROR: No matching distribution found for torch",)
    assert reason in pytorch._reason(process.Ended(1, (line, *last)))


def test_pip_that_says_nothing_is_told_by_its_status() -> None:
    assert pytorch._reason(process.Ended(-9, ())) == "pip ended with status -9"


def test_both_locks_agree() -> None:
    def versions(lock: Path) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", lock.read_text(), re.MULTILINE):
            found.setdefault(name, set()).add(version)
        return found

    ours, converter = versions(pytorch.LOCK), versions(environment.LOCK)
    assert ours["torch"] == {pytorch.VERSION}
    assert len(ours) > 15 and all("--hash=sha256:" in part for part in pytorch.LOCK.read_text().split("\n\n"))
    shared = ours.keys() & converter.keys()
    assert {"sympy", "networkx", "jinja2", "filelock", "fsspec", "typing-extensions", "setuptools"} <= shared
    assert {name: ours[name] for name in shared} == {name: converter[name] for name in shared}
