"""Puts the Ansible collection beside the package into the wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

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


def _cache(inside: Path) -> bool:
    return inside.suffix == ".pyc" or any(part == "__pycache__" or part.startswith(".") for part in inside.parts)
