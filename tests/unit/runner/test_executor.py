"""A call is handed to Ansible as it is, on exactly the hosts that are meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi4_edge.runner.access import Access
from phi4_edge.runner.executor import Call, Executor, Local
from phi4_edge.runner.run import HostEvent


def test_a_call_is_one_run_with_all_that_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("a ansible_connection=local\nb ansible_connection=local\nc ansible_connection=local\n")
    playbook = tmp_path / "say.yml"
    playbook.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        '    - name: Say\n      ansible.builtin.set_fact:\n        said: "{{ word }} {{ ansible_check_mode }} '
        "{{ lookup('ansible.builtin.env', 'ANSIBLE_TASK_TIMEOUT') }}\"\n"
    )
    monkeypatch.setattr("phi4_edge.content.playbook", lambda name: tmp_path / f"{name}.yml")
    heard: list[HostEvent] = []
    local: Executor = Local(Access((str(inventory),)))
    call = Call("say", {"word": "{{ not a template }}"}, check=True, task_timeout=77)
    result = local.execute(call, ["a", "c"], heard.append, lambda: False)
    assert {host: end.facts["said"] for host, end in result.hosts.items()} == dict.fromkeys(
        "ac", "{{ not a template }} True 77"
    )
    assert {event.host for event in heard} == {"a", "c"}
    assert not result.cancelled
