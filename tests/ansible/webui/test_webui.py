"""The chat page's part of a release: what is staged, twice and in check mode; and the directory that it may write."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi4_edge.core.engines.confinement import USER
from phi4_edge.core.facts import parse, receipt
from phi4_edge.core.plan.decide import Inputs, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.data import load_catalog, load_table
from tests.ansible.host_scripts import hostlib, load
from tests.ansible.plays import ROOT, Played, play, write_inventory

webui = load("webui", "webui")
GOLDEN = ROOT / "tests" / "golden" / "webui" / "webui.yml"
IMAGE = "sha256:" + "3" * 64
RELEASE = "r-000000000000"
PASSWORD = "of the vault"
OWNER = USER if os.geteuid() == 0 else os.geteuid()
PLAYBOOK: list[dict[str, Any]] = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "ansible.builtin.set_fact": {
                    "cacheable": True,
                    "phi4_plan": "{{ given_plan }}",
                    "phi4_images": "{{ given_images }}",
                }
            },
            {"ansible.builtin.include_role": {"name": "phi4_edge.edge.webui"}},
        ],
    }
]


def planned(**variables: object) -> dict[str, Any]:
    document = json.loads((ROOT / "tests" / "fixtures" / "hosts" / "n150-8gb.json").read_text(encoding="utf-8"))
    wanted = Overrides.from_vars("n150-8gb", {"webui_enabled": True, **variables})
    plan = decide(parse.parse(document), load_table(), load_catalog(), wanted, Inputs({}, {})).to_dict()
    return {**plan, "release": RELEASE}


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Plays the role on this machine, below a folder of the test's own."""
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump(PLAYBOOK))
    inventory = write_inventory(tmp_path, {"here": {}})

    def played(
        *options: str, plan: dict[str, Any] | None = None, image: str = IMAGE, password: str = PASSWORD
    ) -> Played:
        there = {"root": str(tmp_path / "opt"), "state": str(tmp_path / "var")}
        given = {
            "given_plan": {**(plan or planned()), "layout": there},
            "given_images": {"webui": image} if image else {},
            "__webui_root": str(tmp_path / "opt"),
            "__webui_data": str(tmp_path / "var" / "webui"),
            "webui_admin_password": password,
        }
        variables = tmp_path / "given.json"
        variables.write_text(json.dumps(given))
        return play(playbook, inventory, "-e", f"@{variables}", *options)

    return played


def staged(folder: Path) -> dict[str, str]:
    release = folder / "opt" / "releases" / RELEASE
    return {path.name: path.read_text().replace(str(folder), "") for path in sorted(release.iterdir())}


def test_what_is_staged_is_what_is_checked_in(run: Any, tmp_path: Path) -> None:
    first = run()
    assert first.status == 0, first.output
    assert first.recap("here")["changed"] == 2
    found = staged(tmp_path)
    assert set(found) == {"webui.yml", "phi4-edge-webui.service"}
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        GOLDEN.write_text(found["webui.yml"])
    assert found["webui.yml"] == GOLDEN.read_text()
    unit = found["phi4-edge-webui.service"]
    assert f"--project-name phi4-edge-webui --file /opt/releases/{RELEASE}/webui.yml up " in unit
    assert "SyslogIdentifier=phi4-edge-webui\n" in unit
    second = run()
    assert (second.status, second.recap("here")["changed"]) == (0, 0), second.output


def test_check_mode_says_what_would_change_and_changes_nothing(run: Any, tmp_path: Path) -> None:
    done = run("--check", "--diff", image="")
    assert done.status == 0, done.output
    assert done.recap("here")["changed"] == 2
    assert "OPENAI_API_BASE_URL" in done.output
    assert not (tmp_path / "opt").exists()
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize(
    ("plan", "image", "message"),
    [
        ({**planned(), "webui": None}, IMAGE, "found a plan without a chat page"),
        (planned(), "", "found no image of Open WebUI on the host"),
    ],
)
def test_what_is_missing_is_said_before_anything_changes(
    run: Any, tmp_path: Path, plan: dict[str, Any], image: str, message: str
) -> None:
    done = run(plan=plan, image=image)
    assert done.status != 0
    assert message in done.output
    assert not (tmp_path / "opt").exists()


@pytest.mark.parametrize(("password", "message"), [("", "needed webui_admin_password"), ("short", "found 5 bytes")])
def test_a_new_page_needs_a_password_before_anything_is_staged(
    run: Any, tmp_path: Path, password: str, message: str
) -> None:
    done = run(password=password)
    assert done.status != 0
    assert message in done.output
    assert not (tmp_path / "opt").exists()


def test_a_page_with_accounts_needs_none(run: Any, tmp_path: Path) -> None:
    (tmp_path / "var" / "webui").mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(tmp_path / "var" / "webui", USER, USER)
    (tmp_path / "var" / "webui" / "webui.db").write_text("accounts")
    done = run(password="")
    assert done.status == 0, done.output


def test_the_password_is_in_no_output_however_much_is_told(run: Any) -> None:
    assert PASSWORD not in run("-vvvv", "--diff").output


def test_the_page_asks_the_planned_engine_and_tells_nobody(run: Any, tmp_path: Path) -> None:
    assert run(plan=planned(phi4_port=9123, webui_port=3456)).status == 0
    text = staged(tmp_path)["webui.yml"]
    service = yaml.safe_load(text)["services"]["webui"]
    environment = service["environment"]
    assert environment["OPENAI_API_BASE_URL"] == "http://127.0.0.1:9123/v1"
    assert (environment["HOST"], environment["PORT"]) == ("127.0.0.1", "3456")
    assert (environment["WEBUI_AUTH"], environment["ENABLE_SIGNUP"]) == ("True", "False")
    assert "WEBUI_SECRET_KEY" not in environment
    addresses = {value for value in environment.values() if value.startswith("http")}
    assert addresses == {"http://127.0.0.1:9123/v1"}


def prepare(path: Path, check: bool = False) -> bool:
    return bool(webui.prepare({"data": str(path), "user": USER, "check": check}, b"")["changed"])


def test_the_directory_is_the_containers_alone_and_its_content_stays(tmp_path: Path) -> None:
    path = tmp_path / "var" / "webui"
    assert prepare(path, check=True)
    assert not path.exists()
    assert prepare(path)
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (OWNER, 0o700)
    (path / "webui.db").write_text("chats")
    assert not prepare(path)
    path.chmod(0o755)
    assert prepare(path)
    assert (path.stat().st_mode & 0o777, (path / "webui.db").read_text()) == (0o700, "chats")


def test_what_a_killed_run_left_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "webui"
    path.mkdir()
    assert prepare(path)
    assert path.stat().st_uid == OWNER


def test_something_else_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(hostlib.HostError, match="is no directory"):
        prepare(tmp_path / "link")
    assert (tmp_path / "elsewhere").stat().st_uid == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("owner", [0, 1234])
def test_files_of_somebody_else_are_not_given_away(tmp_path: Path, owner: int) -> None:
    path = tmp_path / "webui"
    path.mkdir()
    (path / "theirs").write_text("x")
    os.chown(path, owner, owner)
    with pytest.raises(hostlib.HostError, match=f"belongs to uid {owner}, needed uid {USER}"):
        prepare(path)
    assert path.stat().st_uid == owner


def test_what_the_role_receipt_commits_of_the_page_is_what_the_next_plan_reads() -> None:
    plan = planned()
    body = {"format": receipt.FORMAT, **receipt.containers(plan, {"webui": IMAGE})}
    read = receipt.from_dict({"present": True, "receipt": body})
    assert (read.webui_image.key, read.webui_image.id) == (plan["webui"]["image"]["key"], IMAGE)
