"""Ollama's model is in memory after every start, boot and kill, natively and in a container, and `status` says so."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.lab import faults
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.ollama_watch import RUNNER, await_load, serving, status, until
from tests.e2e.site import Site, open_site, own_store

pytestmark = [pytest.mark.e2e, pytest.mark.heavy, pytest.mark.full]

OLLAMA = {"phi4_engine": "ollama", "phi4_quantization": "q4_0"}
WANTED: dict[str, dict[str, object]] = {"gw1": OLLAMA, "gw2": {**OLLAMA, "phi4_service_manager": "compose"}}
# The stand-in's model is small; this is what a slow card takes, and longer than a look at a host on a busy machine.
SLOW = """
mkdir -p /etc/systemd/system/phi4-edge.service.d
printf '[Service]\\nEnvironment=STANDIN_LOAD_SECONDS=%s\\n' 75 > /etc/systemd/system/phi4-edge.service.d/slow.conf
systemctl daemon-reload
"""
# Another process in the unit's control group takes all that there is, until the kernel ends the runner for it.
HOG = """
import os, subprocess
places = ("/sys/fs/cgroup/memory/system.slice/phi4-edge.service", "/sys/fs/cgroup/system.slice/phi4-edge.service")
runner = subprocess.check_output(["pgrep", "-x", "llama-server"], text=True).split()[0]
open(f"/proc/{runner}/oom_score_adj", "w").write("1000")
subprocess.run(["systemctl", "set-property", "--runtime", "phi4-edge.service", "MemoryMax=192M"], check=True)
open(next(filter(os.path.isdir, places)) + "/cgroup.procs", "w").write(str(os.getpid()))
held = []
while len(held) < 400 and os.path.exists(f"/proc/{runner}/exe"):
    held.append(bytearray(b"x") * (1 << 20))
subprocess.run(["systemctl", "set-property", "--runtime", "phi4-edge.service", "MemoryMax=infinity"], check=True)
"""
both = pytest.mark.parametrize("name", list(WANTED))


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    store = own_store(ready.store, folder / "store")
    name = f"loading-{os.getpid()}"
    made = lab_room.up(
        name, lab_room.load_profiles().choose(("gateway-6gb", "gateway-8gb")), kind=("bare", "docker"), with_mirror=True
    )
    try:
        found = open_site(made, store, folder)
        found.write(WANTED)
        found.run("provision", "--yes").expect(0)
        yield found
    finally:
        lab_room.down(name)
        shutil.rmtree(store, ignore_errors=True)


@pytest.fixture(scope="module")
def gateways(site: Site) -> list[Gateway]:
    return [site.host(name) for name in WANTED]


@both
def test_it_serves_and_nothing_was_ended(site: Site, name: str) -> None:
    found = status(site, name, 0)
    assert (found["state"], found["runner_kills"], found["memory_kills"], found["endings"]) == ("serving", 0, 0, [])
    unit = site.host(name).sh("systemctl show phi4-edge-load -p ActiveState,UnitFileState,StatusText,DynamicUser")
    assert {"ActiveState=active", "UnitFileState=enabled", "DynamicUser=yes"} <= set(unit.splitlines())
    assert "StatusText=loaded; " in unit


@both
def test_a_runner_that_was_killed_is_there_again_and_is_told(site: Site, name: str) -> None:
    host = site.host(name)
    before = host.sh(RUNNER).split()
    host.sh("kill -9 $(pgrep -x llama-server)")
    found = until(site, name, lambda entry: serving(entry) and entry["runner_kills"] == 1)[-1]
    assert host.sh(RUNNER).split() != before
    assert found["runner_killed_at"].startswith("20")
    assert f"the model's process was killed once, last at {found['runner_killed_at']}" in found["endings"]
    assert found["restarts"] == 0
    doctor = site.run("doctor", "--limit", name).out
    assert "the model's process was killed once" in " ".join(doctor.split())


@both
def test_a_client_that_unloads_costs_nobody_a_wait(site: Site, name: str) -> None:
    host = site.host(name)
    before = host.sh(RUNNER).split()
    host.post("/api/generate", {"model": "phi-4-mini-instruct", "keep_alive": 0})
    host.sh(
        f"for i in $(seq 60); do [ \"$({RUNNER})\" != '{before[0]}' ] && {RUNNER} && exit 0; sleep 0.5; done; exit 1"
    )
    await_load(host)
    assert until(site, name, serving)[-1]["runner_kills"] == 1


@both
def test_a_boot_ends_with_a_loaded_model(site: Site, name: str) -> None:
    since = site.host(name).sh("date +%s").strip()
    faults.power_off(site.lab, name)
    faults.power_on(site.lab, name)
    await_load(site.host(name))
    found = until(site, name, serving)[-1]
    assert found["endings"] == []
    # Nobody but the loader has asked for anything.
    said = site.host(name).sh(f"journalctl --since @{since} -u phi4-edge -u phi4-edge-load -o cat --no-pager")
    assert "phi-4-mini-instruct is loaded after" in said
    assert "/v1/" not in said


def test_status_says_loading_and_then_serving(site: Site) -> None:
    host = site.host("gw1")
    host.sh(SLOW)
    try:
        began = time.monotonic()
        host.sh("systemctl restart phi4-edge")
        assert time.monotonic() - began < 10, "somebody waits for the load"
        said = until(site, "gw1", serving, 300)
        assert {entry["state"] for entry in said} == {"loading", "serving"}
        assert "wait" in said[0]["next_step"]
    finally:
        host.sh("rm -rf /etc/systemd/system/phi4-edge.service.d; systemctl daemon-reload; systemctl restart phi4-edge")
    until(site, "gw1", serving)


def test_a_kill_for_want_of_memory_is_told_as_one(site: Site) -> None:
    host = site.host("gw1")
    before = status(site, "gw1", 0)
    host.sh("python3 -", stdin=HOG)
    found = until(site, "gw1", lambda entry: serving(entry) and entry["memory_kills"] > before["memory_kills"])[-1]
    assert found["runner_kills"] == before["runner_kills"] + 1
    assert found["restarts"] == before["restarts"], "the server went with it"
    assert any("for lack of memory" in text for text in found["endings"]), found
    assert "for lack of memory" in " ".join(site.run("doctor", "--limit", "gw1").out.split())


def test_remove_takes_all_of_it(site: Site) -> None:
    site.run("remove", "--yes").expect(0)
    for name in WANTED:
        assert (
            site.host(name).sh("ls -d /etc/systemd/system/*phi4-edge* /etc/systemd/system/*/phi4-edge*", code=None)
            == ""
        )
