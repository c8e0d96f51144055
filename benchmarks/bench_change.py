"""B2: one variable changed on N hosts that are otherwise as wanted: one file, one restart, and an answer.

All sides give the same engine another context length. Ours makes a new release of it, starts that, has it generate and
writes the receipt. The peers change the file of settings of a second unit on the same hosts, which is like ours but for
its name and port (so that no side undoes what another one did): they look at the unit and the model's files, write the
settings, restart, and wait until it generates. Nobody waits longer than for the first answer: ours is told not to watch
the new release for its usual five seconds.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import harness
from harness import BenchError, Damage, Done, Side
from verdict import Goal, report

from phi4_edge.lab import Lab

OWN, OTHER = "phi4-edge", "bench-peer"
PORTS = {OWN: 8080, OTHER: 8180}
UNIT, SETTINGS, ASK = f"/etc/systemd/system/{OTHER}.service", f"/etc/{OTHER}.env", "/usr/local/bin/bench-ask"
CHAT = json.dumps({"model": "phi-4-mini-instruct", "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]})
# Returns when the engine at the port has generated.
ASKS = f"""\
#!/bin/sh
i=0
until curl -sf --max-time 60 -o /dev/null -H 'Content-Type: application/json' -d '{CHAT}' \\
    "http://127.0.0.1:$1/v1/chat/completions"; do
  i=$((i + 1)); test $i -lt 600 || exit 1; sleep 0.1
done
"""
PEER_UNIT = f"""\
cat > {ASK} <<'END'
{ASKS}END
chmod 755 {ASK}
release=$(readlink -f /opt/phi4-edge/current); ln -sfn "$release" /opt/phi4-edge/{OTHER}
sed -e 's|^EnvironmentFile=.*|EnvironmentFile={SETTINGS}|' -e '/^Requires=/d' -e '/^After=phi4-edge/d' \\
  -e '/^SocketBindDeny=/d' -e "s|$release|/opt/phi4-edge/{OTHER}|g" /etc/systemd/system/{OWN}.service > {UNIT}
sed -e 's|^PHI4_PORT=.*|PHI4_PORT="{PORTS[OTHER]}"|' -e "s|$release|/opt/phi4-edge/{OTHER}|g" \\
  "$release/environment" > {SETTINGS}
systemctl daemon-reload; systemctl enable -q --now {OTHER}; {ASK} {PORTS[OTHER]}
"""
NO_PEER = f"""\
systemctl disable -q --now {OTHER} || true
rm -f {UNIT} {SETTINGS} {ASK} /opt/phi4-edge/{OTHER}; systemctl daemon-reload
"""
# What the running process has in its environment, not what a file says; which start of the unit it is; that it answers.
RUNNING = """\
test "$(systemctl is-active UNIT.service)" = active
tr '\\0' '\\n' < /proc/$(systemctl show UNIT.service -p MainPID --value)/environ | sed -n 's/^PHI4_CONTEXT_LENGTH=//p'
systemctl show UNIT.service -p InvocationID --value
timeout 90 ASK PORT
"""
PYINFRA = """\
from pyinfra import host
from pyinfra.operations import files, server, systemd

here = f"{COPIES}/{host.data.lab_name}"
files.put(src=f"{here}/unit", dest=UNIT, mode="644")
for path in MODEL:
    files.file(path=path)
settings = files.put(src=f"{here}/settings", dest=SETTINGS, mode="644")
systemd.service(service=OTHER, running=True, enabled=True)
systemd.service(service=OTHER, restarted=True, _if=settings.did_change)
server.shell(commands=[ANSWERS], _if=settings.did_change)
"""


def main() -> None:
    chosen = harness.options("Change one variable", hosts=8)
    with harness.lab("change", chosen.hosts) as lab, harness.workplace() as folder:
        harness.provisioned(lab)
        try:
            harness.on_all(lab, PEER_UNIT)
            samples = _turns(lab, folder, chosen.pairs)
        finally:
            harness.on_all(lab, NO_PEER)
        harness.provisioned(lab)
    ours, ansible, pyinfra = samples
    title = f"B2 one variable changed, {chosen.hosts} hosts"
    report("change", title, samples, [Goal(ours, pyinfra, 1.5), Goal(ours, ansible, 5)], chosen.hosts, full=chosen.full)


class Change:
    """Which value a side is to bring about in its next run, and what the hosts ran before it."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.values: Iterator[int] = itertools.count(1088, 64)
        self.value, self.before = 0, dict[str, str]()

    def next(self, side: Side) -> None:
        """Another value than ever before is wanted, in the inventory and in the peers' file."""
        self.value = next(self.values)
        # The peers' unit runs from our newest release: older ones are taken away when a new one is made.
        follow = f"ln -sfn $(readlink -f /opt/phi4-edge/current) /opt/phi4-edge/{OTHER}"
        show = f"{follow}; systemctl show {_unit(side)}.service -p InvocationID --value"
        self.before = {host: text.strip() for host, text in harness.on_all(self.lab, show).items()}
        names = "\n".join(host.name for host in self.lab.hosts)
        wanted = f"phi4_context_length={self.value}\nphi4_stability_seconds=0\n"
        (self.folder / "changed.ini").write_text(f"[gateways]\n{names}\n[gateways:vars]\n{wanted}")
        for host, text in harness.on_all(self.lab, f"cat {SETTINGS}").items():
            lines = [self._line(line) for line in text.splitlines()]
            copies = self.folder / "copies" / host
            copies.mkdir(parents=True, exist_ok=True)
            (copies / "settings").write_text("\n".join(lines) + "\n")
            (copies / "unit").write_text(harness.on_host(self.lab, host, f"cat {UNIT}"))

    def _line(self, line: str) -> str:
        return f'PHI4_CONTEXT_LENGTH="{self.value}"' if line.startswith("PHI4_CONTEXT_LENGTH=") else line

    def done(self, unit: str, _done: Done) -> None:
        """Raises BenchError unless each host runs the wanted value in a process that was started anew, and answers."""
        script = RUNNING.replace("UNIT", unit).replace("ASK", ASK).replace("PORT", str(PORTS[unit]))
        for host, text in harness.on_all(self.lab, script).items():
            value, _, invocation = text.strip().partition("\n")
            if value != str(self.value):
                raise BenchError(f"{host}: {unit} runs with context length {value}, needed {self.value}")
            if invocation.strip() == self.before[host]:
                raise BenchError(f"{host}: {unit} was not restarted")


def _unit(side: Side) -> str:
    return OWN if side.name.startswith("phi4-edge") else OTHER


def _turns(lab: Lab, folder: Path, pairs: int) -> Mapping[str, list[harness.Sample]]:
    change = Change(lab, folder)
    where = harness.on_host(lab, lab.hosts[0].name, "ls -d $(readlink -f /opt/phi4-edge/current/model)/*")
    model = where.split()
    sides = [_ours(change), _ansible(change, model), _pyinfra(change, model)]
    stopped = Damage(f"systemctl stop {OWN}.service {OTHER}", f"systemctl start {OWN}.service {OTHER}")
    samples = harness.take_turns(sides, pairs, lab, before=change.next, damage=stopped)
    for side in sides:  # a wish that nobody has brought about
        change.next(side)
        try:
            side.check(Done([], 0, "", ""))
        except BenchError:
            continue
        raise BenchError(f"the check of {side.name} passes although nothing was changed")
    return samples


def _ours(change: Change) -> Side:
    inventories = [str(change.lab.inventory), str(change.folder / "changed.ini")]
    command = [str(harness.OURS), "provision", *inventories, "--yes", "--output", "json", *harness.AT_ONCE]
    return Side("phi4-edge provision", command, check=partial(change.done, OWN))


def _ansible(change: Change, model: Sequence[str]) -> Side:
    lab, folder = change.lab, change.folder
    here = f"{folder}/copies/{{{{ inventory_hostname }}}}"
    stat = {"get_checksum": False, "get_mime": False, "get_attributes": False}
    looks = [
        {"ansible.builtin.stat": {"path": path, **stat}, "register": "found", "failed_when": "not found.stat.exists"}
        for path in model
    ]
    tasks = [
        {"ansible.builtin.copy": {"src": f"{here}/unit", "dest": UNIT, "mode": "0644"}},
        *looks,
        {"ansible.builtin.copy": {"src": f"{here}/settings", "dest": SETTINGS, "mode": "0644"}, "notify": "Restart"},
        {"ansible.builtin.systemd_service": {"name": OTHER, "state": "started", "enabled": True}},
    ]
    handlers: list[dict[str, object]] = [
        {"name": "Restart it", "ansible.builtin.systemd_service": {"name": OTHER, "state": "restarted"}},
        {"name": "Wait", "ansible.builtin.command": f"{ASK} {PORTS[OTHER]}", "changed_when": False},
    ]
    handlers = [{**handler, "listen": "Restart"} for handler in handlers]
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks, "handlers": handlers}
    (folder / "change.yml").write_text(json.dumps([play]))
    command = [harness.playbook_command(), "-i", str(lab.inventory), str(folder / "change.yml")]
    return Side("ansible tasks", command, harness.ansible_settings(len(lab.hosts)), partial(change.done, OTHER))


def _pyinfra(change: Change, model: Sequence[str]) -> Side:
    values = {
        "COPIES": str(change.folder / "copies"), "UNIT": UNIT, "SETTINGS": SETTINGS, "OTHER": OTHER,
        "MODEL": list(model), "ANSWERS": f"{ASK} {PORTS[OTHER]}",
    }  # fmt: skip
    deploy = change.folder / "change.py"
    deploy.write_text("".join(f"{name} = {value!r}\n" for name, value in values.items()) + PYINFRA)
    command = harness.pyinfra_command(harness.pyinfra_inventory(change.lab, change.folder), deploy)
    return Side("pyinfra operations", command, check=partial(change.done, OTHER))


if __name__ == "__main__":
    harness.start(main)
