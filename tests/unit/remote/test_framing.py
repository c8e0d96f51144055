"""The frame in which a script's answer comes back from a host."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.errors import FactsError
from phi4_edge.remote import framing

NONCE = "n0nce"


def frame(document: Any, nonce: str = NONCE) -> str:
    packed = base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()
    return f"{nonce}:BEGIN\n{packed}\n{nonce}:END\n"


def run(script: str, args: dict[str, Any], payload: bytes = b"", python: str | None = None) -> str:
    line = framing.command(python or sys.executable, NONCE, script)
    done = subprocess.run(
        ["/bin/sh", "-c", line], input=framing.stdin(script, args, payload), capture_output=True, check=False
    )
    return done.stdout.decode("utf-8", "replace")


def test_a_script_gets_its_arguments_and_payload_and_answers() -> None:
    script = 'data = PAYLOAD.read()\nEMIT({"args": ARGS, "size": len(data), "first": data[:1].hex(), "é": "ü"})\n'
    answer = framing.parse(run(script, {"path": '/it\'s "here"\n', "n": 3}, b"\x00" * 70000), NONCE)
    assert answer == {"args": {"path": '/it\'s "here"\n', "n": 3}, "size": 70000, "first": "00", "é": "ü"}


def test_the_command_is_one_line_that_any_login_shell_passes_on() -> None:
    line = framing.command(None, NONCE, "pass")
    assert "\n" not in line
    assert "!" not in line


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", "/bin/csh", "/usr/bin/fish"])
def test_the_command_survives_the_quoting_of_login_shells(shell: str) -> None:
    if not Path(shell).exists():
        pytest.skip(f"{shell} is not installed here")
    import shlex

    script = "EMIT({'ok': True})\n"
    line = "/bin/sh -c " + shlex.quote(framing.command(sys.executable, NONCE, script))
    done = subprocess.run([shell, "-c", line], input=framing.stdin(script, {}), capture_output=True, check=False)
    assert framing.parse(done.stdout.decode(), NONCE) == {"ok": True}


@pytest.mark.parametrize("python", [None, "auto", "auto_silent", "auto_legacy"])
def test_without_a_named_interpreter_the_distribution_s_is_used(python: str | None) -> None:
    assert "p=/usr/bin/python3" in framing.command(python, NONCE, "pass")


def test_an_interpreter_may_have_arguments_and_odd_names() -> None:
    assert "/usr/bin/env python3 -ISB" in framing.command("/usr/bin/env python3", NONCE, "pass")
    assert "';rm'" in framing.command("';rm'", NONCE, "pass")


def test_no_python_is_a_clear_failure() -> None:
    with pytest.raises(FactsError, match=r"found no Python.*needed Python 3\.8.*install python3"):
        framing.parse(run("", {}, python="/nonexistent/python"), NONCE)


def test_an_old_python_is_a_clear_failure() -> None:
    with pytest.raises(FactsError, match=r"found Python 3\.6\.9 /usr/bin/python3"):
        framing.parse(f"motd\n{NONCE}:OLDPYTHON 3.6.9 /usr/bin/python3\n", NONCE)


def test_the_version_check_of_the_bootstrap_refuses(tmp_path: Path) -> None:
    code = framing._BOOTSTRAP.replace("(3,8)", "(99,0)")
    assert code != framing._BOOTSTRAP
    done = subprocess.run([sys.executable, "-I", "-c", code, NONCE, "0"], input=b"", capture_output=True, check=False)
    with pytest.raises(FactsError, match="found Python 3"):
        framing.parse(done.stdout.decode(), NONCE)
    assert done.returncode == 1


@pytest.mark.parametrize(
    "noise",
    ["", "Welcome!\n", "no newline at the end", "\x1b[2Jclear\x07\n", "other:BEGIN\nQUJD\nother:END\n", "n0nce\r\n"],
)
def test_banners_around_the_frame_do_not_matter(noise: str) -> None:
    text = noise + "\n" + frame({"a": 1}).replace("\n", "\r\n") + noise
    assert framing.parse(text, NONCE) == {"a": 1}


def packed(raw: bytes) -> str:
    return f"{NONCE}:BEGIN\n{base64.b64encode(zlib.compress(raw)).decode()}\n{NONCE}:END\n"


BROKEN = {
    "nothing": ("", "no answer"),
    "noise only": ("bash: \x1b[31mboom\x1b[0m\n", "boom"),
    "another nonce": (frame({"a": 1}, "other"), "no answer"),
    "no end": (f"{NONCE}:BEGIN\nQUJD\n", "no answer"),
    "not base64": (f"{NONCE}:BEGIN\n***\n{NONCE}:END\n", "cannot be unpacked"),
    "not zlib": (f"{NONCE}:BEGIN\nQUJD\n{NONCE}:END\n", "cannot be unpacked"),
    "cut short": (packed(b'{"a": 1}').replace("=\n", "\n"), "cannot be unpacked|middle"),
    "not JSON": (packed(b"\xff\xfe{"), "not JSON"),
    "a list": (packed(b"[1]"), "a list"),
    "NaN": (packed(b'{"a": NaN}'), "no JSON number"),
    "a huge number": (packed(b'{"a": ' + b"9" * 10000 + b"}"), "not JSON"),
    "a bomb": (packed(b'{"a": "' + b"x" * (framing.MAX_DOCUMENT + 10) + b'"}'), "more than"),
    "a deep nest": (packed(b'{"a":' + b"[" * 90000 + b"]" * 90000 + b"}"), "nested deeper"),
    "forty levels": (packed(b'{"a":' + b"[" * 40 + b"]" * 40 + b"}"), "nested deeper"),
    "two answers": (frame({"a": 1}) + frame({"a": 2}), "2 answers"),
    "one within another": (f"{NONCE}:BEGIN\n" + frame({"a": 1}) + f"{NONCE}:END\n", "2 answers"),
    "one with more behind it": (
        f"{NONCE}:BEGIN\n{base64.b64encode(zlib.compress(b'{}') + b'more').decode()}\n{NONCE}:END\n", "after it",
    ),
    "null": (packed(b"null"), "or nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_refused_with_found_and_needed(name: str) -> None:
    text, said = BROKEN[name]
    with pytest.raises(FactsError, match=said) as error:
        framing.parse(text, NONCE)
    assert "needed" in str(error.value)
    assert "\x1b" not in str(error.value)


def test_too_long_a_frame_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(FactsError, match="characters"):
        framing.parse(f"{NONCE}:BEGIN\n{'A' * (framing.frame_limit(framing.MAX_DOCUMENT) + 4)}\n{NONCE}:END\n", NONCE)


def test_lone_surrogates_become_writable_text() -> None:
    answer = framing.parse(packed(rb'{"\ud800": ["\udfff ok"]}'), NONCE)
    assert json.dumps(answer, ensure_ascii=False).encode("utf-8") == b'{"?": ["? ok"]}'


def test_an_excerpt_is_one_printable_line() -> None:
    assert framing.excerpt("a\n\n\tb\x1b[31m\u202e\x00") == "a b??"
    assert len(framing.excerpt("x" * 10_000)) == 201


@pytest.mark.skipif(shutil.which("python3") is None, reason="no python3 on the PATH")
def test_a_script_that_raises_gives_no_frame_but_its_error_on_stderr() -> None:
    script = "raise SystemExit('no luck')\n"
    line = framing.command("python3", NONCE, script)
    done = subprocess.run(["/bin/sh", "-c", line], input=framing.stdin(script, {}), capture_output=True, check=False)
    assert done.returncode == 1
    assert b"no luck" in done.stderr
    with pytest.raises(FactsError, match="no answer"):
        framing.parse(done.stdout.decode(), NONCE)
