"""A host whose facts cannot be used: every command says so in the same words, and goes on with the others."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from phi4_edge.main import cli
from tests.cli.rollout.played_site import HOSTS, Site

SEE = "see what it sends: phi4-edge detect INVENTORY --raw --limit gw2"


@pytest.mark.parametrize(
    ("words", "others"),
    [
        (("detect",), "hosts"),
        (("status",), "hosts"),
        (("verify",), ""),
        (("plan",), "plans"),
        (("provision", "--yes", "--check"), ""),
        (("rollback", "--yes"), ""),
    ],
)
def test_a_host_that_sends_no_memory(site: Site, words: tuple[str, ...], others: str) -> None:
    site.sources = {"gw2": {"meminfo": ""}}
    command, *rest = words
    found = CliRunner().invoke(cli, [command, ",".join(HOSTS), *rest, "--output", "json"], prog_name="phi4-edge")
    # Of `status` too, which would say 2 of hosts that are not provisioned: a host that could not be looked at is worse.
    assert found.exit_code == 3, found.output
    document = json.loads(found.stdout.splitlines()[-1] if command in ("provision", "rollback") else found.stdout)
    out = {one["host"]: one for one in document.get("problems") or document["hosts"]}
    assert out["gw2"]["outcome"] == "preflight"
    assert "MemTotal" in out["gw2"]["reason"]
    assert out["gw2"]["next_step"] == SEE
    if others:
        assert [one["host"] for one in document[others]] == ["gw1", "gw3", "gw4", "gw5"]
