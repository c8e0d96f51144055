"""What the exporter makes of other programs' pages: only what Prometheus takes gets through, and within bounds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from tests.ansible.gateway.exporting import metrics_text
from tests.standins.metric_pages import recorded

OWN = {"engine": "vllm"}


def read(raw: bytes | str, wanted: Callable[[str], bool] = lambda _name: True) -> tuple[str, int]:
    """The page that is passed on, and how much of it was dropped."""
    families, dropped = metrics_text.parse(raw.encode() if isinstance(raw, str) else raw, wanted, OWN)
    page = metrics_text.Page()
    page.take(families)
    return page.text(), dropped


def samples(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("name", ["onnx", "vllm", "haproxy"])
def test_recorded_pages_lose_nothing(name: str) -> None:
    raw = recorded(name).decode()
    text, dropped = read(raw)
    assert dropped == 0
    assert len(samples(text)) == len(samples(raw))
    assert {line for line in text.splitlines() if line.startswith("# TYPE")} == {
        line for line in raw.splitlines() if line.startswith("# TYPE")
    }
    assert read(text) == (text, 0)


@pytest.mark.parametrize(
    ("line", "passed"),
    [
        ("a 1", 'a{engine="vllm"} 1'),
        ('a{} 1e3', 'a{engine="vllm"} 1e3'),
        ('a{b="c",} NaN', 'a{b="c",engine="vllm"} NaN'),
        ('a{ b="c" , d="e" } +Inf', 'a{b="c",d="e",engine="vllm"} +Inf'),
        (r'a{b="\\\"x"} -2.5', r'a{b="\\\"x",engine="vllm"} -2.5'),
        ('a{engine="vllm"} 1', 'a{engine="vllm"} 1'),
        ('a{engine="0"} 1', 'a{engine="vllm",exported_engine="0"} 1'),
        ('a{b="}"} 1', 'a{b="}",engine="vllm"} 1'),
    ],
)  # fmt: skip
def test_samples_get_our_label(line: str, passed: str) -> None:
    text, dropped = read(line)
    assert (samples(text), dropped) == ([passed], 0)


@pytest.mark.parametrize(
    "line",
    [
        "garbage", "1a 1", "a", "a one", "a 1 2 3", "a 1 1700000000000", "a 1e999", "a 1e9999", "a 0x10", "a 1_0",
        "a \u0661",
        'a{b="c} 1', 'a{b=c} 1', 'a{b="c"d="e"} 1', 'a{b="c",b="d"} 1', 'a{__name__="x"} 1', 'a{b="\\x"} 1',
        'a{engine="0",exported_engine="1"} 1', f'a{{b="{"x" * 201}"}} 1', f'a{{b="{"x" * 5000}"}} 1', "a\x00b 1",
        'a{b="\x1b[31m"} 1', 'a{b="\\n"} 1', b'a{b="\xff"} 1', b"\xff\xfe", "# TYPE a nonsense", "# TYPE a",
        "a" * 300 + " 1",
        "a{" + ",".join(f'l{n}="x"' for n in range(17)) + "} 1", 'a 1\r\r\n{"json": true}', "<html> 1 <b>",
    ],
)  # fmt: skip
def test_what_is_no_valid_sample_is_dropped_and_counted(line: str | bytes) -> None:
    text, dropped = read(line)
    assert [each for each in samples(text) if each != 'a{engine="vllm"} 1'] == []
    assert dropped >= 1


def test_a_second_one_of_the_same_is_dropped() -> None:
    text, dropped = read('a{b="c"} 1\na{b="c"} 2\na{b="c",engine="vllm"} 3\n# TYPE a counter\n')
    assert (samples(text), dropped) == (['a{b="c",engine="vllm"} 1'], 3)


def test_nobody_makes_many_series() -> None:
    text, dropped = read("".join(f'a{{b="{number}"}} 1\n' for number in range(5000)))
    assert len(samples(text)) == 500
    assert dropped == 4500
    text, dropped = read("".join(f"a{number} 1\n" for number in range(5000)))
    assert len(samples(text)) == 300
    text, dropped = read("".join(f'a{number % 100}{{b="{number}"}} 1\n' for number in range(9000)))
    assert len(samples(text)) == 4000


def test_samples_of_a_family_come_together_behind_its_type() -> None:
    text, _dropped = read('# TYPE a histogram\na_sum 1\nb 2\na_bucket{le="1"} 1\na_count 1\n')
    kinds = [line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE")]
    assert kinds == [["a", "histogram"], ["b", "untyped"]]
    assert [line.split("{")[0] for line in samples(text)] == ["a_sum", "a_bucket", "a_count", "b"]


def test_what_nobody_wants_is_no_fault_of_its_source() -> None:
    assert read("python_gc_total 1\nvllm:a 2\n", lambda name: name.startswith("vllm:"))[1] == 0
    assert samples(read("python_gc_total 1\nvllm:a 2\n", lambda name: name.startswith("vllm:"))[0]) == [
        'vllm:a{engine="vllm"} 2'
    ]


def test_help_cannot_make_another_line() -> None:
    text, _dropped = read('# HELP a one\\ntwo "x" \x1b[0m' + "y" * 500 + "\n# TYPE a gauge\na 1\n")
    assert len(text.splitlines()) == 3
    assert text.startswith('# HELP a one\\\\ntwo "x" [0myyy')


def test_any_bytes_end_in_a_page_that_reads_itself() -> None:
    chance, alphabet = (
        random.Random(7),
        [b'a{b="c"} 1\n', b"# TYPE a counter\n", b'"', b"{", b"}", b"\\", b"\n", b"=", b"\xff"],
    )
    for _ in range(2000):
        text, _dropped = read(b"".join(chance.choices(alphabet, k=chance.randrange(40))))
        assert read(text) == (text, 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (3.0, "3"), (0.5, "0.5"), (1e20, "1e+20"), (math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf")],
)  # fmt: skip
def test_numbers_of_ours(value: float, text: str) -> None:
    assert metrics_text.number(value) == text
