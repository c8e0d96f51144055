"""What a look finds before it is read, without what is another with every look."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.gateway import Cli

# What is another with every look, whoever looks.
VOLATILE = {"clock", "meminfo", "disk", "our_disk", "mount_points", "lock", "memory_kills"}
# A setting that only Ansible obeys: with it every host goes through Ansible.
BY_ANSIBLE = ("-e", "probe_verify_seconds=120")


def raw_facts(cli: Cli, inventory: Path, names: Sequence[str], *more: str) -> dict[str, Any]:
    """Raw sources by host."""
    done = cli.run("detect", inventory, "--raw", "--limit", ",".join(names), *more)
    assert done.code == 0, done.err
    documents = [json.loads(line) for line in done.out.splitlines()]
    return {document["host"]: _steady(document) for document in documents}


def _steady(document: Mapping[str, Any]) -> dict[str, Any]:
    sources = {name: one for name, one in document["sources"].items() if name not in VOLATILE}
    if "bandwidth" in sources:  # a sample, never twice the same
        sources["bandwidth"] = sorted(sources["bandwidth"])
    text = json.dumps(sources)
    # Each login is a session with a number of its own.
    return {**document, "sources": json.loads(re.sub(r"session-c?\d+\.scope", "session.scope", text))}
