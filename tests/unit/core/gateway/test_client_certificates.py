"""Clients with certificates at the real HAProxy: who is let by, who is refused and how, and what needs none."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from phi4_edge.core.gateway.model import Gateway, Server
from tests.unit.artifacts.certificates.crafted import authority, made
from tests.unit.core.gateway.certificates import certificate
from tests.unit.core.gateway.running_balancer import balancing_over
from tests.unit.core.gateway.running_gateway import (
    CHAT,
    SECONDS,
    Running,
    key,
    needs_haproxy,
    running,
    token,
    until,
    version,
)

HOUR = 3600
KEY, METRICS_KEY = 1, 2
ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
MISSING, WRONG = "client_certificate_required", "client_certificate_invalid"
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@dataclass
class Site:
    """Two CAs of clients, and clients with certificates of all kinds: files with certificate and key."""

    folder: Path
    good: Path
    other: Path

    def __getitem__(self, name: str) -> Path:
        return self.folder / f"{name}.client"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder, now = tmp_path_factory.mktemp("site"), int(time.time())
    valid = {"begins": now - HOUR, "ends": now + HOUR}
    found = Site(folder, folder / "good.pem", folder / "other.pem")
    good, other = authority("site CA", **valid), authority("other CA", **valid)
    found.good.write_bytes(good.pem)
    found.other.write_bytes(other.pem)
    middle = authority("plant CA", issuer=good, **valid)
    clients = {
        "north": made("north", (), good, **valid),
        "client use": made("south", (), good, uses=[ExtendedKeyUsageOID.CLIENT_AUTH], **valid),
        "other": made("other", (), other, **valid),
        "expired": made("expired", (), good, begins=now - 2 * HOUR, ends=now - HOUR),
        "early": made("early", (), good, begins=now + HOUR, ends=now + 2 * HOUR),
        "server use": made("server", ("localhost",), good, uses=[ExtendedKeyUsageOID.SERVER_AUTH], **valid),
        "alone": made("alone", (), **valid),
        "same name": made("north", (), authority("site CA", **valid), **valid),
    }
    for name, one in clients.items():
        one.write(found[name])
    below = made("west", (), middle, **valid)
    below.write(found["below"], middle)
    below.write(found["below, without its CA"])
    return found


@pytest.fixture(scope="module")
def gateway(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("gateway")
    keys = (key("north", KEY), key("metrics", METRICS_KEY))
    server = str(certificate(folder))
    with running(folder, *keys, certificate=server, client_ca=str(site.good), exporter_port=1) as it:
        yield it


pytestmark = needs_haproxy


@pytest.mark.parametrize("name", ["north", "client use", "below"])
def test_who_has_a_certificate_of_the_ca_is_let_by_to_the_question_for_the_key(
    gateway: Running, site: Site, name: str
) -> None:
    assert gateway.ask(body=ASKED, sent=KEY, shown=site[name]).status == 200
    assert gateway.ask("/v1/models", sent=KEY, shown=site[name]).status == 200
    refused = gateway.ask("/v1/models", shown=site[name])
    assert (refused.status, refused.document["error"]["message"][:15]) == (401, "No API key was ")
    assert gateway.ask("/v1/models", sent=9, shown=site[name]).document["error"]["code"] == "invalid_api_key"
    assert gateway.ask("/nothing", sent=KEY, shown=site[name]).status == 404


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", MISSING), ("other", WRONG), ("expired", WRONG), ("early", WRONG), ("server use", WRONG), ("alone", WRONG),
        ("same name", WRONG), ("below, without its CA", WRONG),
    ],
)  # fmt: skip
def test_everybody_else_is_refused_on_every_path_but_how_it_is(
    gateway: Running, site: Site, name: str, code: str
) -> None:
    shown = site[name] if name else None
    before = len(gateway.engine.seen.paths)
    for path in (
        "/v1/models",
        CHAT,
        "/metrics",
        "/",
        "/nothing",
        "/v1/../health",
        "/health/..",
        "/health/x",
        "/Health",
    ):
        for sent in (KEY, METRICS_KEY, None):
            found = gateway.ask(path, sent=sent, shown=shown)
            assert (found.status, found.document["error"]["code"]) == (403, code), path
    found = gateway.ask(body=ASKED, sent=KEY, shown=shown)
    assert found.status == 403
    assert set(found.document["error"]) == {"message", "type", "param", "code"}
    assert len(gateway.engine.seen.paths) == before, "the engine hears nothing of it"
    assert gateway.ask("/health", shown=shown).status == 200


@pytest.mark.parametrize("newest", VERSIONS)
@pytest.mark.parametrize(("name", "status"), [("", 403), ("north", 200), ("other", 403), ("expired", 403)])
def test_a_session_that_is_resumed_is_worth_what_the_first_one_was(
    gateway: Running, site: Site, name: str, status: int, newest: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context(cafile=gateway.trusted)
    context.maximum_version = newest
    if name:
        context.load_cert_chain(site[name])
    first, session, _ = models(gateway, context, None)
    again, _, resumed = models(gateway, context, session)
    assert (first, again, resumed) == (status, status, True)


def models(
    gateway: Running, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[int, ssl.SSLSession, bool]:
    """Status of the list of models, the session that can be resumed, and whether this one was."""
    plain = socket.create_connection(("127.0.0.1", gateway.gateway.port), SECONDS)
    with context.wrap_socket(plain, server_hostname="localhost", session=session) as client:
        head = f"Host: x\r\nConnection: close\r\nAuthorization: Bearer {token(KEY)}"
        client.sendall(f"GET /v1/models HTTP/1.1\r\n{head}\r\n\r\n".encode())
        with client.makefile("rb") as stream:  # to its end: a session that ends in the middle is not resumed
            status = int(stream.read().split()[1])
        assert client.session is not None
        return status, client.session, bool(client.session_reused)


def test_another_ca_counts_from_the_next_reload_on(site: Site, tmp_path: Path) -> None:
    authorities = tmp_path / "clients-ca.pem"
    authorities.write_bytes(site.good.read_bytes())
    with running(tmp_path, key("north", KEY), certificate=str(certificate(tmp_path)), client_ca=str(authorities)) as it:

        def gets(name: str) -> int:
            return it.ask("/v1/models", sent=KEY, shown=site[name]).status

        assert (gets("north"), gets("other")) == (200, 403)
        authorities.write_bytes(site.good.read_bytes() + site.other.read_bytes())
        it.keys(key("north", KEY))
        until(lambda: gets("other") == 200, "both CAs count")
        assert gets("north") == 200
        authorities.write_bytes(site.other.read_bytes())
        it.keys(key("north", KEY))
        until(lambda: gets("north") == 403, "the CA that was taken out counts no more")
        assert gets("other") == 200


@pytest.mark.skipif(version() < (2, 4), reason="HAProxy reads JSON from 2.4 on")
def test_a_balancer_shows_its_own_and_may_ask_for_its_clients(site: Site, tmp_path: Path) -> None:
    own = {"client_ca": str(site.other), "shown": str(site["north"])}
    server = str(certificate(tmp_path))
    with balancing_over(
        tmp_path, [key("north", KEY)], (256, 256), server, own=own, client_ca=str(site.good)
    ) as balancer:
        assert balancer.ask(body=ASKED, sent=KEY, shown=site["other"]).status == 200
        refused = balancer.ask(body=ASKED, sent=KEY, shown=site["north"])
        assert (refused.status, refused.document["error"]["code"]) == (403, WRONG)
        assert balancer.ask(body=ASKED, sent=KEY).document["error"]["code"] == MISSING
        assert balancer.ask("/health").status == 200
        logs = [tmp_path / name / "log" for name in ("gw0", "gw1")]
        own = re.compile(r"key=balancer-test .* status=200")
        until(lambda: all(own.search(log.read_text()) for log in logs), "its own questions get through too")


def test_no_gateway_without_tls_asks_for_certificates() -> None:
    with pytest.raises(ValueError, match="client_ca: found one without a certificate of the server"):
        Gateway("127.0.0.1", 8443, Server("tiny"), client_ca="/etc/clients.pem")
    with pytest.raises(ValueError, match=r"client_ca: found 'clients\.pem', needed an absolute path"):
        Gateway("127.0.0.1", 8443, Server("tiny"), "/etc/server.pem", client_ca="clients.pem")
