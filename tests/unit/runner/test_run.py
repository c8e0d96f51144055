"""What a run is asked to do, and what its events add up to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi4_edge import content
from phi4_edge.core.inventory import Login, VaultSecret
from phi4_edge.core.text import printable
from phi4_edge.errors import RunnerError
from phi4_edge.runner import run as runner_run
from phi4_edge.runner.environment import SSH_ARGS, config_file, ssh_args
from phi4_edge.runner.events import Collector, HostEvent

ENV = {"PATH": "/usr/bin", "HOME": "/nonexistent"}


def build(tmp_path: Path, **changes: Any) -> runner_run.Run:
    given: dict[str, Any] = {"playbook": Path("site.yml"), "inventory": ["hosts.ini"], "environ": ENV, "cwd": tmp_path}
    return runner_run.build_run(**{**given, **changes})


def test_the_command_has_absolute_paths_and_private_files(tmp_path: Path) -> None:
    run = build(tmp_path, limit=["gw1", "gw2"], forks=3, check=True, diff=True, verbosity=2, inventory=["i", "a,b,"])
    assert run.argv == (
        "ansible-playbook",
        f"{tmp_path}/site.yml",
        "--forks",
        "3",
        "--inventory",
        f"{tmp_path}/i",
        "--inventory",
        "a,b,",
        "--extra-vars",
        "@{private}/extra_vars.yml",
        "--skip-tags",
        "report",
        "--limit",
        "@{private}/limit",
        "--check",
        "--diff",
        "-vv",
    )
    assert run.files["limit"] == "gw1\ngw2\n"


def test_the_environment_makes_runs_safe(tmp_path: Path) -> None:
    env = build(
        tmp_path, environ={**ENV, "ANSIBLE_COLLECTIONS_PATH": "/theirs", "ANSIBLE_CONFIG": "cfg/ansible.cfg"}
    ).env
    assert env["PATH"] == f"{Path(sys.executable).parent}:/usr/bin"
    assert env["ANSIBLE_COLLECTIONS_PATH"] == f"{content.collections()}:/theirs"
    assert env["ANSIBLE_CONFIG"] == f"{tmp_path}/cfg/ansible.cfg"
    assert env["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert env["ANSIBLE_INJECT_FACT_VARS"] == "False"
    assert env["ANSIBLE_SSH_ARGS"] == SSH_ARGS
    assert "ANSIBLE_CONFIG" not in build(tmp_path).env
    assert env["SSH_ASKPASS_REQUIRE"] == "never"
    wanted = {**ENV, "SSH_ASKPASS_REQUIRE": "prefer"}
    assert build(tmp_path, environ=wanted).env["SSH_ASKPASS_REQUIRE"] == "prefer"


def test_passwords_are_only_in_private_files(tmp_path: Path) -> None:
    run = build(
        tmp_path, become_password="c4nary", connection_password="c4nary2", vaults=[VaultSecret("default", "vp")]
    )
    assert run.files["become_password"] == "c4nary"
    assert run.argv[-6:-4] == ("--become-password-file", "{private}/become_password")
    assert run.argv[-2:] == ("--vault-id", f"default@{tmp_path}/vp")
    assert "c4nary" not in repr(run)
    assert "c4nary" not in repr(run.env)


def test_extra_variables_are_data_and_never_templates(tmp_path: Path) -> None:
    text = build(tmp_path, extra_vars={"a": "{{ x }}", "b": {"c": [1, True, None, 'it\'s "ü"\n']}}).files[
        "extra_vars.yml"
    ]

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!unsafe", lambda loader, node: ("unsafe", loader.construct_scalar(node)))  # type: ignore[arg-type]
    assert yaml.load(text, Loader) == {
        "a": ("unsafe", "{{ x }}"),
        "b": {"c": [1, True, None, ("unsafe", 'it\'s "ü"\n')]},
    }


def test_a_senseless_number_of_forks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="forks 0"):
        build(tmp_path, forks=0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[ssh_connection]\nssh_args = -C\n", True),
        ("[ssh_connection]\npipelining = True\n", False),
        ("[defaults]\nforks = 5 ; five\n", False),
        ("no section", False),
    ],
)
def test_the_operator_s_ssh_arguments_win(tmp_path: Path, text: str, found: bool) -> None:
    (tmp_path / "ansible.cfg").write_text(text)
    assert (ssh_args(ENV, tmp_path) is not None) is found
    assert ("ANSIBLE_SSH_ARGS" in build(tmp_path).env) is not found
    assert build(tmp_path, environ={**ENV, "ANSIBLE_SSH_ARGS": "-v"}).env["ANSIBLE_SSH_ARGS"] == "-v"


def test_the_jump_host_of_the_command_line_comes_before_all_other_arguments(tmp_path: Path) -> None:
    jump = Login(jump="me@hop:2222")
    assert build(tmp_path, login=jump).env["ANSIBLE_SSH_ARGS"] == f"-o ProxyJump=me@hop:2222 {SSH_ARGS}"
    (tmp_path / "ansible.cfg").write_text("[ssh_connection]\nssh_args = -J other\n")
    assert build(tmp_path, login=jump).env["ANSIBLE_SSH_ARGS"] == "-o ProxyJump=me@hop:2222 -J other"


def test_user_and_key_of_the_command_line_are_those_of_ansible_s(tmp_path: Path) -> None:
    run = build(tmp_path, login=Login("edge", "keys/k"))
    assert run.argv[-4:] == ("--user", "edge", "--private-key", f"{tmp_path}/keys/k")
    assert not {"--user", "--private-key"} & set(build(tmp_path).argv)


@pytest.mark.parametrize(
    ("text", "theirs"),
    [
        ("[defaults]\ncollections_path = /srv/theirs:more\n", "/srv/theirs:{here}/more"),
        ("[defaults]\nforks = 5\n", "~/.ansible/collections:/usr/share/ansible/collections"),
    ],
)
def test_our_collection_comes_first_and_theirs_stay(tmp_path: Path, text: str, theirs: str) -> None:
    (tmp_path / "ansible.cfg").write_text(text)
    path = build(tmp_path).env["ANSIBLE_COLLECTIONS_PATH"]
    assert path == f"{content.collections()}:{theirs.format(here=tmp_path)}"


def test_the_configuration_of_our_own_checkout_is_no_operator_s() -> None:
    """It is for plain ansible-playbook, and leaves connections for a minute only."""
    assert "ssh_args" in (content.root() / "ansible.cfg").read_text()
    assert ssh_args(ENV, content.root()) is None


def test_a_configuration_in_a_world_writable_directory_is_ignored_as_ansible_does(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("")
    assert config_file(ENV, tmp_path) == tmp_path / "ansible.cfg"
    tmp_path.chmod(0o777)
    assert config_file(ENV, tmp_path) != tmp_path / "ansible.cfg"


def event(name: str, host: str = "gw1", job: int = 7, **data: Any) -> dict[str, Any]:
    return {"event": name, "job_id": job, "event_data": {"host": host, "role": "r", "task": "t", **data}}


def collect(*events: Mapping[str, Any]) -> tuple[Collector, list[HostEvent]]:
    heard: list[HostEvent] = []
    collector = Collector(7, heard.append)
    for each in events:
        assert collector.take(each) is False
    return collector, heard


def stats(**counts: dict[str, int]) -> dict[str, Any]:
    return {"event": "playbook_on_stats", "job_id": 7, "event_data": counts}


def test_events_become_host_events_and_outcomes() -> None:
    collector, heard = collect(
        event("runner_on_start"),
        event("runner_on_ok", res={"changed": True, "ansible_facts": {"phi4_facts": {"a": 1}}}, duration=1.5),
        event("runner_on_failed", "gw2", res={"msg": "no\x1b[31m luck"}),
        event("runner_on_unreachable", "gw3", res={"msg": "gone"}),
        event("runner_on_skipped", "gw1", res={}),
        stats(processed={"gw1": 1, "gw2": 1}, failures={"gw2": 1}, dark={"gw3": 1}),
    )
    assert [each.kind for each in heard] == ["start", "changed", "failed", "unreachable", "skipped"]
    assert (heard[1].role, heard[1].task, heard[1].seconds) == ("r", "t", 1.5)
    ends = collector.outcomes(cancelled=False)
    assert [(end.host, end.status, end.message) for end in ends.values()] == [
        ("gw1", "ok", ""),
        ("gw2", "failed", "no luck"),
        ("gw3", "unreachable", "gone"),
    ]
    assert (ends["gw1"].facts, ends["gw1"].changed) == ({"phi4_facts": {"a": 1}}, 1)


def test_a_host_cannot_forge_an_event() -> None:
    collector, heard = collect(
        event("runner_on_ok", "victim", job=8, res={"ansible_facts": {"phi4_facts": {"forged": 1}}}),
        {key: value for key, value in event("runner_on_ok", "victim").items() if key != "job_id"},
        stats(processed={"gw1": 1}),
    )
    assert heard == []
    assert set(collector.outcomes(cancelled=False)) == {"gw1"}


def test_a_rescued_failure_is_no_failure_and_an_ignored_one_is_ok() -> None:
    collector, heard = collect(
        event("runner_on_failed", res={"msg": "x"}, ignore_errors=True),
        event("runner_on_failed", res={"msg": "y"}),
        stats(processed={"gw1": 1}, rescued={"gw1": 1}),
    )
    assert [each.kind for each in heard] == ["ok", "failed"]
    assert collector.outcomes(cancelled=False)["gw1"].status == "ok"


def test_after_a_cancel_only_what_is_known_is_said() -> None:
    collector, _ = collect(event("runner_on_ok", "gw1", res={}), event("runner_on_failed", "gw2", res={"msg": "m"}))
    ends = collector.outcomes(cancelled=True)
    assert (ends["gw1"].status, ends["gw1"].message) == ("cancelled", "interrupted")
    assert (ends["gw2"].status, ends["gw2"].message) == ("failed", "m")


def test_hidden_results_stay_hidden() -> None:
    _, heard = collect(event("runner_on_failed", res={"_ansible_no_log": True, "msg": "c4nary"}))
    assert "c4nary" not in heard[0].message


def test_a_bare_exit_status_is_explained_by_what_was_printed() -> None:
    _, heard = collect(event("runner_on_failed", res={"msg": "non-zero return code", "stderr": "disk full"}))
    assert heard[0].message == "non-zero return code\ndisk full"


def test_untrusted_text_is_made_printable_and_short() -> None:
    assert printable("a\x1b[2J\x1b]0;t\x07b\x00c\td") == "ab?c    d"
    assert len(printable("x" * 9000, 2000)) == 2001


def test_variables_and_vaults_of_the_command_line_are_all_used_and_in_no_argument(tmp_path: Path) -> None:
    vaults = [VaultSecret("dev", "prompt", "c4nary"), VaultSecret("", "~/pw"), VaultSecret("prod", "ask.sh")]
    run = build(tmp_path, vaults=vaults, operator_vars=["{a: c4nary}", "b: 2"], extra_vars={"a": 1})
    given = [run.argv[number + 1] for number, word in enumerate(run.argv) if word == "--extra-vars"]
    assert given == [f"@{{private}}/{name}.yml" for name in ("operator_vars_0", "operator_vars_1", "extra_vars")]
    assert [run.files[name.removeprefix("@{private}/")] for name in given][:2] == ["{a: c4nary}", "b: 2"]
    identities = [run.argv[number + 1] for number, word in enumerate(run.argv) if word == "--vault-id"]
    assert identities == ["dev@{private}/vault_0", str(Path("~/pw").expanduser()), f"prod@{tmp_path}/ask.sh"]
    assert run.files["vault_0"] == "c4nary"
    assert "c4nary" not in " ".join(run.argv) + repr(run) + repr(run.env) + repr(vaults)
