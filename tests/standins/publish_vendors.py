"""Builds the fake repositories of Docker and NVIDIA, serves them from a lab's mirror, and writes the roles' variables.

Usage: publish_vendors.py LAB VARIABLES.yml [ROLE...]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import yaml

from phi4_edge import lab as labs
from phi4_edge.lab import mirror
from tests.standins import fake_docker_repository, fake_nvidia_repository

REPOSITORIES = {"docker": fake_docker_repository, "nvidia_runtime": fake_nvidia_repository}
# What the variables of a role begin with.
PREFIXES = {"docker": "phi4_docker", "nvidia_runtime": "nvidia_runtime"}


def publish(name: str, roles: Sequence[str]) -> dict[str, str]:
    """The variables of `roles` for the lab `name`."""
    lab = labs.load(name)
    told = labs.ssh_command(lab, lab.hosts[0], ["cat", "/etc/apt/sources.list"])
    sources = subprocess.run(told, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True).stdout
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for role in roles:
            top = Path(temporary, role)
            found[f"{PREFIXES[role]}_key_fingerprint"] = REPOSITORIES[role].make(top, sources)
            found[f"{PREFIXES[role]}_repository_url"] = mirror.publish(lab, top, f"/{role}")
    return found


if __name__ == "__main__":
    variables = publish(sys.argv[1], sys.argv[3:] or list(REPOSITORIES))
    Path(sys.argv[2]).write_text("---\n" + yaml.safe_dump(variables))
