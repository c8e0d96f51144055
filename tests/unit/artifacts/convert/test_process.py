"""Children that never outlive us, and what this controller has left for them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import environment, process
from phi4_edge.artifacts.store import resources
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.sample import run_python


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def await_end(pid: int) -> bool:
    """Whether the process ends within ten seconds."""
    for _ in range(200):
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


def read_pid(path: Path) -> int:
    """The number in `path`, once it is there."""
    for _ in range(400):
        if path.is_file() and path.read_text().strip():
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written")


def test_the_last_lines_are_kept_and_made_harmless() -> None:
    script = "import sys; print('\\x1b[2Jevil'); [print('line', n) for n in range(40)]; sys.exit(7)"
    ended = process.run([sys.executable, "-c", script], process.environment())
    assert ended.status == 7
    assert len(ended.tail) == 25
    assert ended.tail[-1] == "line 39"
    ended = process.run([sys.executable, "-c", "print('\\x1b[2Jevil')"], process.environment())
    assert "\x1b" not in ended.last_words()


def test_invalid_utf8_and_silence_are_no_error() -> None:
    ended = process.run([sys.executable, "-c", "import os; os.write(1, b'\\xff\\xfe')"], process.environment())
    assert ended.status == 0
    assert process.run([sys.executable, "-c", ""], process.environment()).last_words() == "    (it said nothing)"


def test_a_line_that_was_taken_is_not_kept() -> None:
    seen: list[str] = []
    ended = process.run(
        [sys.executable, "-c", "print('a'); print('b')"],
        process.environment(),
        lambda line: bool(seen.append(line) or line == "a"),
    )
    assert (seen, ended.tail) == (["a", "b"], ("b",))


def test_a_child_sees_no_token_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    for seen in (process.environment(EXTRA="1"), process.fetching(EXTRA="1")):
        assert "secret" not in seen.values()
        assert seen["EXTRA"] == "1"
    assert seen["PIP_INDEX_URL"] == "https://index.example/simple"
    assert seen["https_proxy"] == "http://proxy.example:3128"
    assert not {"PIP_INDEX_URL", "https_proxy"} & process.environment().keys()


PARENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
from phi4_edge.artifacts.convert import process
child = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
process.run([sys.executable, "-c", child, sys.argv[1]], process.environment())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_child_ends_with_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    pid_file = tmp_path / "pid"
    with subprocess.Popen(run_python(PARENT, pid_file), stderr=subprocess.DEVNULL) as parent:
        child = read_pid(pid_file)
        assert alive(child)
        parent.send_signal(number)
        parent.wait(timeout=20)
    assert await_end(child)


def test_grandchildren_go_when_the_child_ends(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    grandchild = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    script = (
        "import os, subprocess, sys, time\n"
        "quiet = subprocess.DEVNULL\n"
        f"subprocess.Popen([sys.executable, '-c', {grandchild!r}], stdout=quiet, stderr=quiet)\n"
        f"while not os.path.exists({str(pid_file)!r}) or not open({str(pid_file)!r}).read(): time.sleep(0.05)\n"
    )
    assert process.run([sys.executable, "-c", script], process.environment()).status == 0
    assert await_end(read_pid(pid_file))


def machine(root: Path, available_kb: int, files: dict[str, str]) -> Path:
    """A file tree with what the kernel says."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {available_kb} kB\n")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


GIB = 1 << 30


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8 * GIB),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": str(4 * GIB),
                "sys/fs/cgroup/a/memory.current": str(GIB),
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/b/memory.current": "5\n",
            },
            3 * GIB,
        ),
        (
            {
                "proc/self/cgroup": "9:memory,x:/c\n3:cpu:/\n",
                "sys/fs/cgroup/memory/c/memory.limit_in_bytes": str(2 * GIB),
                "sys/fs/cgroup/memory/c/memory.usage_in_bytes": str(3 * GIB),
            },
            0,
        ),
        (
            {
                "proc/self/cgroup": "9:memory:/c\n",
                "sys/fs/cgroup/memory/c/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/c/memory.usage_in_bytes": "7",
            },
            8 * GIB,
        ),
        (  # a limit that is used up by files that were read and written: they give way
            {
                "proc/self/cgroup": "0::/a\n",
                "sys/fs/cgroup/a/memory.max": str(4 * GIB),
                "sys/fs/cgroup/a/memory.current": str(4 * GIB),
                "sys/fs/cgroup/a/memory.stat": f"anon {GIB}\ninactive_file {3 * GIB}\nactive_file 9\n",
            },
            3 * GIB,
        ),
        (
            {
                "proc/self/cgroup": "9:memory:/c\n",
                "sys/fs/cgroup/memory/c/memory.limit_in_bytes": str(4 * GIB),
                "sys/fs/cgroup/memory/c/memory.usage_in_bytes": str(4 * GIB),
                "sys/fs/cgroup/memory/c/memory.stat": f"inactive_file 5\ntotal_inactive_file {2 * GIB}\n",
            },
            2 * GIB,
        ),
    ],
)
def test_memory_is_what_the_kernel_and_every_cgroup_leave(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert resources.memory_available(machine(tmp_path, 8 << 20, files)) == expected


def test_a_kernel_that_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="MemAvailable"):
        resources.memory_available(tmp_path)


def test_disk_is_measured_where_the_folder_will_be(tmp_path: Path) -> None:
    assert resources.disk_free(tmp_path / "not" / "yet") == resources.disk_free(tmp_path)
    with pytest.raises(ArtifactError, match=r"needs .* GB of disk, .* has .* GB free"):
        resources.require_disk(tmp_path, 1 << 60, "this")


def test_a_controller_without_pip_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(environment, "base_python", lambda: str(fake))
    monkeypatch.setattr(process, "run", lambda command, env: process.Ended(1, ("No module named pip",)))
    with pytest.raises(ArtifactError, match=r"has pip, .*uv pip install pip"):
        environment.pip()


def test_the_lock_serves_every_python_we_run_on_and_holds_no_torch() -> None:
    text = environment.LOCK.read_text()
    assert "--hash=sha256:" in text
    names = {line.split("==")[0] for line in text.splitlines() if "==" in line and not line.startswith(" ")}
    assert {"onnxruntime-genai", "onnxruntime", "transformers", "onnx", "onnx-ir", "tokenizers"} <= names
    assert not any(name.startswith(("torch", "nvidia")) for name in names)
    assert "index-url" not in text
    assert "python_full_version < '3.12'" in text
