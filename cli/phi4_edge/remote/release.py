"""The text files of a release: what it keeps of its plan, and what runs it in containers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from phi4_edge import content
from phi4_edge.core import layout
from phi4_edge.core.engines import compose, units
from phi4_edge.core.plan.kept import kept
from phi4_edge.core.release import release_files
from phi4_edge.errors import PreflightError

NOTE = "# Managed by phi4-edge. Changes here are found by `phi4-edge status` and undone by `phi4-edge provision`.\n"
PLAN = "plan.json"


def staged(plan: Mapping[str, Any], images: Mapping[str, str], root: str) -> dict[str, str]:
    """What a release has below `root`: what it keeps of its plan, its units and settings, programs of ours, and the
    Compose document where it has containers."""
    files = {PLAN: json.dumps(kept(plan), indent=4, sort_keys=True) + "\n"}
    files |= release_files.unit_files(plan, directory(plan, root))
    files |= {name: content.program(name).read_text(encoding="utf-8") for name in release_files.programs(plan)}
    if plan["service_manager"] == "compose":
        files[units.COMPOSE_FILE] = composed(plan, images, root)
    return files


def rehearsed(plan: Mapping[str, Any], images: Mapping[str, str], root: str) -> dict[str, str]:
    """What a rehearsal has of its own: its unit, and where it listens."""
    files = {layout.REHEARSAL_UNIT: units.service(plan, directory(plan, root), rehearsal=True)}
    if plan["service_manager"] == "compose":
        port = int(plan["switch"]["port"])
        document = composed(plan, images, root, port=port, project=layout.REHEARSAL_PROJECT)
        return {**files, units.COMPOSE_FILE: document}
    return {**files, units.ENVIRONMENT_FILE: units.rehearsal_environment(plan)}


def composed(plan: Mapping[str, Any], images: Mapping[str, str], root: str, **other: Any) -> str:
    """The compose file. Raises PreflightError where no image was loaded."""
    if "engine" not in images:
        raise PreflightError("found no image of the engine in phi4_images, needed it: run the role artifact first")
    document = compose.document(plan, images, release_dir=directory(plan, root), **other)
    return written(document)


def page(plan: Mapping[str, Any], image: str, memory: int, root: str) -> dict[str, str]:
    """What a release below `root` has of the chat page; `memory` in bytes."""
    start = content.program(release_files.PAGE_START).read_text(encoding="utf-8")
    document = compose.webui_document(plan, image, memory=memory, start=start)
    unit = units.page(plan, directory(plan, root))
    return {units.WEBUI_FILE: written(document), layout.WEBUI_UNIT: unit}


def directory(plan: Mapping[str, Any], root: str) -> str:
    """Where the release of a plan lies below `root`. Raises PreflightError for a plan that is for another place."""
    planned = layout.of(plan).root
    if planned != root:
        raise PreflightError(f"found a plan for {planned}, needed one for phi4_root={root}: plan the host again")
    return units.release_directory(plan)


def rolled_back(done: Mapping[str, Any]) -> dict[str, Any]:
    """The fact `phi4_rollback`: what serves now, whether it was started for that, and what becomes of the rest."""
    told = {name: done[name] for name in ("to", "restarted", "kept")}
    return {**told, "removed": not (done["to"] or done["kept"])}


def back_on(done: Mapping[str, Any]) -> str:
    """The answer of a rollback in words, as role service has them."""
    if done["kept"]:
        return "no receipt names a release to go back to, so everything was left as it is"
    return f"the host is back on {done['to']}" if done["restarted"] else f"the host still serves {done['to']}"


def written(document: Mapping[str, Any]) -> str:
    """A document of Compose as the text of its file."""
    plain = json.loads(json.dumps(document))  # Ansible's own kinds of text are none that YAML can write
    return NOTE + str(yaml.safe_dump(plain, sort_keys=False, width=120))
