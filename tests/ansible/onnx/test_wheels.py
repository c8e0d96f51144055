"""The host runs nothing of a wheelhouse, and unpacks no wheel that the lock of the installation does not name."""

from __future__ import annotations

import ensurepip
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ansible.host_scripts import engine, hostlib

PIP = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
SAMPLE = "sample-1.0-py3-none-any.whl"
RECORD = "sample-1.0.dist-info/RECORD,,\n"


def archive(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        for name, text in files.items():
            zipped.writestr(zipfile.ZipInfo(name), text)
    return packed.getvalue()


def sample(text: str) -> bytes:
    """A wheel with one module."""
    return archive({
        "sample.py": text,
        "sample-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n",
        "sample-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "sample-1.0.dist-info/RECORD": "sample.py,,\n" + RECORD,
    })  # fmt: skip


class Bench:
    """A wheelhouse as the controller pushed it, the lock of its installation, and an empty environment."""

    def __init__(self, folder: Path) -> None:
        self.wheels, self.root, self.canary = folder / "wheels", folder / "engine.new", folder / "executed"
        self.wheels.mkdir()
        (self.wheels / SAMPLE).write_bytes(sample("VALUE = 1\n"))
        (self.wheels / PIP.name).write_bytes(PIP.read_bytes())
        version = PIP.name.split("-")[1]
        lines = [self.line("sample", "1.0", SAMPLE), self.line("pip", version, PIP.name)]
        self.lock = "".join(lines)
        (self.wheels / "requirements.txt").write_text(self.lock)

    def line(self, name: str, version: str, file: str) -> str:
        found = hashlib.sha256((self.wheels / file).read_bytes()).hexdigest()
        return f"{name}=={version} \\\n    --hash=sha256:{found} \\\n    --hash=sha256:{'0' * 64}\n"

    def evil(self) -> str:
        """A program that leaves a trace when it is run."""
        return f"open({str(self.canary)!r}, 'w').write('run')\nraise SystemExit(1)\n"

    def evil_pip(self) -> bytes:
        return archive({"pip/__main__.py": self.evil(), "pip/__init__.py": ""})

    def install(self) -> None:
        engine.install_wheels(str(self.root), str(self.wheels), self.lock)

    def replaced(self, files: dict[str, str]) -> None:
        """The sample is another wheel, which the lock names."""
        before = self.line("sample", "1.0", SAMPLE)
        (self.wheels / SAMPLE).write_bytes(archive(files))
        self.lock = self.lock.replace(before, self.line("sample", "1.0", SAMPLE))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_locked_wheels_are_unpacked(bench: Bench) -> None:
    # What lies beside the wheels is not what is installed: the text of the lock came with the request.
    (bench.wheels / "requirements.txt").write_text("evil==1.0\n--index-url https://example.invalid/\n")
    bench.install()
    assert (bench.root / "sample.py").read_text() == "VALUE = 1\n"
    assert sorted(path.name for path in bench.root.iterdir()) == ["sample-1.0.dist-info", "sample.py"]  # and no pip


def test_a_wheel_is_unpacked_as_pip_would(bench: Bench, tmp_path: Path) -> None:
    bench.replaced({
        "sample.py": "VALUE = 2\n", "sample/deep/er.py": "", "sample-1.0.data/platlib/sample/fast.so": "binary",
        "sample-1.0.data/purelib/pure.py": "", "sample-1.0.dist-info/RECORD": RECORD,
        "sample-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n",
        "sample-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    })  # fmt: skip
    bench.install()
    theirs = tmp_path / "theirs"
    pip = [sys.executable, "-I", str(PIP / "pip"), "--isolated", "--disable-pip-version-check"]
    install = ["install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--root-user-action=ignore"]
    subprocess.run([*pip, *install, "--target", str(theirs), str(bench.wheels / SAMPLE)], check=True, timeout=120)
    notes = {"INSTALLER", "REQUESTED", "direct_url.json", "RECORD"}  # of pip about itself; it completes the record
    assert tree(bench.root, notes) == tree(theirs, notes)


def tree(root: Path, without: set[str]) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and path.name not in without)
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_programs_headers_and_manuals_of_a_wheel_are_left_out(bench: Bench) -> None:
    left = ("scripts/run", "headers/sample.h", "data/share/man/sample.1")
    bench.replaced({"sample.py": "", **{f"sample-1.0.data/{name}": bench.evil() for name in left}})
    bench.install()
    assert [path.name for path in bench.root.rglob("*")] == ["sample.py"]


@pytest.mark.parametrize(
    "name", ["../outside.py", "/etc/outside.py", "a/../../outside.py", "x.data/purelib/../../up.py"]
)
def test_a_wheel_stays_in_its_place(bench: Bench, name: str) -> None:
    bench.replaced({"sample.py": "", name: bench.evil()})
    with pytest.raises(hostlib.HostError, match="not a plain path"):
        bench.install()
    assert not list(bench.root.parent.rglob("outside.py")) + list(bench.root.parent.rglob("up.py"))


def test_a_damaged_wheel_is_named(bench: Bench) -> None:
    before = bench.line("sample", "1.0", SAMPLE)
    (bench.wheels / SAMPLE).write_bytes(b"no archive")
    bench.lock = bench.lock.replace(before, bench.line("sample", "1.0", SAMPLE))
    with pytest.raises(hostlib.HostError, match=r"sample-1\.0.*cannot be unpacked"):
        bench.install()


def other_pip(bench: Bench) -> None:
    (bench.wheels / PIP.name).write_bytes(bench.evil_pip())


def folder_for_pip(bench: Bench) -> None:
    (bench.wheels / PIP.name).unlink()
    (bench.wheels / PIP.name / "pip").mkdir(parents=True)
    (bench.wheels / PIP.name / "pip" / "__main__.py").write_text(bench.evil())


def link_for_pip(bench: Bench) -> None:
    outside = bench.wheels.parent / "outside.whl"
    outside.write_bytes(PIP.read_bytes())
    (bench.wheels / PIP.name).unlink()
    (bench.wheels / PIP.name).symlink_to(outside)


def pipe_for_pip(bench: Bench) -> None:
    (bench.wheels / PIP.name).unlink()
    os.mkfifo(bench.wheels / PIP.name)


def two_pips(bench: Bench) -> None:
    (bench.wheels / PIP.name.replace("-py3-", "-1-py3-")).write_bytes(bench.evil_pip())


def pip_of_another_version(bench: Bench) -> None:
    (bench.wheels / "pip-0.1-py3-none-any.whl").write_bytes(bench.evil_pip())


def no_pip(bench: Bench) -> None:
    (bench.wheels / PIP.name).unlink()


def other_wheel(bench: Bench) -> None:
    (bench.wheels / SAMPLE).write_bytes(sample(bench.evil()))


def wheel_of_a_sibling(bench: Bench) -> None:
    """The bytes of another wheel of the lock, under this name."""
    (bench.wheels / SAMPLE).write_bytes(PIP.read_bytes())


def wheel_beside(bench: Bench) -> None:
    (bench.wheels / "extra-1.0-py3-none-any.whl").write_bytes(sample(bench.evil()))


def newer_wheel(bench: Bench) -> None:
    (bench.wheels / "sample-1.1-py3-none-any.whl").write_bytes(sample(bench.evil()))


def source_package(bench: Bench) -> None:
    (bench.wheels / "sample-1.0.tar.gz").write_bytes(b"source")


def hidden_settings(bench: Bench) -> None:
    (bench.wheels / "pip.conf").write_text("[global]\nindex-url = https://example.invalid/\n")


def missing_wheel(bench: Bench) -> None:
    (bench.wheels / SAMPLE).unlink()


HOSTILE = (
    other_pip, folder_for_pip, link_for_pip, pipe_for_pip, two_pips, pip_of_another_version, no_pip, other_wheel,
    wheel_of_a_sibling, wheel_beside, newer_wheel, source_package, hidden_settings, missing_wheel,
)  # fmt: skip


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_nothing_of_another_wheelhouse_is_run(bench: Bench, change: Callable[[Bench], None]) -> None:
    change(bench)
    with pytest.raises(hostlib.HostError, match=r"refusing .*Nothing of it was run|found no wheel of"):
        bench.install()
    assert not bench.canary.exists()
    assert not bench.root.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "sample==1.0\n",
        "--index-url https://example.invalid/\n",
        "sample @ file:///tmp/x.whl\n",
        "-r other\n",
    ],
)
def test_a_lock_without_hashes_installs_nothing(bench: Bench, text: str) -> None:
    bench.lock = text
    with pytest.raises(hostlib.HostError, match=r"not a requirement with hashes|names no wheel"):
        bench.install()
