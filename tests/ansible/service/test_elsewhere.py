"""A host that is installed in another place than a run says: it is left alone, and what is removed is ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import ONE, Host, args, load, release, stage

import hostlayout  # isort: skip - on the path since host_scripts
import removal  # isort: skip

lock = load("lock", "lock")
UNITS = {
    "native": 'ExecStart="{release}/engine/bin/python" "-I"\nEnvironmentFile={release}/environment\n',
    "compose": "ExecStartPre=-/usr/bin/docker compose --ansi never --file {release}/compose.yml down --timeout 20\n",
    "settings": "EnvironmentFile={release}/environment\n",
}


def install(top: Path, root: str, state: str, unit: str = "native", link: str = "model") -> None:
    """A unit that names a release of ours, and that release's link to its model, below `top`."""
    folder = top / "etc/systemd/system"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "phi4-edge.service").write_text("[Service]\n" + UNITS[unit].format(release=f"{root}/releases/{ONE}"))
    made = top / root.lstrip("/") / "releases" / ONE
    made.mkdir(parents=True, exist_ok=True)
    if link:
        (made / link).symlink_to(f"{state}/{'stores' if link == 'store' else 'models'}/{'d' * 64}")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("link", ["model", "store", ""])
def test_the_unit_and_the_links_of_its_release_say_where(tmp_path: Path, unit: str, link: str) -> None:
    install(tmp_path, "/data/phi4", "/data/state", unit, link)
    assert hostlayout.installed(str(tmp_path)) == ("/data/phi4", "/data/state" if link else "")


@pytest.mark.parametrize(
    "text",
    [
        "", "ExecStart=/usr/bin/phi4\n", "ExecStart=/opt/x/releases/latest/bin\n",
        "ExecStart=relative/releases/r-111111111111/x\n", "ExecStart=/a b/releases/r-1/x\n",
    ],
)  # fmt: skip
def test_another_unit_of_that_name_says_nothing(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "etc/systemd/system"
    folder.mkdir(parents=True)
    (folder / "phi4-edge.service").write_text(text)
    assert hostlayout.installed(str(tmp_path)) == ("", "")


def test_what_is_no_file_says_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "etc/systemd/system"
    folder.mkdir(parents=True)
    (folder / "phi4-edge.service").symlink_to("/dev/zero")
    (folder / "phi4-edge-webui.service").mkdir()
    assert hostlayout.installed(str(tmp_path)) == ("", "")


@pytest.mark.parametrize(
    ("there", "named"),
    [
        (("/data/phi4", "/data/state"), "phi4_root=/data/phi4 and phi4_state=/data/state"),
        (("/data/phi4", ""), "phi4_root=/data/phi4"),
        (("", "/data/state"), "phi4_state=/data/state"),
    ],
)
def test_every_operation_that_could_change_something_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, str], named: str
) -> None:
    host = Host(tmp_path)
    full = (there[0] or str(host.root), there[1] or str(host.state))
    monkeypatch.setattr(hostlayout, "installed", lambda _top="": full)
    done: list[Any] = []

    def operation(given: dict[str, Any], _payload: bytes) -> dict[str, Any]:
        done.append(given)
        return {}

    checked: Callable[..., Any] = release.here(operation)
    with pytest.raises(release.HostError, match=f"found what serves here installed with {named}, needed .*: set "):
        checked(args(host), b"")
    assert done == []
    # Where it does lie, it works; an engine's role stages its part without a state.
    checked(args(host, root=full[0], state=full[1]), b"")
    checked({"root": full[0]}, b"")
    assert len(done) == 2
    with pytest.raises(lock.HostError, match="installed with"):
        lock.must_be_here({"root": str(host.root), "folder": str(host.state)})
    assert not host.root.exists() and not host.state.exists()


def erased(root: Path, state: Path, **more: Any) -> dict[str, Any]:
    return dict(removal.erase({"root": str(root), "state": str(state), "check": False, **more}, b""))


def filled(root: Path, state: Path) -> None:
    for name in hostlayout.IN_ROOT[1:]:
        (root / name / "x").mkdir(parents=True)
    (root / "current").symlink_to("releases/x")
    for name in hostlayout.IN_STATE:
        if "." in name:
            state.mkdir(parents=True, exist_ok=True)
            (state / name).write_text("{}")
        elif name != "lock":
            (state / name / "x").mkdir(parents=True)
    (state / "receipt.json.new-999999999").write_text("{")


@pytest.mark.parametrize(
    ("root", "state"),
    [
        ("data/phi4", "data/phi4-state"),
        ("data/phi4", "data/phi4/state"),
        ("data/phi4/programs", "data/phi4"),
        ("data/phi4/programs", "data/phi4/state"),
        ("opt/phi4-edge", "var/lib/phi4-edge"),
    ],
)
def test_all_that_is_ours_goes_wherever_it_lies(tmp_path: Path, root: str, state: str) -> None:
    for top in ("data", "opt", "var/lib"):
        (tmp_path / top / "others").mkdir(parents=True)
    filled(tmp_path / root, tmp_path / state)
    assert erased(tmp_path / root, tmp_path / state)["changed"] is True
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"data", "data/others", "opt", "opt/others", "var", "var/lib", "var/lib/others"}
    assert erased(tmp_path / root, tmp_path / state) == {"changed": False, "changes": []}


def test_what_others_put_there_stays(tmp_path: Path) -> None:
    root, state = tmp_path / "mnt" / "data", tmp_path / "mnt" / "state"
    filled(root, state)
    (root / "music").mkdir()
    (state / "notes.txt").write_text("mine")
    assert erased(root, state)["changed"] is True
    assert [path.name for path in root.iterdir()] == ["music"]
    assert [path.name for path in state.iterdir()] == ["notes.txt"]
    assert erased(root, state)["changed"] is False


def test_check_mode_names_what_would_go(tmp_path: Path) -> None:
    host = Host(tmp_path)
    stage(host, ONE, {"environment": "A=1\n"}, {})
    found = removal.erase({"root": str(host.root), "state": str(host.state), "check": True}, b"")
    assert found == {"changed": True, "changes": [str(host.root)]}
    assert host.root.exists()


def test_what_keys_have_used_goes_with_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd keeps it below /var/cache/private, and has a link there beside it."""
    root, state, caches = tmp_path / "root", tmp_path / "state", tmp_path / "cache"
    kept, link = caches / "private" / "phi4-edge-key-usage", caches / "phi4-edge-key-usage"
    kept.mkdir(parents=True)
    (kept / "tokens.json").write_text("{}")
    (caches / "private" / "other").mkdir()
    link.symlink_to("private/phi4-edge-key-usage")
    assert [path.rpartition("/")[2] for path in removal.CACHES] == ["phi4-edge-key-usage"] * 2
    monkeypatch.setattr(removal, "CACHES", (str(kept), str(link)))
    filled(root, state)
    assert {str(kept), str(link)} <= set(erased(root, state, check=True)["changes"])
    assert kept.exists()
    assert erased(root, state)["changed"]
    assert not kept.exists() and not link.is_symlink()
    assert [path.name for path in (caches / "private").iterdir()] == ["other"]
    assert not erased(root, state)["changed"]
