"""Puts the Ansible collection beside the package into the wheel, and makes a README whose links lead somewhere."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

COLLECTION = "ansible_collections/phi4_edge/edge"
PARTS = (
    "CHANGELOG.md",
    "LICENSES",
    "README.md",
    "SECURITY.md",
    "changelogs",
    "galaxy.yml",
    "meta",
    "playbooks",
    "plugins",
    "roles",
)
# What the tarball of the collection leaves out too (galaxy.yml).
TESTS = Path("roles/onnx/files/engine/tests")
# Where the sources of this version can be read, such as https://example.com/phi4-edge/blob/v1.0.0: whoever publishes a
# version knows it. A page of a package index shows the README, and has none of the files beside it.
SOURCES = "PHI4_EDGE_SOURCES"
# [text](target) that is no address and no place on the same page.
LINK = re.compile(r"\[([^\]\n]+)\]\((?![a-z][a-z0-9+.-]*:|#)([^)\s]+)\)")


class CollectionHook(BuildHookInterface):  # type: ignore[type-arg]
    """In a checkout that is installed editable, the link in `cli` is the collection: a copy would go stale."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Every file of the collection, caches and the engine's tests aside."""
        if version == "editable":
            return
        root = Path(self.root)
        for part in PARTS:
            top = root / part
            for path in [top] if top.is_file() else sorted(top.rglob("*")):
                inside = path.relative_to(root)
                if path.is_file() and not inside.is_relative_to(TESTS) and not _cache(inside):
                    build_data["force_include"][str(path)] = f"{COLLECTION}/{inside.as_posix()}"


class ReadmeHook(MetadataHookInterface):  # type: ignore[misc]
    """The description of the package is the README, and the sources are named where they are known."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Sets `readme`, and `urls` with PHI4_EDGE_SOURCES."""
        sources = os.environ.get(SOURCES, "").rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": readable(text, sources)}
        metadata["urls"] = {"Source": sources, "Changelog": f"{sources}/CHANGELOG.md"} if sources else {}


def readable(text: str, sources: str) -> str:
    """The README for a page without the files beside it: relative links lead to `sources`, or name the file."""

    def told(link: re.Match[str]) -> str:
        shown, target = link.groups()
        if sources:
            return f"[{shown}]({sources}/{target})"
        path = target.partition("#")[0]
        return shown if shown.strip("`") == path else f"{shown} ({path})"

    return LINK.sub(told, text)


def _cache(inside: Path) -> bool:
    return inside.suffix == ".pyc" or any(part == "__pycache__" or part.startswith(".") for part in inside.parts)
