"""Nothing of a run is left, and nothing of anybody else is touched: local users may name things as we do."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.errors import RunnerError
from phi4_edge.runner import private
from phi4_edge.runner.private import private_directory

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is shared by all users as /dev/shm is, in place of it."""
    folder = Path(tempfile.mkdtemp(prefix="phi4-edge-test-", dir="/dev/shm"))  # other users may go in there
    folder.chmod(0o1777)
    monkeypatch.setattr(private, "_memory", lambda: iter([folder]))
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def as_nobody(script: str) -> None:
    """Run Python as another user."""
    become = f"import os; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    argv = [sys.executable, "-I", "-S", "-c", f"{become}\n{script}"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_private_directory_is_private_and_gone_afterwards() -> None:
    with private_directory({"env/settings": "{}", "become_password": "c4nary"}) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((path / "become_password").stat().st_mode) == 0o600
        assert (path / "env" / "settings").read_text() == "{}"
    assert not path.exists()


def test_a_directory_of_a_killed_run_is_swept_and_that_of_a_living_one_is_not(memory: Path) -> None:
    left = Path(tempfile.mkdtemp(prefix=f"phi4-edge-run-{os.getpid()}-", dir=memory))  # its number was given again
    (left / "become_password").write_text("c4nary")
    with private_directory({"a": "b"}) as living:
        assert not left.exists()
        with private_directory({}):
            assert (living / "a").read_text() == "b"


def a_name(memory: Path) -> Path:
    return memory / "phi4-edge-run-99999999-abcdefgh"


def dangling(memory: Path) -> Path:
    a_name(memory).symlink_to("/nonexistent")
    return a_name(memory)


def link_to_a_directory(memory: Path) -> Path:
    inside = memory / "kept"
    inside.mkdir(mode=0o700)
    (inside / "file").write_text("x")
    a_name(memory).symlink_to(inside)
    return inside / "file"


def plain_file(memory: Path) -> Path:
    a_name(memory).write_text("x")
    return a_name(memory)


def fifo(memory: Path) -> Path:
    os.mkfifo(a_name(memory), 0o700)
    return a_name(memory)


def open_to_others(memory: Path) -> Path:
    a_name(memory).mkdir(mode=0o755)
    return a_name(memory)


def named(name: str) -> Callable[[Path], Path]:
    def make(memory: Path) -> Path:
        (memory / name).mkdir(mode=0o700)
        return memory / name

    return make


def of_nobody(memory: Path) -> Path:
    as_nobody(f"os.mkdir({str(a_name(memory))!r}, 0o700)")
    return a_name(memory)


def link_of_nobody(memory: Path) -> Path:
    as_nobody(f"os.symlink('/root', {str(a_name(memory))!r})")
    return a_name(memory)


FOREIGN: dict[str, Callable[[Path], Path]] = {
    "dangling link": dangling,
    "link to a directory of ours": link_to_a_directory,
    "plain file": plain_file,
    "fifo": fifo,
    "open to others": open_to_others,
    "superscript digit": named("phi4-edge-run-²-abcdefgh"),
    "number without end": named("phi4-edge-run-" + "9" * 200 + "-abcdefgh"),
    "no number": named("phi4-edge-run--abcdefgh"),
    "longer name": named("phi4-edge-run-1-abcdefgh.keep"),
    "prefix only": named("phi4-edge-run-1"),
    "line feed": named("phi4-edge-run-1-abcdefgh\n"),
    "undecodable": named("phi4-edge-run-1-abcdefg\udcff"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_whatever_has_such_a_name_and_is_not_ours_stays_and_stops_nobody(memory: Path, kind: str) -> None:
    kept = FOREIGN[kind](memory)
    with private_directory({}):
        pass
    assert os.path.lexists(kept)


@needs_root
@pytest.mark.parametrize("make", [of_nobody, link_of_nobody])
def test_things_of_another_user_stay_and_stop_nobody(memory: Path, make: Callable[[Path], Path]) -> None:
    kept = make(memory)
    with private_directory({}):
        pass
    assert os.path.lexists(kept)


@pytest.mark.parametrize(("owner", "look"), [(Path, "lstat"), (os, "open")])
def test_a_directory_that_vanishes_while_it_is_looked_at_is_no_error(
    memory: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, look: str
) -> None:
    left, real = Path(tempfile.mkdtemp(prefix="phi4-edge-run-7-", dir=memory)), getattr(owner, look)
    happened: list[Path] = []

    def looking(path: Path, *rest: Any, **more: Any) -> Any:
        if path == left and not happened:
            happened.append(path)
            left.rmdir()
        return real(path, *rest, **more)

    monkeypatch.setattr(owner, look, looking)
    with private_directory({}):
        pass
    assert happened == [left]


def test_a_place_where_others_may_replace_what_we_make_is_not_used(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.chmod(0o777)
    with private_directory({}) as path:
        assert path.parent != memory
    monkeypatch.setattr(tempfile, "tempdir", str(memory))
    told = r"others may rename what is made in .*name one in TMPDIR"
    with pytest.raises(RunnerError, match=told), private_directory({}):
        pass


@needs_root
def test_a_place_of_another_user_is_not_used(memory: Path) -> None:
    os.chown(memory, NOBODY, NOBODY)
    with private_directory({}) as path:
        assert path.parent != memory


def test_no_place_at_all_is_told(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "_memory", lambda: iter([]))
    monkeypatch.setattr(tempfile, "tempdir", str(memory / "gone"))
    with pytest.raises(RunnerError, match="found no place for the private files of a run"), private_directory({}):
        pass


def test_a_new_directory_that_is_swept_before_it_is_locked_is_made_again(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, swept = os.open, []

    def sweeping(path: Path, *rest: int, **more: int) -> int:
        if not swept and isinstance(path, Path) and path.parent == memory:
            swept.append(path)
            handle = real(path, *rest, **more)
            path.rmdir()
            return handle
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", sweeping)
    with private_directory({"a": "b"}) as path:
        assert path not in swept
        assert (path / "a").read_text() == "b"


def test_a_run_of_a_version_without_locks_is_left_alone_while_it_lives(tmp_path: Path) -> None:
    """After an upgrade the version before may still be at work."""
    with subprocess.Popen(["sleep", "60"]) as process:
        path = tmp_path / f"phi4-edge-run-{process.pid}-abcdefgh"
        path.mkdir(mode=0o700)
        private._sweep(tmp_path)
        assert path.is_dir()
        process.kill()
    private._sweep(tmp_path)
    assert not path.exists()


def test_a_folder_of_a_run_that_cannot_be_made_is_told_with_what_helps(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunnerError, match="no place for the private files"), private.subdirectory(tmp_path / "run", {}):
        pass
