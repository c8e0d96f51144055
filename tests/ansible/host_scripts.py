"""The scripts that run on hosts as modules, and the part of a host's file system that they work on."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.ansible.plays import ROOT

sys.path.insert(0, str(ROOT / "roles" / "health" / "files"))
sys.path.insert(0, str(ROOT / "roles" / "service" / "files"))
sys.path.insert(0, str(ROOT / "cli" / "phi4_edge" / "remote" / "host"))
sys.path.append(str(ROOT / "roles" / "onnx" / "files"))
import hostadmit
import hostdocker
import hostfact
import hosthaproxy
import hostlib
import hostrun
import hosttrust
import hostunit
from hostsign import RefusedError

__all__ = [
    "ONE", "THREE", "TWO", "Host", "RefusedError", "args", "engine", "gateport", "hostadmit", "hostdocker", "hostfact",
    "hosthaproxy", "hostlib", "hostrun", "hosttrust", "hostunit", "load", "receipt", "release", "stage",
]  # fmt: skip


def load(role: str, name: str) -> ModuleType:
    """A host script as a module; it does nothing until one of its functions is called."""
    spec = importlib.util.spec_from_file_location(f"host_{name}", ROOT / "roles" / role / "files" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release, receipt, gateport, engine = (
    load(*names)
    for names in (("service", "release"), ("receipt", "receipt"), ("health", "gateport"), ("onnx", "engine"))
)
ONE, TWO, THREE = "r-111111111111", "r-222222222222", "r-333333333333"


class Host:
    """The part of a host's file system that is ours, below a folder."""

    def __init__(self, folder: Path) -> None:
        self.root, self.state = folder / "opt", folder / "var"
        self.receipt = self.state / "receipt.json"
        self.facts = folder / "etc" / "ansible" / "facts.d"
        self.facts.parents[1].mkdir(exist_ok=True)
        hostfact.FOLDER = str(self.facts)

    def release(self, name: str, model: str) -> None:
        target = self.state / "models" / model
        target.mkdir(parents=True, exist_ok=True)
        (target / "weights").write_text(model)
        stage(self, name, {"environment": f"NAME={name}\n"}, {"model": str(target)})

    def commit(self, name: str, model: str, forget: bool = False) -> dict[str, Any]:
        body = {"release": name, "plan_fingerprint": name}
        hostlib.link_atomic(f"releases/{name}", str(self.root / "current"))
        return dict(receipt.commit(args(self, body=body, files=[], forget=forget, proof=self.gate(name)), b""))

    def gate(self, name: str) -> str:
        """The gate lets the release pass: its proof, as the gate leaves it in memory on a host."""
        receipt.PASSED = str(self.state.parent / "gate.json")
        hostlib.write_json(receipt.PASSED, {"release": name, "proof": f"proof-{name}", "NRestarts": "0"}, 0o600)
        return f"proof-{name}"

    def names(self) -> set[str]:
        return {path.name for path in [*self.root.glob("releases/*"), *self.state.glob("models/*")]}


def args(host: Host, **more: Any) -> dict[str, Any]:
    common = {"root": str(host.root), "state": str(host.state), "receipt": str(host.receipt), "check": False}
    return {**common, "diff": True, **more}


def stage(host: Host, name: str, files: dict[str, str], links: dict[str, str], check: bool = False) -> dict[str, Any]:
    return dict(release.stage(args(host, release=name, files=files, links=links, check=check), b""))
