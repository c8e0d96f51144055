"""Wheelhouses: exactly what the lock says, checked on every use. A folder of made-up wheels stands in for the index."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from phi4_edge import content
from phi4_edge.artifacts.convert import wheelhouse
from phi4_edge.artifacts.store.store import Store
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.sample import leftovers

pytestmark = pytest.mark.slow

ID = "0123456789abcdef-cp313-x86_64"


def wheel(folder: Path, tag: str) -> str:
    """Write sample-1.0-<tag>.whl; its SHA-256."""
    entries = {
        "sample.py": b"",
        "sample-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n",
        "sample-1.0.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
    }
    rows = [f"{name},sha256={_record(data)},{len(data)}" for name, data in entries.items()]
    entries["sample-1.0.dist-info/RECORD"] = "\n".join([*rows, "sample-1.0.dist-info/RECORD,,", ""]).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # without today's date: equal wheels have equal bytes
    (folder / f"sample-1.0-{tag}.whl").write_bytes(packed.getvalue())
    return hashlib.sha256(packed.getvalue()).hexdigest()


def _record(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def engine(tmp_path: Path, index: Path) -> Path:
    """An engine whose lock for 3.13 names one wheel for both architectures."""
    hashes = [wheel(index, f"cp313-cp313-manylinux_2_28_{arch}") for arch in ("x86_64", "aarch64")]
    locks = tmp_path / "engine" / "locks"
    locks.mkdir(parents=True)
    lines = " \\\n".join(["sample==1.0", *(f"    --hash=sha256:{value}" for value in hashes)])
    (locks / "cp313.txt").write_text(lines + "\n")
    return tmp_path / "engine"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.mark.parametrize("arch", wheelhouse.ARCHITECTURES)
def test_one_lock_serves_both_architectures(store: Store, engine: Path, arch: str) -> None:
    name = ID.replace("x86_64", arch)
    folder = wheelhouse.build(store, name, engine, "3.13", arch)
    assert folder == store.root / "wheelhouses" / name
    assert {path.name for path in folder.iterdir()} == {
        f"sample-1.0-cp313-cp313-manylinux_2_28_{arch}.whl", "requirements.txt", "manifest.json",
    }  # fmt: skip
    assert (folder / "requirements.txt").read_bytes() == (engine / "locks" / "cp313.txt").read_bytes()
    assert leftovers(store) == []


def test_a_second_build_needs_no_index(store: Store, engine: Path, index: Path) -> None:
    first = wheelhouse.build(store, ID, engine, "3.13", "x86_64")
    made = (first / "manifest.json").stat().st_ino
    for path in index.iterdir():
        path.unlink()
    assert wheelhouse.build(store, ID, engine, "3.13", "x86_64") == first
    assert (first / "manifest.json").stat().st_ino == made


@pytest.mark.parametrize("fault", ["change", "remove", "add", "requirements", "manifest"])
def test_a_damaged_wheelhouse_is_made_anew(store: Store, engine: Path, fault: str) -> None:
    folder = wheelhouse.build(store, ID, engine, "3.13", "x86_64")
    wheel_path = next(folder.glob("*.whl"))
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    match fault:
        case "change":
            wheel_path.write_bytes(whole[wheel_path.name][:-1] + b"?")
        case "remove":
            wheel_path.unlink()
        case "add":
            (folder / "evil-1.0-py3-none-any.whl").write_bytes(b"evil")
        case "requirements":
            (folder / "requirements.txt").write_text("evil\n")
        case "manifest":
            (folder / "manifest.json").write_text("{}")
    assert wheelhouse.faults(ID, folder, engine) != []
    wheelhouse.build(store, ID, engine, "3.13", "x86_64")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert leftovers(store) == []


def test_a_wheel_with_another_hash_is_refused_and_nothing_stays(store: Store, engine: Path, index: Path) -> None:
    path = next(index.glob("*x86_64.whl"))
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match=r"(?s)could not download .*DO NOT MATCH THE HASHES"):
        wheelhouse.build(store, ID, engine, "3.13", "x86_64")
    assert not (store.root / "wheelhouses" / ID).exists()
    assert leftovers(store) == []


def test_the_wheel_that_some_hosts_cannot_load_is_there_for_the_others(store: Store, engine: Path, index: Path) -> None:
    for old in index.glob("*.whl"):
        old.unlink()
    digest = wheel(index, "cp39-abi3-manylinux_2_31_aarch64")
    (engine / "locks" / "cp313.txt").write_text(f"sample==1.0 --hash=sha256:{digest}\n")
    folder = wheelhouse.build(store, ID.replace("x86_64", "aarch64"), engine, "3.13", "aarch64")
    assert [path.name for path in folder.glob("*.whl")] == ["sample-1.0-cp39-abi3-manylinux_2_31_aarch64.whl"]


def test_a_wheel_for_a_newer_glibc_is_not_taken(store: Store, engine: Path, index: Path) -> None:
    next(index.glob("*x86_64.whl")).unlink()
    digest = wheel(index, "cp313-cp313-manylinux_2_39_x86_64")
    (engine / "locks" / "cp313.txt").write_text(f"sample==1.0 --hash=sha256:{digest}\n")
    with pytest.raises(ArtifactError, match=r"(?s)No matching distribution found for sample"):
        wheelhouse.build(store, ID, engine, "3.13", "x86_64")


@pytest.mark.parametrize(
    ("runtime_id", "python", "arch"),
    [
        ("../x", "3.13", "x86_64"),
        (ID, "3.12", "x86_64"),
        (ID, "3.13", "aarch64"),
        ("ab-cp313-x86_64", "3.13", "x86_64"),
    ],
)
def test_ids_that_do_not_fit_are_refused(store: Store, engine: Path, runtime_id: str, python: str, arch: str) -> None:
    with pytest.raises(ArtifactError, match="not the id of a runtime"):
        wheelhouse.build(store, runtime_id, engine, python, arch)


def test_a_python_without_lock_names_those_there_are(store: Store, engine: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no lock for Python 3\.9; it has cp313"):
        wheelhouse.build(store, ID.replace("313", "39"), engine, "3.9", "x86_64")


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_engines_own_locks(python: str) -> None:
    lock = wheelhouse.lock_of(content.roles() / "onnx" / "files" / "engine", python).read_text()
    names = {line.split("==")[0] for line in lock.splitlines() if "==" in line}
    assert {"onnxruntime-genai", "onnxruntime", "starlette", "uvicorn", "pip", "numpy"} <= names
    assert lock.count("--hash=sha256:") >= len(names)
    assert "index-url" not in lock
