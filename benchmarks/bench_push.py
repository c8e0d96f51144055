"""B7: an artifact of 256 MiB to eight hosts, then again with nothing to do, against `copy` and `files.put`.

"delivery" is what `provision` does for that, over a tunnel of SSH or (LAN) over plain HTTP, every byte verified on the
host. The peers bring the one file to its place; `files.put` does not look at what arrived. `provision` besides makes a
new release of it, starts the engine again and has it generate.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import big_model
import harness
from big_model import FILE, BigModel
from harness import AT_ONCE, BenchError, Damage, Done, Sample, Side
from verdict import Goal, Limit, report

from phi4_edge.lab import Lab

BASE = "/var/lib/phi4-bench"
OURS, TUNNEL, LAN = "phi4-edge provision", "phi4-edge delivery", "phi4-edge delivery, LAN"
COPY, PYINFRA_PUT = "ansible copy", "pyinfra put"
MIB = 1 << 20
# What the artifact may add to a run that has nothing to do, for each host.
MOST_SECONDS, MOST_BYTES, MOST_OF_HASHING = 0.05, 20_000, 0.25
PUT = """\
from pyinfra.operations import files
files.put(src=SOURCE, dest=PLACE, mode="644")
"""


def main() -> None:
    chosen = harness.options("Push an artifact", hosts=8, size=256)
    with harness.lab("push", chosen.hosts) as lab, harness.workplace() as folder:
        model = big_model.make(folder, chosen.size * MIB)
        harness.provisioned(lab)
        small = harness.take_turns([_nothing(lab)], chosen.pairs, lab)[OURS]
        sides = _sides(folder, lab, model)
        # The first push of our side changes the release too, which no later one does.
        harness.finish(sides[0])
        samples = harness.take_turns(
            sides, chosen.pairs, lab, lambda side: _empty(lab, model, side.name), _damage(model), warm_up=False
        )
        goals = [*_goals(TUNNEL, (5, 2)), *_goals(LAN, (5, 2))]
        title = f"B7 {chosen.size} MiB to {chosen.hosts} hosts"
        size = {"mebibytes": chosen.size}
        report("push", title, samples, goals, chosen.hosts, full=chosen.full, sizes=size)
        again = harness.take_turns(sides, chosen.pairs, lab, warm_up=False)
        limits = _limits(again[sides[0].name], small, _hashing(lab, model), chosen.hosts)
        title = f"B7 again, {chosen.hosts} hosts, nothing to do"
        report("push-again", title, again, _goals(TUNNEL, (0, 0)), chosen.hosts, full=chosen.full, limits=limits)
        harness.provisioned(lab)
        harness.on_all(lab, f"rm -rf {BASE} {model.on_host} {model.on_host}.json")


def _goals(ours: str, least: tuple[float, float]) -> list[Goal]:
    return [Goal(ours, theirs, wanted) for theirs, wanted in zip((COPY, PYINFRA_PUT), least, strict=True)]


def _limits(big: Sequence[Sample], small: Sequence[Sample], hashing: float, hosts: int) -> list[Limit]:
    """What the large file adds to a run that has nothing to do, for each host."""

    def more(what: str) -> float:
        middle = [statistics.median(getattr(run, what) for run in runs) for runs in (big, small)]
        return float(middle[0] - middle[1]) / hosts

    return [
        Limit("nothing to do: seconds that the artifact adds per host", more("wall"), MOST_SECONDS, " s"),
        Limit("nothing to do: bytes that the artifact adds per host", more("bytes"), MOST_BYTES, " B"),
        Limit("nothing to do: CPU on a host, as a share of hashing the artifact there", more("host_cpu") / hashing,
              MOST_OF_HASHING),
    ]  # fmt: skip


def _hashing(lab: Lab, model: BigModel) -> float:
    """Seconds that hashing the file once takes on a host, the best of three."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        harness.on_host(lab, lab.hosts[0].name, f"sha256sum {model.on_host}/{FILE}")
        times.append(time.perf_counter() - begun)
    return min(times)


def _place(name: str, model: BigModel) -> str:
    """Each side has a place of its own, so that "again" finds what the same side made."""
    return model.on_host if name == OURS else f"{BASE}/{name.replace(', ', '-').replace(' ', '-')}"


def _empty(lab: Lab, model: BigModel, name: str) -> None:
    """The host lacks what the side brings."""
    place = _place(name, model)
    harness.on_all(
        lab, f"rm -rf {place} {place}.json {place}.staging /var/lib/phi4-edge/staging/*; mkdir -p {BASE}; sync"
    )


def _damage(model: BigModel) -> Damage:
    """Nothing is where anybody brought it."""
    places = " ".join(_place(name, model) for name in (OURS, TUNNEL, LAN, COPY, PYINFRA_PUT))
    each = f"for place in {places}; do test ! -e $place{{0}} || mv $place{{0}} $place{{1}}; done"
    return Damage(each.format("", ".away"), each.format(".away", ""))


def _check(lab: Lab, model: BigModel, name: str, _done: Done) -> None:
    """Raises BenchError unless every host has the bytes, and of ours that it serves with them."""
    for host, text in harness.on_all(lab, f"sha256sum {_place(name, model)}/{FILE}").items():
        if text.split()[0] != model.sha256:
            raise BenchError(f"{host} does not hold what {name} pushed: {text}")
    if name == OURS:
        ready = "curl -sf --retry 30 --retry-connrefused -o /dev/null http://127.0.0.1:8080/health"
        look = f"readlink -f /opt/phi4-edge/current/model; {ready}"
        for host, text in harness.on_all(lab, look).items():
            if text.strip() != model.on_host:
                raise BenchError(f"{host} serves {text.strip()}, needed {model.on_host}")


def _nothing(lab: Lab) -> Side:
    """Provision again with the small model."""
    return Side(OURS, [str(harness.OURS), "provision", str(lab.inventory), "--yes", *AT_ONCE])


def provision(lab: Lab, model: BigModel) -> Side:
    """Provision with the big model, without waiting behind the first answer."""
    command = [str(harness.OURS), "provision", str(lab.inventory), "--yes", *AT_ONCE, "--lock-wait", "120"]
    command += ["-e", "phi4_stability_seconds=0"]
    check = partial(_check, lab, model, OURS)
    return Side(OURS, command, {"PHI4_EDGE_STORE": str(model.store)}, check)


def _sides(folder: Path, lab: Lab, model: BigModel) -> list[Side]:
    place = _place(COPY, model)
    tasks: list[Mapping[str, object]] = [
        {"ansible.builtin.file": {"path": place, "state": "directory", "mode": "0755"}},
        {"ansible.builtin.copy": {"src": str(model.file), "dest": f"{place}/{FILE}", "mode": "0644"}},
    ]
    (folder / "copy.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    values = f"SOURCE = {str(model.file)!r}\nPLACE = {f'{_place(PYINFRA_PUT, model)}/{FILE}'!r}\n"
    (folder / "put.py").write_text(values + PUT)
    playbook = [harness.playbook_command(), "-i", str(lab.inventory), str(folder / "copy.yml")]
    deploy = harness.pyinfra_command(harness.pyinfra_inventory(lab, folder), folder / "put.py")
    return [
        provision(lab, model),
        _delivery(TUNNEL, lab, model),
        _delivery(LAN, lab, model, _own_address(lab)),
        Side(COPY, playbook, harness.ansible_settings(len(lab.hosts)), partial(_check, lab, model, COPY)),
        Side(PYINFRA_PUT, deploy, {}, partial(_check, lab, model, PYINFRA_PUT)),
    ]


def _own_address(lab: Lab) -> str:
    """This machine's, on the lab's network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect((lab.hosts[0].address, 9))
        return str(route.getsockname()[0])


def _delivery(name: str, lab: Lab, model: BigModel, *address: str) -> Side:
    words = [sys.executable, str(Path(__file__).with_name("deliver.py")), str(model.store), model.digest]
    command = [*words, _place(name, model), str(lab.inventory), *address]
    return Side(name, command, harness.ansible_settings(len(lab.hosts)), partial(_check, lab, model, name))


if __name__ == "__main__":
    harness.start(main)
