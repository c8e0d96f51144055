"""The plan role reads the wishes of an inventory as the command does, templates and nested values included."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_support import ROOT, play, read_json, role, write_inventory, write_playbook

from phi4_edge import inventory
from phi4_edge.core.plan import Plan
from phi4_edge.rollout.planning import Planner, Seen

FIXTURE = ROOT / "tests" / "fixtures" / "hosts" / "n150-8gb.json"
IMAGE = "docker.io/ollama/ollama:0.35.0/amd64"
DIGEST = "sha256:" + "7" * 64
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
    images = {"format": "phi4-edge/images/1", "images": {IMAGE: {"digest": DIGEST}}}
    (tmp_path / "images.json").write_text(json.dumps(images))
    tasks = [
        {"name": "Facts", "ansible.builtin.set_fact": {
            "phi4_facts": f"{{{{ lookup('ansible.builtin.file', '{FIXTURE}') | from_json }}}}", "cacheable": True,
            **{name: {"of": "a play before"} for name in OTHER_FACTS}}},
        role("plan", plan_store=str(tmp_path)),
        {"name": "Plan", "ansible.builtin.copy": {
            "content": "{{ ansible_facts['phi4_plan'] | to_json }}", "mode": "0644", "dest": f"{tmp_path}/plan.json"}},
    ]  # fmt: skip
    hosts = write_inventory(tmp_path, {"gw1": WISHES})
    played = play(write_playbook(tmp_path, {"block": tasks}), hosts)
    assert (tmp_path / "plan.json").exists(), played.output[-4000:]
    (host,) = inventory.load((str(hosts),))
    planned = Planner({}, {IMAGE: DIGEST}).decide(Seen("gw1", read_json(FIXTURE), host.vars)).plan
    assert Plan.from_dict(read_json(tmp_path / "plan.json")) == planned
    assert planned.image is not None and planned.image.digest == DIGEST and planned.webui is not None
    assert planned.knobs is not None and planned.knobs["variants"]["terse"]["system"] == "Be brief."
    assert planned.image_mirror == "mirror.example:5000/edge"
