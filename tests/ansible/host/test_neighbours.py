"""Users of a gateway who are not root: what they put where our files belong is not believed and not followed."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ansible.host_scripts import hostlib, hostrun, load
from tests.ansible.plays import ROOT

sys.path.insert(0, str(ROOT / "roles" / "health" / "files"))
gate = load("health", "gate")
private, journal = sys.modules["hostprivate"], sys.modules["hostjournal"]
lock, lockstate = sys.modules["hostlock"], sys.modules["hostlockstate"]
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A /run where everybody may make files, which is worse than any real one."""
    folder = Path(tempfile.mkdtemp(prefix="phi4-edge-test-"))
    folder.chmod(0o1777)
    monkeypatch.setattr(hostrun, "LOCK", str(folder / "lock"))
    monkeypatch.setattr(lock, "GUARD", str(folder / "guard"))
    monkeypatch.setattr(lock, "BEAT", str(folder / "beat"))
    monkeypatch.setattr(journal, "HOOK", str(folder / "hook"))
    monkeypatch.setattr(gate, "PASSED", str(folder / "passed"))
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def as_nobody(script: str) -> str:
    """What Python prints as another user; an error of it is printed too."""
    become = f"import os; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    argv = [sys.executable, "-I", "-S", "-c", f"{become}\n{script}"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    return done.stdout + done.stderr


STRANGE: dict[str, Callable[[Path], object]] = {
    "a file of another user": lambda path: as_nobody(f"open({str(path)!r}, 'w').write('{{}}')"),
    "a link of another user": lambda path: as_nobody(f"os.symlink('/etc/passwd', {str(path)!r})"),
    "a link to nowhere": lambda path: path.symlink_to(path.parent / "elsewhere"),
    "a second name of another file": lambda path: (
        (path.parent / "first").write_text("x"),
        os.link(path.parent / "first", path),
    ),
    "a FIFO": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
}


@needs_root
@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("which", ["lock", "guard"])
def test_a_lock_that_others_made_is_none(run: Path, name: str, which: str) -> None:
    STRANGE[name](run / which)
    taken = hostrun.alone(0.1) if which == "lock" else lock.guard()
    with pytest.raises(hostlib.HostError, match="is not a file of uid 0 alone: move it away"), taken:
        pass
    assert not (run / "elsewhere").exists()


@needs_root
def test_a_lock_that_others_could_open_is_closed_to_them(run: Path) -> None:
    (run / "lock").write_text("")
    (run / "lock").chmod(0o666)
    with hostrun.alone(1.0):
        assert "Permission" in as_nobody(f"open({str(run / 'lock')!r})")


@needs_root
def test_another_user_cannot_keep_us_out(run: Path) -> None:
    with hostrun.alone(1.0):
        pass
    held = as_nobody(f"import fcntl; fcntl.flock(open({str(run / 'lock')!r}), fcntl.LOCK_EX); print('held')")
    assert "held" not in held


@needs_root
@pytest.mark.parametrize("name", [*STRANGE, "written by all"])
def test_a_hook_and_a_note_of_the_gate_that_others_could_write_are_none(run: Path, name: str) -> None:
    for path, text in ((run / "hook", '{"at": "switch:before"}'), (run / "passed", '{"release": "r-1"}')):
        if name == "written by all":
            path.write_text(text)
            path.chmod(0o646)
        elif name == "a file of another user":
            as_nobody(f"open({str(path)!r}, 'w').write({text!r})")
        elif name != "a second name of another file":
            STRANGE[name](path)
    assert journal.hooked() == {}
    assert gate.passed("r-1") == {}


@needs_root
def test_what_root_wrote_is_believed(run: Path) -> None:
    (run / "hook").write_text('{"at": "switch:before"}')
    hostlib.write_json(str(run / "passed"), {"release": "r-1", "NRestarts": "0"}, 0o600)
    assert journal.hooked() == {"at": "switch:before"}
    assert gate.passed("r-1")["NRestarts"] == "0"


@needs_root
def test_the_sign_that_a_hook_was_reached_goes_through_no_link(run: Path) -> None:
    (run / "hook").write_text(json.dumps({"at": "switch:before", "do": "wait"}))
    kept = run / "kept"
    kept.write_text("kept")
    (run / "hook.reached").symlink_to(kept)
    journal.HOOK_SECONDS, before = 0.0, journal.HOOK_SECONDS
    try:
        journal.boundary("switch", "before")
    finally:
        journal.HOOK_SECONDS = before
    assert kept.read_text() == "kept"
    assert (run / "hook.reached").read_text() == "switch:before\n"


@needs_root
@pytest.mark.parametrize("name", [name for name in STRANGE if name != "a second name of another file"])
def test_a_heartbeat_and_a_lock_of_another_user_say_nothing(run: Path, name: str) -> None:
    STRANGE[name](run / "beat")
    assert lockstate.lock_read(str(run / "beat")) == {}
    forged = {"id": "theirs", "user": "root", "at": lockstate.lock_now(), "boot_id": lockstate.lock_boot()}
    as_nobody(f"open({str(run / 'their-lock')!r}, 'w').write({json.dumps(forged)!r})")
    assert lockstate.lock_read(str(run / "their-lock")) == {}


@needs_root
def test_what_arrives_is_root_s_alone(run: Path) -> None:
    staging = run / "staging"
    hostlib.own_directory(str(staging), 0o700)
    (staging / "weights").write_text("secret")
    assert "Permission" in as_nobody(f"os.listdir({str(staging)!r})")
    assert "Permission" in as_nobody(f"open({str(staging / 'weights')!r})")


@needs_root
@pytest.mark.parametrize("name", ["a file of another user", "a link of another user", "a link to nowhere", "theirs"])
def test_a_staging_directory_that_others_made_is_refused(run: Path, name: str) -> None:
    staging = run / "staging"
    if name == "theirs":
        as_nobody(f"os.mkdir({str(staging)!r}, 0o777)")
    else:
        STRANGE[name](staging)
    with pytest.raises(hostlib.HostError, match="is not a directory owned by uid 0"):
        hostlib.own_directory(str(staging), 0o700)


def test_locks_of_ours_exclude_each_other(run: Path) -> None:
    first = private.lock_file(str(run / "own"))
    second = private.lock_file(str(run / "own"))
    fcntl.flock(first, fcntl.LOCK_EX)
    assert not hostrun.locked(second)
    os.close(first)
    assert hostrun.locked(second)
    os.close(second)
