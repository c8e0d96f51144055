"""The drift table: twenty ways in which a gateway drifts. Each is named by `status` and repaired by `provision`.

One host runs ONNX natively, one the stand-in for Ollama in containers. Nothing but what drifted is written anew, and the
service is started anew only where its process may have read what was wrong. A unit's user is made by systemd at each
start (DynamicUser), so that what can be removed is the group with whose rights the containers' unit asks Docker.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from phi4_edge import lab as lab_room
from tests.e2e import warm_engine
from tests.e2e.fleet import rows
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.site import Site, open_site, own_store

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

ETC, STATE = "/etc/systemd/system", "/var/lib/phi4-edge"
UNIT = f"{ETC}/phi4-edge.service"
WANTED = {
    "gw1": {"phi4_engine": "onnx"},
    "gw2": {"phi4_engine": "ollama", "phi4_quantization": "q4_0", "phi4_service_manager": "compose"},
}
# Path, inode, time of the last change of any kind, mode, owner, size and target of all that is ours, and of Docker's file.
LOOK = (
    "find /opt/phi4-edge /var/lib/phi4-edge /etc/systemd/system /etc/ansible /etc/docker/daemon.json ! -type d "
    "-printf '%p\\t%i %C@ %m %U:%G %s %l\\n'"
)
# What each run writes.
RUNS = (f"{STATE}/journal.json", f"{STATE}/lock", f"{STATE}/receipt.json")
# The release's directory in a shell of the host.
HERE = "R=$(readlink -f /opt/phi4-edge/current)"
WEIGHTS = "W=$(readlink -f $(ls /opt/phi4-edge/current/model/*.onnx.data))"
FLIP = (
    "python3 -c 'import os, sys; p = sys.argv[1]; s = os.stat(p); f = open(p, \"r+b\"); f.seek(s.st_size // 2); "
    "b = f.read(1); f.seek(s.st_size // 2); f.write(bytes([b[0] ^ 1])); f.close(); "
    "os.utime(p, ns=(s.st_atime_ns, s.st_mtime_ns))' $W"
)
# A receipt as a release on a GPU would have it, with the seal that it would have.
ON_A_GPU = (
    "python3 -c 'import hashlib, json; p = \"/var/lib/phi4-edge/receipt.json\"; r = json.load(open(p)); "
    "r.update(gpu=\"GPU-gone\", seal=\"0\" * 64); t = json.dumps(r, sort_keys=True, separators=(\",\", \":\")) + \"\\n\"; "
    "t = t.replace(\"0\" * 64, hashlib.sha256(t.encode()).hexdigest(), 1); open(p, \"w\").write(t)'"
)
OTHER_IMAGE = "tar c --files-from /dev/null | docker import -c 'CMD [\"/x\"]' - other:1 >/dev/null"
STRANGER = (
    f"{HERE}; docker commit $(docker ps -q --filter label=phi4-edge.service=engine) other:1 > /dev/null; "
    "docker run -d --network none --entrypoint sleep --label com.docker.compose.project=phi4-edge "
    "--label phi4-edge.release=$(basename $R) --label phi4-edge.service=engine other:1 600"
)


@dataclass(frozen=True)
class Row:
    """How a host drifts: a script there, what `status` says of it, whether the repair starts the service anew."""

    name: str
    script: str
    says: tuple[str, ...]
    restarts: bool
    host: str = "gw1"
    deep: bool = False
    # Paths whose change is the repair; what begins so is not compared.
    own: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def drop_in(folder: str) -> str:
    return f"mkdir -p {folder}; printf '[Service]\\nNice=5\\n' > {folder}/50-site.conf; systemctl daemon-reload"


NATIVE = (
    Row("content", f"{HERE}; echo A=1 >> $R/environment", ("changed: /opt", "/environment"), True, own=("/opt",)),
    Row("mode", f"{HERE}; chmod 666 $R/environment", ("mode: /opt", "/environment"), False, own=("/opt",)),
    Row("owner", f"{HERE}; chown nobody $R/environment", ("owner: /opt", "/environment"), False, own=("/opt",)),
    Row("deleted", f"{HERE}; rm $R/environment", ("missing: /opt", "/environment"), True, own=("/opt",)),
    Row("disabled", "systemctl disable phi4-edge", ("stopped", "active and disabled"), False, own=(ETC,)),
    Row("stopped", "systemctl stop phi4-edge.socket phi4-edge", ("stopped", "inactive and enabled"), True),
    Row("unit edited", f"echo '# by hand' >> {UNIT}; systemctl daemon-reload", (f"changed: {UNIT}",), True, own=(UNIT,)),
    Row("unit not read", f"touch {UNIT}", ("systemd has not read the units again",), True, own=(UNIT,)),
    Row("drop-in", drop_in(f"{UNIT}.d"), (f"added: {UNIT}.d/50-site.conf",), True, own=(f"{UNIT}.d",)),
    Row("drop-in until the next boot", drop_in("/run/systemd/system/phi4-edge.service.d"), ("added: /run/systemd",), True),
    Row("drop-in for all of ours", drop_in(f"{ETC}/phi4-.service.d"), (f"added: {ETC}/phi4-.service.d",), True),
    Row("bytes of the model", f"{WEIGHTS}; {FLIP}", ("changed: /var", ".onnx.data"), True, deep=True, own=(STATE,)),
    Row("truncated", f"{WEIGHTS}; truncate -s -1 $W", ("changed: /var", ".onnx.data"), True, own=(STATE,)),
    Row("current moved", "ln -sfn /tmp /opt/phi4-edge/current", ("link: /opt/phi4-edge/current",), False, own=("/opt",)),
    Row("model moved", f"{HERE}; ln -sfn /tmp $R/model", ("link: /opt", "/model"), True, own=("/opt",)),
    Row("receipt edited", f"sed -i 's/\"port\":8080/\"port\":8081/' {STATE}/receipt.json", ("the receipt was edited",),
        False, own=("/etc/ansible",)),
    Row("receipt deleted", f"rm {STATE}/receipt.json", ("absent", "its receipt is gone"), False, own=("/etc/ansible",)),
    Row("GPU gone", ON_A_GPU, ("missing: GPU GPU-gone",), False, own=("/etc/ansible",)),
)  # fmt: skip
CONTAINED = (
    Row("container of another image", STRANGER, ("another image than was committed runs as engine",), True, "gw2"),
    Row("image retagged", f"{OTHER_IMAGE}; docker tag other:1 $(docker image ls --format '{{{{.Repository}}}}:{{{{.Tag}}}}' "
        "'phi4-edge/*' | head -1)", ("untagged: image",), False, "gw2"),
    Row("daemon.json edited", "sed -i 's/.*live-restore.*//' /etc/docker/daemon.json; "
        "python3 -c 'import json, re; p = \"/etc/docker/daemon.json\"; t = open(p).read(); "
        "open(p, \"w\").write(re.sub(r\",\\s*}\", \"}\", t))'", ("/etc/docker/daemon.json is changed",), True, "gw2",
        own=("/etc/docker",)),
    Row("group removed", "groupdel docker", ("missing: group docker",), False, "gw2", own=()),
)  # fmt: skip
EVERY = [*NATIVE, *CONTAINED]
# make test has those that no other test of it has a part of; all of them are a table of their own.
SOON = tuple(row for row in EVERY if row.name in ("bytes of the model", "drop-in", "receipt edited"))


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("drift")
    name = f"drift-{os.getpid()}"
    profiles = lab_room.load_profiles().choose(("gateway-6gb",) * 2)
    made = lab_room.up(name, profiles, kind=("bare", "docker"), with_mirror=True)
    try:
        found = open_site(made, own_store(ready.store, folder / "store"), folder)
        found.write(WANTED)
        warm_engine.bring(ready, made, "gw1")
        found.run("provision", "--yes").expect(0)
        yield found
    finally:
        lab_room.down(name)


@pytest.fixture
def gateways(site: Site) -> list[Gateway]:
    return [site.host(name) for name in WANTED]


def files(host: Gateway, but: Sequence[str] = ()) -> dict[str, str]:
    """Everything of ours on the host by path, without what each run writes and what begins with one of `but`."""
    lines = (line.split("\t", 1) for line in host.sh(f"{LOOK} 2>/dev/null", code=None).splitlines())
    return {path: found for path, found in lines if path not in RUNS and not path.startswith(tuple(but))}


def contents(host: Gateway) -> dict[str, str]:
    """Digest, mode and owner of every managed file but the receipt, and where links lead."""
    receipt = host.receipt()
    paths = "\0".join(line["path"] for line in receipt["files"])
    summed = host.sh("xargs -0 sha256sum; ", stdin=paths).splitlines()
    rights = host.sh("xargs -0 stat -c '%n %a %U:%G'", stdin=paths).splitlines()
    links = [host.sh(f"readlink {line['path']}").strip() for line in receipt["links"][:3]]
    return dict(reversed(line.split(maxsplit=1)) for line in summed) | {line: "" for line in (*rights, *links)}


def serving(host: Gateway) -> str:
    """What names the process that serves: another one was started anew."""
    return host.sh("systemctl show phi4-edge -p InvocationID --value").strip()


def state(site: Site, host: str, *words: str, code: int = 0) -> str:
    return " ".join(site.run("status", "--limit", host, *words).expect(code).out.split())


@pytest.mark.parametrize("row", rows(EVERY, SOON), ids=str)
def test_drift_is_named_and_repaired_and_nothing_else_is_touched(site: Site, row: Row) -> None:
    host, deep = site.host(row.host), ("--deep",) if row.deep else ()
    before, same, process = contents(host), files(host, row.own), serving(host)
    host.sh(row.script)
    if row.deep:
        state(site, row.host)
    said = state(site, row.host, *deep, code=2)
    assert [words for words in row.says if words not in said] == [], said
    assert f"phi4-edge provision INVENTORY --limit {row.host}{' --deep' if row.deep else ''}" in said
    done = site.run("provision", "--yes", "--limit", row.host, "--output", "json", *deep).expect(0)
    assert done.outcomes() == {row.host: "done"}
    state(site, row.host, *deep)
    assert contents(host) == before
    assert files(host, row.own) == same
    assert (serving(host) != process) is row.restarts
    assert host.chat("Say hello.", 4)["usage"]["completion_tokens"] >= 1


def test_who_has_the_port_is_told_and_left_alone(site: Site) -> None:
    """Nobody's program is ended: the run says what to do, and repairs the host once that was done."""
    host = site.host("gw1")
    squat = "systemd-run --unit squat --uid nobody --collect python3 -m http.server 8080 --bind 127.0.0.1 --directory /srv"
    host.sh(f"systemctl stop phi4-edge.socket phi4-edge; {squat}; sleep 2; systemctl is-active squat")
    same = files(host)
    try:
        assert "another program listens on 127.0.0.1:8080" in state(site, "gw1", code=2)
        refused = site.run("provision", "--yes", "--limit", "gw1").expect(3)
        assert "port 8080 is in use on 127.0.0.1" in " ".join(refused.out.split())
        assert host.sh("systemctl is-active squat").strip() == "active"
        assert files(host) == same
    finally:
        host.sh("systemctl stop squat")
    site.run("provision", "--yes", "--limit", "gw1").expect(0)
    state(site, "gw1")


def test_a_unit_has_no_user_that_could_be_removed(site: Site) -> None:
    host = site.host("gw1")
    assert host.properties()["DynamicUser"] == "yes"
    assert host.sh("grep -c '^phi4' /etc/passwd /etc/group", code=None).split() == ["/etc/passwd:0", "/etc/group:0"]


def test_what_changes_every_service_is_told_and_no_drift(site: Site) -> None:
    host, general = site.host("gw1"), f"{ETC}/service.d"
    host.sh(f"mkdir -p {general}; printf '[Service]\\nNice=1\\n' > {general}/10-site.conf; systemctl daemon-reload")
    try:
        assert f"{general}/10-site.conf changes every service of the host" in state(site, "gw1")
        assert json.loads(site.run("plan", "--limit", "gw1", "-o", "json").expect(0).out)["plans"][0]["action"] == "none"
    finally:
        host.sh(f"rm -r {general}; systemctl daemon-reload")
