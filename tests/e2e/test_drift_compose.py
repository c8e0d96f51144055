"""The drift table of a release in containers (the stand-in for Ollama under Compose), as that of a native one.

What a unit asks Docker with is a group of the host: the row of a removed user is that group's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from phi4_edge import lab as lab_room
from tests.e2e.drift_rows import Row, repaired
from tests.e2e.fleet import rows
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.site import Site, open_site, own_store

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

WANTED = {"phi4_engine": "ollama", "phi4_quantization": "q4_0", "phi4_service_manager": "compose"}
HERE = "R=$(readlink -f /opt/phi4-edge/current)"
OTHER_IMAGE = "tar c --files-from /dev/null | docker import -c 'CMD [\"/x\"]' - other:1 >/dev/null"
STRANGER = (
    f"{HERE}; docker commit $(docker ps -q --filter label=phi4-edge.service=engine) other:1 > /dev/null; "
    "docker run -d --network none --volumes-from phi4-edge-engine-1:ro --tmpfs /tmp "
    "--tmpfs /home/engine:mode=0700,uid=65532,gid=65532 --label com.docker.compose.project=phi4-edge "
    "--label phi4-edge.release=$(basename $R) --label phi4-edge.service=engine other:1"
)
NAMED = "docker image ls --format '{{.Repository}}:{{.Tag}}' 'phi4-edge/*' | head -1"
UNSET = (
    'python3 -c \'import json; p = "/etc/docker/daemon.json"; d = json.load(open(p)); del d["live-restore"]; '
    'json.dump(d, open(p, "w"))\''
)
CONTAINED = (
    Row("container of another image", STRANGER, ("another image than was committed runs as engine",), True),
    Row("image retagged", f"{OTHER_IMAGE}; docker tag other:1 $({NAMED})", ("untagged: image",), False),
    # That somebody else edited the file is noted too: only our own settings can be taken back from then on.
    Row("daemon.json edited", UNSET, ("/etc/docker/daemon.json is changed",), True,
        own=("/etc/docker/*", "/var/lib/phi4-edge/docker.json")),
    Row("group removed", "groupdel docker", ("missing: group docker",), False),
    Row("package removed", "dpkg --purge --force-depends docker-compose", ("missing: Docker Compose",), False,
        own=("/etc/docker/*",)),
)  # fmt: skip


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    name, folder = f"drift-compose-{os.getpid()}", tmp_path_factory.mktemp("drift")
    made = lab_room.up(name, lab_room.load_profiles().choose(("gateway-6gb",)), kind="docker", with_mirror=True)
    try:
        from tests.standins import publish_vendors

        found = open_site(made, own_store(ready.store, folder / "store"), folder)
        found.write({"gw1": {**WANTED, **publish_vendors.publish(name, ["docker"])}})
        found.run("provision", "--yes").expect(0)
        yield found
    finally:
        lab_room.down(name)


@pytest.fixture
def gateways(site: Site) -> list[Gateway]:
    return [site.host("gw1")]


@pytest.mark.parametrize("row", rows(CONTAINED, ()), ids=str)
def test_drift_is_named_and_repaired_and_nothing_else_is_touched(site: Site, row: Row) -> None:
    repaired(site, site.host("gw1"), [row])
