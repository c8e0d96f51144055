"""Reads what is delivered as a whole: container images and the archives that an engine's makers publish."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from phi4_edge.core.catalog.fields import Row
from phi4_edge.core.catalog.model import Archive, ArchiveArtifact, CatalogImage
from phi4_edge.core.image_reference import ARCHITECTURES

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_image(row: Row) -> CatalogImage:
    """Return one image; `base` in it is the image that ours is built upon."""
    row.only("repository", "tag", "digests", "architecture", "cuda", "minimum_driver", "disk", "archive", "base")
    return CatalogImage(
        repository=row.text("repository"),
        tag=row.text("tag"),
        digests=_digests(row),
        architecture=row.text("architecture", ""),
        cuda=row.text("cuda", ""),
        minimum_driver=row.integer("minimum_driver", 0),
        disk=row.integer("disk"),
        archive=row.integer("archive"),
        base=read_image(row.row("base")) if "base" in row.data else None,
    )


def _digests(row: Row) -> Mapping[str, str]:
    found = {}
    for name, value in (row.row("digests").data if "digests" in row.data else {}).items():
        if name not in ARCHITECTURES.values():
            row.fail("digests", f"a mapping by architecture ({', '.join(ARCHITECTURES.values())})")
        if value is None:
            continue
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            row.fail("digests", "sha256: and 64 hexadecimal digits of each manifest, or null")
        found[str(name)] = value
    return MappingProxyType(found)


def read_release(row: Row) -> Archive:
    """Return the archives of one engine; every asset that an artifact names has a line in `sha256`."""
    row.only("url", "checksums", "artifacts", "sha256")
    sums = row.row("sha256")
    for name, value in sums.data.items():
        if value is not None and not (isinstance(value, str) and _SHA256.fullmatch(value)):
            sums.fail(str(name), "64 hexadecimal digits, or null for what is pinned when first fetched")
    artifacts = {name: _artifact(inner, sums) for name, inner in row.rows("artifacts").items()}
    return Archive(
        url=row.text("url"),
        checksums=row.text("checksums"),
        artifacts=MappingProxyType(artifacts),
        sha256=MappingProxyType(dict(sums.data)),
    )


def _artifact(row: Row, sums: Row) -> ArchiveArtifact:
    row.only("assets", "disk", "digest")
    assets = row.texts("assets")
    if not assets or not set(assets) <= set(sums.data):
        row.fail("assets", f"names from {', '.join(map(str, sums.data))}")
    digest = row.text("digest", "")
    if digest and not _SHA256.fullmatch(digest):
        row.fail("digest", "64 hexadecimal digits: what 'phi4-edge model list' shows of it")
    return ArchiveArtifact(assets, row.integer("disk"), digest)
