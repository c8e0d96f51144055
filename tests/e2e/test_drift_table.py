"""The drift table of a release that runs natively (ONNX): named by `status`, repaired by `provision`, nothing else.

The service is started anew only where its process may have read what was wrong. A unit's user is made by systemd at
each start (DynamicUser); what can be removed is a group, which is a row of the table for containers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from phi4_edge import lab as lab_room
from tests.e2e import warm_engine
from tests.e2e.drift_rows import ETC, STATE, Row, contents, files, repaired, told
from tests.e2e.fleet import rows
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.site import Site

pytestmark = pytest.mark.e2e

UNIT, CURRENT = f"{ETC}/phi4-edge.service", "/opt/phi4-edge/current"
# The release's directory in a shell of the host.
HERE = "R=$(readlink -f /opt/phi4-edge/current)"
WEIGHTS = "W=$(readlink -f $(ls /opt/phi4-edge/current/model/*.onnx.data))"
FLIP = (
    'python3 -c \'import os, sys; p = sys.argv[1]; s = os.stat(p); f = open(p, "r+b"); f.seek(s.st_size // 2); '
    "b = f.read(1); f.seek(s.st_size // 2); f.write(bytes([b[0] ^ 1])); f.close(); "
    "os.utime(p, ns=(s.st_atime_ns, s.st_mtime_ns))' $W"
)
# A receipt as a release on a GPU would have it, with the seal that it would have.
ON_A_GPU = (
    'python3 -c \'import hashlib, json; p = "/var/lib/phi4-edge/receipt.json"; r = json.load(open(p)); '
    'r.update(gpu="GPU-gone", seal="0" * 64); t = json.dumps(r, sort_keys=True, separators=(",", ":")) + "\\n"; '
    't = t.replace("0" * 64, hashlib.sha256(t.encode()).hexdigest(), 1); open(p, "w").write(t)\''
)


def drop_in(folder: str) -> str:
    return f"mkdir -p {folder}; printf '[Service]\\nNice=5\\n' > {folder}/50-site.conf; systemctl daemon-reload"


SET = "*/environment"
CHANGED, REPAIRED_MODEL = "changed: /var", (f"{STATE}/models/*",)
RUNTIME = "/run/systemd/system/phi4-edge.service.d"
NATIVE = (
    Row("content", f"{HERE}; echo A=1 >> $R/environment", ("changed: /opt", "/environment"), True, own=(SET,)),
    Row("mode", f"{HERE}; chmod 666 $R/environment", ("mode: /opt", "/environment"), False, own=(SET,)),
    Row("owner", f"{HERE}; chown nobody $R/environment", ("owner: /opt", "/environment"), False, own=(SET,)),
    Row("deleted", f"{HERE}; rm $R/environment", ("missing: /opt", "/environment"), True, own=(SET,)),
    Row("disabled", "systemctl disable phi4-edge", ("active and disabled",), False, own=("*.wants/phi4-edge.service",)),
    Row("stopped", "systemctl stop phi4-edge.socket phi4-edge", ("stopped", "inactive and enabled"), True),
    Row("unit edited", f"echo '# x' >> {UNIT}; systemctl daemon-reload", (f"changed: {UNIT}",), True, own=(UNIT,)),
    Row("unit not read", f"touch {UNIT}", ("systemd has not read the units again",), True, own=(UNIT,)),
    Row("drop-in", drop_in(f"{UNIT}.d"), (f"added: {UNIT}.d/50-site.conf",), True),
    Row("drop-in until the next boot", drop_in(RUNTIME), (f"added: {RUNTIME}/50-site.conf",), True),
    Row("drop-in for all of ours", drop_in(f"{ETC}/phi4-.service.d"), (f"added: {ETC}/phi4-.service.d",), True),
    Row("bytes of the model", f"{WEIGHTS}; {FLIP}", (CHANGED, ".onnx.data"), True, deep=True, own=REPAIRED_MODEL),
    Row("truncated", f"{WEIGHTS}; truncate -s -1 $W", (CHANGED, ".onnx.data"), True, own=REPAIRED_MODEL),
    Row("current moved", f"ln -sfn /tmp {CURRENT}", (f"link: {CURRENT}",), False, own=(CURRENT,)),
    Row("model moved", f"{HERE}; ln -sfn /tmp $R/model", ("link: /opt", "/model"), True, own=("*/model",)),
    Row("receipt edited", f"sed -i 's/\"port\":8080/\"port\":8081/' {STATE}/receipt.json",
        ("the receipt was edited",), False, own=("/etc/ansible/*",)),
    Row("receipt deleted", f"rm {STATE}/receipt.json", ("absent", "its receipt is gone"), False,
        own=("/etc/ansible/*",)),
    Row("GPU gone", ON_A_GPU, ("missing: GPU GPU-gone",), False, own=("/etc/ansible/*",)),
)  # fmt: skip
# Together, by whether the service is started anew: those of a group do not disturb each other.
QUIET = [row for row in NATIVE if row.name in ("mode", "disabled", "current moved", "GPU gone")]
LOUD = [
    row
    for row in NATIVE
    if row.name in ("content", "unit edited", "drop-in", "drop-in for all of ours", "bytes of the model", "model moved")
]


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    name, folder = f"drift-{os.getpid()}", tmp_path_factory.mktemp("drift")
    made = lab_room.up(name, lab_room.load_profiles().choose(("gateway-6gb",)))
    try:
        warm_engine.bring(ready, made)
        found = Site(made, ready, folder)
        (folder / "vars.ini").write_text("[gateways]\ngw1 phi4_engine=onnx\n")
        found.run("provision", "--yes").expect(0)
        yield found
    finally:
        lab_room.down(name)


@pytest.fixture
def gateways(site: Site) -> list[Gateway]:
    return [site.host("gw1")]


@pytest.mark.parametrize("group", rows((QUIET, LOUD), (QUIET,)), ids=["quiet", "loud"])
def test_drift_of_many_kinds_is_named_at_once_and_repaired_at_once(site: Site, group: list[Row]) -> None:
    repaired(site, site.host("gw1"), group)


@pytest.mark.parametrize("row", rows(NATIVE, ()), ids=str)
def test_drift_is_named_and_repaired_and_nothing_else_is_touched(site: Site, row: Row) -> None:
    repaired(site, site.host("gw1"), [row])


@pytest.mark.full
def test_who_has_the_port_is_told_and_left_alone(site: Site) -> None:
    """Nobody's program is ended: the run says what to do, and repairs the host once that was done."""
    host = site.host("gw1")
    squat = (
        "systemd-run --unit squat --uid nobody --collect python3 -m http.server 8080 --bind 127.0.0.1 --directory /srv"
    )
    host.sh(f"systemctl stop phi4-edge.socket phi4-edge; {squat}; sleep 2; systemctl is-active squat")
    same = files(host)
    try:
        assert "another program listens on 127.0.0.1:8080" in told(site, code=2)
        refused = site.run("provision", "--yes").expect(3)
        assert "port 8080 is in use on 127.0.0.1" in " ".join(refused.out.split())
        assert host.sh("systemctl is-active squat").strip() == "active"
        assert files(host) == same
    finally:
        host.sh("systemctl stop squat")
    site.run("provision", "--yes").expect(0)
    told(site)


def test_a_unit_has_no_user_that_could_be_removed(site: Site) -> None:
    host = site.host("gw1")
    assert host.properties()["DynamicUser"] == "yes"
    assert host.sh("grep -c '^phi4' /etc/passwd /etc/group", code=None).split() == ["/etc/passwd:0", "/etc/group:0"]


def test_what_changes_every_service_is_told_and_no_drift(site: Site) -> None:
    host, general = site.host("gw1"), f"{ETC}/service.d"
    host.sh(f"mkdir -p {general}; printf '[Service]\\nNice=1\\n' > {general}/10-site.conf; systemctl daemon-reload")
    try:
        assert f"{general}/10-site.conf changes every service of the host" in told(site)
        assert json.loads(site.run("plan", "-o", "json").expect(0).out)["plans"][0]["action"] == "none"
    finally:
        host.sh(f"rm -r {general}; systemctl daemon-reload")


@pytest.mark.full
def test_a_gateway_puts_itself_right_and_says_so(site: Site) -> None:
    """Without a controller; what it has for that goes with the variable."""
    host, settings = site.host("gw1"), site.folder / "vars.ini"
    named = host.sh(f"readlink {CURRENT}")
    settings.write_text("[gateways]\ngw1 phi4_engine=onnx phi4_selfheal=true\n")
    site.run("provision", "--yes").expect(0)
    assert host.sh(f"readlink {CURRENT}") != named
    assert host.sh("systemctl is-active phi4-edge-heal.timer").strip() == "active"
    before = contents(host)
    host.sh("systemctl start phi4-edge-heal.service")
    host.sh(f"{HERE}; rm $R/environment; echo '# x' >> {UNIT}; chmod 666 $R/plan.json; ln -sfn /tmp {CURRENT}; "
            "systemctl stop phi4-edge.socket phi4-edge; systemctl start phi4-edge-heal.service")  # fmt: skip
    host.sh("for i in $(seq 100); do systemctl -q is-active phi4-edge && exit 0; sleep 0.2; done; exit 1")
    said = told(site)
    assert "healed itself at" in said and "started phi4-edge.service (it was inactive)" in said
    assert contents(host) == before
    score = host.sh("systemd-analyze security --no-pager phi4-edge-heal | tail -1")
    assert float(score.split("phi4-edge-heal.service:")[1].split()[0]) <= 2.5, score
    settings.write_text("[gateways]\ngw1 phi4_engine=onnx\n")
    site.run("provision", "--yes").expect(0)
    assert host.sh(f"readlink {CURRENT}") == named
    assert "heal" not in host.sh("ls /etc/systemd/system /etc/systemd/system/timers.target.wants /var/lib/phi4-edge")
