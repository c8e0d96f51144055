"""What the process that serves on a host was started with, and what it says of itself, beside its plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.e2e.gateway import Gateway
from tests.standins import knobs_reach

UNIT = "phi4-edge.service"
# Environment and command line of the unit's own process; those of a container's are in its namespace, found by Docker.
LOOK = """
import json, subprocess, sys
def said(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
def parts(pid, name):
    with open(f"/proc/{pid}/{name}", "rb") as stream:
        return [one.decode() for one in stream.read().split(bytes(1)) if one]
held = {}
if sys.argv[1] == "compose":
    one = json.loads(said("docker", "inspect", "phi4-edge-engine-1"))[0]
    pid, limits = one["State"]["Pid"], one["HostConfig"]
    # Docker's own init is the first process; the engine is what it started.
    below = said("cat", f"/proc/{pid}/task/{pid}/children").split()
    pid = int(below[0]) if below else pid
    ports = [int(name.partition("/")[0]) for name in limits["PortBindings"]]
    held = {"memory": limits["Memory"], "cpus": limits["NanoCpus"] / 1e9, "shm": limits["ShmSize"], "port": ports[0]}
else:
    pid = int(said("systemctl", "show", "--property=MainPID", "--value", "phi4-edge.service"))
    shown = said("systemctl", "show", "--property=MemoryMax", "--property=UMask", "phi4-edge.service")
    limits = dict(line.split("=", 1) for line in shown.splitlines())
    held = {"memory": int(limits["MemoryMax"]), "umask": limits["UMask"]}
pairs = [line.partition("=") for line in parts(pid, "environ")]
print(json.dumps({
    "environment": {name: value for name, _sign, value in pairs}, "words": parts(pid, "cmdline"), "held": held,
}))
"""


def seen(host: Gateway, plan: Mapping[str, Any]) -> knobs_reach.Seen:
    """What serves on the host, as /proc and what holds it in have it; of Ollama also the models as it shows them."""
    found = json.loads(host.sh(f"python3 - {plan['service_manager']}", stdin=LOOK))
    made = []
    if plan["engine"] == "ollama":
        for name in (plan["model"]["served_name"], *plan["knobs"]["variants"]):
            made.append({"model": name, "parameters": parameters(host.post("/api/show", {"model": name}))})
    return knobs_reach.Seen(found["environment"], found["words"], found["held"], made)


def parameters(shown: str) -> dict[str, Any]:
    """The parameters in an answer of /api/show: a line for each, a list as several."""
    found: dict[str, Any] = {}
    for line in json.loads(shown)["parameters"].splitlines():
        name, _blanks, text = line.partition(" ")
        value = json.loads(text)
        if name == "stop":
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def tells(host: Gateway, plan: Mapping[str, Any]) -> None:
    """The engine's own words agree: how long its context is, how many threads it has, how long an answer gets."""
    if plan["engine"] != "ollama":
        model = json.loads(host.sh("curl -sS http://127.0.0.1:8080/v1/models"))["data"][0]
        assert model["max_model_len"] == plan["context_length"]
        return
    host.chat("Say hello.", 4)
    loaded = json.loads(host.sh("curl -sS http://127.0.0.1:8080/api/ps"))["models"][0]
    assert loaded["context_length"] == plan["context_length"]
    runner = host.sh("tr '\\0' ' ' < /proc/$(pgrep -f [l]ib/ollama/llama-server | head -n 1)/environ")
    for name in ("LLAMA_ARG_THREADS", "LLAMA_ARG_CACHE_RAM"):
        assert f"{name}={plan['knobs']['environment'][name]}" in runner.split()


def check(host: Gateway, plan: Mapping[str, Any]) -> None:
    """Every knob of the plan is in the process that serves it, and it says so itself."""
    assert knobs_reach.unreached(plan, seen(host, plan)) == []
    tells(host, plan)
