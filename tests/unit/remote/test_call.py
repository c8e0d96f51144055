"""One script, one document back, or the reason why there is none."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from phi4_edge.errors import FactsError
from phi4_edge.remote import call


def host(document: Mapping[str, Any] | None, stderr: str = "", rc: int = 0) -> call.Execute:
    """A host that answers `document`, or nothing."""

    def execute(line: str, in_data: bytes) -> dict[str, Any]:
        assert "n0nce" in line
        assert in_data.startswith(zlib.compress(b"script", 9))
        if document is None:
            return {"rc": rc, "stdout": "", "stderr": stderr}
        frame = base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()
        return {"rc": rc, "stdout": f"motd\nn0nce:BEGIN\n{frame}\nn0nce:END\n", "stderr": stderr}

    return execute


def test_the_answer_is_what_the_host_emitted_between_its_noise() -> None:
    assert call.call(host({"sent": 3}), "n0nce", None, "script", {}) == {"sent": 3}


def test_no_answer_is_told_with_the_hosts_own_words() -> None:
    silent = host(None, "sudo: \x1b[31ma password is required", 1)
    with pytest.raises(FactsError, match=r"exit status 1.*a password is required") as raised:
        call.call(silent, "n0nce", None, "script", {})
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize(
    ("python", "rc", "stderr", "said"),
    [
        (None, 139, "", "python3 is ended by SIGSEGV"),
        (None, 132, "Illegal instruction\r\n", "built for another CPU"),
        ("auto", 1, "ModuleNotFoundError: No module named 'zlib'", "python3 lacks the module zlib"),
        ("/opt/py", 127, "", "ansible_python_interpreter names /opt/py, which is not there"),
        ("/opt/py", 126, "sh: /opt/py: Exec format error", "no program for this machine"),
        ("auto_silent", 127, "python3: error while loading shared libraries: libz.so.1: gone", "libz.so.1"),
    ],
)
def test_a_python_that_does_not_run_is_what_is_told(python: str | None, rc: int, stderr: str, said: str) -> None:
    with pytest.raises(FactsError, match=said) as raised:
        call.call(host(None, stderr, rc), "n0nce", python, "script", {})
    assert "needed Python 3.8 or newer: " in str(raised.value)
    assert "login shell" not in str(raised.value)


def test_a_script_that_answers_is_not_judged_by_what_it_prints_beside() -> None:
    noisy = host({"sent": 3}, "ModuleNotFoundError: No module named 'zlib'", 1)
    assert call.call(noisy, "n0nce", None, "script", {}) == {"sent": 3}
