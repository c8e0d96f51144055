"""One script, one answer, one task result."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from phi4_edge.core import hostcall
from phi4_edge.errors import FactsError


def host(document: Mapping[str, Any] | None, stderr: str = "", rc: int = 0) -> hostcall.Execute:
    """A host that answers `document`, or nothing."""

    def execute(line: str, in_data: bytes) -> dict[str, Any]:
        assert "n0nce" in line
        assert in_data.startswith(b"script")
        if document is None:
            return {"rc": rc, "stdout": "", "stderr": stderr}
        frame = base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()
        return {"rc": rc, "stdout": f"motd\nn0nce:BEGIN\n{frame}\nn0nce:END\n", "stderr": stderr}

    return execute


def test_the_answer_is_the_task_result() -> None:
    assert hostcall.task(host({"sent": 3}), "n0nce", None, "script", {}) == {"changed": False, "sent": 3}
    assert hostcall.task(host({"changed": True}), "n0nce", None, "script", {}) == {"changed": True}


def test_an_error_is_a_failed_task_that_keeps_its_details() -> None:
    result = hostcall.task(host({"error": "found x, needed y", "step": "health"}), "n0nce", None, "script", {})
    assert result == {"changed": False, "failed": True, "msg": "found x, needed y", "step": "health"}


def test_no_answer_is_a_failed_task_with_the_hosts_own_words() -> None:
    silent = host(None, "sudo: \x1b[31ma password is required", 1)
    result = hostcall.task(silent, "n0nce", None, "script", {})
    assert result["failed"] is True
    assert "exit status 1" in result["msg"]
    assert "a password is required" in result["msg"]
    assert "\x1b" not in result["msg"]
    with pytest.raises(FactsError):
        hostcall.call(silent, "n0nce", None, "script", {})
