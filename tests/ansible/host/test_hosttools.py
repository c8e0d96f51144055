"""A text that several sources need is asked for once, also where there is none."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.ansible.plays import ROOT

sys.path.insert(0, str(ROOT / "cli" / "phi4_edge" / "remote" / "host"))
from hosttools import Gap, Once


@pytest.mark.parametrize("gap", [False, True])
def test_what_several_need_at_once_is_asked_for_once(gap: bool) -> None:
    asked: list[int] = []

    def source() -> str:
        asked.append(threading.get_ident())
        time.sleep(0.05)
        if gap:
            raise Gap("timeout", "no answer in 5 s")
        return "overlay2"

    once = Once(source)

    def need() -> str:
        try:
            return once()
        except Gap as found:
            return " ".join(found.args)

    with ThreadPoolExecutor(8) as pool:
        told = {future.result() for future in [pool.submit(need) for _ in range(8)]}
    assert (told, len(asked)) == ({"timeout no answer in 5 s" if gap else "overlay2"}, 1)
