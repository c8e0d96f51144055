"""What is told of a host that gave no facts."""

from __future__ import annotations

import pytest

from phi4_edge.operations.detect import asked_for


@pytest.mark.parametrize(
    "message",
    [
        "Task failed: EOF when reading a line",
        "Task failed: I/O operation on closed file.",
        "[Errno 6] No such device or address: '/dev/tty'",
        "paramiko: The authenticity of host can't be established. stdin is not interactive",
    ],
)
def test_who_wanted_an_answer_is_told_that_there_is_no_terminal(message: str) -> None:
    assert "no terminal to answer on" in asked_for(message)


@pytest.mark.parametrize(
    "message",
    [
        "sudo: a terminal is required to read the password",
        "mesg: ttyname failed: Inappropriate ioctl for device",
        "Failed to connect to the host via ssh: Permission denied (publickey).",
        "",
    ],
)
def test_what_a_host_says_of_its_own_terminal_is_something_else(message: str) -> None:
    assert asked_for(message) == ""
