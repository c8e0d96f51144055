"""B7, small: an artifact of 64 MiB to two hosts, then again with nothing to do, against `copy` and `files.put`."""

from __future__ import annotations

import hashlib
import json
import os
from functools import partial
from pathlib import Path

import harness
from harness import BenchError, Done, Side
from verdict import Goal, report

from phi4_edge.core import manifest as core_manifest
from phi4_edge.lab import Lab

SIZE = 64 * 1024**2
FILE = "model.bin"
COLLECTIONS = str(harness.ROOT / "cli")
# Below it each side has a place of its own, so that "again" finds what the same side made.
BASE = "/var/lib/phi4-bench"
NAMES = ("artifact role", "ansible copy", "pyinfra put")
ROLE = """\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: phi4_edge.edge.artifact, tasks_from: install}
      vars:
        __artifact_name: bench
        __artifact_source: SOURCE
        __artifact_digest: DIGEST
        __artifact_destination: PLACE
        artifact_staging: BASE/staging
"""
COPY = """\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.file: {path: PLACE, state: directory, mode: "0755"}
    - ansible.builtin.copy: {src: SOURCE/FILE, dest: PLACE/FILE, mode: "0644"}
"""
PUT = """\
from pyinfra.operations import files
files.put(src="SOURCE/FILE", dest="PLACE/FILE", mode="644")
"""


def main() -> None:
    chosen = harness.options("Push an artifact", hosts=2)
    with harness.lab("push", chosen.hosts) as lab, harness.workplace() as folder:
        digest, sha256 = _artifact(folder / "artifact")
        sides = _sides(folder, lab, digest, sha256)
        samples = harness.take_turns(sides, chosen.pairs, lab, lambda side: _empty(lab, side.name))
        _report("push", f"B7 {SIZE >> 20} MiB to {chosen.hosts} hosts", samples, (5, 2), chosen.hosts)
        again = harness.take_turns(sides, chosen.pairs, lab)
        _report("push-again", f"B7 again, {chosen.hosts} hosts, nothing to do", again, (0, 0), chosen.hosts)


def _place(name: str) -> str:
    return f"{BASE}/{name.replace(' ', '-')}"


def _empty(lab: Lab, name: str) -> None:
    harness.on_all(lab, f"mkdir -p {BASE}; rm -rf {_place(name)} {BASE}/staging")


def _check(lab: Lab, name: str, sha256: str, _done: Done) -> None:
    for host, text in harness.on_all(lab, f"sha256sum {_place(name)}/{FILE}").items():
        if text.split()[0] != sha256:
            raise BenchError(f"{host} does not hold what {name} pushed: {text}")


def _report(
    name: str, title: str, samples: dict[str, list[harness.Sample]], least: tuple[float, float], hosts: int
) -> None:
    goals = [Goal("artifact role", "ansible copy", least[0]), Goal("artifact role", "pyinfra put", least[1])]
    report(name, title, samples, goals, hosts)


def _artifact(folder: Path) -> tuple[str, str]:
    """An artifact of one file of random bytes with its manifest; returns its digest and the file's SHA-256."""
    folder.mkdir()
    content = os.urandom(SIZE)
    sha256 = hashlib.sha256(content).hexdigest()
    (folder / FILE).write_bytes(content)
    file = core_manifest.File(FILE, SIZE, sha256)
    digest = core_manifest.digest([file])
    about = {"artifact": "bench", "size": SIZE, "digest": digest}
    manifest = {"format": core_manifest.FORMAT, "files": [file.to_dict()], **about}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return digest, sha256


def _sides(folder: Path, lab: Lab, digest: str, sha256: str) -> list[Side]:
    values = {"SOURCE": str(folder / "artifact"), "DIGEST": digest, "FILE": FILE, "BASE": BASE}
    files = [folder / "role.yml", folder / "copy.yml", folder / "put.py"]
    for name, path, text in zip(NAMES, files, (ROLE, COPY, PUT), strict=True):
        path.write_text(_fill(text, {**values, "PLACE": _place(name)}))
    tuned = harness.ansible_settings(len(lab.hosts))
    ours = harness.OURS.with_name("ansible-playbook")  # it must find the package that the role's plugins use
    theirs = harness.peer(harness.ANSIBLE) / "ansible-playbook"
    pyinfra = harness.peer(harness.PYINFRA) / "pyinfra"
    commands: list[tuple[list[str], dict[str, str]]] = [
        ([str(ours), "-i", str(lab.inventory), str(files[0])], {**tuned, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS}),
        ([str(theirs), "-i", str(lab.inventory), str(files[1])], tuned),
        ([str(pyinfra), "-y", str(harness.pyinfra_inventory(lab, folder)), str(files[2])], {}),
    ]
    return [
        Side(name, command, environment, partial(_check, lab, name, sha256))
        for name, (command, environment) in zip(NAMES, commands, strict=True)
    ]


def _fill(text: str, values: dict[str, str]) -> str:
    for word, value in values.items():
        text = text.replace(word, value)
    return text


if __name__ == "__main__":
    harness.start(main)
