"""What a lock of wheels allows, and JSON that is bounded before it is parsed."""

from __future__ import annotations

import hashlib

import pytest

from phi4_edge.core import strict_json, wheel_lock
from phi4_edge.errors import ArtifactError

ONE, TWO, PIP = "1" * 64, "2" * 64, "3" * 64
LOCK = (
    f"onnxruntime-genai==0.18.0 \\\n    --hash=sha256:{ONE} \\\n    --hash=sha256:{TWO}\n"
    f"# a remark\npip==26.3 \\\n    --hash=sha256:{PIP}\n"
)
GENAI = "onnxruntime_genai-0.18.0-cp313-cp313-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"
GOOD = {
    GENAI: ONE,
    "pip-26.3-py3-none-any.whl": PIP,
    "requirements.txt": hashlib.sha256(LOCK.encode()).hexdigest(),
}


def test_a_wheelhouse_as_it_is_locked_has_no_problems() -> None:
    assert wheel_lock.problems(LOCK, "x86_64", GOOD) == ()
    wheel_lock.require(LOCK, "x86_64", GOOD, "the wheels")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({GENAI: PIP}, "its hash is not in the lock"),  # of the lock, but of another line
        ({GENAI: "4" * 64}, "its hash is not in the lock"),
        ({"evil-1.0-py3-none-any.whl": ONE}, "does not name this project"),
        ({"pip-27.0-py3-none-any.whl": PIP}, "has version 27.0, the lock 26.3"),
        ({"Pip-26.3-1-py3-none-any.whl": PIP}, "is another wheel of the same project"),
        ({"pip-26.3.whl/pip/__main__.py": PIP}, "is not a wheel"),
        ({"pip-26.3.tar.gz": PIP}, "is not a wheel"),
        ({"onnxruntime-genai-0.18.0.whl": ONE}, "is not a wheel"),
        ({"requirements.txt": ONE}, "is not the lock of this installation"),
    ],
)
def test_everything_else_is_named(change: dict[str, str], words: str) -> None:
    assert words in "; ".join(wheel_lock.problems(LOCK, "x86_64", {**GOOD, **change}))
    with pytest.raises(ArtifactError, match="it is not what this installation has locked; no host was changed"):
        wheel_lock.require(LOCK, "x86_64", {**GOOD, **change}, "the wheels")


@pytest.mark.parametrize("path", GOOD)
def test_nothing_may_be_missing(path: str) -> None:
    assert wheel_lock.problems(LOCK, "x86_64", {name: value for name, value in GOOD.items() if name != path}) != ()


def test_a_wheel_is_for_the_machine() -> None:
    assert "is not for aarch64" in "; ".join(wheel_lock.problems(LOCK, "aarch64", GOOD))


@pytest.mark.parametrize(
    "text",
    ["", "pip==26.3\n", "-r other.txt\n", f"pip>=1 --hash=sha256:{PIP}\n", LOCK + LOCK, "--index-url https://x\n"],
)
def test_a_text_that_is_no_lock_allows_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="the lock"):
        wheel_lock.problems(text, "x86_64", GOOD)
    with pytest.raises(ArtifactError, match="the lock"):
        wheel_lock.require(text, "x86_64", GOOD, "the wheels")


@pytest.mark.parametrize("python", ["3", "3.x", "../../x", "3.13\n", "", "2.7", "3.131"])
def test_a_lock_is_named_after_a_version_of_python(python: str) -> None:
    assert wheel_lock.file_name("3.13") == "cp313.txt"
    with pytest.raises(ArtifactError, match=r"needed one such as 3\.13"):
        wheel_lock.file_name(python)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[" + b"1," * 100 + b"1]", "has 101 parts, at most 100"),
        (b"[" * 40 + b"]" * 40, "nested more than 32 levels"),
        (b'{"a": 1, "a": 2}', "names 'a' twice"),
        (b"[123456789012345678901]", "a number of 21 digits"),
        (b"[NaN]", "the number NaN"),
        (b"[-Infinity]", "the number -Infinity"),
        (b"[1e999]", "the number 1e999"),
        (b'"\xff"', "UTF-8"),
        ("[]".encode("utf-16"), "UTF-8"),
        (b"", "Expecting value"),
        (b'{"a": "' + b"\\" * 5, "Unterminated|Invalid"),
    ],
)
def test_json_of_others_is_bounded_and_has_one_meaning(raw: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        strict_json.loads(raw, 100)


def test_brackets_in_strings_are_no_levels() -> None:
    text = '["' + "[" * 60 + '\\"' + "{" * 30 + '", {"a": [1.5, -2, true, null]}]'
    assert strict_json.loads(text.encode(), 200) == ["[" * 60 + '"' + "{" * 30, {"a": [1.5, -2, True, None]}]
