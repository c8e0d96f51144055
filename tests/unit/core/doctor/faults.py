"""A healthy host as the doctor sees it, and faults laid over it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi4_edge.core.doctor import examine
from phi4_edge.core.facts import parse
from phi4_edge.core.plan.decide import Inputs, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.data import load_catalog, load_table

FIXTURES = Path(__file__).parents[3] / "fixtures"
FAULTS = sorted((FIXTURES / "doctor").glob("*.json"))
HOSTS = sorted((FIXTURES / "hosts").glob("*.json"))
TABLE, CATALOG = load_table(), load_catalog()
ROOT: dict[str, Any] = {
    "ntp": "NTP=yes\nNTPSynchronized=yes",
    "dpkg_locks": "",
    "package_manager": "apt-get",
    "dns": "servers 192.0.2.1\npackages.example.net ok 0.01",
    "systemd": "running",
    "sudoers": "",
    "listeners": "22 70 sshd",
    "machine_id": "0123456789abcdef",
    "oom_kills": "0",
    "uid": "0",
}


def healthy() -> dict[str, Any]:
    """What the role doctor gives of a host that nothing is wrong with."""
    return {
        "format": "phi4-edge/doctor-host/1",
        "transport": "ssh",
        "trips": [0.02, 0.02, 0.02],
        "sudo_trips": [0.03, 0.03, 0.03],
        "noise": "",
        "login": {
            "user": "gw", "shell": "/bin/bash", "start_files": ["/home/gw/.bashrc", "/etc/bash.bashrc"],
            "with_shell": [0.004, 0.004, 0.004], "without": [0.001, 0.001, 0.001], "output": "", "status": 0,
            "before": 1000000000.0, "first": 1000000000.1, "last": 1000000000.2, "after": 1000000000.3,
        },
        "root": {
            "before": 1000000001.0, "first": 1000000001.1, "last": 1000000001.2, "after": 1000000001.3,
            "sources": {name: {"text": text} for name, text in ROOT.items()},
        },
    }  # fmt: skip


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def host_document(fault: Mapping[str, Any]) -> dict[str, Any]:
    """The healthy document with a fault's own parts over it."""
    document = healthy()
    for name, value in fault.get("document", {}).items():
        document[name] = {**document[name], **value} if isinstance(value, dict) else value
    if "root" in fault.get("document", {}) and "login" not in fault["document"]:
        for key in ("before", "first", "last", "after"):  # one clock, so one of two measurements is enough
            document["login"].pop(key)
    document["root"]["sources"] = {**document["root"]["sources"], **fault.get("root", {})}
    return document


def case(fault: Mapping[str, Any]) -> examine.Case:
    """The case of a host of tests/fixtures/hosts with a fault laid over what it says."""
    facts_document = load(FIXTURES / "hosts" / f"{fault['host']}.json")
    facts_document["sources"] |= fault.get("sources", {})
    facts = parse.parse(facts_document)
    overrides = Overrides.from_vars(facts.host, fault.get("variables", {}))
    plan = decide(facts, TABLE, CATALOG, overrides, Inputs({}, {}, {}))
    return examine.Case(
        facts.host, host_document(fault), facts_document, facts, plan, overrides, CATALOG
    )  # fmt: skip
