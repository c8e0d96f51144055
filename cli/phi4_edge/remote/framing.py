"""How a standard-library script runs on a host over one command, and how its answer comes back.

    command()  one shell line: finds Python, starts a tiny bootstrap that reads the script from its standard input
    stdin()    the script, compressed, its arguments as one JSON line, then the payload
    parse()    the document out of a standard output that may hold banners before and after it

In the script these names exist: `ARGS` (dict), `PAYLOAD` (binary stream: what follows the arguments), `NONCE` (str)
and `EMIT(document)`, which prints the one frame: base64 of zlib of JSON between `<nonce>:BEGIN` and `<nonce>:END`.

The nonce tells the frame from noise. It is no secret: the host sees it, so what is parsed is still the host's word.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
import shlex
import zlib
from collections.abc import Mapping
from typing import Any, NoReturn

from phi4_edge.core.text import printable
from phi4_edge.errors import FactsError

# A full document with every source at its bound is about 1 MiB; four times that is a host that misbehaves.
MAX_DOCUMENT = 4 * 1024 * 1024
# Our own documents are five levels deep.
MAX_DEPTH = 32
# Of a whole number; 64 bits have 20.
MAX_DIGITS = 40
# Python 3.8 is the oldest that still runs on a supported distribution (Ubuntu 20.04, JetPack 5).
OLDEST_PYTHON = (3, 8)

# One line, no single quote and no "!": it passes through sudo, sh and the login shell of the user (csh, fish).
_BOOTSTRAP = (
    "import base64,json,sys,zlib;"
    "N=sys.argv[1];"
    'sys.version_info<(3,8) and sys.exit(sys.stdout.write("\\n%s:OLDPYTHON %s %s\\n"%(N,sys.version.split()[0],'
    "sys.executable)) and 1);"
    "P=sys.stdin.buffer;S=zlib.decompress(P.read(int(sys.argv[2])));A=json.loads(P.readline().decode());"
    'E=lambda d:(sys.stdout.write("\\n%s:BEGIN\\n%s\\n%s:END\\n"%'
    "(N,base64.b64encode(zlib.compress(json.dumps(d).encode())).decode(),N)),sys.stdout.flush());"
    'exec(compile(S,"phi4-edge-script","exec"),{"__name__":"__main__","NONCE":N,"ARGS":A,"PAYLOAD":P,"EMIT":E})'
)


def found_by_host(python: str) -> bool:
    """Whether this value of `ansible_python_interpreter` names none, so that the host's own is looked for."""
    return python in ("", "auto") or python.startswith("auto_")


@functools.lru_cache(maxsize=32)
def _packed(script: str) -> bytes:
    """Many hosts get the same script, and most of a small exchange is its text."""
    return zlib.compress(script.encode(), 9)


def command(python: str | None, nonce: str, script: str) -> str:
    """One POSIX shell line that runs `script` from its standard input.

    `python` is the host's `ansible_python_interpreter`; None, "auto" and "auto_…" mean /usr/bin/python3, else the
    first python3 on the PATH. Where there is none the line prints `<nonce>:NOPYTHON` and exits 127. Python runs
    isolated, without what is installed beside it, and writes no bytecode: as root it would otherwise leave .pyc files
    behind. No `exec`: what Ansible appends to the line against lost output must still run.
    """
    missing = f"{{ echo; echo {shlex.quote(nonce + ':NOPYTHON')}; exit 127; }}"
    if python is None or found_by_host(python):
        find = f"p=/usr/bin/python3; [ -x $p ] || p=$(command -v python3) || {missing};"
        run = '"$p"'
    else:
        run = " ".join(shlex.quote(word) for word in shlex.split(python))
        find = f"command -v {shlex.quote(shlex.split(python)[0])} >/dev/null || {missing};"
    return f"{find} {run} -ISB -c {shlex.quote(_BOOTSTRAP)} {shlex.quote(nonce)} {len(_packed(script))}"


def stdin(script: str, args: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """What the command of the same script reads."""
    return _packed(script) + json.dumps(dict(args)).encode() + b"\n" + payload


def parse(stdout: str, nonce: str, size: int = MAX_DOCUMENT) -> dict[str, Any]:
    """The document that the script emitted: plain data, at most `size` bytes and MAX_DEPTH levels.

    Raises FactsError when there is no frame, more than one, or one that is damaged, too big or no JSON object.
    """
    frames = _frames(stdout, nonce)
    if not frames:
        _no_frame(stdout, nonce)
    if len(frames) > 1:
        _refuse(f"{len(frames)} answers", "exactly one")
    packed = "".join(frames[0].split())
    most = frame_limit(size)
    if len(packed) > most:
        _refuse(f"an answer of {len(packed)} characters", f"at most {most}")
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(base64.b64decode(packed, validate=True), size + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        _refuse(f"an answer that cannot be unpacked ({error})", "base64 of zlib of JSON")
    if len(raw) > size:
        _refuse(f"an answer of more than {size} bytes", f"at most {size}")
    if not unpacker.eof:
        _refuse("an answer that is cut off", "a whole one")
    if unpacker.unused_data:
        _refuse("an answer with something after it", "nothing else in its frame")
    try:
        text = raw.decode("utf-8", "replace")
        document = _clean(json.loads(text, parse_constant=_no_constant, parse_int=_whole))
    except RecursionError:
        _refuse(f"an answer that is nested deeper than {MAX_DEPTH} levels", "a JSON object")
    except ValueError as error:
        _refuse(f"an answer that is not JSON ({excerpt(str(error))})", "a JSON object")
    if not isinstance(document, dict):
        _refuse("an answer that is a list, a text, a number or nothing", "a JSON object")
    return document


def frame_limit(size: int) -> int:
    """Most characters of a frame: base64 of incompressible data of that size. A longer one is refused undecoded."""
    return size * 4 // 3 + 4096


def excerpt(text: str, limit: int = 200) -> str:
    """The last words of an untrusted text, printable on any terminal: one line, no control characters."""
    tail = re.sub(r"\s+", " ", text[-4 * limit :]).strip()
    plain = printable(tail, lines=False)
    return plain if len(plain) <= limit else "…" + plain[-limit:]


def _frames(stdout: str, nonce: str) -> list[str]:
    begin, end = f"{nonce}:BEGIN", f"{nonce}:END"
    frames: list[str] = []
    body: list[str] | None = None
    for line in stdout.split("\n"):
        word = line.strip()
        if word == begin:
            if body is not None:
                frames.append("\n".join(body))  # one that never ended is an answer too many
            body = []
        elif word == end and body is not None:
            frames.append("\n".join(body))
            body = None
        elif body is not None:
            body.append(word)
    return frames


class NoAnswerError(FactsError):
    """There is no frame at all: the script did not run, or said nothing."""


def _no_frame(stdout: str, nonce: str) -> NoReturn:
    for line in stdout.split("\n"):
        word = line.strip()
        if word == f"{nonce}:NOPYTHON":
            raise NoAnswerError(
                "found no Python on the host, needed Python 3.8 or newer: install python3 there, or set "
                "ansible_python_interpreter to where it is"
            )
        if word.startswith(f"{nonce}:OLDPYTHON "):
            raise FactsError(
                f"found Python {excerpt(word.partition(' ')[2])} on the host, needed "
                f"{OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer: install a newer python3 there, or set "
                "ansible_python_interpreter to where one is"
            )
    said = excerpt(stdout)
    said_so = f", but: {said}" if said else ""
    raise NoAnswerError(f"found no answer{said_so} from the host, needed one framed answer on standard output: {_LOOK}")


_LOOK = "look at what the login shell of this user prints and runs (ssh HOST true), then try again"


def _refuse(found: str, needed: str) -> NoReturn:
    raise FactsError(f"found {found} from the host, needed {needed}: {_LOOK}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _whole(text: str) -> int:
    """A whole number of JSON; one that no document of ours could hold is refused before it is worked out."""
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _clean(value: Any, depth: int = 0) -> Any:
    """Same data without lone surrogates (they cannot be written as UTF-8), refusing what is nested too deeply."""
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_clean(key, depth + 1): _clean(item, depth + 1) for key, item in value.items()}
    return value
