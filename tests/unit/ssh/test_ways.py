"""Where ssh gets in with what Ansible tells it, the preflight does as well, or leaves the host to Ansible."""

from __future__ import annotations

import importlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.ssh import session
from phi4_edge.ssh.target import Target
from phi4_edge.ssh.wire import Budget, Wire
from tests.unit.ssh.test_check import OTHER_KEY, found, host, key_file, serving

WAYS = {
    "an agent of its own": ("-o IdentityAgent=/nowhere/agent", "identityagent"),
    "a certificate": ("-o CertificateFile=/nowhere/cert.pub", "certificatefile"),
    "a token": ("-o PKCS11Provider=/nowhere.so", "pkcs11provider"),
    "the host's own key": ("-o HostbasedAuthentication=yes", "hostbasedauthentication"),
}


@pytest.mark.parametrize("name", WAYS)
def test_a_refusal_is_left_to_ssh_where_it_has_another_way(tmp_path: Path, name: str) -> None:
    args, setting = WAYS[name]
    with serving() as (port, _):
        refused = host(tmp_path, port, private_key=key_file(tmp_path, OTHER_KEY))
        finding = found(replace(refused, ssh=replace(refused.ssh, ssh_args=args)))
    assert (finding.kind, finding.ok) == ("skipped", True)
    assert setting in finding.reason


@pytest.mark.parametrize(("status", "kind"), [(0, "skipped"), (1, "auth_refused")])
def test_kerberos_is_a_way_for_who_has_a_ticket(
    tmp_path: Path, status: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "klist").write_text(f"#!/bin/sh\nexit {status}\n")
    (tmp_path / "klist").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with serving() as (port, _):
        refused = host(tmp_path, port, private_key=key_file(tmp_path, OTHER_KEY))
        ssh = replace(refused.ssh, ssh_args="-F none -o GSSAPIAuthentication=yes")
        assert found(replace(refused, ssh=ssh)).kind == kind


def test_host_keys_are_not_asked_for_where_the_inventory_says_so(tmp_path: Path) -> None:
    with serving() as (port, _):
        target = host(tmp_path, port, known="")
        assert found(replace(target, ssh=replace(target.ssh, host_key_checking=False))).kind == "ok"


def test_a_host_that_answers_late_is_tried_as_often_as_ansible_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("phi4_edge.ssh.visit"), "RETRY_SECONDS", 0.2)
    tried: list[int] = []
    real = session.dial

    def dial(target: Target, budget: Budget) -> Wire:
        tried.append(target.port)
        return real(replace(target, port=1) if len(tried) < 3 else target, budget)

    monkeypatch.setattr(session, "dial", dial)
    with serving() as (port, _):
        target = host(tmp_path, port)
        assert found(replace(target, ssh=replace(target.ssh, retries=1))).kind == "unreachable"
        assert found(replace(target, ssh=replace(target.ssh, retries=1))).kind == "ok"
