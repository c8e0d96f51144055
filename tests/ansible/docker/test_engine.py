"""The group that may use Docker's socket: it comes back with the number that the socket still has."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.ansible.host_scripts import hostlib, load
from tests.ansible.plays import ROOT

sys.path.insert(0, str(ROOT / "roles" / "docker" / "files"))
engine = load("docker", "engine")


@pytest.mark.parametrize(("number", "options"), [(997, ["--gid", "997"]), (0, []), (105, [])])
def test_a_lost_group_gets_the_sockets_number_where_it_is_free(
    monkeypatch: pytest.MonkeyPatch, number: int, options: list[str]
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(engine, "command", lambda *words: (asked.append(words), (0, ""))[1])
    monkeypatch.setattr(engine.os, "stat", lambda _path: SimpleNamespace(st_gid=number))
    monkeypatch.setattr(engine, "named", lambda found: found == 105)
    engine.add_group()
    assert asked == [("groupadd", "--system", *options, "docker")]


def test_a_group_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "command", lambda *words: (10, "cannot lock /etc/group"))
    monkeypatch.setattr(engine, "SOCKET", str(tmp_path / "none"))
    monkeypatch.setattr(engine, "group_there", lambda: False)
    with pytest.raises(hostlib.HostError, match="groupadd docker failed with exit status 10: cannot lock /etc/group"):
        engine.add_group()
