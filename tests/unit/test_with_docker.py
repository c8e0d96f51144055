"""`.ci/with-docker`: a command is run as it is, or with a group that this login does not know yet."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "with-docker"
WORDS = ("a b", "it's", "$HOME", '"', "*", "", "two\nlines")


def done(folder: Path, session: str, member: str, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """As somebody whose session has these groups and who is a member of those; sg is one that tells whom it was for."""
    for name, body in {
        "id": f"""case "$*" in -u) echo 1000;; -un) echo me;; -gn) echo "my group";; -nG) echo "{session}";;
                  "-nG me") echo "{member}";; esac""",
        "sg": f"""echo "$1" >> {folder}/groups; [ "$2" = -c ] && exec sh -c "$3" """,
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", **more}
    return subprocess.run([SCRIPT, *command], env=environment, capture_output=True, text=True, check=False)


def groups(folder: Path) -> list[str]:
    path = folder / "groups"
    return path.read_text().splitlines() if path.exists() else []


def test_a_new_member_has_the_group_and_keeps_the_old_one_for_new_files(tmp_path: Path) -> None:
    ended = done(tmp_path, "me", "me docker", "printf", "%s|", *WORDS)
    assert (ended.stdout, ended.stderr) == ("".join(f"{word}|" for word in WORDS), "")
    assert groups(tmp_path) == ["docker", "my group"]


def test_the_exit_status_is_the_commands(tmp_path: Path) -> None:
    assert done(tmp_path, "me", "me docker", "sh", "-c", "exit 7").returncode == 7


@pytest.mark.parametrize(
    ("session", "member", "more"),
    [
        ("me docker", "me docker", {}),
        ("me", "me", {}),
        ("me", "me docker-users", {}),
        ("me", "me docker", {"DOCKER_HOST": "unix:///run/user/1000/docker.sock"}),
    ],
)
def test_anybody_elses_command_is_run_as_it_is(tmp_path: Path, session: str, member: str, more: dict[str, str]) -> None:
    assert done(tmp_path, session, member, "printf", "%s|", *WORDS, **more).stdout == "".join(f"{w}|" for w in WORDS)
    assert groups(tmp_path) == []
