"""HTTP through Ansible: the real run, plugin and host script on this machine, and a stand-in for the engine."""

from __future__ import annotations

import base64
import http.client
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts import listener
from phi4_edge.core.inventory import Host, SshSettings
from phi4_edge.data import load_prompts
from phi4_edge.errors import HostFailedError, RunnerError, UnreachableError
from phi4_edge.inference import client, exchange
from phi4_edge.inference.exchange import AnsibleConnection
from phi4_edge.inference.prompts import choose, parse
from phi4_edge.runner.access import Access
from phi4_edge.ssh import tunnel
from tests.unit.inference.standin_openai import MODEL, Handler, delta, serving, usage

pytestmark = pytest.mark.slow

PROMPT = choose(parse(load_prompts()[1], "ours"), ["train"])[0]
HOST = Host("gw1", connection="community.docker.docker")


def streamed(handler: Handler, body: dict[str, Any]) -> None:
    handler.events(delta(content="4 "), delta(content="hours"), delta("stop"), usage(10, 2))


@pytest.fixture
def access(tmp_path: Path) -> Access:
    """This machine, which Ansible reaches by a connection of its own."""
    source = tmp_path / "hosts.ini"
    python = f"ansible_python_interpreter={sys.executable}"
    source.write_text(f"gw1 ansible_connection=local ansible_become=false {python}\n")
    return Access((str(source),))


def connection(access: Access, port: int) -> AnsibleConnection:
    found = exchange.connector(access)(HOST, "127.0.0.1", port, pytest.fail)
    assert isinstance(found, AnsibleConnection)
    return found


@pytest.mark.usefixtures("believed")
def test_a_question_goes_there_and_its_answer_comes_back_with_the_hosts_own_times(access: Access) -> None:
    with serving(streamed) as server:
        way = connection(access, server.server_address[1])
        assert client.model(way, MODEL, strictly=True) == MODEL
        began = time.monotonic()
        answer = client.ask(way, PROMPT, MODEL, stream=True, seconds=30)
        whole = time.monotonic() - began
        assert (answer.answered, answer.text) == (True, "4 hours")
        assert answer.seconds is not None and 0 <= answer.seconds < whole  # of which Ansible is no part
        way.close()


def test_nothing_is_sent_to_a_stranger(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(listener, "judge", lambda _: listener.Judgement("stranger", "a process of mallory"))
    refused = pytest.raises(HostFailedError, match=r"held by a process of mallory(?s:.)*nothing was sent")
    with serving(lambda handler, body: asked.append(body)) as server, refused:
        client.model(connection(access, server.server_address[1]), MODEL, strictly=True)
    assert asked == []


def test_a_closed_port_is_said_as_over_ssh(access: Access) -> None:
    with pytest.raises(UnreachableError, match=r"nothing that listens on 127\.0\.0\.1:1 of host gw1"):
        connection(access, 1).connect()


SEEN = json.dumps({"unknown": "no /proc"})


class Scripted(AnsibleConnection):
    """Answers without a host: each call takes the next of these."""

    def __init__(self, *answers: Mapping[str, Any]) -> None:
        super().__init__(Access(("x,",)), HOST, "127.0.0.1", 1, lambda text: None)
        self.answers, self.asked = list(answers), 0

    def _run(self, request: bytes) -> Mapping[str, Any]:
        self.asked += 1
        return self.answers.pop(0)


def said(*pieces: str, end: str = "complete", sent: bool = True) -> dict[str, Any]:
    data = [base64.b64encode(piece.encode()).decode() for piece in pieces]
    return {
        "listener": SEEN,
        "sent": sent,
        "end": end,
        "times": [0.5 * (n + 1) for n in range(len(data))],
        "pieces": data,
    }


HEAD = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"


def test_the_clock_is_that_of_what_was_read() -> None:
    way = Scripted(said(sent=False), said(HEAD, "abc", "def"), said(HEAD + "abcdef"))
    for times in ([0.5, 1.0, 1.5], [2.0, 2.0, 2.0]):
        way.request("GET", "/")
        response = way.getresponse()
        assert [(way.now(), response.read1(3) and way.now())[1] for _ in range(2)] == times[1:]
        assert response.read() == b""
    assert way.asked == 3


@pytest.mark.parametrize(("end", "why"), [("late", "no end within 7 s"), ("large", "more than 99 bytes")])
def test_an_answer_that_was_cut_is_over_its_budget(end: str, why: str) -> None:
    way = Scripted(said(sent=False), said(HEAD, "abc", end=end))
    way.connect()
    budget = way.allow(7, 99)
    way.request("GET", "/")
    with pytest.raises(OSError, match=why):
        way.getresponse().read()
    assert budget.over == why


def test_an_answer_that_ends_in_the_middle_is_no_answer() -> None:
    way = Scripted(said(sent=False), said(HEAD, "abc", end="broken"))
    way.request("GET", "/")
    with pytest.raises(http.client.IncompleteRead):
        way.getresponse().read()


def test_whoever_has_the_port_is_judged_anew_when_that_changed_and_not_for_ever() -> None:
    way = Scripted(said(sent=False), said(sent=False), said(HEAD, "abcdef"))
    way.request("GET", "/")
    assert way.getresponse().read() == b"abcdef"
    restless = Scripted(*[said(sent=False)] * 9)
    restless.request("GET", "/")
    with pytest.raises(HostFailedError, match="changes hands"):
        restless.getresponse()
    assert restless.asked == 1 + exchange.TRIES


def test_ansible_that_cannot_run_fails_one_host_alone(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Iterator[None]:
        raise RunnerError("no room")

    monkeypatch.setattr(exchange.Local, "execute", refuse)
    with pytest.raises(HostFailedError, match="no room"):
        connection(access, 1).connect()


@pytest.mark.parametrize(
    ("host", "direct"),
    [
        (Host("a"), True),
        (Host("a", connection="local"), True),
        (Host("a", connection="ansible.builtin.local"), True),
        (Host("a", ssh=SshSettings(password="x")), False),
        (Host("a", connection="community.general.chroot"), False),
        (Host("a", connection="containers.podman.podman"), False),
    ],
)
def test_ssh_and_this_machine_need_no_ansible(access: Access, host: Host, direct: bool) -> None:
    found = exchange.connector(access)(host, "127.0.0.1", 1, pytest.fail)
    assert isinstance(found, tunnel.Connection)
    assert isinstance(found, AnsibleConnection) is not direct
