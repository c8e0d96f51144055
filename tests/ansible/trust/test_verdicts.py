"""What is signed and what is not, put to the controller's verifier and to the host's: they come to the same verdict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hostsign
import hosttrust
import pytest

from phi4_edge.artifacts.signing import judge, minisign, rotation
from phi4_edge.artifacts.signing.judge import Presented
from phi4_edge.artifacts.signing.minisign import SMALL, SignatureRefusedError
from phi4_edge.artifacts.signing.trust import Seen, Trust
from tests.ansible import host_scripts  # noqa: F401 - puts the modules of hosts on the path
from tests.ansible.trust.statements import (
    DAY,
    FIRST,
    MANIFEST,
    NOW,
    SECOND,
    STRANGER,
    THIRD,
    legacy,
    on_host,
    presented,
    recoded,
    rotated,
    signed,
    statement,
    trusting,
)

PLAIN = signed()
SAW_PLAIN = Seen(7, NOW - DAY, hashlib.sha256(PLAIN.statement).hexdigest())


def edited(**changes: Any) -> Presented:
    """A statement whose text was changed and signed as it then is: what no encoder of ours writes."""
    document = {**json.loads(PLAIN.statement), **changes}
    raw = (json.dumps(document, sort_keys=True, indent=1) + "\n").encode()
    return Presented(raw, FIRST.sign(raw, "x").encode())


def raw_signed(raw: bytes) -> Presented:
    return Presented(raw, FIRST.sign(raw, "x").encode())


def bare(text: bytes) -> Presented:
    return replace(PLAIN, signature=text)


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda raw: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def more_s(raw: bytes) -> bytes:
    """The same signature with the group's order added to S: it would verify where nobody looks."""
    return raw[:42] + (int.from_bytes(raw[42:], "little") + minisign.ORDER).to_bytes(32, "little")


def small_r(raw: bytes) -> bytes:
    return raw[:10] + (1).to_bytes(32, "little") + raw[42:]


ONE = trusting(FIRST)
BOTH = trusting(FIRST, SECOND)
LINES = PLAIN.signature.split(b"\n")
NEW = rotated(FIRST, SECOND)
CHAIN = (rotated(FIRST, SECOND, retires=True), rotated(SECOND, THIRD, retires=True))

# What is presented, what is trusted, and the verdict ("" is accepted).
ROWS: dict[str, tuple[Presented, Trust, str]] = {
    "as it was signed": (PLAIN, ONE, ""),
    "one of two trusted keys": (PLAIN, BOTH, ""),
    "both of two trusted keys": (signed(FIRST, SECOND), BOTH, ""),
    "a trusted key and a stranger": (signed(FIRST, STRANGER), ONE, ""),
    "legacy signature": (bare(legacy(FIRST, PLAIN.statement)), ONE, ""),
    "signature with carriage returns": (bare(PLAIN.signature.replace(b"\n", b"\r\n")), ONE, ""),
    "signature without its last newline": (bare(PLAIN.signature.rstrip(b"\n")), ONE, ""),
    "another untrusted comment": (bare(b"\n".join([b"untrusted comment: whatever", *LINES[1:]])), ONE, ""),
    "nothing signed": (Presented(), ONE, "unsigned"),
    "a statement without signature": (replace(PLAIN, signature=b""), ONE, "unsigned"),
    "a signature without statement": (replace(PLAIN, statement=b""), ONE, "unsigned"),
    "another key": (signed(STRANGER), ONE, "unknown key"),
    "two strangers": (signed(STRANGER, THIRD), ONE, "unknown key"),
    "a key that was removed": (PLAIN, trusting(SECOND, removed=(FIRST,)), "unknown key"),
    "another key under a trusted number": (
        bare(recoded(signed(STRANGER).signature, 1, lambda raw: raw[:2] + FIRST.number + raw[10:])), ONE,
        "bad signature",
    ),
    "a byte of the statement": (replace(PLAIN, statement=PLAIN.statement.replace(b"7", b"8", 1)), ONE, "bad signature"),
    "a byte more": (replace(PLAIN, statement=PLAIN.statement + b"\n"), ONE, "bad signature"),
    "a byte less": (replace(PLAIN, statement=PLAIN.statement[:-1]), ONE, "bad signature"),
    "a bit of R": (bare(recoded(PLAIN.signature, 1, flipped(12))), ONE, "bad signature"),
    "a bit of S": (bare(recoded(PLAIN.signature, 1, flipped(50))), ONE, "bad signature"),
    "S above the order": (bare(recoded(PLAIN.signature, 1, more_s)), ONE, "bad signature"),
    "R of small order": (bare(recoded(PLAIN.signature, 1, small_r)), ONE, "bad signature"),
    "prehashed called legacy": (bare(recoded(PLAIN.signature, 1, lambda raw: b"Ed" + raw[2:])), ONE, "bad signature"),
    "legacy called prehashed": (
        bare(recoded(legacy(FIRST, PLAIN.statement), 1, lambda raw: b"ED" + raw[2:])), ONE, "bad signature"
    ),
    "an altered trusted comment": (bare(PLAIN.signature.replace(b"counter:7", b"counter:8")), ONE, "bad signature"),
    "a trusted comment of another signature": (
        bare(b"\n".join([*LINES[:2], *signed(counter=8).signature.split(b"\n")[2:]])), ONE, "bad signature"
    ),
    "a bit of the signature over all": (bare(recoded(PLAIN.signature, 3, flipped(3))), ONE, "bad signature"),
    "one of two trusted signatures is forged": (
        bare(signed(FIRST, SECOND).signature[:-100] + PLAIN.signature[-100:]), BOTH, "bad signature"
    ),
    "a signature was left out": (
        replace(signed(FIRST, SECOND), signature=FIRST.sign(signed(FIRST, SECOND).statement, "x").encode()), BOTH,
        "bad signature",
    ),
    "a signature was added": (
        bare(PLAIN.signature + SECOND.sign(PLAIN.statement, "x").encode()), BOTH, "bad signature"
    ),
    "the same signature twice": (bare(PLAIN.signature * 2), ONE, "malformed"),
    "five signatures": (bare(PLAIN.signature * 5), ONE, "malformed"),
    "three lines": (bare(b"\n".join(LINES[:3])), ONE, "malformed"),
    "five lines": (bare(PLAIN.signature + b"more\n"), ONE, "malformed"),
    "an empty line between": (bare(PLAIN.signature.replace(b"\n", b"\n\n", 1)), ONE, "malformed"),
    "no base64": (bare(b"\n".join([LINES[0], b"!" * 100, *LINES[2:]])), ONE, "malformed"),
    "base64 with a space": (bare(b"\n".join([LINES[0], LINES[1] + b" ", *LINES[2:]])), ONE, "malformed"),
    "base64 of too few bytes": (bare(recoded(PLAIN.signature, 1, lambda raw: raw[:-1])), ONE, "malformed"),
    "base64 of too many bytes": (bare(recoded(PLAIN.signature, 3, lambda raw: raw + b"x")), ONE, "malformed"),
    "an unknown algorithm": (bare(recoded(PLAIN.signature, 1, lambda raw: b"EX" + raw[2:])), ONE, "malformed"),
    "no trusted comment": (bare(PLAIN.signature.replace(b"trusted comment: t", b"t")), ONE, "malformed"),
    "a trusted comment without end": (bare(PLAIN.signature.replace(b"hashed", b"h" * 9000)), ONE, "malformed"),
    "a signature of a megabyte": (bare(b"a" * (1 << 20)), ONE, "malformed"),
    "zero bytes": (bare(b"\0" * 300), ONE, "malformed"),
    "expired a second ago": (signed(expires=NOW), ONE, "expired"),
    "expires in a second": (signed(expires=NOW + 1), ONE, ""),
    "made within the skew of clocks": (signed(created=NOW + 3600, expires=NOW + 9000), ONE, ""),
    "made beyond it": (signed(created=NOW + 3601, expires=NOW + 9000), ONE, "not yet valid"),
    "a clock that was set back": (
        signed(created=NOW - 20 * DAY, expires=NOW + DAY, counter=9),
        trusting(FIRST, seen=Seen(8, NOW + 2 * DAY, "a" * 64)), "expired",
    ),
    "the same once more": (PLAIN, trusting(FIRST, seen=SAW_PLAIN), ""),
    "a higher counter": (signed(counter=8), trusting(FIRST, seen=SAW_PLAIN), ""),
    "a lower counter": (signed(counter=6), trusting(FIRST, seen=SAW_PLAIN), "older"),
    "the same counter, another statement": (signed(expires=NOW + DAY), trusting(FIRST, seen=SAW_PLAIN), "older"),
    "a lower counter by another trusted key": (
        signed(SECOND, counter=1), trusting(FIRST, SECOND, seen=SAW_PLAIN), "older"
    ),
    "a new site first": (signed(site="north"), ONE, ""),
    "another site later": (signed(site="north"), trusting(FIRST, seen=SAW_PLAIN), "other site"),
    "a counter of nothing": (edited(counter=0), ONE, "malformed"),
    "a counter that is a text": (edited(counter="7"), ONE, "malformed"),
    "a counter that is true": (edited(counter=True), ONE, "malformed"),
    "a counter without end": (edited(counter=2**60), ONE, "malformed"),
    "expires before it was made": (edited(expires="2001-01-01T00:00:00Z"), ONE, "malformed"),
    "holds for a hundred years": (edited(expires="2130-01-01T00:00:00Z"), ONE, "malformed"),
    "a time that no calendar has": (edited(expires="2031-02-30T00:00:00Z"), ONE, "malformed"),
    "a key more in the document": (edited(extra=1), ONE, "malformed"),
    "another format": (edited(format="phi4-edge/statement/2"), ONE, "malformed"),
    "names of another kind": (edited(names=[]), ONE, "malformed"),
    "a site with a slash": (edited(site="../x"), ONE, "malformed"),
    "deep nesting": (raw_signed(b"[" * 100000), ONE, "malformed"),
    "no JSON": (raw_signed(b"hello"), ONE, "malformed"),
    "a JSON text": (raw_signed(b'"hello"'), ONE, "malformed"),
    "spaces that we do not write": (raw_signed(PLAIN.statement.replace(b": ", b":  ", 1)), ONE, "malformed"),
    "a key twice in the document": (
        raw_signed(PLAIN.statement.replace(b'"counter"', b'"counter": 9, "counter"')), ONE, "malformed"
    ),
    "rotated": (signed(SECOND, rotations=(NEW,)), ONE, ""),
    "rotated, and the old one retired": (signed(SECOND, rotations=CHAIN[:1]), ONE, ""),
    "rotated twice": (signed(THIRD, rotations=CHAIN), ONE, ""),
    "rotated twice, told in the wrong order": (signed(THIRD, rotations=CHAIN[::-1]), ONE, "unknown key"),
    "signed by the key that retired": (signed(FIRST, rotations=CHAIN[:1]), ONE, "unknown key"),
    "rotated before, and told again": (signed(SECOND, rotations=CHAIN[:1]), trusting(SECOND, removed=(FIRST,)), ""),
    "a rotation that a stranger signed": (
        signed(STRANGER, rotations=(rotated(STRANGER, STRANGER),)), ONE, "unknown key"
    ),
    "a rotation forged": (
        signed(SECOND, rotations=(rotated(FIRST, SECOND, by=replace(STRANGER, number=FIRST.number)),)), ONE,
        "bad signature",
    ),
    "a rotation signed by another than it says": (
        signed(SECOND, rotations=(rotated(FIRST, SECOND, by=STRANGER),)), ONE, "bad signature"
    ),
    "a rotation that expired": (signed(SECOND, rotations=(rotated(FIRST, SECOND, expires=NOW),)), ONE, "expired"),
    "a rotation from the future": (
        signed(SECOND, rotations=(rotated(FIRST, SECOND, created=NOW + DAY),)), ONE, "not yet valid"
    ),
    "a rotation to a key that was removed": (
        signed(SECOND, rotations=(NEW,)), trusting(FIRST, removed=(SECOND,)), "unknown key"
    ),
    "a rotation replayed for a key that was removed": (
        signed(FIRST, rotations=(rotated(SECOND, FIRST),)), trusting(SECOND, removed=(FIRST,)), "unknown key"
    ),
    "rotations that are none": (replace(PLAIN, rotations=b"{}"), ONE, "malformed"),
    "nine rotations": (signed(rotations=(NEW,) * 9), ONE, "malformed"),
}  # fmt: skip


def controller(given: Presented, trust: Trust) -> tuple[str, Trust]:
    try:
        return "", judge.presented(trust, given, MANIFEST, "fleet.tar", NOW).trust
    except SignatureRefusedError as error:
        assert "needed" in str(error)
        return error.reason, trust


def host(given: Presented, trust: Trust) -> tuple[str, dict[str, Any]]:
    last = PLAIN if trust.sites and trust.sites.get("default") == SAW_PLAIN else None
    before = on_host(trust, last)
    told = {"statement": given.statement, "signature": given.signature, "rotations": given.rotations}
    try:
        return "", hosttrust.judged(before, told, "what was signed")
    except hostsign.RefusedError as error:
        return error.reason, before


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosttrust, "now", lambda: NOW)


@pytest.mark.parametrize("name", ROWS)
def test_controller_and_host_come_to_the_same_verdict(name: str) -> None:
    given, trust, wanted = ROWS[name]
    here, trusted_here = controller(given, trust)
    there, trusted_there = host(given, trust)
    assert (here, there) == (wanted, wanted)
    assert {one.key.id for one in trusted_here.keys} == set(hosttrust.keys(trusted_there))
    if not wanted:
        seen = trusted_here.seen(str(trusted_there["site"]))
        assert (seen.counter, seen.created) == (trusted_there["counter"], trusted_there["created"])
        assert list(trusted_here.removed) == trusted_there["removed"]


def test_the_table_is_as_long_as_it_was_promised() -> None:
    assert len(ROWS) >= 80


def test_what_was_signed_is_about_this_manifest() -> None:
    with pytest.raises(SignatureRefusedError, match="another manifest") as caught:
        judge.presented(ONE, PLAIN, MANIFEST + b" ", "fleet.tar", NOW)
    assert caught.value.reason == "bad signature"


def test_every_byte_of_statement_and_signature_counts() -> None:
    # Whatever is changed: no verdict but a refusal, unless the byte is of the untrusted comment.
    begin = PLAIN.signature.index(b"\n")
    for at in range(0, len(PLAIN.statement), 7):
        raw = flipped(at)(PLAIN.statement)
        assert controller(replace(PLAIN, statement=raw), ONE)[0] == host(replace(PLAIN, statement=raw), ONE)[0] != ""
    for at in range(begin, len(PLAIN.signature) - 1, 5):
        raw = flipped(at)(PLAIN.signature)
        assert controller(bare(raw), ONE)[0] == host(bare(raw), ONE)[0] != "", at


def test_points_of_small_order_are_those_that_vanish_times_eight() -> None:
    for y in SMALL:
        point = hostsign.decoded(y.to_bytes(32, "little"))
        assert point is not None
        assert hostsign.small(point)
        assert not minisign.sound(y.to_bytes(32, "little"))
        with pytest.raises(SignatureRefusedError, match="no honest program"):
            minisign.PublicKey.parse(minisign.PublicKey(b"12345678", y.to_bytes(32, "little")).text, "key")
    assert not hostsign.small(hostsign.BASE)
    assert hostsign.times(hostsign.L, hostsign.BASE)[0] % hostsign.P == 0


def test_whoever_signs_with_a_key_of_small_order_signs_nothing() -> None:
    # R = S·B - h·A with A of order one: without the check it holds for every message.
    neutral = (1).to_bytes(32, "little")
    value = hostsign.encoded(hostsign.times(5, hostsign.BASE)) + (5).to_bytes(32, "little")
    assert not hostsign.valid(neutral, value, b"anything")
    assert not minisign.valid(minisign.PublicKey(b"12345678", neutral), value, b"anything")


def test_rotations_are_strict_where_a_person_gives_them() -> None:
    with pytest.raises(SignatureRefusedError, match="needed one that is trusted here"):
        judge.taken(ONE, rotated(STRANGER, THIRD), "rotation.json", NOW)
    after = judge.taken(ONE, CHAIN[0], "rotation.json", NOW)
    assert [one.key.id for one in after.keys] == [SECOND.public.id]
    assert after.removed == (FIRST.public.id,)
    assert not judge.taken(trusting(FIRST), rotated(FIRST, None, retires=True), "rotation.json", NOW).keys
    assert rotation.unpacked(rotation.packed(CHAIN), "x") == CHAIN


def test_presenting_changes_nothing_that_was_given() -> None:
    before = on_host(trusting(FIRST, seen=SAW_PLAIN), PLAIN)
    copy = json.loads(json.dumps(before))
    host(signed(SECOND, counter=9, rotations=CHAIN[:1]), trusting(FIRST))
    hosttrust.judged(before, {"statement": signed(counter=9).statement, "signature": signed(counter=9).signature}, "x")
    assert before == copy
    assert statement().encode() == presented(statement(), FIRST).statement
