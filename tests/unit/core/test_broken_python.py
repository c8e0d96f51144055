"""What a Python that does not run says, and what is said of it. The words are those of shells, loaders and CPython."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from phi4_edge.core.broken_python import INSTALL, LIST, absent, beside, fault

_PATHS = "Python path configuration:\n  PYTHONHOME = '/opt/py'\n  program name = 'python3'\n"
_ENCODINGS = (
    "Fatal Python error: init_fs_encoding: failed to get the Python codec of the filesystem encoding\n"
    "Python runtime state: core initialized\nModuleNotFoundError: No module named 'encodings'\n\n"
    "Current thread 0x0000007f8a1c3040 (most recent call first):\n  <no Python frame>\n"
)


def traceback(last: str) -> str:
    return f'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\n{last}\n'


# (interpreter of the inventory, exit status, what came instead): what must be found, and what must be the next step.
FAULTS = {
    "libpython gone": (
        ("", 127, "/usr/bin/python3: error while loading shared libraries: libpython3.9.so.1.0: cannot open shared "
                  "object file: No such file or directory"),
        ("without the library libpython3.9.so.1.0, which is missing", "install python3 again"),
    ),
    "libexpat gone, musl": (
        ("", 127, "Error loading shared library libexpat.so.1: No such file or directory (needed by /usr/bin/python3)"),
        ("without the library libexpat.so.1", "install python3 again"),
    ),
    "glibc older than it": (
        ("/opt/py/bin/python3", 1, "/opt/py/bin/python3: /lib/aarch64-linux-gnu/libc.so.6: version `GLIBC_2.34' not "
                                   "found (required by /opt/py/bin/python3)"),
        ("newer libraries than the host has (GLIBC_2.34)", "ls /usr/bin/python3*"),
    ),
    "symbol gone, musl": (
        ("", 127, "Error relocating /usr/lib/libpython3.12.so.1.0: XML_SetReparseDeferralEnabled: symbol not found"),
        ("newer libraries", "install python3 again"),
    ),
    "PYTHONHOME": (("", 1, _PATHS + _ENCODINGS), ("does not find its own standard library", "unset PYTHONHOME")),
    "encodings, 3.7": (
        ("", 134, "Fatal Python error: initfsencoding: unable to load the file system codec\nModuleNotFoundError: No "
                  "module named 'encodings'\n\nCurrent thread 0x00007f (most recent call first):\nAborted"),
        ("does not find its own standard library", "PYTHONHOME"),
    ),
    "encodings, 3.14": (
        ("", 1, "Fatal Python error: Failed to import encodings module\nPython runtime state: core initialized\n"),
        ("does not find its own standard library", "PYTHONHOME"),
    ),
    "json": (("", 1, "3 11\n" + traceback("ModuleNotFoundError: No module named 'json'")),
             ("python3 lacks the module json", "not python3-minimal")),
    "zlib, compiled there": (
        ("/usr/local/bin/python3.11", 1, "3 11\n" + traceback("ModuleNotFoundError: No module named 'zlib'")),
        ("/usr/local/bin/python3.11 lacks the module zlib", "zlib1g-dev"),
    ),
    "ssl, compiled there": (("", 1, traceback("ModuleNotFoundError: No module named '_ssl'")),
                            ("lacks the module _ssl", "libssl-dev")),
    "ctypes of a package": (("", 1, traceback("ModuleNotFoundError: No module named 'ctypes.util'")),
                            ("lacks the module ctypes", "libffi-dev")),
    "a module's library": (
        ("", 1, traceback("ImportError: libssl.so.1.1: cannot open shared object file: No such file or directory")),
        ("cannot load a module of its standard library (libssl.so.1.1", "install python3 again"),
    ),
    "SIGILL, by its status": (("", 132, ""), ("ended by SIGILL", "built for another CPU")),
    "SIGILL, Raspberry Pi through a terminal": (("", None, "Illegal instruction\r\n"), ("SIGILL", "another CPU")),
    "SIGSEGV, by its status": (("", 139, "Segmentation fault (core dumped)\n"), ("ended by SIGSEGV", "dmesg | tail")),
    "SIGSEGV, of a child": (("", -11, ""), ("ended by SIGSEGV", "install python3 again")),
    "SIGBUS": (("", 135, "bash: line 1:  4711 Bus error               /usr/bin/python3 -c 1"),
               ("ended by SIGBUS", "disk or memory may be failing")),
    "SIGKILL": (("", 137, "Killed"), ("ended by SIGKILL", "out of memory")),
    "another machine's, dash": (("/opt/py/bin/python3", 126, "sh: 1: /opt/py/bin/python3: Exec format error"),
                                ("no program for this machine", "set ansible_python_interpreter")),
    "another machine's, bash": (
        ("", 126, "bash: line 1: /usr/bin/python3: cannot execute binary file: Exec format error"),
        ("no program for this machine", "install python3 again"),
    ),
    "a folder, dash": (("/usr/lib/python3", 126, "sh: 1: /usr/lib/python3: Permission denied"),
                       ("nothing that this user may run (permission denied)", "not its folder")),
    "a folder, bash": (("/usr/lib/python3/", 126, "bash: line 1: /usr/lib/python3/: Is a directory"),
                       ("nothing that this user may run (is a directory)", "not its folder")),
    "a script of a venv that was moved": (
        ("/srv/venv/bin/python3", 126, "bash: /srv/venv/bin/python3: /old/bin/python3: bad interpreter: No such "
                                       "file or directory"),
        ("an interpreter that is gone", "another one"),
    ),
    "pyenv": (("", 127, "pyenv: python3: command not found\n\nThe `python3' command exists in these Python versions:"),
              ("stand-in of pyenv", "ansible_python_interpreter=/usr/bin/python3")),
    "asdf": (("", 126, "No version is set for command python3\nasdf: No version is set for command python3"),
             ("stand-in of asdf", "ansible_python_interpreter=/usr/bin/python3")),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_python_that_does_not_run_is_told_by_its_own_words(name: str) -> None:
    given, (found, step) = FAULTS[name]
    told = fault(*given)
    assert told is not None
    assert found in told.found
    assert step in told.step


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (0, "3 13\n"),
        (1, "This account is currently not available.\n"),
        (127, "sh: 1: python3: not found"),
        (1, "sudo: a password is required"),
        (255, "Connection closed by 192.0.2.7 port 22"),
        (1, "the process was killed by its owner, who says so"),
    ],
)
def test_other_words_are_no_fault_of_python(status: int, said: str) -> None:
    assert fault("", status, said) is None


def test_what_a_host_says_is_bounded_and_printable() -> None:
    told = fault("/usr/bin/\x1b[2Jpython3", 127, "error while loading shared libraries: " + "x" * 5000 + ": gone")
    assert told is not None
    assert told.found.isprintable()
    assert len(told.found) < 300


ABSENT = {
    "nothing": ("", "", "there is no python3", INSTALL),
    "another version": ("", "/usr/bin/python3.11\n", "there is no python3", "interpreter=/usr/bin/python3.11"),
    "only old ones": ("", "/usr/bin/python3.6\n/usr/bin/python3.7\n", "there is no python3", INSTALL),
    "alternatives to a removed version": (
        "",
        "dangling /usr/bin/python3 /etc/alternatives/python3\ndangling /etc/alternatives/python3 /usr/bin/python3.8\n",
        "/usr/bin/python3 is a link to /etc/alternatives/python3, which leads nowhere", "update-alternatives --config",
    ),
    "alternatives, with another one there": (
        "", "dangling /usr/bin/python3 python3.9\n/usr/bin/python3.9-config\n/usr/bin/python3.11\n",
        "a link to python3.9, which leads nowhere", "interpreter=/usr/bin/python3.11, which is there; or point it",
    ),
    "a wrong interpreter": ("/usr/bin/python3.12", "", "names /usr/bin/python3.12, which is not there", "or remove it"),
    "a wrong interpreter, another there": (
        "/opt/python/bin/python3", "/usr/bin/python3.13\n", "names /opt/python/bin/python3, which",
        "interpreter=/usr/bin/python3.13, which is there, or remove it",
    ),
    "lies": (
        "", "dangling $(reboot) /x\n/usr/bin/python3.11; reboot\n/../../etc\n" * 100, "there is no python3", INSTALL,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ABSENT)
def test_where_there_is_none_what_is_there_instead_is_named(name: str) -> None:
    named, listed, found, step = ABSENT[name]
    told = absent(named, listed)
    assert found in told.found
    assert step in told.step


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_list_is_one_that_a_shell_makes(tmp_path: Path, shell: str) -> None:
    usr, etc = tmp_path / "usr/bin", tmp_path / "etc/alternatives"
    usr.mkdir(parents=True)
    etc.mkdir(parents=True)
    (usr / "python3").symlink_to(etc / "python3")
    (etc / "python3").symlink_to(usr / "python3.8")
    (usr / "python3.11").symlink_to(sys.executable)
    here = LIST.replace(" /usr/", f" {tmp_path}/usr/").replace(" /etc/", f" {tmp_path}/etc/")
    done = subprocess.run([shell, "-c", here], capture_output=True, text=True, env=dict(os.environ), check=True)
    told = beside(done.stdout)
    assert told.dangling == f"{usr}/python3 is a link to {etc}/python3, which leads nowhere"
    assert f"{usr}/python3.11" in told.others


@pytest.mark.parametrize("home", ["/nonexistent", "/tmp"])
def test_a_real_python_without_its_library_is_known(home: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "1"], env={"PYTHONHOME": home}, capture_output=True, text=True, check=False
    )
    told = fault("", done.returncode, done.stderr)
    assert told is not None
    assert "standard library" in told.found
