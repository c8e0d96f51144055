"""B3: the first provision of N hosts, artifacts on the controller already, against a hand-written parallel script.

The script is what an operator would write who knows exactly what is wanted: one archive over one SSH connection to each
host, all hosts at once: wheels, model, units and settings as `provision` left them on a host before. There it makes the
environment, installs the same locked wheels with the same pip, compiles them, starts the units and waits for an answer.
It takes no lock, looks at no hardware, verifies no model byte, and can neither go on nor go back. It leaves pip behind.
"""

from __future__ import annotations

import json
import os
import shlex
import tarfile
from functools import partial
from io import BytesIO
from pathlib import Path

import harness
from harness import BenchError, Damage, Done, Side
from verdict import Goal, report

from phi4_edge.lab import Lab

UNITS = ("phi4-edge.service", "phi4-edge.socket")
CHAT = json.dumps({"model": "phi-4-mini-instruct", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]})
CURL = (
    f"curl -sf --max-time 120 -H 'Content-Type: application/json' -d '{CHAT}' http://127.0.0.1:8080/v1/chat/completions"
)
# Nothing of a provision is left; what is asked past SSH and past both sides.
WIPE = f"""\
systemctl disable -q --now {" ".join(UNITS)} 2>/dev/null || true
rm -rf /opt/phi4-edge /var/lib/phi4-edge /etc/ansible/facts.d/phi4* /run/phi4-edge*
for unit in {" ".join(UNITS)}; do rm -rf /etc/systemd/system/$unit /etc/systemd/system/*.wants/$unit; done
systemctl daemon-reload; systemctl reset-failed
"""
# The same in whatever order and at whatever time things were made: content of all that serves, and an answer.
STATE = f"""\
cd /opt/phi4-edge/current
for unit in {" ".join(UNITS)}; do echo $unit $(systemctl is-active $unit) $(systemctl is-enabled $unit); done
sha256sum {" ".join(UNITS)} environment {" ".join(f"/etc/systemd/system/{unit}" for unit in UNITS)}
readlink engine model /opt/phi4-edge/current
(cd model/ && sha256sum *)
cd engine/lib/python3*/site-packages
find . -type f ! -name '*.pyc' ! -name RECORD ! -name INSTALLER ! -name REQUESTED ! -name direct_url.json \\
  ! -path './pip/*' ! -path './pip-*' | sort | xargs sha256sum | sha256sum
{CURL} | grep -o '"completion_tokens": *[1-9][0-9]*' > /dev/null && echo answers
"""
INSTALL = """\
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /opt/phi4-edge /var/lib/phi4-edge/models
rm -rf /var/tmp/first && mkdir /var/tmp/first && cd /var/tmp/first
tar -x
cp -a model "/var/lib/phi4-edge/models/MODEL"
new=/opt/phi4-edge/engines/ENGINE
mkdir -p /opt/phi4-edge/engines /opt/phi4-edge/releases
/usr/bin/python3 -I -m venv --without-pip $new
$new/bin/python -I "$(echo wheels/pip-*.whl)/pip" --disable-pip-version-check --isolated install --no-index \\
  --find-links wheels \\
  --require-hashes --only-binary :all: --no-deps --no-cache-dir --no-compile --quiet --root-user-action=ignore \\
  -r wheels/requirements.txt
cp -r code/* $new/lib/python3*/site-packages/
$new/bin/python -I -m compileall -q -f $new/lib > /dev/null || true
cp -a release "/opt/phi4-edge/releases/RELEASE"
ln -sfn "releases/RELEASE" /opt/phi4-edge/current
cp units/* /etc/systemd/system/
systemctl daemon-reload
systemctl enable -q UNITS
systemctl start UNITS
i=0
until CURL > /dev/null; do i=$((i + 1)); test $i -lt 300; sleep 0.2; done
rm -rf /var/tmp/first
"""
SCRIPT = """\
#!/bin/bash
failed=0; jobs=()
for host in HOSTS; do
  ssh -i KEY -o UserKnownHostsFile=KNOWN -o StrictHostKeyChecking=yes -o Compression=no gateway@$host \\
    sudo -n sh -c INSTALL < ARCHIVE & jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job" || failed=1; done
exit $failed
"""


def main() -> None:
    chosen = harness.options("Provision for the first time", pairs=5, hosts=4)
    with harness.own_lab("first", chosen.hosts) as lab, harness.workplace() as folder:
        harness.provisioned(lab)
        before = harness.on_all(lab, STATE)
        sides = [_ours(lab, before), _script(lab, folder, before)]
        harness.on_all(lab, WIPE)
        harness.finish(sides[1])  # both have run once before counting
        sides[1].check(Done([], 0, "", ""))
        damage = Damage(
            "cd /opt/phi4-edge/current/model/; mv tokenizer.json kept; head -c 100 kept > tokenizer.json",
            "cd /opt/phi4-edge/current/model/; mv kept tokenizer.json",
        )
        samples = harness.take_turns(
            sides, chosen.pairs, lab, before=lambda _: _wipe(lab), damage=damage, warm_up=False
        )
    goals = [Goal(sides[0].name, sides[1].name, 1 / 1.5)]
    report("first", f"B3 first provision, {chosen.hosts} hosts", samples, goals, chosen.hosts, full=chosen.full)


def _wipe(lab: Lab) -> None:
    harness.on_all(lab, WIPE)


def _check(lab: Lab, before: dict[str, str], _done: Done) -> None:
    for host, text in harness.on_all(lab, STATE).items():
        if text != before[host]:
            raise BenchError(f"{host} is not as it was provisioned first:\n{before[host]}\nnow:\n{text}")


def _ours(lab: Lab, before: dict[str, str]) -> Side:
    command = [str(harness.OURS), "provision", str(lab.inventory), "--yes", *harness.AT_ONCE]
    command += ["-e", "phi4_stability_seconds=0"]  # nobody watches longer than for the first answer
    return Side("phi4-edge provision", command, check=partial(_check, lab, before))


def _script(lab: Lab, folder: Path, before: dict[str, str]) -> Side:
    host = lab.hosts[0].name
    links = "cd /opt/phi4-edge/current; readlink engine model /opt/phi4-edge/current"
    engine, model, release = (Path(line).name for line in harness.on_host(lab, host, links).split())
    archive = folder / "first.tar"
    _pack(lab, archive, engine)
    install = INSTALL.replace("MODEL", model).replace("ENGINE", engine).replace("RELEASE", release)
    install = install.replace("UNITS", " ".join(UNITS)).replace("CURL", CURL)
    script = folder / "first.sh"
    values = {
        "HOSTS": " ".join(one.address for one in lab.hosts), "KEY": str(lab.key), "KNOWN": str(lab.known_hosts),
        "ARCHIVE": str(archive), "INSTALL": shlex.quote(shlex.quote(install)),
    }  # fmt: skip
    text = SCRIPT
    for word, value in values.items():
        text = text.replace(word, value)
    script.write_text(text)
    return Side("parallel ssh script", ["bash", str(script)], check=partial(_check, lab, before))


def _pack(lab: Lab, archive: Path, engine: str) -> None:
    """All that a host gets: wheels from the store, and the rest as it lies on a host that is provisioned."""
    store = Path(os.environ.get("PHI4_EDGE_STORE", harness.ROOT / "build" / "store"))
    wheels = store / "wheelhouses" / engine
    with tarfile.open(archive, "w") as packed:
        packed.add(wheels, "wheels")
        for name, path in (
            ("model", "/opt/phi4-edge/current/model/."), ("release", "/opt/phi4-edge/current/."),
            ("code/phi4_engine", "/opt/phi4-edge/current/engine/lib/python3.*/site-packages/phi4_engine/."),
        ):  # fmt: skip
            _add(packed, lab, name, path)
        for unit in UNITS:
            content = harness.on_host(lab, lab.hosts[0].name, f"cat /etc/systemd/system/{unit}").encode()
            entry = tarfile.TarInfo(f"units/{unit}")
            entry.size = len(content)
            packed.addfile(entry, BytesIO(content))


def _add(packed: tarfile.TarFile, lab: Lab, name: str, path: str) -> None:
    """A folder of the first host, without compiled files, below `name`."""
    import base64

    command = f"tar -C {path} --exclude=__pycache__ -cf - . | base64 -w0"
    content = base64.b64decode(harness.on_host(lab, lab.hosts[0].name, command))
    with tarfile.open(fileobj=BytesIO(content)) as found:
        for entry in found:
            data = found.extractfile(entry) if entry.isfile() else None
            entry.name = f"{name}/{entry.name}"
            packed.addfile(entry, data)


if __name__ == "__main__":
    harness.start(main)
