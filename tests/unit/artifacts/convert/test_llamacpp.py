"""llama.cpp's tools: where they come from, and what is said when there are none."""

from __future__ import annotations

import hashlib
import io
import platform
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import gguf, llamacpp, targets
from phi4_edge.artifacts.fetch import http, index, ollama
from phi4_edge.artifacts.fetch.http import Address
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import silent
from tests.unit.artifacts.fetch.ollama_archive import VERSION
from tests.unit.artifacts.fetch.standin_files import StandinFiles

CATALOG = load_catalog()
TREE = f"llama_cpp_python-{llamacpp.VERSION}/"


def sdist() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name in ("setup.py", "vendor/llama.cpp/convert.py", "vendor/llama.cpp/models/huge.gguf"):
            info = tarfile.TarInfo(TREE + name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"text"))
        link = tarfile.TarInfo(f"{TREE}vendor/llama.cpp/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return out.getvalue()


@pytest.fixture
def pypi(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinFiles]:
    """An index that has the sdist, and pip settings that name no other."""
    content = sdist()
    page = f'<a href="../../files/{llamacpp.SDIST}#sha256=0">{llamacpp.SDIST}</a>'.encode()
    files = {"/simple/llama-cpp-python/": page, f"/files/{llamacpp.SDIST}": content}
    monkeypatch.setattr(llamacpp, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(http, "PAUSES", ())
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with StandinFiles(files) as started:
        monkeypatch.setenv("PIP_INDEX_URL", f"{started.url}/simple")
        yield started


def test_sources_come_from_the_index_and_only_llama_cpp_is_unpacked(tmp_path: Path, pypi: StandinFiles) -> None:
    store = Store(tmp_path)
    tree = llamacpp.sources(store)
    assert [path.relative_to(tree).as_posix() for path in tree.rglob("*")] == ["convert.py"]
    asked = len(pypi.requests)
    assert llamacpp.sources(store) == tree
    assert len(pypi.requests) == asked
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_folder_of_pips_goes_before_the_index(
    tmp_path: Path, pypi: StandinFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / llamacpp.SDIST).write_bytes(sdist())
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    llamacpp.sources(Store(tmp_path / "store"))
    assert pypi.requests == []
    (folder / llamacpp.SDIST).write_bytes(b"other")
    with pytest.raises(ArtifactError, match=r"is not llama_cpp_python.*remove it"):
        llamacpp.sources(Store(tmp_path / "another"))


def test_a_changed_sdist_is_refused_and_a_missing_one_named(tmp_path: Path, pypi: StandinFiles) -> None:
    pypi.files[f"/files/{llamacpp.SDIST}"] = b"another"
    with pytest.raises(ArtifactError, match="needed sha256"):
        llamacpp.sources(Store(tmp_path))
    pypi.files["/simple/llama-cpp-python/"] = b"<a href='x.whl'>x</a>"
    with pytest.raises(ArtifactError, match=f"has no {llamacpp.SDIST}.*PIP_INDEX_URL"):
        llamacpp.sources(Store(tmp_path))


def test_credentials_of_an_index_are_used_and_never_shown(pypi: StandinFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", pypi.url.replace("http://", "http://me:s3cret@") + "/simple")
    found = index.find(llamacpp.PACKAGE, llamacpp.SDIST)
    assert isinstance(found, Address)
    assert found.credentials == ("me", "s3cret")
    assert "s3cret" not in found.shown
    pypi.files.clear()
    with pytest.raises(ArtifactError) as caught:
        index.find(llamacpp.PACKAGE, llamacpp.SDIST)
    assert "s3cret" not in str(caught.value)


def test_an_operators_own_quantizer_is_used_when_it_knows_k_quants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / llamacpp.PROGRAM
    program.write_text("#!/bin/sh\necho '  15  or  Q4_K_M'\n")
    monkeypatch.setenv(llamacpp.SETTING, str(tmp_path))
    with pytest.raises(ArtifactError, match="needed llama-quantize or the folder"):
        llamacpp.quantizer(Store(tmp_path), CATALOG)
    program.chmod(0o755)
    chosen = llamacpp.quantizer(Store(tmp_path), CATALOG)
    assert chosen.program == program
    assert chosen.origin.startswith("llama-quantize ")
    with pytest.raises(ArtifactError, match="wrote no file"):
        llamacpp.quantize(chosen, tmp_path / "in", tmp_path / "out", "Q4_K_M", "x/y", silent)
    program.write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(ArtifactError, match="does not know Q4_K_M"):
        llamacpp.quantizer(Store(tmp_path), CATALOG)


def test_without_a_quantizer_the_message_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(llamacpp.SETTING, raising=False)
    monkeypatch.setattr(http, "PAUSES", ())
    with StandinFiles({}) as empty:
        monkeypatch.setenv(ollama.URL_SETTING, empty.url)
        with pytest.raises(ArtifactError) as caught:
            llamacpp.quantizer(Store(tmp_path), CATALOG)
    said = str(caught.value)
    for way in ("phi4-edge model tools", f"model fetch ollama/{VERSION}-{platform.machine()}-cpu", llamacpp.SETTING):
        assert way in said


def test_building_without_a_compiler_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ArtifactError, match=r"cmake and c\+\+ not found; on Debian and Ubuntu: apt-get install cmake"):
        llamacpp.build(Store(tmp_path))


def test_the_targets_are_those_that_convert_offers() -> None:
    assert tuple(target for target in targets.targets(CATALOG) if target.startswith(gguf.PREFIX)) == gguf.TARGETS
    assert set(gguf.IN_PYTHON) < set(gguf.TYPES)
    variants = CATALOG.engines["ollama"].variants.values()
    assert {variant.artifact for variant in variants} == set(gguf.TARGETS)
