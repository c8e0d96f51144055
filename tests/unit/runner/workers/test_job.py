"""What a worker is asked to run is the run that this controller would begin, with all that opens it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from phi4_edge.core.inventory import VaultSecret
from phi4_edge.errors import RunnerError
from phi4_edge.runner.workers import server
from phi4_edge.runner.workers.client import WorkerJob
from phi4_edge.runner.workers.inventory import opened, portable

JOB = WorkerJob(
    "detect",
    ("gw1",),
    "all: {hosts: {gw1: {}}}",
    vaults=(VaultSecret("dev", "", "c4nary-1"), VaultSecret("", "", "c4nary-2")),
    operator_vars=("{a: c4nary-3}", "b: 2"),
    verbosity=2,
)


def test_vaults_and_extra_variables_go_along_and_are_in_no_argument() -> None:
    run = server._decide(json.loads(json.dumps(JOB.request(7))))
    identities = [run.argv[number + 1] for number, word in enumerate(run.argv) if word == "--vault-id"]
    assert identities == ["dev@{private}/vault_0", "{private}/vault_1"]
    assert (run.files["vault_0"], run.files["vault_1"]) == ("c4nary-1", "c4nary-2")
    assert (run.files["operator_vars_0.yml"], run.files["operator_vars_1.yml"]) == JOB.operator_vars
    assert "-vv" in run.argv
    assert "c4nary" not in " ".join(run.argv) + repr(run) + repr(JOB)


@pytest.mark.parametrize("name", ["vaults", "operator_vars", "verbosity"])
def test_a_request_without_them_is_none(name: str) -> None:
    request = JOB.request(7)
    del request[name]
    with pytest.raises(RunnerError, match="found an invalid request"):
        server._decide(request)


def test_an_inventory_that_uses_extra_variables_is_resolved_with_them(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text("gw1\n")
    plugin = tmp_path / "zz.yml"
    plugin.write_text("plugin: ansible.builtin.constructed\nuse_extra_vars: true\ncompose: {phi4_worker: where}\n")
    made = portable([str(tmp_path / "hosts.ini"), str(plugin)], {}, operator_vars=["where: lyon"])
    assert yaml.safe_load(made.text)["all"]["hosts"]["gw1"]["phi4_worker"] == "lyon"


def test_a_program_that_wants_the_label_is_told_it(tmp_path: Path) -> None:
    program = tmp_path / "keys-client.sh"
    program.write_text('#!/bin/sh\necho "of $*"\n')
    program.chmod(0o700)
    assert opened(VaultSecret("dev", str(program))).password == "of --vault-id dev"
    assert opened(VaultSecret("", str(program))).password == "of"
    assert opened(VaultSecret("dev", "prompt", "typed")).password == "typed"
