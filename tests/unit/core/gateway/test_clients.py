"""What clients get from the real HAProxy with our configuration, one at a time."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phi4_edge.core.gateway.model import Limits
from tests.unit.core.gateway.certificates import certificate
from tests.unit.core.gateway.running_gateway import CHAT, Answer, Running, key, needs_haproxy, running, token, until

pytestmark = [needs_haproxy, pytest.mark.slow]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("gateway")
    with running(
        folder, key("north", 1), key("old", 2, expires=1_000_000), key("soon", 3, expires=99_999_999_999)
    ) as it:
        yield it


def refused(found: Answer, status: int, code: str | None) -> bool:
    """Whether an answer is this refusal, in OpenAI's shape."""
    error = found.document["error"]
    assert found.headers["content-type"] == "application/json"
    assert set(error) == {"message", "type", "param", "code"}
    return (found.status, error["code"]) == (status, code)


def test_without_a_key_nobody_gets_in(gateway: Running) -> None:
    found = gateway.ask(body={})
    assert refused(found, 401, None)
    assert found.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "sent",
    [
        9, 2, token(1), f"Basic {token(1)}", f"Bearer {token(1)}x", f"Bearer {token(1)[:-1]}", "Bearer", "Bearer p4e_",
        f"Bearer  {token(1)}", f"Bearer {token(1).upper()}", f"Bearer {token(1)}, Bearer {token(1)}",
    ],
    ids=lambda sent: str(sent)[:60],
)  # fmt: skip
def test_with_a_wrong_or_an_expired_key_nobody_gets_in(gateway: Running, sent: int | str) -> None:
    assert refused(gateway.ask(body={}, sent=sent), 401, "invalid_api_key")


def test_two_keys_are_none(gateway: Running) -> None:
    with contextlib.closing(gateway.connection()) as client:
        client.putrequest("GET", "/v1/models")
        for number in (9, 1):
            client.putheader("Authorization", f"Bearer {token(number)}")
        client.endheaders()
        assert client.getresponse().status == 401


@pytest.mark.parametrize("sent", [1, 3, f"bearer {token(1)}"], ids=lambda sent: str(sent)[:20])
def test_with_a_key_the_engine_answers(gateway: Running, sent: int | str) -> None:
    found = gateway.ask(body={"of": "it"}, sent=sent)
    assert (found.status, found.document) == (200, {"object": "chat.completion", "of": "it"})
    assert gateway.ask("/v1/models", sent=1).document["data"][0]["id"] == "tiny"


def test_the_engine_sees_no_secret_and_its_own_address(gateway: Running) -> None:
    secrets = {"Cookie": "session=1", "Proxy-Authorization": "Basic eDp5", "Origin": "https://elsewhere.example"}
    assert gateway.ask(body={}, sent=1, **secrets, Host="gw1.example").status == 200
    seen = gateway.engine.seen.headers[-1]
    assert seen["host"] == f"127.0.0.1:{gateway.engine.port}"
    assert not {"authorization", "cookie", "proxy-authorization", "origin"} & seen.keys()
    assert token(1) not in str(gateway.engine.seen.headers)


@pytest.mark.parametrize(
    "path",
    ["/", "/api/ps", "/metrics", "/v1", "/v1/", "/v1/../api/ps", "/v1/./models", "/v1//models", "/v1/%2e%2e/api/ps",
     "//v1/models", "/V1/models", "/health/", "/healthz", "/v1x/models", "/v1/..", "/v1/models\\..\\api"],
)  # fmt: skip
def test_other_paths_lead_nowhere(gateway: Running, path: str) -> None:
    before = len(gateway.engine.seen.paths)
    assert refused(gateway.ask(path, sent=1), 404, "not_found")
    assert len(gateway.engine.seen.paths) == before


@pytest.mark.parametrize("method", ["DELETE", "PUT", "OPTIONS", "TRACE", "PATCH", "BREW"])
def test_other_methods_are_refused(gateway: Running, method: str) -> None:
    found = gateway.ask("/v1/models", sent=1, method=method)
    assert refused(found, 405, "method_not_allowed")
    assert found.headers["allow"] == "GET, HEAD, POST"


def test_its_health_is_the_engine_s_and_needs_no_key(gateway: Running) -> None:
    assert gateway.ask("/health").document == {"status": "ok"}
    gateway.engine.seen.healthy = False
    try:
        until(lambda: gateway.ask("/health").status == 503, "the gateway does not see that its engine is not well")
        assert refused(gateway.ask("/health"), 503, "engine_unavailable")
        found = gateway.ask(body={}, sent=1)
        assert refused(found, 503, "engine_unavailable")
        assert found.headers["retry-after"] == "10"
        assert gateway.ask(body={}).status == 401
    finally:
        gateway.engine.seen.healthy = True
        gateway.wait()


def test_a_stream_comes_piece_by_piece(gateway: Running) -> None:
    seen, body = gateway.engine.seen, {"stream": True, "pieces": 3, "gap": 0, "held": True}
    try:
        with contextlib.closing(gateway.connection()) as client:
            client.request("POST", CHAT, json.dumps(body), {"Authorization": f"Bearer {token(1)}"})
            answer = client.getresponse()
            # The engine does not end before it is let, and what it has said is here already.
            came = [answer.readline() for _ in range(6)]
            assert came == [b"data: 0 \n", b"\n", b"data: 1 \n", b"\n", b"data: 2 \n", b"\n"]
            assert seen.running == 1
            seen.release.set()
            assert answer.read() == b""
    finally:
        seen.release.clear()


def test_a_request_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1), limits=Limits(body_bytes=4096)) as gateway:
        assert gateway.ask(body={"of": "x" * 4000}, sent=1).status == 200
        assert refused(gateway.ask(body={"of": "x" * 4096}, sent=1), 413, "request_too_large")
        with contextlib.closing(gateway.connection()) as client:
            pieces = [b"x" * 1000] * 6
            client.request("POST", CHAT, iter(pieces), {"Authorization": f"Bearer {token(1)}"}, encode_chunked=True)
            assert client.getresponse().status == 413
        assert len(gateway.engine.seen.paths) == 1


def test_a_key_has_as_many_requests_open_as_it_may_and_no_more(tmp_path: Path) -> None:
    with (
        running(tmp_path, key("north", 1, at_once=2), key("south", 2), streams=4) as gateway,
        ThreadPoolExecutor(3) as pool,
    ):
        open_ = [pool.submit(gateway.ask, body={"seconds": 2}, sent=1) for _ in range(2)]
        until(lambda: gateway.engine.seen.running == 2, "both run")
        refused = gateway.ask(body={}, sent=1)
        assert (refused.status, refused.headers["retry-after"]) == (429, "5")
        assert refused.document["error"]["code"] == "rate_limit_exceeded"
        assert gateway.ask(body={}, sent=2).status == 200, "another key is not held to it"
        assert [one.result().status for one in open_] == [200, 200]
        assert gateway.ask(body={}, sent=1).status == 200, "afterwards there is room"


def test_a_key_s_requests_per_minute_are_counted_for_it_alone(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1, per_minute=3), key("south", 2)) as gateway:
        assert [gateway.ask(body={}, sent=1).status for _ in range(6)] == [200, 200, 200, 429, 429, 429]
        found = gateway.ask(body={}, sent=1)
        assert refused(found, 429, "rate_limit_exceeded")
        assert found.headers["retry-after"] == "60"
        assert [gateway.ask(body={}, sent=2).status for _ in range(6)] == [200] * 6


def test_keys_change_while_a_stream_runs(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1)) as gateway:
        got: list[bytes] = []

        def listen() -> None:
            with contextlib.closing(gateway.connection()) as client:
                body = json.dumps({"stream": True, "pieces": 3, "gap": 0, "held": True})
                client.request("POST", CHAT, body, {"Authorization": f"Bearer {token(1)}"})
                got.append(client.getresponse().read())

        thread = threading.Thread(target=listen)
        thread.start()
        until(lambda: gateway.engine.seen.running == 1, "no stream")
        gateway.keys(key("south", 2))
        until(lambda: gateway.ask("/v1/models", sent=1).status == 401, "a revoked key is let in")
        assert gateway.ask(body={}, sent=2).status == 200
        gateway.keys(key("south", 2), key("west", 3))
        until(lambda: gateway.ask("/v1/models", sent=3).status == 200, "a new key is not let in")
        assert gateway.engine.seen.running == 1
        gateway.engine.seen.release.set()
        thread.join()
        assert got[0].count(b"data: ") == 3


def test_the_log_has_names_and_never_a_key(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1)) as gateway:
        gateway.ask(CHAT + "?secret=1", body={}, sent=1)
        gateway.ask(body={}, sent=9)
        until(lambda: "status=401" in gateway.log.read_text(), "no line of the second request")
        text = gateway.log.read_text()
    assert f'key=north method=POST path="{CHAT}" status=200' in text
    assert "key=- method=POST" in text
    assert "secret" not in text
    assert not [part for number in (1, 9) if (part := token(number)[4:20]) in text]


def test_metrics_are_haproxy_s_own(gateway: Running) -> None:
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", gateway.gateway.metrics_port, timeout=10)
    ) as client:
        client.request("GET", "/metrics")
        found = client.getresponse().read().decode()
        assert 'haproxy_server_status{proxy="engine",server="tiny"' in found
        client.request("GET", "/stats")
        assert client.getresponse().status == 404


def test_without_keys_everybody_gets_in_and_the_engine_judges_host_and_origin(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        assert gateway.ask(body={}, Host="evil.example", Origin="https://evil.example").status == 200
        seen = gateway.engine.seen.headers[-1]
        assert (seen["host"], seen["origin"]) == ("evil.example", "https://evil.example")


def test_tls_is_1_2_and_newer_with_strong_ciphers_alone(tmp_path: Path) -> None:
    path = str(certificate(tmp_path))
    with running(tmp_path, key("north", 1), certificate=path) as gateway:
        assert gateway.ask(body={}, sent=1).status == 200
        assert gateway.ask(body={}).status == 401
        place = f"127.0.0.1:{gateway.gateway.port}"

        def agreed(*options: str) -> bool:
            asked = ["openssl", "s_client", "-connect", place, *options]
            done = subprocess.run(asked, input=b"", capture_output=True, check=False)
            return b"Cipher is (NONE)" not in done.stdout and done.returncode == 0

        assert agreed("-tls1_3")
        assert agreed("-tls1_2")
        weak = "@SECLEVEL=0"
        for old in ("-tls1", "-tls1_1"):
            assert not agreed(old, "-cipher", f"ALL:{weak}")
        for cipher in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256", "NULL"):
            assert not agreed("-tls1_2", "-cipher", f"{cipher}:{weak}"), cipher
        context = ssl.create_default_context(cafile=path)
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", gateway.gateway.port)) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as secure,
        ):
            assert secure.selected_alpn_protocol() == "h2"
