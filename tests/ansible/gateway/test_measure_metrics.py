"""How many prompts were measured is a part of the page where the release has what measures them."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from tests.ansible.gateway import measuring
from tests.ansible.gateway.exporting import exporter, metrics_served, metrics_text, plan


def test_what_measures_prompts_is_a_part_where_the_release_has_it(tmp_path: Path) -> None:
    with measuring.serving(tmp_path, 64) as place:
        page_of = metrics_text.Page()
        assert metrics_served.measured(page_of, str(place)) == 0
        assert [line for line in page_of.text().splitlines() if line[0] != "#"] == [
            f'phi4_edge_prompts_measured_total{{found="{word}"}} 0' for word in ("fits", "long", "unknown")
        ]
    with pytest.raises(OSError, match="No such file"):
        metrics_served.measured(metrics_text.Page(), str(place))


@pytest.mark.parametrize("said", [b"", b"[]\n", b"nonsense\n", b"x" * 10_000])
def test_nonsense_of_what_measures_prompts_is_no_part(tmp_path: Path, said: bytes) -> None:
    place = tmp_path / "odd"
    with socket.socket(socket.AF_UNIX) as odd:
        odd.bind(str(place))
        odd.listen(1)

        def answer() -> None:
            client, _ = odd.accept()
            with client:
                client.recv(100)
                client.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ValueError):
            metrics_served.measured(metrics_text.Page(), str(place))
        thread.join()


@pytest.mark.parametrize("measured", [True, False])
def test_only_a_release_that_measures_has_the_part(tmp_path: Path, measured: bool) -> None:
    parts = exporter.parts_of(plan("ollama", 1, 2), str(tmp_path), str(tmp_path), measured=measured)
    assert ("measure" in {part.name for part in parts}) == measured
