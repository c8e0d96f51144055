"""What is wrong with a Python that does not run, by how it ended and what it, or the shell, said instead. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from phi4_edge.core.text import clean

OLDEST = "Python 3.8 or newer"
# Where nothing is known but that there is none.
INSTALL = "install python3 there, or set ansible_python_interpreter to where one is"
_ELSEWHERE = "or set ansible_python_interpreter to another one: ls /usr/bin/python3*"
_REINSTALL = f"install python3 again from the distribution's own packages, {_ELSEWHERE}"
NOT_FOUND = 127  # what a shell answers for a program that is not there
# What ended it, by the number that a shell adds to 128, and in a shell's own words.
_SIGNALS = {
    4: ("SIGILL", "illegal instruction"),
    6: ("SIGABRT", "aborted"),
    7: ("SIGBUS", "bus error"),
    9: ("SIGKILL", "killed"),
    11: ("SIGSEGV", "segmentation fault"),
}
_SIGNAL_STEPS = {
    "SIGILL": f"it was built for another CPU than this one: {_REINSTALL}",
    "SIGKILL": "something ended it, as the kernel does where memory is short: sudo dmesg | grep -i 'out of memory'",
}
_CRASH_STEP = f"{_REINSTALL}; if it crashes still, its disk or memory may be failing: sudo dmesg | tail"
# The development package of Debian that a module needs when Python is compiled by hand.
_HEADERS = {
    "_ssl": "libssl-dev", "ssl": "libssl-dev", "zlib": "zlib1g-dev", "_ctypes": "libffi-dev", "ctypes": "libffi-dev",
    "_bz2": "libbz2-dev", "_lzma": "liblzma-dev", "_hashlib": "libssl-dev",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """`found` is what is the matter, as in "found that …"; `step` what to do about it."""

    found: str
    step: str


def fault(named: str, status: int | None, said: str) -> Fault | None:
    """Why a Python that is there did not run; None where this is no word of that.

    `named` is ansible_python_interpreter, "" where it is not set. `status` is how it ended (None: unknown), `said` all
    that came instead of an answer.
    """
    python = clean(named, 100) or "python3"
    for shape, make in _SHAPES:
        if found := re.search(shape, said, re.IGNORECASE):
            return make(python, found)
    if signal := _ended_by(status, said):
        return Fault(f"{python} is ended by {signal} when it starts", _SIGNAL_STEPS.get(signal, _CRASH_STEP))
    return None


def _ended_by(status: int | None, said: str) -> str:
    """The signal that ended it, "" for none. A status of 137 and the like may be a program's own: only known ones."""
    last = (said.strip().splitlines() or [""])[-1].lower()
    for number, (name, words) in _SIGNALS.items():
        if status in (128 + number, -number) or re.search(rf"(?:^|[:\s]){words}(?: \(core dumped\))?\W*$", last):
            return name
    return ""


def _library(python: str, found: re.Match[str]) -> Fault:
    return Fault(f"{python} cannot start without the library {clean(found[1], 80)}, which is missing", _REINSTALL)


def _symbol(python: str, found: re.Match[str]) -> Fault:
    return Fault(f"{python} was built for newer libraries than the host has ({clean(found[1], 80)})", _REINSTALL)


def _no_library_of_its_own(python: str, _found: re.Match[str]) -> Fault:
    return Fault(
        f"{python} cannot start, for it does not find its own standard library",
        f"unset PYTHONHOME where the login or sudo sets it; else {_REINSTALL}",
    )


def _module(python: str, found: re.Match[str]) -> Fault:
    name = clean(found[1].split(".")[0], 40)
    headers = _HEADERS.get(name)
    compiled = f"; one that was compiled there needs {headers}, and to be compiled again" if headers else ""
    return Fault(
        f"{python} lacks the module {name} of its standard library",
        "install all of python3 (on Debian python3, not python3-minimal; on OpenWrt python3, not python3-light)"
        + compiled,
    )


def _unloadable(python: str, found: re.Match[str]) -> Fault:
    return Fault(f"{python} cannot load a module of its standard library ({clean(found[1], 120)})", _REINSTALL)


def _other_machine(python: str, _found: re.Match[str]) -> Fault:
    return Fault(f"{python} is no program for this machine (exec format error)", _REINSTALL)


def _not_allowed(python: str, found: re.Match[str]) -> Fault:
    return Fault(
        f"{python} is nothing that this user may run ({clean(found[1], 40).lower()})",
        "set ansible_python_interpreter to the program itself (not its folder), or give it back its mode: chmod 755",
    )


def _manager(python: str, found: re.Match[str]) -> Fault:
    return Fault(
        f"{python} is a stand-in of {clean(found[1], 20)} without a version behind it",
        "set ansible_python_interpreter=/usr/bin/python3, or give it one there",
    )


def _bad_script(python: str, found: re.Match[str]) -> Fault:
    return Fault(f"{python} is a script of an interpreter that is gone ({clean(found[1], 80)})", _REINSTALL)


_SHAPES: tuple[tuple[str, Callable[[str, re.Match[str]], Fault]], ...] = (
    (r"(?:No module named '?encodings|init_?fs_?encoding|Failed to import encodings|unable to (?:load|get) the \w*\s?"
     r"file ?system (?:codec|encoding)|codec of the filesystem encoding)", _no_library_of_its_own),
    (r"error (?:while )?loading shared librar(?:ies|y):? ([^\s:]+)", _library),
    (r"version `?'?(\w+_[\d.]+)'? not found \(required by", _symbol),
    (r"Error relocating [^\n]*?: (\w+): symbol not found", _symbol),
    (r"(?:ModuleNotFoundError|ImportError): No module named '?([\w.]+)'?", _module),
    (r"ImportError: ([^\n]+)", _unloadable),
    (r"(exec format error|cannot execute binary file)", _other_machine),
    (r"(?:bad interpreter: |cannot execute: )(required file not found|[^\n:]*no such file[^\n]*)", _bad_script),
    (r"python[^\s:]*/?: (permission denied|is a directory)", _not_allowed),
    (r"\b(pyenv|asdf|mise)\b[^\n]*(?:command not found|not installed|No version is set|no versions? (?:is )?set)",
     _manager),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Beside:
    """What lies where Pythons do: a link that leads nowhere ("" without one), and those that are new enough."""

    dangling: str
    others: tuple[str, ...]


def beside(listed: str) -> Beside:
    """What the host's list of its Pythons says, as `LIST` makes it. What is no plain path counts as nothing."""
    dangling, others = "", []
    for line in listed.splitlines()[:40]:
        if link := re.fullmatch(r"dangling (/[\w./+-]{1,100}) (/?[\w./+-]{1,100})", line.strip()):
            dangling = dangling or f"{link[1]} is a link to {link[2]}, which leads nowhere"
        elif (path := re.fullmatch(r"(/[\w./+-]{1,100}/python3\.(\d{1,2}))", line.strip())) and int(path[2]) >= 8:
            others.append(path[1])
    return Beside(dangling, tuple(dict.fromkeys(others)))


def absent(named: str, listed: str) -> Fault:
    """Where there is no such Python: what is there in its place, of what `LIST` told."""
    seen = beside(listed)
    step = f"set ansible_python_interpreter={seen.others[0]}, which is there" if seen.others else ""
    if seen.dangling and clean(named, 100) in ("", "/usr/bin/python3"):
        whole = "point it at one that is there (update-alternatives --config python3), or install python3 again"
        return Fault(seen.dangling, f"{step}; or {whole}" if step else whole)
    if named:
        usual = "remove it: then the host's python3 is used"
        return Fault(
            f"ansible_python_interpreter names {clean(named, 100)}, which is not there",
            f"{step}, or {usual}" if step else f"set it to a Python that is there (ls /usr/bin/python3*), or {usual}",
        )
    return Fault("there is no python3", f"{step}; or install python3 there" if step else INSTALL)


# For `sh`: no line of it needs a program beyond the shell's own and readlink.
LIST = (
    "for p in /usr/bin/python3 /usr/local/bin/python3 /etc/alternatives/python3; do "
    '[ -L "$p" ] && [ ! -e "$p" ] && echo "dangling $p $(readlink "$p")"; done; '
    "for p in /usr/bin/python3.* /usr/local/bin/python3.* /opt/*/bin/python3.*; do "
    '[ -x "$p" ] && echo "$p"; done; true'
)
