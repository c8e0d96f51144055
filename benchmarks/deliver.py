"""Brings an artifact of a store to all hosts of an inventory with the role that `provision` uses, and nothing else.

    deliver.py STORE DIGEST DESTINATION INVENTORY [ADDRESS]

With ADDRESS, one of this machine, hosts fetch over plain HTTP from there; without over a tunnel of SSH.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from phi4_edge import content
from phi4_edge import inventory as inventories
from phi4_edge.core.inventory import Login
from phi4_edge.operations import depot


def main(store: Path, digest: str, destination: str, inventory: str, address: str = "") -> int:
    """Exit status of ansible-playbook."""
    source = store / "artifacts" / digest
    hosts = inventories.load((inventory,), None, (), print, (), Login())
    if address:
        hosts = [replace(host, vars={**host.vars, "phi4_artifact_address": address}) for host in hosts]
    with tempfile.TemporaryDirectory() as folder, depot.opened(store, hosts, frozenset({source})) as (place, asked):
        book = Path(folder) / "deliver.yml"
        book.write_text(json.dumps(_play(source, digest, destination)))
        more = json.dumps({"artifact_depot": asked})
        command = [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, book, "-e", more]
        env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(content.collections())}
        done = subprocess.run(command, check=False, env=env)
        if place.told:
            print("\n".join(place.told), file=sys.stderr)
            return done.returncode or 1  # it came, but not the way that is measured
    return done.returncode


def _play(source: Path, digest: str, destination: str) -> list[dict[str, object]]:
    wanted = {
        "__artifact_name": "bench", "__artifact_source": str(source), "__artifact_digest": digest,
        "__artifact_destination": destination, "artifact_staging": f"{destination}.staging",
    }  # fmt: skip
    role = {"name": "phi4_edge.edge.artifact", "tasks_from": "install"}
    task = {"ansible.builtin.include_role": role, "vars": wanted}
    return [{"hosts": "all", "gather_facts": False, "tasks": [task]}]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
