"""The probe asks nvidia-smi: fields that a driver does not know, and rows beside a bad exit status."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.ansible.probe_run import probe

# A driver that knows some fields only, and refuses the whole query for one that it does not know.
DRIVER = """
import sys
known = {known!r}
asked = sys.argv[1].partition("=")[2].split(",")
for field in asked:
    if field not in known:
        print('Field "%s" is not a valid field to query.' % field)
        raise SystemExit(2)
print(", ".join(known[field] for field in asked))
{then}
"""
CARD = {
    "index": "0", "name": "Quadro P400", "memory.total": "2000", "memory.used": "3", "driver_version": "470.10",
    "compute_cap": "6.1", "uuid": "GPU-7", "mig.mode.current": "[N/A]", "compute_mode": "Default",
}  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"{tmp_path}:/usr/bin:/bin"


def driver(folder: Path, *unknown: str, then: str = "") -> None:
    known = {field: value for field, value in CARD.items() if field not in unknown}
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!{sys.executable}\n" + DRIVER.format(known=known, then=then))
    tool.chmod(0o755)


@pytest.mark.parametrize(
    ("unknown", "rows", "modes"),
    [
        ((), "0, Quadro P400, 2000, 3, 470.10, 6.1, GPU-7", "0, [N/A], Default"),
        (("compute_cap",), "0, Quadro P400, 2000, 3, 470.10, [Unknown Field], GPU-7", "0, [N/A], Default"),
        (
            ("compute_cap", "uuid", "mig.mode.current"),
            "0, Quadro P400, 2000, 3, 470.10, [Unknown Field], [Unknown Field]",
            "0, [Unknown Field], Default",
        ),
        (("memory.used",), "0, Quadro P400, 2000, [Unknown Field], 470.10, 6.1, GPU-7", "0, [N/A], Default"),
    ],
)
def test_a_field_that_the_driver_does_not_know_costs_only_itself(
    tmp_path: Path, path: str, unknown: tuple[str, ...], rows: str, modes: str
) -> None:
    driver(tmp_path, *unknown)
    sources = probe(path=path)
    assert (sources["nvidia_smi"], sources["nvidia_modes"]) == ({"text": rows}, {"text": modes})


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (
            "print('WARNING: infoROM is corrupted'); raise SystemExit(14)",
            "WARNING: infoROM is corrupted\nexit status 14",
        ),
        ("sys.stderr.write('GPU is lost\\n'); raise SystemExit(15)", "GPU is lost\nexit status 15"),
        ("print('WARNING: infoROM is corrupted')", "WARNING: infoROM is corrupted"),
    ],
)
def test_rows_come_whatever_the_exit_status(tmp_path: Path, path: str, then: str, said: str) -> None:
    driver(tmp_path, then=then)
    assert probe(path=path)["nvidia_smi"]["text"] == f"0, Quadro P400, 2000, 3, 470.10, 6.1, GPU-7\n{said}"


def test_an_answer_without_rows_stays_a_gap(tmp_path: Path, path: str) -> None:
    driver(tmp_path, "index")
    source = probe(path=path)["nvidia_smi"]
    assert (source["gap"], source["detail"]) == (
        "failed", 'exit status 2: Field "index" is not a valid field to query.',
    )  # fmt: skip
