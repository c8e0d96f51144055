"""A host that answers a change of settings from a table, and a plan that is one."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable
from typing import Any

from phi4_edge.core.inventory import Host
from phi4_edge.core.plan.decide import Plan
from phi4_edge.ssh.errand import Errand, Said
from tests.hostile.honest import answers
from tests.hostile.material import planned
from tests.hostile.wire import frame

Json = dict[str, Any]
HONEST = {**answers(), "service/release/inherit": {"complete": True, "changed": True, "images": {}}}
HELD = {"state": "held", "holder": {**answers()["lock/lock/show"]["holder"], "controller": None}, "waited": 0.0}


class StandinGuest:
    """A host that answers from a table, as a series ends: with a failure, or an answer that the next ones need not.

    `answer` may have another one for an operation that is asked the nth time; `lie` makes another document of all.
    """

    becomes = True

    def __init__(self, host: Host, answer: Callable[[str, int], Json], lie: Callable[[Json, int], Any]) -> None:
        self.host = host
        self.asked: list[list[str]] = []
        self.args: list[Json] = []
        self.alive = True
        self._answer, self._lie = answer, lie
        self._times: dict[str, int] = {}

    def get(self, host: str) -> Any:
        return self if self.alive else None

    def set_keepalive(self, seconds: int) -> None:
        """As of a session."""
        assert seconds > 0

    def do(self, errand: Errand, sudo: bool = True) -> Said:
        nonce, size = errand.line.rsplit(" ", 2)[1:]
        packed = errand.stdin[: int(size)]
        assert zlib.decompress(packed)
        args = json.loads(errand.stdin[int(size) :].partition(b"\n")[0])
        self.args.append(args)
        if "series" not in args:
            role = {"release": "lock/lock"} if "wish" in args else {}
            name = role.get(args["do"]) or next(
                key.rpartition("/")[0] for key in answers() if key.endswith(f"/{args['do']}")
            )
            self.asked.append([f"{name}/{args['do']}"])
            document: Any = self._one(self.asked[-1][0])
        else:
            self.asked.append([])
            given: list[Json] = []
            for step in args["series"]:
                self.asked[-1].append(f"{step['script']}/{step['args'].get('do')}")
                given.append(self._one(self.asked[-1][-1]))
                if "error" in given[-1] or any(given[-1].get(key) != value for key, value in step["needs"].items()):
                    break
            document = {"answers": given}
        lied = self._lie(document, len(self.asked))
        return Said(0, frame(nonce, lied if isinstance(lied, bytes) else json.dumps(lied).encode()).decode(), "")

    def _one(self, name: str) -> Json:
        self._times[name] = self._times.get(name, 0) + 1
        return self._answer(name, self._times[name])


def plan(mode: str = "down", engine: str = "onnx", **wishes: Any) -> Plan:
    made = Plan.from_dict(
        {
            **planned(engine, **wishes), "action": "change", "recovery": "none", "webui": None, "awaits": [],
            "blockers": [],
            "release": "r-fedcba987654", "fingerprint": "e" * 64,
            "changes": [{"what": "context length", "before": 1024, "after": 2048}],
            "switch": {"mode": mode, "port": 18080, "down_seconds": 1, "reason": ""},
        }
    )  # fmt: skip
    return dataclasses.replace(
        made, applicable=True, not_applicable=None, knobs={**(made.knobs or {}), "repacked": None}
    )
