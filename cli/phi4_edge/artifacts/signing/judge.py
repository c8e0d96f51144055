"""Whether what was presented may be used: signature, keys, time, order and site, in this order.

The gateways come to the same verdicts with their own code (`hosttrust` and what it is made of); a test holds the two to
each other. Nothing here reads a clock or writes: `now` is given, and `Verdict.trust` is what is to be remembered.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import BinaryIO

from phi4_edge.artifacts.signing import minisign, rotation
from phi4_edge.artifacts.signing import statement as signing_statement
from phi4_edge.artifacts.signing.minisign import PublicKey, Signature, SignatureRefusedError
from phi4_edge.artifacts.signing.rotation import Signed
from phi4_edge.artifacts.signing.statement import SKEW, Statement, moment
from phi4_edge.artifacts.signing.trust import Seen, Trust

_TOKEN = re.compile(r"(timestamp|counter|expires|site):(\S+)")


@dataclass(frozen=True)
class Presented:
    """A statement with its signatures and, where keys change, rotations; as they came, or b"" for none."""

    statement: bytes = b""
    signature: bytes = b""
    rotations: bytes = b""


NOTHING = Presented()


@dataclass(frozen=True)
class Verdict:
    """What was accepted: the statement and its SHA-256, who of the trusted signed it, what is trusted from now on."""

    statement: Statement
    name: str
    keys: tuple[str, ...]
    trust: Trust


def presented(trust: Trust, given: Presented, manifest: bytes | None, where: str, now: int) -> Verdict:
    """The verdict on a statement that travelled with its signatures; `manifest` is what it must be about, None for
    only a part of that.

    Raises SignatureRefusedError with found, needed, and what to do.
    """
    if not given.statement or not given.signature:
        raise unsigned(trust, where)
    if len(given.statement) > signing_statement.MOST:
        raise SignatureRefusedError(
            "malformed", f"{where}: its statement is longer than {signing_statement.MOST} bytes"
        )
    trust = rotated(trust, given.rotations, where, now)
    signatures = minisign.signatures(given.signature, f"{where}, its signature")
    keys = signers(trust, signatures, given.statement, where)
    found = signing_statement.decode(given.statement, where)
    if sorted(one.id for one in signatures) != sorted(found.keys):
        raise SignatureRefusedError(
            "bad signature",
            f"{where}: found signatures of {', '.join(one.id for one in signatures)}, needed those of "
            f"{', '.join(found.keys) or 'nobody'}, who its statement names: copy it again from where it was made",
        )
    if manifest is not None and hashlib.sha256(manifest).hexdigest() != found.manifest:
        raise SignatureRefusedError(
            "bad signature", f"{where}: what was signed is about another manifest: copy it again from where it was made"
        )
    return in_order(trust, found, hashlib.sha256(given.statement).hexdigest(), keys, where, now)


def detached(trust: Trust, raw: bytes, whole: BinaryIO, inner: bytes, where: str, now: int) -> Verdict:
    """The verdict on a file that was signed as a whole, with minisign itself; `inner` is the statement in it, if any.

    Without one the trusted comment, which is signed too, says when it was made: `timestamp:` is there by itself and is
    the counter as well; `counter:`, `expires:` and `site:` may be added with minisign's -t.
    """
    signatures = minisign.signatures(raw, f"{where}{minisign.SUFFIX}")
    if len(signatures) != 1:
        raise SignatureRefusedError("malformed", f"{where}{minisign.SUFFIX}: found several signatures, needed one")
    key = _known(trust, signatures, where)[0]
    minisign.verify(key, signatures[0], whole, where)
    found = signing_statement.decode(inner, where) if inner else commented(signatures[0], where)
    name = hashlib.sha256(inner or signatures[0].value + signatures[0].trusted).hexdigest()
    return in_order(trust, found, name, (key.id,), where, now)


def commented(signature: Signature, where: str) -> Statement:
    """What a trusted comment says in place of a statement."""
    tokens = dict(_TOKEN.findall(signature.trusted.decode("utf-8", "replace")))
    try:
        created = _number(tokens["timestamp"])
        counter = _number(tokens["counter"]) if "counter" in tokens else created
        expires = (
            signing_statement.seconds(tokens["expires"])
            if "expires" in tokens
            else created + signing_statement.DAYS * 86400
        )
        site = signing_statement.site(tokens.get("site", signing_statement.SITE))
        moment(created)
    except (KeyError, ValueError, OverflowError) as error:
        raise SignatureRefusedError(
            "malformed",
            f"{where}{minisign.SUFFIX}: found no 'timestamp:SECONDS' that can be used in its trusted comment, needed "
            "it to tell older bundles from newer ones: minisign writes it unless -t says otherwise",
        ) from error
    return Statement("", site, created, expires, counter, (signature.id,), "0" * 64)


def _number(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,15}", text) or int(text) > signing_statement.COUNTER_MOST:
        raise ValueError(f"{text[:40]!r} is neither a time nor a counter")
    return int(text)


def rotated(trust: Trust, rotations: bytes, where: str, now: int) -> Trust:
    """What is trusted when these rotations (b"" for none) were taken; those that are nobody's here change nothing."""
    for one in rotation.unpacked(rotations, where) if rotations else ():
        trust = taken(trust, one, where, now, strict=False)
    return trust


def taken(trust: Trust, signed: Signed, where: str, now: int, strict: bool = True, name: str = "") -> Trust:
    """What is trusted after this rotation. `strict`: one that no trusted key signed is refused, else it is not for us.

    A key that was removed here does not come back so.
    """
    found, signature = signed.parsed(where)
    signer = trust.find(found.signer)
    if signer is None:
        if strict:
            raise SignatureRefusedError(
                "unknown key",
                f"{where} is signed by key {found.signer}, needed one that is trusted here: {_ids(trust)}. See "
                "'phi4-edge trust list'",
            )
        return trust
    minisign.verify(signer, signature, signed.raw, where)
    new = found.key if found.key and found.key.id not in trust.removed else None
    if (new is None or trust.find(new.id) == new) and not found.retires:
        if strict and found.key and new is None:
            raise SignatureRefusedError(
                "unknown key", f"{where}: key {found.key.id} was removed here; 'phi4-edge trust add' of the key itself"
            )
        return trust
    in_time(found.created, found.expires, now, where)
    if new is not None:
        trust = trust.with_key(new, name or f"signed by {signer.id}", now)
    return trust.without_key(signer.id) if found.retires else trust


def signers(trust: Trust, signatures: tuple[Signature, ...], message: bytes, where: str) -> tuple[str, ...]:
    """Ids of the trusted keys that signed `message`. Refused: none did, or one of a trusted key does not hold."""
    known = _known(trust, signatures, where)
    for signature in signatures:
        if (key := trust.find(signature.id)) is not None:
            minisign.verify(key, signature, message, where)
    return tuple(key.id for key in known)


def _known(trust: Trust, signatures: tuple[Signature, ...], where: str) -> list[PublicKey]:
    known = [key for one in signatures if (key := trust.find(one.id)) is not None]
    if not known:
        raise SignatureRefusedError(
            "unknown key",
            f"{where} is signed by key {', '.join(one.id for one in signatures)}, needed one that is trusted here: "
            f"{_ids(trust)}. Ask who made it for a rotation that a trusted key signed ('phi4-edge trust rotate'), or, "
            "if you know the key from elsewhere, 'phi4-edge trust add'",
        )
    return known


def in_order(trust: Trust, found: Statement, name: str, keys: tuple[str, ...], where: str, now: int) -> Verdict:
    """The verdict on a statement whose signature holds; `name` is its SHA-256."""
    seen = trust.seen(found.site)
    # A clock that was set back does not make young again what had expired when a newer one was accepted.
    in_time(found.created, found.expires, max(now, seen.created), where, now)
    if trust.sites and found.site not in trust.sites:
        raise SignatureRefusedError(
            "other site",
            f"{where} was made for the site {found.site}, needed one of: {', '.join(sorted(trust.sites))}. If this "
            f"controller serves that site too: phi4-edge trust site {found.site}",
        )
    if found.counter < seen.counter or (found.counter == seen.counter and name != seen.statement):
        what = "is older than" if found.counter < seen.counter else "has the counter of, but is not,"
        raise SignatureRefusedError(
            "older",
            f"{where} {what} what was accepted for the site {found.site} before: found counter {found.counter} of "
            f"{moment(found.created)}, needed {seen.counter} of {moment(seen.created)} or a higher one: get the newest "
            "bundle, or make one",
        )
    newest = Seen(found.counter, max(found.created, seen.created), name)
    return Verdict(found, name, keys, trust.with_site(found.site, newest))


def in_time(created: int, expires: int, latest: int, where: str, now: int | None = None) -> None:
    """Raises SignatureRefusedError outside of the time in which it holds; `latest` is the latest that it may be."""
    clock = latest if now is None else now
    if created > clock + SKEW:
        raise SignatureRefusedError(
            "not yet valid",
            f"{where} was made at {moment(created)}, needed a time before now, {moment(clock)} by this clock: set the "
            "clock, or ask who made it",
        )
    if latest >= expires:
        raise SignatureRefusedError(
            "expired",
            f"{where} expired at {moment(expires)}, needed one valid at {moment(latest)}: get the newest bundle, "
            "or make and sign it again",
        )


def unsigned(trust: Trust, where: str) -> SignatureRefusedError:
    """What is said of something that nobody signed."""
    return SignatureRefusedError(
        "unsigned",
        f"{where} is not signed, needed a signature of a key that is trusted here: {_ids(trust)}. Make it with "
        f"'phi4-edge bundle create --sign KEY', or sign the file with 'minisign -Sm' and carry its "
        f"{minisign.SUFFIX} along",
    )


def _ids(trust: Trust) -> str:
    return ", ".join(f"{one.key.id} ({one.name})" if one.name else one.key.id for one in trust.keys) or "none"
