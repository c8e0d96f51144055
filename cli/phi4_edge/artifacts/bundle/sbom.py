"""The bill of materials of a bundle: CycloneDX 1.6, deterministic, with hash, licence and package URL of each part."""

from __future__ import annotations

import email
import hashlib
import json
import re
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from phi4_edge import __version__
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.errors import ArtifactError

_NAMESPACE = uuid.UUID("6f0b2c1e-7d5a-5c3e-9f54-6d2b1a9e4c70")
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_EXPRESSION = re.compile(r"[A-Za-z0-9.+()-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+()-]+)+")
_WHEEL = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(?:-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl")
_GITHUB = re.compile(r"https://github\.com/(?P<repo>[^/]+/[^/]+)/releases/download/(?P<tag>[^/]+)")
# Identifiers of classifiers and free texts that wheels still carry instead of an SPDX expression.
_KNOWN = {
    "MIT License": "MIT", "MIT license": "MIT", "Apache Software License": "Apache-2.0", "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0", "Apache License, Version 2.0": "Apache-2.0", "BSD License": "BSD-3-Clause",
    "Apache": "Apache-2.0", "3-Clause BSD License": "BSD-3-Clause", "BSD 3-Clause License": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0", "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}  # fmt: skip


def sha256(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def document(
    store: Store, artifacts: Mapping[str, str], wheelhouses: Iterable[str], images: Mapping[str, Mapping[str, Any]]
) -> bytes:
    """The bill of what is named: artifacts by id, wheelhouses by runtime id, images by key; equal for equal parts."""
    parts = [_artifact(store.manifest(name)) for name in sorted(artifacts)]
    wheels = sorted({path for name in wheelhouses for path in (store.root / "wheelhouses" / name).glob("*.whl")})
    parts += [_wheel(path) for path in wheels]
    parts += [_image(key, entry) for key, entry in sorted(images.items())]
    unique = {str(part["bom-ref"]): part for part in parts}
    components = [unique[ref] for ref in sorted(unique)]
    serial = uuid.uuid5(_NAMESPACE, json.dumps(components, sort_keys=True))
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "phi4-edge", "version": __version__}]},
            "component": {"type": "data", "bom-ref": "bundle", "name": "phi4-edge bundle", "version": __version__},
        },
        "components": components,
        "dependencies": [{"ref": "bundle", "dependsOn": sorted(unique)}],
    }
    return (json.dumps(bill, indent=1, sort_keys=True) + "\n").encode()


def _artifact(held: Manifest) -> dict[str, Any]:
    """A model, or the release archive of an engine; its files are its parts."""
    name, _, variant = held.artifact.partition("/")
    model = held.source.get("kind") != "release"
    part: dict[str, Any] = {
        "type": "machine-learning-model" if model else "application",
        "bom-ref": f"artifact:{held.artifact}@{held.digest}",
        "name": held.artifact if model else name,
        "version": str(held.source.get("revision") or held.digest) if model else str(held.parameters["version"]),
        "licenses": _licences(held.licence),
        "components": [_file(held, entry) for entry in held.files],
        "properties": _properties({"variant": variant, "digest": held.digest}),
    }
    if held.source.get("kind") == "huggingface":
        owner, _, repository = str(held.source["repo"]).partition("/")
        part["purl"] = f"pkg:huggingface/{quote(owner)}/{quote(repository)}@{held.source['revision']}"
    elif not model:
        part |= _release(held)
    return part


def _release(held: Manifest) -> dict[str, Any]:
    """Where a release archive came from, with the hash of each file that its publisher offers."""
    url, assets = str(held.source["url"]), dict(held.source["assets"])
    found = _GITHUB.match(url)
    references = [
        {"type": "distribution", "url": f"{url.rstrip('/')}/{asset}", "hashes": _hashes(str(value))}
        for asset, value in sorted(assets.items())
    ]
    purl = {"purl": f"pkg:github/{found['repo'].lower()}@{quote(found['tag'])}"} if found else {}
    return {"externalReferences": references, **purl}


def _file(held: Manifest, entry: manifest.FileEntry) -> dict[str, Any]:
    ref = f"file:{held.digest}/{entry.path}"
    return {"type": "file", "bom-ref": ref, "name": entry.path, "hashes": _hashes(entry.sha256)}


def _wheel(path: Path) -> dict[str, Any]:
    match = _WHEEL.fullmatch(path.name)
    if not match:
        raise ArtifactError(f"{path} is not named as a wheel is; make the wheelhouse again")
    name = re.sub(r"[-_.]+", "-", match["name"]).lower()
    version = match["version"]
    return {
        "type": "library",
        "bom-ref": f"wheel:{path.name}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{quote(version)}?file_name={quote(path.name)}",
        "hashes": _hashes(manifest.sha256_of(path)),
        "licenses": _licences(_wheel_licence(path)),
    }


def _wheel_licence(path: Path) -> str:
    """The licence that the wheel states: expression, short text or classifier; empty when it states none."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            stated = email.message_from_bytes(archive.read(name))
    except (zipfile.BadZipFile, StopIteration, OSError) as error:
        raise ArtifactError(f"{path} cannot be read as a wheel ({error}); make the wheelhouse again") from error
    expression = str(stated.get("License-Expression") or "").strip()
    text = str(stated.get("License") or "").strip()
    classifiers = [str(line).rpartition(" :: ")[2] for line in stated.get_all("Classifier", []) if "License ::" in line]
    short = text if "\n" not in text and len(text) <= 80 else ""
    return expression or short or (classifiers[0] if classifiers else "")


def _image(key: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    digest = str(entry["digest"])
    repository, _, tag = str(entry["reference"]).rpartition(":")
    name = repository.rpartition("/")[2].lower()
    query = f"arch={quote(key.rpartition('/')[2])}&repository_url={quote(repository, safe='/')}&tag={quote(tag)}"
    return {
        "type": "container",
        "bom-ref": f"image:{key}@{digest}",
        "name": repository,
        "version": tag,
        "purl": f"pkg:oci/{quote(name)}@{quote(digest, safe='')}?{query}",
        "hashes": _hashes(digest.removeprefix("sha256:")),
        "properties": _properties({"included": "true" if entry["path"] else "false"}),
    }


def _licences(stated: str) -> list[dict[str, Any]]:
    """CycloneDX's three ways: an SPDX expression, an SPDX identifier, or any other name."""
    known = _KNOWN.get(stated, stated)
    if not known:
        return []
    if _EXPRESSION.fullmatch(known):
        return [{"expression": known}]
    spdx = known in _KNOWN.values() or (_SPDX.fullmatch(known) and "-" in known) or known in ("MIT", "ISC", "Zlib")
    return [{"license": {"id": known} if spdx else {"name": known}}]


def _hashes(value: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": value}]


def _properties(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": f"phi4-edge:{name}", "value": value} for name, value in sorted(values.items())]
