"""The bill of materials: the shape that CycloneDX 1.6 asks for, and what each kind of part says of itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.artifacts.bundle import bundle, sbom
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.manifest import Manifest, describe
from phi4_edge.artifacts.store.store import Store
from tests.unit.artifacts.bundle.full_store import CPU, ID, KEY, MODEL, Content, filled, fleet
from tests.unit.artifacts.sample import put

# From the specification: the values that these fields may have.
TYPES = {
    "application", "framework", "library", "container", "platform", "operating-system", "device", "device-driver",
    "firmware", "file", "machine-learning-model", "data", "cryptographic-asset",
}  # fmt: skip
FIELDS = {
    "type", "bom-ref", "name", "version", "purl", "hashes", "licenses", "components", "properties",
    "externalReferences",
}  # fmt: skip


def document(tmp_path: Path) -> dict[str, Any]:
    store = filled(tmp_path / "store")
    images = Images(store).index()
    return dict(json.loads(sbom.document(store, store.digests(), [ID], images)))


def check(component: dict[str, Any], seen: set[str]) -> None:
    """One component and its parts, as the schema has them."""
    assert component["type"] in TYPES
    assert component["name"]
    assert set(component) <= FIELDS
    assert component["bom-ref"] not in seen
    seen.add(component["bom-ref"])
    for line in component.get("hashes", []):
        assert line["alg"] == "SHA-256"
        assert re.fullmatch(r"[0-9a-f]{64}", line["content"])
    for line in component.get("licenses", []):
        assert set(line) in ({"expression"}, {"license"})
        assert "license" not in line or len(line["license"]) == 1
    for line in component.get("externalReferences", []):
        assert set(line) == {"type", "url", "hashes"}
    for inner in component.get("components", []):
        check(inner, seen)


def test_it_has_the_shape_of_cyclonedx(tmp_path: Path) -> None:
    bill = document(tmp_path)
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    assert bill["metadata"]["tools"]["components"][0]["name"] == "phi4-edge"
    seen: set[str] = set()
    for component in bill["components"]:
        check(component, seen)
    assert bill["dependencies"][0]["dependsOn"] == sorted(one["bom-ref"] for one in bill["components"])


def test_each_kind_of_part_says_where_it_comes_from(tmp_path: Path) -> None:
    parts = {part["name"]: part for part in document(tmp_path)["components"]}
    model = parts[MODEL]
    assert model["type"] == "machine-learning-model"
    assert [inner["name"] for inner in model["components"]] == ["model.gguf"]
    engine = parts["ollama"]
    assert (engine["version"], engine["purl"]) == ("0.35.0", "pkg:github/ollama/ollama@v0.35.0")
    assert engine["licenses"] == [{"license": {"id": "MIT"}}]
    assert engine["externalReferences"][0]["url"].endswith("/v0.35.0/ollama-linux-amd64.tar.zst")
    wheel = parts["sample"]
    assert wheel["purl"].startswith("pkg:pypi/sample@1.0?file_name=sample-1.0-cp313")
    image = parts["docker.io/ollama/ollama"]
    assert re.fullmatch(
        r"pkg:oci/ollama@sha256%3A[0-9a-f]{64}\?arch=amd64&repository_url=docker\.io/ollama/ollama&tag=0\.35\.0",
        image["purl"],
    )


def test_a_model_from_the_hub_names_repository_and_commit(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.workspace("hub") as work:
        (work / "tree").mkdir()
        (work / "tree" / "weights").write_bytes(b"w")
        source = {"kind": "huggingface", "repo": "microsoft/Phi-4-mini-instruct", "revision": "c" * 40}
        store.adopt(work / "tree", Manifest("phi/safetensors", describe(work / "tree"), "MIT", source))
    bill = json.loads(sbom.document(store, store.digests(), [], {}))
    assert bill["components"][0]["purl"] == f"pkg:huggingface/microsoft/Phi-4-mini-instruct@{'c' * 40}"


def test_equal_parts_give_equal_bytes_and_other_parts_another_serial(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one"), filled(tmp_path / "two")
    first = sbom.document(one, one.digests(), [ID], Images(one).index())
    assert first == sbom.document(two, two.digests(), [ID], Images(two).index())
    put(two, MODEL, {"model.gguf": b"other"})
    other = sbom.document(two, two.digests(), [ID], Images(two).index())
    assert json.loads(first)["serialNumber"] != json.loads(other)["serialNumber"]


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ("MIT", [{"license": {"id": "MIT"}}]),
        ("Apache-2.0", [{"license": {"id": "Apache-2.0"}}]),
        ("Apache Software License", [{"license": {"id": "Apache-2.0"}}]),
        ("MIT OR Apache-2.0", [{"expression": "MIT OR Apache-2.0"}]),
        ("Our own terms", [{"license": {"name": "Our own terms"}}]),
        ("", []),
    ],
)
def test_licences_are_identifiers_where_they_are_known(stated: str, found: list[Any]) -> None:
    assert sbom._licences(stated) == found


def test_a_bundle_carries_it(tmp_path: Path) -> None:
    import tarfile

    store = filled(tmp_path / "store")
    bundle.create(store, fleet(store), Content(), tmp_path / "fleet.tar")
    with tarfile.open(tmp_path / "fleet.tar") as tar:
        bill = json.loads(tar.extractfile("sbom.cdx.json").read())  # type: ignore[union-attr]
    names = {part["name"] for part in bill["components"]}
    assert {MODEL, "ollama", "sample", KEY.partition(":")[0]} <= names
    assert store.digest(CPU) in json.dumps(bill)
