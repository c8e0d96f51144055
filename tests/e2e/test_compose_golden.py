"""Every golden compose document is accepted by the Compose of a host."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from tests.e2e.gateway import ROOT, Gateway

pytestmark = pytest.mark.e2e

DOCUMENTS = sorted((ROOT / "tests" / "golden").glob("*/*/compose.yml"))
CHECK = """
mkdir /run/golden && cd /run/golden && tar -x
for file in */*/compose.yml; do
  said=$(docker compose --file "$file" config --quiet 2>&1)
  if [ $? = 0 ] && [ -z "$said" ]; then echo "accepted $file"; else echo "$file: $said"; fi
done
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """A host with Docker and Compose."""
    name = f"compose-{os.getpid()}"
    lab = lab_room.up(name, [lab_room.load_profiles().get("gateway-6gb")], kind="docker")
    yield Gateway(lab, lab.hosts[0].name)
    lab_room.down(name)


def packed(documents: list[Path]) -> bytes:
    """A tar of the documents, each with all its folders' names."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for document in documents:
            archive.add(document, document.relative_to(ROOT / "tests" / "golden"))
    return data.getvalue()


def test_compose_accepts_every_document_without_a_word(gateway: Gateway) -> None:
    argv = lab_room.ssh_command(gateway.lab, gateway.lab.host(gateway.name), ["sudo", "sh", "-c", CHECK])
    done = subprocess.run(argv, input=packed(DOCUMENTS), capture_output=True, timeout=300, check=False)
    wanted = [f"accepted {document.relative_to(ROOT / 'tests' / 'golden')}" for document in DOCUMENTS]
    assert len(wanted) > 40
    assert done.stdout.decode().splitlines() == wanted, done.stderr.decode()
