"""Ctrl-C at a question, on a terminal: nothing was begun, and the exit code is that of an interruption."""

from __future__ import annotations

import os
import pty
import sys
import time

import pytest

PROGRAM = "from phi4_edge.main import main; main()"
QUESTIONS = {
    "lock release": ("lock", "release", "192.0.2.1,"),
    "remove": ("remove", "192.0.2.1,"),
    "sudo password": ("provision", "192.0.2.1,", "--ask-become-pass"),
}


def answer(words: tuple[str, ...], keys: bytes) -> tuple[int, bytes]:
    """The exit code of a command that is answered with `keys` as soon as it asks, and what it said."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM, *words])
    said, asked, until = b"", False, time.monotonic() + 60
    while time.monotonic() < until:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        said += part
        if not asked and said.rstrip().endswith((b"[y/N]:", b"of the hosts:")):
            asked = True
            time.sleep(0.2)  # it reads the answer by now
            os.write(terminal, keys)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


@pytest.mark.parametrize("name", list(QUESTIONS))
def test_ctrl_c_at_a_question_is_130(name: str) -> None:
    code, said = answer(QUESTIONS[name], b"\x03")
    assert code == 130, said
    assert b"interrupted" in said


def test_no_is_no_interruption() -> None:
    code, said = answer(QUESTIONS["lock release"], b"n\n")
    assert code == 1, said
    assert b"not confirmed; nothing was changed" in said
