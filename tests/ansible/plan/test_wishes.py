"""The plan role reads the wishes of an inventory as the command does, templates and nested values included."""

from __future__ import annotations

import json
from pathlib import Path

from phi4_edge import inventory
from phi4_edge.core.plan.decide import Plan
from phi4_edge.operations.plan import Planner, Seen
from tests.ansible.plays import ROOT, play, read_json, role, write_inventory, write_playbook

FIXTURE = ROOT / "tests" / "fixtures" / "hosts" / "n150-8gb.json"
IMAGE, PAGE = "docker.io/ollama/ollama:0.35.0/amd64", "ghcr.io/open-webui/open-webui:v0.12.4/amd64"
MODEL = "phi-4-mini-instruct/gguf-q8_0"
DIGEST = "sha256:" + "7" * 64
IMAGES, ARTIFACTS = dict.fromkeys((IMAGE, PAGE), DIGEST), {MODEL: "6" * 64}
WISHES = {
    "phi4_engine": "ollama",
    "phi4_service_manager": "compose",
    "phi4_accept_below_floor": ["docker"],
    "phi4_image_mirror": "mirror.example:5000/{{ site }}",
    "phi4_variants": {
        "terse": {"from": "phi4-mini-coder", "parameters": {"temperature": 0.2, "stop": ["A"]}, "system": "{{ how }}"},
        "phi4-mini-reasoning": None,
    },
    "webui_enabled": "{{ true }}",
    "webui_port": "3001",
    "how": "Be brief.",
    "site": "edge",
}
# Of plays before, which the plan must not take for wishes.
OTHER_FACTS = ("phi4_images", "phi4_rollback", "phi4_watch", "phi4_doctor")


def test_role_and_command_read_the_same_wishes(tmp_path: Path) -> None:
    for name, kind, held in (("images", "images", IMAGES), ("index", "artifacts", ARTIFACTS)):
        document = {"format": f"phi4-edge/{name}/1", kind: {key: {"digest": digest} for key, digest in held.items()}}
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    tasks = [
        {"name": "Facts", "ansible.builtin.set_fact": {
            "phi4_facts": f"{{{{ lookup('ansible.builtin.file', '{FIXTURE}') | from_json }}}}", "cacheable": True,
            **{name: {"of": "a play before"} for name in OTHER_FACTS}}},
        role("plan", plan_store=str(tmp_path)),
        {"name": "Plan", "ansible.builtin.copy": {
            "content": "{{ ansible_facts['phi4_plan'] | to_json }}", "mode": "0644", "dest": f"{tmp_path}/plan.json"}},
    ]  # fmt: skip
    # What the inventory plugin tells of an earlier plan is no wish.
    hosts = write_inventory(tmp_path, {"gw1": {**WISHES, "phi4_plan_engine": "vllm", "phi4_plan_port": 9}})
    played = play(write_playbook(tmp_path, {"block": tasks}), hosts)
    assert (tmp_path / "plan.json").exists(), played.output[-4000:]
    (host,) = inventory.load((str(hosts),))
    planned = Planner(ARTIFACTS, IMAGES).decide(Seen("gw1", read_json(FIXTURE), host.vars)).plan
    assert Plan.from_dict(read_json(tmp_path / "plan.json")) == planned
    assert planned.image is not None and planned.image.digest == DIGEST and planned.webui is not None
    assert planned.knobs is not None and planned.knobs["variants"]["terse"]["system"] == "Be brief."
    assert planned.image_mirror == "mirror.example:5000/edge"
