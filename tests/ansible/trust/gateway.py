"""A host in a folder that trusts keys, and what is presented to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.artifacts.signing.judge import Presented
from phi4_edge.artifacts.signing.secret import SecretKey
from phi4_edge.artifacts.signing.statement import Named
from phi4_edge.core import manifest
from tests.ansible.host_scripts import Host, RefusedError, hostlib, load
from tests.ansible.trust.statements import FIRST, presented, statement

trust = load("trust", "trust")
ID, DIGEST = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@dataclass
class Gateway:
    """A host in a folder, on which things were delivered as the roles do."""

    folder: Path
    host: Host = field(init=False)

    def __post_init__(self) -> None:
        self.host = Host(self.folder)

    @property
    def state(self) -> str:
        return str(self.host.state)

    def tree(self, where: Path, files: dict[str, bytes], links: dict[str, str] | None = None, **more: Any) -> str:
        """A directory with its record, as role artifact leaves it; its digest by the controller's own code."""
        where.mkdir(parents=True)
        for name, data in files.items():
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            (where / name).write_bytes(data)
            (where / name).chmod(0o755 if name.startswith("bin/") else 0o644)
        for name, target in (links or {}).items():
            (where / name).symlink_to(target)
        lines = [hostlib.entry(str(where / name), name) for name in hostlib.regular_files(str(where))]
        told = [{"path": name, "target": target} for name, target in (links or {}).items()]
        hostlib.write_record(str(where), lines, told, **more)
        wanted = [manifest.File(line["path"], line["size"], line["sha256"], line["mode"]) for line in lines]
        return manifest.digest(wanted, [manifest.Link(name, target) for name, target in (links or {}).items()])

    def model(self, data: bytes = b"GGUF weights") -> Path:
        first = self.tree(self.folder / "arrived", {"model.gguf": data, "chat.txt": b"text"})
        target = self.host.state / "models" / first
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / "arrived").rename(target)
        (self.folder / "arrived.json").rename(f"{target}.json")
        return target

    def told(self, *keys: SecretKey, check: bool = False, rotations: bytes = b"") -> dict[str, Any]:
        lines = {f"key {number}": key.public.text for number, key in enumerate(keys)}
        given = {"state": self.state, "keys": lines, "rotations": rotations.decode(), "presented": [], "check": check}
        return dict(trust.trust(given, b""))

    def shown(self, *given: Presented, check: bool = False, **wanted: list[str]) -> dict[str, Any]:
        lines = [
            {"site": json.loads(one.statement)["site"], "statement": one.statement.decode(),
             "signature": one.signature.decode(), "rotations": one.rotations.decode()}
            for one in given
        ]  # fmt: skip
        plan = {"artifacts": [], "images": [], "wheelhouses": [], **wanted}
        return dict(trust.present({"state": self.state, "presented": lines, "check": check, "wanted": plan}, b""))

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


def naming(*artifacts: str, counter: int = 7, key: SecretKey = FIRST, **more: Any) -> Presented:
    names = Named({f"tiny/{number}": one for number, one in enumerate(artifacts)}, **more)
    return presented(statement(names=names, counter=counter, keys=(key.public.id,)), key)


def refusal(reason: str, do: Callable[..., Any], *given: Any, **more: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        do(*given, **more)
    assert caught.value.reason == reason
    return str(caught.value)
