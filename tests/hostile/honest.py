"""What an honest host answers, by operation.

Kept by hand, for nothing of this may truly be installed on the machine of the tests. That the schemas of
`phi4_edge.remote.answers` let them through is a test; what real hosts answer is tried in the end-to-end ones.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from tests.hostile.material import fixture, kept, planned

Json = dict[str, Any]
IMAGE_ID = "sha256:" + "5" * 64
RELEASE = "r-0123456789ab"
HOLDER = {
    "id": "run-1", "user": "ops", "host": "hq", "pid": 7, "operation": "provision", "version": "0.1.0",
    "started": "2026-11-28T00:00:00Z", "age": 1.5, "left": 28.5, "state": "held", "present": True,
}  # fmt: skip
CHANGED: Json = {"changed": True, "changes": ["/etc/one", "two enabled"]}
WATCH = {
    "release": RELEASE, "seconds": 5.0, "probes": 5, "failures": 0, "restarts": 0, "slowest_probe_seconds": 0.1,
    "generations": [{"tokens": 8, "seconds": 0.5}], "step": "",
}  # fmt: skip
SURVEYED = {
    "docker": "28.5.2", "images": {"engine": {"id": "", "named": False}}, "shared": {},
    "docker_root": "/var/lib/docker",
    "docker_free": 1 << 40, "staging_free": 1 << 40, "same_disk": True,
}  # fmt: skip
INSPECTED = {
    "os": {"id": "debian", "version_id": "13"}, "architecture": "amd64", "kernel": "6.12.1", "packages": {}, "dpkg": "",
    "snap": False, "engine": "", "compose": "", "runc": "",
}  # fmt: skip


@cache
def answers() -> dict[str, Json]:
    """What an honest host answers, by operation."""
    return {**_of_looking(), **_of_installing(), **_of_releases()}


def _of_looking() -> dict[str, Json]:
    return {
        "probe/probe/probe": {name: fixture()[name] for name in ("format", "sources")},
        "probe/bandwidth/sample": {"one": 9_000_000_000, "all": 17_000_000_000, "threads": 4, "why": ""},
        "bench/bench/usage": {"counted": True, "memory": 4_700_000_000, "vram": -1, "cpu": 0.01},
        "bench/bench/keep": {"changed": True},
        "doctor/doctor/doctor": {"format": "phi4-edge/doctor-root/1", "sources": {}, "first": 1.0, "last": 2.0},
        "doctor/login/login": {
            "format": "phi4-edge/doctor-login/1", "user": "gw", "shell": "/bin/sh", "start_files": [], "first": 1.0,
            "last": 2.0,
        },
        "lock/lock/take": {"state": "taken", "waited": 0.0, "waited_for": None, "taken_from": None},
        "lock/lock/release": {"released": True},
        "lock/lock/show": {"holder": HOLDER},
        "lock/lock/clear": {"released": False, "holder": HOLDER, "working": False},
        "artifact/push/survey": {"complete": False, "have": {"weights": 0}, "missing": 4096, "free": 1 << 40},
        "artifact/push/store": {},
        "artifact/push/finish": {"changed": True, "bad": []},
        "artifact/fetch/fetch": {"done": True, "received": 4096, "why": ""},
        "artifact/image/survey": SURVEYED,
        "artifact/image/load": {"changed": True, "id": IMAGE_ID},
        "artifact/image/tag": {"changed": True, "id": IMAGE_ID},
        "artifact/image/pull": {"changed": True, "id": IMAGE_ID},
    }  # fmt: skip


def _of_installing() -> dict[str, Json]:
    return {
        "docker/packages/inspect": INSPECTED,
        "docker/packages/repository": CHANGED,
        "docker/packages/offered": {"offered": {"tool": ["1.2.3-1", "1.2.2-1"]}, "said": "W: old", "changed": False},
        "docker/packages/install": {**CHANGED, "installed": {"tool": "1.2.3-1"}},
        "docker/daemon/merge": {**CHANGED, "pending": True, "running": ["web"], "survive": False, "diff": []},
        "docker/daemon/restore": {**CHANGED, "reload": True, "owners": ["docker"]},
        "docker/engine/run": {
            **CHANGED, "compose": "2.40.3", "engine": "28.5.2", "runc": "runc version 1.3.3", "storage": "overlay2",
        },
        "docker/engine/reload": {"changed": True, "restarted": False, "running": 1},
        "nvidia_runtime/nvidia/inspect": {"toolkit": "1.18.1", "architecture": "amd64", "nvidia_docker2": False},
        "nvidia_runtime/nvidia/settings": {"settings": {"features": {"cdi": True}}, "changed": False},
        "nvidia_runtime/nvidia/cdi": {**CHANGED, "devices": ["nvidia.com/gpu=GPU-1"]},
        "nvidia_runtime/nvidia/nouveau": CHANGED,
        "nvidia_runtime/nvidia/remove": CHANGED,
        "onnx/engine/inspect": {"complete": True, "damaged": ["bin/python"]},
        "onnx/engine/build": {"changed": True, "genai": "0.11.0"},
        "onnx/engine/repack": {"changed": True, "bytes": 7, "reason": ""},
        "ollama/create/inspect": {
            "complete": False, "damaged": ["blobs/a"], "models": {"phi": "sha256:1"}, "surplus": 0,
        },
        "ollama/create/create": {
            "changed": True, "models": {"phi": "sha256:1"}, "said": ["success"], "freed": 0,
        },
        "vllm/checkpoint/check": {"changed": False, "method": "awq"},
        "webui/webui/prepare": {"changed": True, "settled": True},
        "webui/webui/administrator": {"changed": True, "made": True},
    }  # fmt: skip


def _of_releases() -> dict[str, Json]:
    plan = kept(planned())
    return {
        "health/gate/gate": {"ready_seconds": 1.5, "generation": {"tokens": 8, "seconds": 0.5}, "proof": "0" * 32},
        "health/watch/watch": {"watch": WATCH},
        "health/exchange/exchange": {
            "listener": "{}", "sent": True, "end": "complete", "times": [0.1], "pieces": ["SFRUUA=="],
        },
        "receipt/receipt/commit": {"changed": True, "file_count": 7, "pruned": ["r-000000000000"]},
        "receipt/receipt/sweep": {"changed": True, "pruned": ["r-000000000000"]},
        "service/release/stage": {**CHANGED, "diff": [], "reread": False},
        "service/release/inherit": {"complete": False, "changed": False, "images": {}},
        "service/release/verify": {"verified": True},
        "service/release/rehearse": {"changed": False},
        "service/release/rest": {"changed": False, "ended": True},
        "service/release/switch": {**CHANGED, "restarted": True},
        "service/release/committed": {"plan": plan},
        "service/release/previous": {"plan": {**plan, "action": "restore"}, "images": {"engine": IMAGE_ID}},
        "service/release/rollback": {
            "changed": True, "to": plan["release"], "restarted": True, "kept": False, "plan": plan,
        },
        "service/release/remove": {**CHANGED, "docker": False},
        "service/release/erase": CHANGED,
        "balancer/balancer/inspect": {
            "installed": "2.6.12-1", "key": "", "certificate": "", "note": "", "changed": False,
        },
        "balancer/balancer/bring": CHANGED,
        "balancer/balancer/drain": {"changed": True, "running": 0},
        "balancer/balancer/ready": {"changed": True},
        "balancer/balancer/remove": CHANGED,
        "gateway/gateway/inspect": {"installed": "2.6.12-1", "nft": True, "changed": False},
        "gateway/gateway/quiet": {"changed": True},
        "gateway/gateway/bring": CHANGED,
        "trust/trust/trust": {"changed": True, "trusted": ["0123456789ABCDEF"]},
        "trust/trust/present": {"changed": False, "trusted": ["0123456789ABCDEF"], "counter": 7, "site": "default"},
    }  # fmt: skip
