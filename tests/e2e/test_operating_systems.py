"""Every engine on the older systems too: what docs/operating-systems.md says is what happened here.

Ollama is the stand-in, in which all that touches the system is real: unit, user, sandbox, container; so is the base of
the ONNX engine's image. `make tables` runs every row; PHI4_EDGE_TABLES=write puts what came of each into the document.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.artifacts.store.store import Store
from tests.e2e.fleet import rows
from tests.e2e.gateway import ROOT, Cli, Gateway
from tests.e2e.site import Site, open_site, own_store

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

DOCUMENT = ROOT / "docs" / "operating-systems.md"
WRITE = os.environ.get("PHI4_EDGE_TABLES") == "write"
DEPLOYMENTS = (
    *(("onnx", "systemd"), ("onnx", "compose"), ("ollama", "systemd"), ("ollama", "compose"), ("vllm", "compose")),
)
EVERY = [(system, *deployment) for system in sorted(lab_room.systems()) for deployment in DEPLOYMENTS]
# The newest system has the rest of the tests, the oldest one test_molecule: these are rows of `make tables`.
WANTED = {"onnx": {}, "ollama": {"phi4_quantization": "q4_0"}, "vllm": {"phi4_profile": "development"}}
NAME = "gw1"


@pytest.fixture(scope="module")
def engines(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    from tests.standins import python_image

    folder = own_store(ready.store, tmp_path_factory.mktemp("systems") / "store")
    python_image.adopt(Store(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def sites() -> Iterator[dict[str, Site]]:
    """The site of each system that was asked for, kept for the rows that follow."""
    found: dict[str, Site] = {}
    yield found
    for site in found.values():
        lab_room.down(site.lab.name)


def site_of(system: str, sites: dict[str, Site], engines: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    if system not in sites:
        for name in list(sites):
            lab_room.down(sites.pop(name).lab.name)
        made = lab_room.up(
            f"{system}-{os.getpid()}",
            lab_room.load_profiles().choose(("server-16gb",)),
            kind="docker",
            system=system,
            with_mirror=True,
        )
        sites[system] = open_site(made, engines, tmp_path_factory.mktemp(system))
    return sites[system]


@pytest.mark.parametrize(("system", "engine", "manager"), rows(EVERY, ()))
def test_each_deployment_on_each_system(
    system: str,
    engine: str,
    manager: str,
    sites: dict[str, Site],
    engines: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if engine == "vllm":
        adopt_vllm(engines)
    site = site_of(system, sites, engines, tmp_path_factory)
    site.write({NAME: {"phi4_engine": engine, "phi4_service_manager": manager, **WANTED[engine]}})
    record(system, f"{engine} ({manager})", came_of(site, site.host(NAME)))


def adopt_vllm(store: Path) -> None:
    from tests.standins import vllm_image

    try:
        vllm_image.adopt(vllm_image.build(), Store(store))
    except vllm_image.NoTorchError as error:
        pytest.skip(str(error))


def came_of(site: Site, host: Gateway) -> list[str]:
    """What the document says of one deployment; whatever is not a refusal of the plan works from end to end."""
    before = host.tree()
    plan = json.loads(site.run("plan", "--output", "json").out)["plans"][0]
    if not plan["fits"]:
        done = site.run("provision", "--yes")
        assert done.code not in (0, 1), done.out
        assert host.tree() == before
        return [f"refused: {'; '.join(plan['missing'])}", "-", "-", "-"]
    site.run("provision", "--yes").expect(0)
    answer = host.chat("Say hello.", 8)
    assert answer["usage"]["completion_tokens"] >= 1
    assert site.run("ask", "Say hello.", "--max-tokens", "8").expect(0).out.strip()
    again = site.run("provision", "--yes", "--output", "json").expect(0)
    assert [result["changed"] for result in again.result["hosts"]] == [0]
    site.run("remove", "--yes").expect(0)
    assert host.tree() == before
    return ["yes", "yes", "changed=0", "nothing"]


def record(system: str, deployment: str, cells: list[str]) -> None:
    """The document has the row; with PHI4_EDGE_TABLES=write it has it from now on."""
    row = f"| {' | '.join([system, deployment, *cells])} |"
    start = f"| {system} | {deployment} |"
    lines = DOCUMENT.read_text().splitlines()
    found = [number for number, line in enumerate(lines) if line.startswith(start)]
    assert len(found) == 1, f"needed one row that begins with {start}"
    if WRITE:
        lines[found[0]] = row
        DOCUMENT.write_text("\n".join(lines) + "\n")
    assert lines[found[0]] == row
