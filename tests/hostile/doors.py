"""Every operation of ours on a host: a task that reaches it, and what an honest host answers.

A *door* is one way to an operation: a task of one action plugin, which may ask the host several things before.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hostile.depot import depot
from tests.hostile.honest import IMAGE_ID, RELEASE, SURVEYED, answers
from tests.hostile.material import Material, fixture, planned

Json = dict[str, Any]
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Door:
    """`optional`: keys that an honest answer may lack. `before`: what else the host says on the way there. `checked`:
    also asked in check mode. `part`: where the plugin keeps the answer of a host that may be broken."""

    operation: Key
    task: Mapping[str, Any]
    optional: Collection[str] = ()
    before: Mapping[str, Json] = field(default_factory=dict)
    checked: bool = False
    part: str = ""

    @property
    def name(self) -> str:
        return "/".join(self.operation)

    @property
    def plugin(self) -> str:
        return next(iter(self.task))


# Where nothing is on the controller, which plays the host too.
AT = {"root": "/none/opt", "state": "/none/var"}


def doors(folder: Path) -> list[Door]:
    """All of them; what the controller needs for them lies below `folder`."""
    made = Material(folder)
    return [
        *_looking(), *_pushing(made), *_docker(made), *_nvidia(), *_engines(), *_serving(), *_releases(), *_trust(made),
        *_gateway(), *_balancer(),
    ]  # fmt: skip


def _looking() -> list[Door]:
    lock = {**AT, "id": "run-1"}
    take = {**lock, "operation": "provision", "wait": 0, "stale_seconds": 30, "heartbeat_seconds": 10}
    usage = {"compose": False, "project": "phi4-edge", "unit": "phi4-edge.service", "gpu": "", "seconds": 0}
    doctor = {"phi4_doctor": {"rounds": 0, **AT}}
    return [
        Door(("probe", "probe", "probe"), {"phi4_probe": AT}, checked=True),
        Door(("probe", "bandwidth", "sample"), {"phi4_probe": {**AT, "sample": True}}, checked=True),
        Door(("bench", "bench", "usage"), {"phi4_bench": {"do": "usage", **AT, "wish": usage}}),
        Door(
            ("bench", "bench", "keep"), {"phi4_bench": {"do": "keep", **AT, "wish": {"release": RELEASE, "record": {}}}}
        ),
        Door(("doctor", "doctor", "doctor"), doctor, checked=True, part="root"),
        Door(("doctor", "login", "login"), doctor, checked=True, part="login"),
        Door(("lock", "lock", "take"), {"phi4_lock": {"do": "take", **take}}),
        Door(("lock", "lock", "release"), {"phi4_lock": {"do": "release", **lock}}),
        Door(("lock", "lock", "show"), {"phi4_lock": {"do": "show", **lock}}, checked=True),
        Door(("lock", "lock", "clear"), {"phi4_lock": {"do": "clear", **lock, "force": False}}),
    ]


def _pushing(made: Material) -> list[Door]:
    sent = {"staging": "/none/staging", "piece_bytes": 65536, "reserve_bytes": 0, "retries": 0}
    push = {"phi4_artifact": {"name": "a model", "source": str(made.artifact()), "destination": "/none/model", **sent}}
    ranges = {"phi4_artifact": {**push["phi4_artifact"], "piece_bytes": 4096, "depot": depot()}}
    pushed, pulled, own = made.images()
    image = {"store": str(made.store), "delivery": "push", "mirror": "", **sent}
    load = {"phi4_image": {**image, "images": {"engine": pushed}}}
    pull = {"phi4_image": {**image, "images": {"engine": pulled}, "delivery": "registry"}}
    loaded = {"artifact/image/load": {"changed": True, "id": own}, "artifact/image/tag": {"changed": True, "id": own}}
    there = {"artifact/push/survey": {"complete": True, "have": {}, "missing": 0, "free": 1 << 40}, **loaded}
    named = {"artifact/image/survey": {**SURVEYED, "images": {"engine": {"id": own, "named": False}}}, **loaded}
    return [
        Door(("artifact", "push", "survey"), push, checked=True),
        Door(("artifact", "push", "store"), push),
        Door(("artifact", "push", "finish"), push, optional={"changed"}),
        Door(("artifact", "fetch", "fetch"), ranges),
        Door(("artifact", "image", "survey"), load, before=there, checked=True),
        Door(("artifact", "image", "load"), load, before=there),
        Door(("artifact", "image", "tag"), load, before=named),
        Door(("artifact", "image", "pull"), pull),
    ]


def _docker(made: Material) -> list[Door]:
    key, fingerprint = made.key()
    inspect = {
        "source": "docker", "pins": {"docker": "28.5.2", "compose": "2.40.3", "containerd": "1.7.28"},
        "url": "https://vendor.invalid", "accepted": [],
    }  # fmt: skip
    packages = {
        "packages": {"tool": ""}, "repository": {}, "key_url": "", "fingerprint": fingerprint, "replaces": "vendor",
        "remove": [], "components": {}, "accepted": [], "lock_seconds": 1,
    }  # fmt: skip
    vendor = {
        "name": "vendor", "uri": "https://vendor.invalid", "key_url": str(key), "suite": "stable",
        "components": "main", "architecture": "amd64",
    }  # fmt: skip
    config = {"state": "/none/state", "path": "/none/daemon.json"}
    merge = {**config, "owner": "docker", "defaults": {"live-restore": True}, "required": {}}
    from_vendor = {"phi4_docker": {"do": "packages", **packages, "repository": vendor}}
    own = {"phi4_docker": {"do": "packages", **packages}}
    return [
        Door(("docker", "packages", "inspect"), {"phi4_docker": {"do": "inspect", **inspect}}, checked=True),
        Door(("docker", "packages", "repository"), from_vendor, checked=True),
        Door(("docker", "packages", "offered"), own, checked=True),
        Door(("docker", "packages", "install"), own),
        Door(("docker", "daemon", "merge"), {"phi4_docker": {"do": "merge", **merge}}, checked=True),
        Door(("docker", "daemon", "restore"), {"phi4_docker": {"do": "restore", **config}}, checked=True),
        Door(
            ("docker", "engine", "run"), {"phi4_docker": {"do": "run", **config, "accepted": ["engine", "runc"]}},
            optional={"compose", "engine", "runc", "storage"}, checked=True,
        ),
        Door(("docker", "engine", "reload"), {"phi4_docker": {"do": "reload", **config}}, checked=True),
    ]  # fmt: skip


def _nvidia() -> list[Door]:
    nvidia = {"spec": "/none/cdi.yaml", "gpu": "GPU-1"}
    toolkit = {"facts": fixture("xeon-rtx3060-driver570"), "version": "1.18.1", "url": "https://vendor.invalid"}
    return [
        Door(
            ("nvidia_runtime", "nvidia", "inspect"),
            {"phi4_nvidia": {"do": "toolkit", **toolkit, "accepted": ["nvidia_container_toolkit"]}}, checked=True,
        ),
        Door(("nvidia_runtime", "nvidia", "settings"), {"phi4_nvidia": {"do": "settings"}}, checked=True),
        Door(
            ("nvidia_runtime", "nvidia", "cdi"), {"phi4_nvidia": {"do": "cdi", **nvidia}}, optional={"devices"},
            checked=True,
        ),
        Door(("nvidia_runtime", "nvidia", "nouveau"), {"phi4_nvidia": {"do": "nouveau", "path": "/none/n"}},
             checked=True),
        Door(("nvidia_runtime", "nvidia", "remove"), {"phi4_nvidia": {"do": "remove", **nvidia}}, checked=True),
    ]  # fmt: skip


def _engines() -> list[Door]:
    stage = {"do": "stage", "root": "/none/opt", "release": RELEASE, "links": {}}
    ollama, page = planned("ollama"), {**planned("onnx", webui_enabled=True), "layout": AT}
    paths = {name: f"/none/{name}" for name in ("engine", "model", "store", "staging")}
    create = {"do": "create", "plan": ollama, "paths": paths, "image": "", "library": {}}
    onnx = {"engine": "/none/engine", "wheelhouse": "/none/wheels", "python": "3.13"}
    shown = {"do": "stage", "data": "/none/data", "root": "/none/opt", "release": RELEASE, "plan": page,
             "image": IMAGE_ID}  # fmt: skip
    staged, soon = ("service", "release", "stage"), {"seconds": 1}
    return [
        Door(("onnx", "engine", "inspect"), {"phi4_onnx": {"do": "inspect", **onnx}}, checked=True),
        Door(("onnx", "engine", "build"), {"phi4_onnx": {"do": "build", **onnx}}),
        Door(
            ("onnx", "engine", "repack"),
            {"phi4_onnx": {"do": "repack", "engine": "/none/engine", "model": "/none/model", "repacked": "/none/r",
                           "threads": 1}},
        ),
        Door(("ollama", "create", "inspect"), {"phi4_ollama": create}, checked=True),
        Door(("ollama", "create", "create"), {"phi4_ollama": create}),
        Door(
            ("vllm", "checkpoint", "check"),
            {"phi4_vllm": {"do": "check", "model": "/none/model", "quantization": "int4"}},
            optional={"method"}, checked=True,
        ),
        Door(("webui", "webui", "prepare"), {"phi4_webui": {"do": "prepare", "data": "/none/data"}}, checked=True),
        Door(("webui", "webui", "administrator"), {"phi4_webui": {"do": "administrator", "data": "/none", **soon}}),
        *(Door(staged, {plugin: stage}, checked=True) for plugin in ("phi4_onnx", "phi4_ollama", "phi4_vllm")),
        Door(staged, {"phi4_webui": shown}, checked=True),
    ]  # fmt: skip


def _serving() -> list[Door]:
    plan = planned()
    passed = {"release": plan["release"], "proof": "0" * 32}
    gate = {"generation_seconds": 1, "start_seconds": 1, "stability_seconds": 0}
    both = {"plan": plan, **AT}
    wish = {"address": "127.0.0.1", "port": 1, "request": "", "seconds": 1, "most_bytes": 1, "expected": None}
    return [
        Door(("health", "gate", "gate"), {"phi4_health": {**both, **gate}}),
        Door(("health", "exchange", "exchange"), {"phi4_exchange": {"wish": wish}}, checked=True),
        Door(("health", "watch", "watch"), {"phi4_health": {**both, "generation_seconds": 1, "watch_seconds": 1}}),
        Door(
            ("receipt", "receipt", "commit"),
            {"phi4_receipt": {"do": "commit", **AT, "plan": plan, "gate": passed, "forget": False}},
            optional={"file_count", "pruned"}, checked=True,
        ),
        Door(("receipt", "receipt", "sweep"), {"phi4_receipt": {"do": "sweep", **AT}}),
    ]  # fmt: skip


def _releases() -> list[Door]:
    plan = {**planned(), "layout": AT}
    more: dict[str, Json] = {
        "stage": {"release": RELEASE, "plan": plan, "links": {}},
        "verify": {"release": RELEASE}, "rehearse": {"release": RELEASE, "plan": plan}, "rest": {},
        "switch": {"release": RELEASE, "restart": False}, "committed": {}, "previous": {},
        "rollback": {"failed": RELEASE, "why": "why"}, "remove": {}, "erase": {},
    }  # fmt: skip
    unchecked = {"verify", "rehearse", "rest", "rollback"}
    optional = {"rollback": {"plan"}}
    # Of containers: their release is asked for its images before the rest is made.
    changed = {
        **plan,
        "action": "change",
        "changes": [],
        "recovery": "none",
        "webui": None,
        "service_manager": "compose",
    }
    seconds = {"start_seconds": 1, "generation_seconds": 1, "stability_seconds": 0}
    return [
        Door(("service", "release", "inherit"), {"phi4_change": {"plan": changed, **AT, **seconds}}),
        *(
            Door(
                ("service", "release", do), {"phi4_release": {"do": do, **AT, **args}}, optional=optional.get(do, ()),
                checked=do not in unchecked,
            )
            for do, args in more.items()
        ),
    ]  # fmt: skip


def _trust(made: Material) -> list[Door]:
    at = {"state": "/none/var", "store": str(made.store)}
    keys = {"release": "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"}
    present = {"do": "present", **at, "plan": planned()}
    return [
        Door(("trust", "trust", "trust"), {"phi4_trust": {"do": "trust", **at, "keys": keys}}, checked=True),
        Door(
            ("trust", "trust", "present"), {"phi4_trust": present}, optional={"counter", "site"}, checked=True,
        ),
    ]  # fmt: skip


def _gateway() -> list[Door]:
    bring = {"do": "bring", "state": "/none/var", "plan": planned(), "facts": fixture()}
    return [
        Door(("gateway", "gateway", "inspect"), {"phi4_gateway": {"do": "inspect"}}, checked=True),
        Door(("gateway", "gateway", "quiet"), {"phi4_gateway": {"do": "quiet"}}, checked=True),
        Door(("gateway", "gateway", "bring"), {"phi4_gateway": bring}, checked=True),
    ]


def _balancer() -> list[Door]:
    at = {"state": "/none/var"}
    gateways = [{"name": "gw1", "address": "192.0.2.1", "port": 8443}]
    serve = {"do": "serve", **at, "gateways": gateways, "answer_seconds": 60}
    looked = {name: answers()[name] for name in ("balancer/balancer/inspect",)}
    drain, ready = ({"phi4_balancer": {"do": do, **at, "gateway": "gw1"}} for do in ("drain", "ready"))
    return [
        Door(("balancer", "balancer", "inspect"), {"phi4_balancer": {"do": "inspect", **at}}, checked=True),
        Door(("balancer", "balancer", "bring"), {"phi4_balancer": serve}, before=looked, checked=True),
        Door(("balancer", "balancer", "drain"), drain, checked=True),
        Door(("balancer", "balancer", "ready"), ready, checked=True),
        Door(("balancer", "balancer", "remove"), {"phi4_balancer": {"do": "remove", **at}}, checked=True),
    ]


def good(every: list[Door]) -> str:
    """What the actor answers where it is honest: by operation, and on the way through each door."""
    ways = {door.name: dict(door.before) for door in every if door.before}
    return json.dumps({"*": answers(), **ways})
