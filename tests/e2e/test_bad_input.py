"""Everything that goes wrong outside our code: a clear message, the right exit code, and no change on any host.

These hosts are a lab of their own and clean: each test proves that its host stays so.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.artifacts.store.store import Store
from tests.e2e import warm_engine
from tests.e2e.fleet import rows
from tests.e2e.gateway import Cli, Gateway

pytestmark = pytest.mark.e2e
# The file system is as large as what is in it, from the moment on in which something is staged.
FILLED = """
cd /var/lib/phi4-edge; until [ -e staging ]; do sleep 0.02; done
until mount -o remount,size=$(($(du -sk . | cut -f1) + 4))k . ; do sleep 0.02; done
"""
# What the command has said when Ctrl-C is pressed.
MOMENTS = ('"event": "phase"', '"role": "artifact"', '"role": "service"')


@pytest.fixture(scope="module")
def bad_lab() -> Iterator[lab_room.Lab]:
    """One gateway for ONNX, and one that is too small for anything that can be applied."""
    name = f"bad-{os.getpid()}"
    profiles = lab_room.load_profiles()
    yield lab_room.up(name, [profiles.get("gateway-8gb"), profiles.get("pi4-4gb")])
    lab_room.down(name)


@pytest.fixture
def host(bad_lab: lab_room.Lab) -> Gateway:
    return Gateway(bad_lab, bad_lab.hosts[0].name)


@pytest.fixture
def untouched(host: Gateway) -> Iterator[None]:
    """The host's files are the same before and after the test."""
    before = host.tree()
    yield
    assert host.tree() == before


def inventory(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hosts.ini"
    path.write_text(text)
    return path


def rewritten(lab: lab_room.Lab, tmp_path: Path, old: str, new: str, only: str | None = None) -> Path:
    """The lab's inventory with something changed."""
    text = lab.inventory.read_text()
    assert old in text
    if only is not None:
        others = [h.name for h in lab.hosts if h.name != only]
        text = "\n".join(line for line in text.splitlines() if not any(line.startswith(name) for name in others)) + "\n"
    return inventory(tmp_path, text.replace(old, new))


@pytest.mark.usefixtures("untouched")
def test_a_variable_that_does_not_exist(ready: Cli, bad_lab: lab_room.Lab, tmp_path: Path) -> None:
    path = rewritten(bad_lab, tmp_path, "phi4_model=tiny", "phi4_model=tiny\nphi4_contxt_length=2048")
    done = ready.run("provision", path, "--yes").expect(1)
    assert "phi4_contxt_length" in done.err and "phi4_context_length" in done.err


@pytest.mark.usefixtures("untouched")
def test_an_override_that_does_not_fit(ready: Cli, bad_lab: lab_room.Lab, host: Gateway, tmp_path: Path) -> None:
    path = rewritten(bad_lab, tmp_path, "phi4_model=tiny", "phi4_model=tiny\nphi4_context_length=131072", host.name)
    done = ready.run("provision", path, "--yes").expect(3)
    assert host.name in done.out + done.err and "GB" in done.out + done.err


@pytest.mark.usefixtures("untouched")
def test_an_engine_that_cannot_be_applied_yet_stops_before_its_host(
    ready: Cli, bad_lab: lab_room.Lab, host: Gateway
) -> None:
    small = Gateway(bad_lab, bad_lab.hosts[1].name)
    before = small.tree()
    done = ready.run("provision", bad_lab.inventory, "--yes", "--limit", small.name).expect(3)
    assert "ollama" in done.out + done.err
    assert small.tree() == before


@pytest.mark.usefixtures("untouched")
def test_no_sudo(ready: Cli, bad_lab: lab_room.Lab, host: Gateway, tmp_path: Path) -> None:
    path = rewritten(bad_lab, tmp_path, "ansible_user=gateway", "ansible_user=nosudo", host.name)
    done = ready.run("provision", path, "--yes").expect(3)
    assert "sudo" in done.out + done.err and host.name in done.out + done.err


@pytest.mark.usefixtures("untouched")
def test_a_host_that_is_down(ready: Cli, bad_lab: lab_room.Lab, host: Gateway, tmp_path: Path) -> None:
    address = bad_lab.host(host.name).address
    free = ".".join([*address.split(".")[:3], "250"])
    path = rewritten(bad_lab, tmp_path, address, free, host.name)
    done = ready.run("provision", path, "--yes", timeout=120).expect(5)
    assert host.name in done.out + done.err


def new_key(folder: Path) -> Path:
    """A private key that no host knows, with its public half beside it."""
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "stranger"]
    subprocess.run(made, stdin=subprocess.DEVNULL, check=True)
    return folder / "stranger"


@pytest.mark.usefixtures("untouched")
def test_a_key_that_is_refused(ready: Cli, bad_lab: lab_room.Lab, host: Gateway, tmp_path: Path) -> None:
    path = rewritten(bad_lab, tmp_path, str(bad_lab.key), str(new_key(tmp_path)), host.name)
    done = ready.run("provision", path, "--yes").expect(5)
    assert "key" in (done.out + done.err).lower()


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("known", ["", "changed"])
def test_a_host_key_that_is_unknown_or_changed(
    ready: Cli, bad_lab: lab_room.Lab, host: Gateway, tmp_path: Path, known: str
) -> None:
    hosts = tmp_path / "known_hosts"
    other = new_key(tmp_path).with_suffix(".pub").read_text()
    hosts.write_text(f"{bad_lab.host(host.name).address} {other}" if known else "")
    path = rewritten(bad_lab, tmp_path, str(bad_lab.known_hosts), str(hosts), host.name)
    for command in (["provision", path, "--yes"], ["detect", path], ["status", path], ["ask", path, "hello"]):
        done = ready.run(*command).expect(5)
        assert "host key" in (done.out + done.err).lower(), done.out + done.err


@pytest.mark.usefixtures("untouched")
def test_a_model_that_was_cut_short_on_the_controller(
    ready: Cli, store: Path, bad_lab: lab_room.Lab, host: Gateway, tmp_path: Path
) -> None:
    shutil.copytree(
        store, tmp_path / "store", symlinks=True, ignore=shutil.ignore_patterns("environments", "tmp", "locks")
    )
    copy = Store(tmp_path / "store")
    data = copy.path(copy.digest("tiny/onnx-int4")) / "model.onnx.data"
    os.truncate(data, data.stat().st_size - 1)
    done = (
        Cli(tmp_path / "store", ready.home).run("provision", bad_lab.inventory, "--yes", "--limit", host.name).expect(3)
    )
    assert "model.onnx.data" in done.out + done.err


@pytest.mark.usefixtures("untouched")
def test_a_disk_that_is_full_from_the_start(ready: Cli, bad_lab: lab_room.Lab, host: Gateway) -> None:
    host.sh("mkdir -p /var/lib/phi4-edge && mount -t tmpfs -o size=64m tmpfs /var/lib/phi4-edge")
    try:
        done = ready.run("provision", bad_lab.inventory, "--yes", "--limit", host.name).expect(3)
        assert "disk" in (done.out + done.err).lower()
    finally:
        host.sh("umount /var/lib/phi4-edge && rmdir /var/lib/phi4-edge")


@pytest.mark.usefixtures("untouched")
def test_a_disk_that_fills_up_during_the_push(ready: Cli, bad_lab: lab_room.Lab, host: Gateway, tmp_path: Path) -> None:
    # Room in plenty for the plan; somebody else takes what is left as soon as something arrives.
    host.sh("mkdir -p /var/lib/phi4-edge && mount -t tmpfs -o size=12g tmpfs /var/lib/phi4-edge")
    host.sh(f"systemd-run --quiet --collect --unit=filled sh -c {shlex.quote(FILLED)}")
    try:
        # A disk in memory is in the way of a plan unless forced.
        forced = rewritten(bad_lab, tmp_path, "phi4_model=tiny", "phi4_model=tiny\nphi4_force=true")
        done = ready.run("provision", forced, "--yes", "--limit", host.name, "--output", "json").expect(4)
        (result,) = done.result["hosts"]
        assert result["outcome"] == "failed" and "space" in result["reason"].lower(), result
        assert host.properties()["ActiveState"] == "inactive"
    finally:
        host.sh("systemctl stop filled; umount /var/lib/phi4-edge && rmdir /var/lib/phi4-edge")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("moment", rows(MOMENTS, ()))
def test_ctrl_c_is_safe_at_any_time_and_the_next_run_finishes_the_good_host_and_names_the_bad_one(
    ready: Cli, bad_lab: lab_room.Lab, host: Gateway, tmp_path: Path, moment: str
) -> None:
    warm_engine.bring(ready, bad_lab, host.name)
    process = ready.start("provision", bad_lab.inventory, "--yes", "--limit", host.name, "--output", "json")
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if moment in line:
            break
    process.send_signal(signal.SIGINT)
    out = "".join(said) + process.communicate(timeout=240)[0]
    assert process.returncode == 130, out
    assert "Traceback" not in out
    assert not left_over(process.pid), "processes of the interrupted run are still there"
    small = bad_lab.hosts[1]
    free = ".".join([*small.address.split(".")[:3], "250"])
    path = rewritten(bad_lab, tmp_path, small.address, free)
    done = ready.run("provision", path, "--yes", "--output", "json").expect(5)
    assert done.outcomes() == {host.name: "done", small.name: "unreachable"}
    assert host.chat("Hello")["choices"]
    ready.run("remove", path, "--yes", "--limit", host.name).expect(0)


def left_over(session: int) -> list[str]:
    """Command lines of ansible processes that belong to the session of an ended command."""
    deadline = time.monotonic() + 2
    while True:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
                command = (stat.parent / "cmdline").read_text().replace("\0", " ")
            except OSError:  # it ended while we looked
                continue
            if int(fields[3]) == session or ("ansible" in command and f"_{session}" in command):
                found.append(command)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)
