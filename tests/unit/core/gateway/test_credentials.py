"""When a host needs keys or a certificate, and why."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from phi4_edge.core.credentials import NONE, Found
from phi4_edge.core.gateway import certificate
from phi4_edge.core.gateway.credentials import CERTIFICATE, CLIENT_CA, KEYS, Wanted, due

NOW = 1_800_000_000
DAY = 86_400
ISSUED = certificate.Wanted("c" * 64, ("gw1", "192.0.2.7"))
WANTED = Wanted(NOW, "a" * 64, ISSUED)
NOTE = {
    "pem": "b" * 64,
    "issuer": "c" * 64,
    "digest": "d" * 64,
    "names": ("gw1", "192.0.2.7"),
    "not_after": NOW + 80 * DAY,
}
FOUND = Found("a" * 64, "b" * 64, NOTE)


def whats(found: Found, wanted: Wanted) -> list[str]:
    return [what for what, _before, _after in due(found, wanted)]


def test_a_host_that_has_all_needs_nothing() -> None:
    assert due(FOUND, WANTED) == ()


def test_a_new_host_needs_both() -> None:
    assert due(NONE, WANTED) == ((KEYS, "none", "as the keys file says"), (CERTIFICATE, "none", "a new one"))


@pytest.mark.parametrize(
    ("changes", "note", "then"),
    [
        ({"keys": "e" * 64}, {}, [KEYS]),
        ({"keys": ""}, {}, [KEYS]),
        ({"pem": ""}, {}, [CERTIFICATE]),
        ({"pem": "e" * 64}, {}, [CERTIFICATE]),
        ({}, {"issuer": "e" * 64}, [CERTIFICATE]),
        ({}, {"names": ("gw2",)}, [CERTIFICATE]),
        ({}, {"not_after": NOW + 29 * DAY}, [CERTIFICATE]),
        ({}, {"not_after": NOW - 1}, [CERTIFICATE]),
        ({}, {"not_after": 0}, [CERTIFICATE]),
        ({}, {"not_after": NOW + 31 * DAY}, []),
        ({"note": {}}, {}, [CERTIFICATE]),
    ],
)
def test_what_differs_is_brought(changes: dict[str, Any], note: dict[str, Any], then: list[str]) -> None:
    found = dataclasses.replace(FOUND, **{"note": {**NOTE, **note}, **changes})
    assert whats(found, WANTED) == then


def test_without_tls_a_certificate_stays_for_the_release_that_runs() -> None:
    plain = dataclasses.replace(WANTED, certificate=None)
    assert due(FOUND, plain) == ()
    assert due(Found("a" * 64), plain) == ()


def test_an_operators_certificate_is_brought_once() -> None:
    given = dataclasses.replace(WANTED, certificate=certificate.Wanted(digest="d" * 64))
    assert due(FOUND, given) == ()
    assert whats(FOUND, dataclasses.replace(WANTED, certificate=certificate.Wanted(digest="f" * 64))) == [CERTIFICATE]


def test_cas_of_clients_are_brought_where_they_differ_and_stay_where_they_are_not_wanted() -> None:
    asked = dataclasses.replace(WANTED, client_ca="e" * 64)
    assert due(FOUND, asked) == ((CLIENT_CA, "none", "as the file says"),)
    assert due(dataclasses.replace(FOUND, client_ca="f" * 64), asked) == ((CLIENT_CA, "others", "as the file says"),)
    there = dataclasses.replace(FOUND, client_ca="e" * 64)
    assert due(there, asked) == ()
    assert due(there, WANTED) == (), "the release that runs, or the one before, names the file"
    assert due(NONE, dataclasses.replace(asked, lacks="found no CA")) == ()


def test_a_controller_that_lacks_something_brings_nothing() -> None:
    assert due(NONE, Wanted(NOW, lacks="found no CA")) == ()
