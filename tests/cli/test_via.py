"""`--via gateway` as far as it goes without a gateway: which options belong together, and what a file must be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Invoke = Callable[..., Result]
QUESTIONS = {"ask": ["Hi"], "verify": [], "bench": []}


@pytest.mark.parametrize("command", QUESTIONS)
@pytest.mark.parametrize("option", ["--gateway-key", "--ca", "--client-certificate"])
def test_what_is_for_gateways_needs_one_to_ask_through(
    command: str, option: str, tmp_path: Path, inventory: Path, invoke: Invoke
) -> None:
    (file := tmp_path / "file.pem").write_text("")
    done = invoke(command, inventory, *QUESTIONS[command], option, file)
    assert done.exit_code == 1
    assert "--gateway-key, --ca and --client-certificate need --via gateway" in done.output


@pytest.mark.parametrize("command", QUESTIONS)
def test_a_client_certificate_that_others_may_read_is_refused_before_any_host_is_asked(
    command: str, tmp_path: Path, inventory: Path, invoke: Invoke
) -> None:
    (file := tmp_path / "north.pem").write_text("")
    file.chmod(0o644)
    through = ["--via", "gateway", "--client-certificate", file]
    done = invoke(command, inventory, *QUESTIONS[command], *through, env={"PHI4_EDGE_KEY": "p4e_x"})
    assert done.exit_code == 3
    assert f"{file} may be read or written by others than its owner" in done.stderr
    file.chmod(0o600)
    done = invoke(command, inventory, *QUESTIONS[command], *through, env={"PHI4_EDGE_KEY": "p4e_x"})
    assert done.exit_code == 3
    assert f"found no certificate with its private key in {file}" in done.stderr
