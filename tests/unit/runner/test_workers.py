"""Hosts spread over workers end as they would from here, and the loss of a worker loses no host."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.core.inventory import Host, SshSettings
from phi4_edge.errors import PreflightError
from phi4_edge.runner.access import Access
from phi4_edge.runner.executor import Call, Executor, Local
from phi4_edge.runner.run import HostEvent
from phi4_edge.runner.workers import link as workers_link
from phi4_edge.runner.workers import pool as workers
from phi4_edge.runner.workers.client import WorkerJob
from phi4_edge.runner.workers.link import Link, WorkerLostError
from phi4_edge.runner.workers.pool import Pool, Worker, spread
from tests.unit.runner.local_workers import argv, install

pytestmark = pytest.mark.slow

PLAYBOOK = """\
- hosts: all
  gather_facts: false
  tasks:
    - name: Work
      ansible.builtin.shell: |
        echo $$ >> {folder}/began-{{{{ inventory_hostname }}}}
        test -e {folder}/go || sleep 300
    - name: Say
      ansible.builtin.set_fact:
        said: "{{{{ word }}}} {{{{ some_store }}}} {{{{ lock_wait | default(0) }}}} {{{{ vaulted | default('') }}}}"
"""
HOSTS = ("a", "b", "c", "d")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work.yml").write_text(PLAYBOOK.format(folder=tmp_path))
    variables = f"ansible_connection=local\nansible_python_interpreter={sys.executable}\n"
    (tmp_path / "hosts.ini").write_text("\n".join(HOSTS) + f"\n[all:vars]\n{variables}")
    return tmp_path


@pytest.fixture
def links(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Link]]:
    made = install(folder, monkeypatch)
    yield made
    ours = tuple(f"phi4-edge-run-{pid}-" for pid in (os.getpid(), *(link._process.pid for link in made)))

    def left() -> list[str]:
        return [path.name for path in Path("/dev/shm").iterdir() if path.name.startswith(ours)]

    end = time.monotonic() + 30  # the guard of a killed worker clears up behind it
    while left() and time.monotonic() < end:
        time.sleep(0.1)
    assert not left()


def call(**changes: object) -> Call:
    return Call("work", {"word": "{{ c4nary }}", "some_store": "/here", **changes})


def made(folder: Path, targets: tuple[str, ...] = ("w1", "w2")) -> Pool:
    sources = (str(folder / "hosts.ini"),)
    access = Access(sources, become_password="s3cr3t-become", connection_password="s3cr3t-login")
    return workers.pool(access, targets, store="/here")


def began(folder: Path, host: str) -> list[int]:
    """Process ids of the host's task, one for each time that it began."""
    path = folder / f"began-{host}"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def wait_for(folder: Path, hosts: tuple[str, ...]) -> bool:
    return all(began(folder, host) for host in hosts)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def gone(pids: list[int]) -> bool:
    end = time.monotonic() + 30  # a busy machine; the tasks themselves would sleep for ten times as long
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(alive(pid) for pid in pids)


def test_hosts_end_as_they_would_from_here(folder: Path, links: list[Link]) -> None:
    (folder / "go").touch()
    heard: list[HostEvent] = []
    pool: Executor = made(folder)
    remote = pool.execute(call(), HOSTS, heard.append, lambda: False)
    local = Local(Access((str(folder / "hosts.ini"),))).execute(call(), HOSTS, heard.append, lambda: False)
    there = str(made(folder).workers[0].store)
    assert {host: end.facts["said"] for host, end in remote.hosts.items()} == dict.fromkeys(
        HOSTS, f"{{{{ c4nary }}}} {there} 0 "
    )
    assert {host: (end.status, end.changed) for host, end in remote.hosts.items()} == {
        host: (end.status, end.changed) for host, end in local.hosts.items()
    }
    assert (remote.exit_status, remote.cancelled) == (0, False)
    assert len(links) == 6  # two that were asked who they are, twice, and two that worked


def test_a_killed_worker_loses_its_hosts_to_the_others(folder: Path, links: list[Link]) -> None:
    pool, told = made(folder), list[str]()
    pool.note = told.append
    killed: list[int] = []

    def kill_one() -> bool:
        if not killed and wait_for(folder, HOSTS):
            killed.extend(pid for host in ("a", "c") for pid in began(folder, host))
            os.kill(next(link for link in links[2:] if link.name == "w1")._process.pid, 9)
            assert gone(killed), "the tasks of a killed worker go on"
            (folder / "go").touch()
            os.kill(began(folder, "b")[0], 15)
            os.kill(began(folder, "d")[0], 15)
        return False

    ended = pool.execute(call(), HOSTS, lambda event: None, kill_one)
    assert {host: len(began(folder, host)) for host in HOSTS} == {"a": 2, "b": 1, "c": 2, "d": 1}
    assert {host: end.status for host, end in ended.hosts.items()} == {
        "a": "ok",
        "b": "failed",
        "c": "ok",
        "d": "failed",
    }
    assert all(" 120" in str(ended.hosts[host].facts["said"]) for host in "ac"), "they wait for the old lock"
    assert [worker.target for worker in pool.workers] == ["w2"]
    assert "is given up" in told[0]


def test_without_any_worker_left_this_controller_does_it(folder: Path, links: list[Link]) -> None:
    pool, told = made(folder, ("w1",)), list[str]()
    pool.note = told.append

    def kill_it() -> bool:
        if len(links) == 2 and wait_for(folder, HOSTS) and not told:
            (folder / "go").touch()
            links[1].cut()
        return False

    ended = pool.execute(call(), HOSTS, lambda event: None, kill_it)
    assert {end.status for end in ended.hosts.values()} == {"ok"}
    assert all(end.facts["said"].startswith("{{ c4nary }} /here 120") for end in ended.hosts.values())
    assert all(end.changed == 1 for end in ended.hosts.values())
    assert "this controller continues alone" in told[0]
    assert gone([began(folder, host)[0] for host in HOSTS])


def test_an_interruption_ends_all_workers_and_no_task_is_waited_for(folder: Path, links: list[Link]) -> None:
    since: list[float] = []

    def interrupted() -> bool:
        if not since and wait_for(folder, HOSTS):
            since.append(time.monotonic())
        return bool(since)

    ended = made(folder).execute(call(), HOSTS, lambda event: None, interrupted)
    assert time.monotonic() - since[0] < 30  # it takes 2 s on a machine that has them to give
    assert ended.cancelled
    assert {end.status for end in ended.hosts.values()} <= {"cancelled"}
    assert gone([began(folder, host)[0] for host in HOSTS])


def test_a_controller_that_says_nothing_is_given_up(folder: Path, links: list[Link]) -> None:
    made_here = made(folder, ("w1",))
    inventory = made_here._portable()
    link, _ = workers_link.connect("w1", argv(folder, silence=1))
    with link:
        link.say(WorkerJob("work", HOSTS, inventory.text, {"word": "x", "some_store": "y"}, inventory.files).request(1))
        link.sink.write(b'{"kwargs": {}}\n{"eof": true}\n')
        link.sink.flush()
        words = link.source.read()
    assert b'"canceled"' in words
    assert gone([pid for host in HOSTS for pid in began(folder, host)])


@pytest.mark.parametrize("request_line", [b"no request\n", b"[]\n", b'{"do": "else"}\n', b'{"do": "run"}\n'])
def test_what_is_no_request_ends_in_words(folder: Path, request_line: bytes) -> None:
    done = subprocess.run(argv(folder), input=request_line, capture_output=True, check=False)
    assert b"RunnerError: found an invalid request" in done.stderr
    assert workers_link.Hello.read(done.stdout.splitlines()[0])


def fresh() -> Iterator[bytes]:
    """What is in the temporary files of this machine; other tests make some and take them away meanwhile."""
    for path in (path for top in ("/tmp", "/var/tmp") for path in Path(top).glob("tmp*")):
        try:
            if path.is_file():
                with path.open("rb") as stream:
                    yield stream.read(1 << 20)
        except OSError:
            continue


def test_secrets_are_in_no_argument_and_on_no_disk(folder: Path, links: list[Link]) -> None:
    seen: list[str] = []

    def look() -> bool:
        if not seen and wait_for(folder, HOSTS):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.append(path.read_bytes().decode(errors="replace"))
                except OSError:
                    continue  # it ended while we looked
            assert not [text for text in fresh() if b"s3cr3t" in text]
        return bool(seen)

    made(folder).execute(call(token="s3cr3t-token"), HOSTS, lambda event: None, look)
    assert not [words for words in seen if "s3cr3t" in words]


def test_another_version_is_refused_with_the_way_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_link, "__version__", "9.9.9")
    with pytest.raises(PreflightError, match=r"found phi4-edge \S+ on worker w1, needed 9\.9\.9 .*pip install"):
        workers_link.connect("w1", argv(folder))
    monkeypatch.undo()
    monkeypatch.setattr(workers_link, "code_digest", lambda: "other")
    with pytest.raises(PreflightError, match="found other files of phi4-edge"):
        workers_link.connect("w1", argv(folder))


def test_what_answers_otherwise_is_no_worker() -> None:
    with pytest.raises(WorkerLostError, match="No route"):
        workers_link.connect("w1", ["sh", "-c", "echo Welcome; echo 'ssh: No route' >&2"])


def test_a_target_is_a_host_and_never_an_option() -> None:
    words = workers_link.ssh_command("ops@[::1]:2222", environ={workers_link.SSH_ARGS: "-F /cfg"})
    assert words[-5:-1] == ["-l", "ops", "--", "::1"]
    assert words[words.index("-F") : words.index("-l")] == ["-F", "/cfg", "-p", "2222"]
    assert "StrictHostKeyChecking=yes" in words
    for wrong in ("-oProxyCommand=x", "a b", "user@", "host:99999", "$(x)"):
        with pytest.raises(PreflightError, match="needed user@host"):
            workers_link.ssh_command(wrong)


def test_hosts_go_where_they_are_near_and_else_where_there_is_room() -> None:
    one, two = Worker("ops@w1:22", "/s", 1), Worker("w2", "/s", 3)
    pool = Pool(Access(()), [one, two], near={"a": "w1", "b": "ops@w1:22", "c": "elsewhere"})
    parts = {part.worker: part.hosts for part in spread("abcdefgh", pool)}
    assert parts == {one: ("a", "b"), two: ("c", "d", "e", "f", "g", "h")}
    pool.here = frozenset("ah")
    assert {part.worker: part.hosts for part in spread("abh", pool)} == {None: ("a", "h"), one: ("b",)}
    pool.workers.clear()
    assert [part.worker for part in spread("ab", pool)] == [None]


def test_what_is_read_here_of_a_login_goes_along() -> None:
    ssh = SshSettings("/k", "-o SetEnv=A=b", "-4", ssh_args="-F /c", timeout=30, retries=2, jump="hop")
    assert workers._settings(Host("gw1", port=2222, user="edge", ssh=ssh)) == {
        "ansible_port": "2222",
        "ansible_user": "edge",
        "ansible_ssh_private_key_file": "/k",
        "ansible_ssh_common_args": "-o ProxyJump=hop -o SetEnv=A=b",
        "ansible_ssh_extra_args": "-4",
        "ansible_ssh_args": "-F /c",
        "ansible_ssh_timeout": "30",
        "ansible_ssh_retries": "2",
    }
    said = {name: value for name, value in workers._settings(Host("gw1")).items() if value}
    assert said == {"ansible_ssh_timeout": "10"}  # all else stays as the worker has it
