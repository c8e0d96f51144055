"""A switch that is cut at any of its steps: the host boots with one release or the other, and the next run ends it.

systemd is played by a model of what matters: which text of a unit is loaded, what runs, what starts at boot, and that a
client's connection has a socket start its service whenever that does not run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import ONE, TWO, Host, args, hostdocker, hostunit, release, stage

SOCKET, MAIN = hostunit.SOCKET, hostunit.MAIN
LISTEN = "[Socket]\nListenStream=127.0.0.1:{}\n[Install]\nWantedBy=sockets.target\n"
HANDED = "[Unit]\nRequires=phi4-edge.socket\n[Service]\nExecStart={}\n[Install]\nWantedBy=multi-user.target\n"
BINDS = "[Service]\nExecStart={}\n[Install]\nWantedBy=multi-user.target\n"


def handed(name: str, port: int = 8080) -> dict[str, str]:
    return {MAIN: HANDED.format(name), SOCKET: LISTEN.format(port)}


def binding(name: str) -> dict[str, str]:
    return {MAIN: BINDS.format(name)}


PAIRS = {
    "to another release": (handed("one"), handed("two")),
    "to another port": (handed("one"), handed("two", 8090)),
    "to an engine that binds": (handed("one"), binding("two")),
    "from an engine that binds": (binding("one"), handed("two")),
    "between engines that bind": (binding("one"), binding("two")),
}


class Cut(BaseException):
    """The process that switches is gone."""


class Systemd:
    """What runs and what is loaded; `steps` calls are let through before the cut."""

    def __init__(self, folder: Path, hammered: bool) -> None:
        self.folder, self.hammered = folder, hammered
        self.loaded: dict[str, str] = {}
        self.running: dict[str, str] = {}
        self.count = itertools.count()
        self.invocation: dict[str, int] = {}
        self.left: int | None = None

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.folder.glob("phi4-edge.s*") if path.is_file()}

    def step(self) -> None:
        """One more step; or the end."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Cut

    def begin(self, unit: str) -> None:
        if unit in self.running or unit not in self.loaded:
            return
        if unit == SOCKET:
            assert MAIN not in self.running, "Socket service phi4-edge.service already active, refusing."
        if unit == MAIN and f"Requires={SOCKET}" in self.loaded[MAIN]:
            self.begin(SOCKET)
            assert SOCKET in self.running
        if unit == MAIN and f"Requires={SOCKET}" not in self.loaded[MAIN]:
            assert SOCKET not in self.running, "Address already in use"
        self.running[unit] = self.loaded[unit]
        self.invocation[unit] = next(self.count)

    def end(self, unit: str) -> None:
        self.running.pop(unit, None)
        if unit == SOCKET and f"Requires={SOCKET}" in self.loaded.get(MAIN, ""):
            self.running.pop(MAIN, None)
        if self.hammered and SOCKET in self.running:
            self.begin(MAIN)

    def boot(self) -> None:
        """The power was cut: what starts is what the files say."""
        self.loaded, self.running = self.files(), {}
        for unit in (SOCKET, MAIN):
            if list(self.folder.glob(f"*.wants/{unit}")):
                self.begin(unit)

    def shown(self, unit: str, _properties: str = "") -> dict[str, str]:
        enabled = bool(list(self.folder.glob(f"*.wants/{unit}")))
        return {
            "LoadState": "loaded" if unit in self.loaded else "not-found",
            "ActiveState": "active" if unit in self.running else "inactive",
            "UnitFileState": "enabled" if enabled else "disabled", "InvocationID": str(self.invocation.get(unit, "")),
            "NeedDaemonReload": "yes" if self.loaded.get(unit) != self.files().get(unit) else "no",
        }  # fmt: skip

    def must(self, *argv: str) -> None:
        self.step()
        verb, unit = argv[0], argv[-1]
        if verb == "daemon-reload":
            self.loaded = self.files()
        elif verb == "enable":
            target = self.files()[unit].partition("WantedBy=")[2].strip()
            (self.folder / f"{target}.wants").mkdir(exist_ok=True)
            link = self.folder / f"{target}.wants" / unit
            if not link.is_symlink():
                link.symlink_to(self.folder / unit)
        elif verb == "start":
            self.begin(unit)

    def command(self, *argv: str, **_more: Any) -> tuple[int, str]:
        if argv[:2] == ("systemctl", "stop"):
            self.step()
            self.end(argv[2])
        return 0, ""


@pytest.fixture(params=[False, True], ids=["quiet", "hammered"])
def model(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    folder = tmp_path / "units"
    folder.mkdir()
    systemd = Systemd(folder, request.param)
    for module in (release, hostunit):
        for name in ("FOLDER", "must", "command", "shown"):
            monkeypatch.setattr(module, name, str(folder) if name == "FOLDER" else getattr(systemd, name))

    def stepping(work: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*words: Any, **more: Any) -> Any:
            systemd.step()
            return work(*words, **more)

        return stepped

    for module, name in ((release, "write_atomic"), (release, "link_atomic"), (hostunit, "remove_tree")):
        monkeypatch.setattr(module, name, stepping(getattr(module, name)))
    monkeypatch.setattr(release, "SWITCHING", str(tmp_path / "switch"))
    monkeypatch.setattr(release, "end_rehearsal", lambda: False)
    monkeypatch.setattr(hostdocker, "wanted", lambda root: False)
    yield systemd


def switched(host: Host, name: str) -> dict[str, Any]:
    return dict(release.switch(args(host, release=name, restart=False), b""))


def good(systemd: Systemd, host: Host, wanted: dict[str, str], name: str) -> None:
    """The release runs, from its own units, and will after a boot."""
    assert systemd.files() == systemd.running == systemd.loaded == wanted
    assert (host.root / "current").readlink() == Path("releases") / name
    assert {path.name for path in systemd.folder.glob("*.wants/*")} == set(wanted)
    assert not Path(release.SWITCHING).exists()


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("pair", PAIRS)
def test_it_is_ended_by_the_next_run_wherever_it_was_cut(
    model: Systemd, tmp_path: Path, pair: str, power: bool
) -> None:
    before, after = PAIRS[pair]
    host = Host(tmp_path)
    stage(host, ONE, before, {})
    stage(host, TWO, after, {})
    cuts = 0
    while True:
        switched(host, ONE)
        good(model, host, before, ONE)
        model.left = cuts
        try:
            switched(host, TWO)
            model.left = None
            break
        except Cut:
            cuts += 1
        if power:
            Path(release.SWITCHING).unlink(missing_ok=True)
            model.boot()
            assert model.running.get(MAIN) in (before[MAIN], after[MAIN]), f"nothing serves after cut {cuts}"
        back = cuts % 2 == 0
        switched(host, ONE if back else TWO)
        good(model, host, before if back else after, ONE if back else TWO)
    good(model, host, after, TWO)
    assert cuts >= 6
    assert switched(host, TWO) == {"changed": False, "changes": [], "restarted": False}


def test_the_port_stays_taken_from_one_release_to_the_next(model: Systemd, tmp_path: Path) -> None:
    host = Host(tmp_path)
    stage(host, ONE, handed("one"), {})
    stage(host, TWO, handed("two"), {})
    switched(host, ONE)
    socket = model.invocation[SOCKET]
    switched(host, TWO)
    good(model, host, handed("two"), TWO)
    assert model.invocation[SOCKET] == socket


def test_a_repaired_unit_is_not_run_in_its_old_form(model: Systemd, tmp_path: Path) -> None:
    """The same release: only the note in /run says that the process may be older than the unit."""
    host = Host(tmp_path)
    stage(host, ONE, handed("one"), {})
    switched(host, ONE)
    for cut in range(8):
        (model.folder / MAIN).write_text(HANDED.format("edited"))
        model.must("daemon-reload")
        model.end(MAIN)
        model.begin(MAIN)
        assert "edited" in model.running[MAIN]
        model.left = cut
        try:
            switched(host, ONE)
        except Cut:
            model.left = None
            switched(host, ONE)
        model.left = None
        good(model, host, handed("one"), ONE)
