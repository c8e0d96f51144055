"""Which keys this host trusts, what was signed for it, and whether a release may be made of what lies here.

`<state>/trust/trust.json`, root's alone, is one document: the keys, how far the site has come, and the newest statement
with its signature. Without keys everything is as if this module were not there. With keys a release may link to nothing
and run no image that a statement does not name by its digest, and no statement counts that an unknown key signed, that
expired, or that is older than the one before.

Sent in front of the script that uses it; Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import Any, Dict, List, Optional

import hostsign
from hostlib import HostError, Json, own_directory, read_json, write_json
from hostsign import Key, RefusedError, key_id, public_key
from hoststatement import (
    COUNTER_MOST,
    KEY_ID,
    SHA256,
    SITE,
    Statement,
    a,
    closed,
    moment,
    rotation,
    rotations,
    statement,
)

FOLDER, NAME = "trust", "trust.json"
FORMAT = "phi4-edge/host-trust/1"
KEYS_MOST, REMOVED_MOST, RELEASES_MOST = 16, 64, 64
# As on the controller: clocks of gateways without a battery are set by the network after a while.
SKEW = 3600
EMPTY: Json = {
    "format": FORMAT, "keys": [], "removed": [], "site": "", "counter": 0, "created": 0, "statement": "",
    "signature": "", "releases": {},
}  # fmt: skip


def now() -> int:
    """Seconds since 1970 by the host's own clock."""
    return int(time.time())


def path_of(state: str) -> str:
    """Where it is written down."""
    return os.path.join(state, FOLDER, NAME)


def read(state: str) -> Json:
    """What is trusted here; no keys where nothing is. Raises HostError where somebody else could have written it."""
    path = path_of(state)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return dict(EMPTY)
    document = read_json(path)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise HostError(
            "%s is not root's alone, so nobody knows who chose the keys in it: look at it, then remove it" % path
        )
    try:
        held(document)
    except (ValueError, KeyError, TypeError, AttributeError, RefusedError) as error:
        raise HostError(
            "%s cannot be used (%.200s): it says which keys this host trusts. Restore it, or have root remove it, and "
            "push the keys again" % (path, error)
        ) from None
    return dict(document)


def held(document: Any) -> None:
    """Raises ValueError unless it is what `write` wrote."""
    closed(document, EMPTY, FORMAT)
    for line in document["keys"]:
        closed(line, {"key", "name"})
        public_key(line["key"])
    for one in document["removed"]:
        a(one, KEY_ID)
    if not isinstance(document["releases"], dict) or not all(
        SHA256.fullmatch(one) for one in document["releases"].values()
    ):
        raise ValueError("not a list of releases")
    if type(document["counter"]) is not int or not 0 <= document["counter"] <= COUNTER_MOST:
        raise ValueError("not a counter")
    if not all(isinstance(document[name], str) for name in ("site", "statement", "signature")):
        raise ValueError("not a text")
    if type(document["created"]) is not int or (document["site"] and not SITE.fullmatch(document["site"])):
        raise ValueError("not a time or a site")


def write(state: str, document: Json) -> None:
    """It is written down, for root alone, at once and durably."""
    own_directory(os.path.join(state, FOLDER), 0o700)
    write_json(path_of(state), document, 0o600)


def keys(trust: Json) -> Dict[str, Key]:
    """The trusted keys by id."""
    found = [public_key(line["key"]) for line in trust["keys"]]
    return {key_id(key.number): key for key in found}


def ids(trust: Json) -> str:
    """Which keys are trusted, for people."""
    return ", ".join(keys(trust)) or "none"


def with_key(trust: Json, line: str, name: str) -> Json:
    """The same, and the key of this line. Raises RefusedError for another key of its number, or without room."""
    key, known = public_key(line), keys(trust)
    number = key_id(key.number)
    if known.get(number, key) != key or (number not in known and len(known) >= KEYS_MOST):
        raise RefusedError(
            "unknown key", "found no room for key %s, or another key of its number; trusted: %s" % (number, ids(trust))
        )
    if number in known:
        return trust
    removed = [one for one in trust["removed"] if one != number]
    return dict(trust, keys=[*trust["keys"], {"key": line, "name": name}], removed=removed)


def without_key(trust: Json, number: str) -> Json:
    """The same without the key of that number; no rotation brings it back."""
    kept = [line for line in trust["keys"] if key_id(public_key(line["key"]).number) != number]
    removed = [*(one for one in trust["removed"] if one != number), number][-REMOVED_MOST:]
    return dict(trust, keys=kept, removed=removed)


def rotated(trust: Json, raw: bytes, where: str) -> Json:
    """What is trusted when these rotations (b"" for none) were taken; those that are nobody's here change nothing."""
    for one in rotations(raw, where) if raw else ():
        trust = taken(trust, one["rotation"], one["signature"], where)
    return trust


def taken(trust: Json, raw: bytes, signed: bytes, where: str) -> Json:
    """What is trusted after one rotation."""
    found, signatures = rotation(raw, where), hostsign.signatures(signed, where)
    if len(signatures) != 1 or key_id(signatures[0].number) != found.signer:
        reason = "malformed" if len(signatures) != 1 else "bad signature"
        raise RefusedError(reason, "%s: a rotation that another key signed than it speaks for" % where)
    signer = keys(trust).get(found.signer)
    if signer is None:
        return trust
    hostsign.verify(signer, signatures[0], raw, where)
    number = key_id(found.key.number) if found.key else ""
    new = found.line if number and number not in trust["removed"] else ""
    if (not new or keys(trust).get(number) == found.key) and not found.retires:
        return trust
    in_time(found.created, found.expires, now(), where)
    if new:
        trust = with_key(trust, new, "signed by " + found.signer)
    return without_key(trust, found.signer) if found.retires else trust


def judged(trust: Json, given: Dict[str, bytes], where: str) -> Json:
    """What is to be written down once `given` (statement, signature, rotations) is accepted. Raises RefusedError."""
    if not given.get("statement") or not given.get("signature"):
        raise unsigned(trust, where)
    trust = rotated(trust, given.get("rotations") or b"", where)
    found = signed(trust, given["statement"], given["signature"], where)
    in_time(found.created, found.expires, max(now(), trust["created"]), where, now())
    if trust["site"] not in ("", found.site):
        raise RefusedError(
            "other site",
            "%s was made for the site %s, needed %s: present what was signed for this host"
            % (where, found.site, trust["site"]),
        )
    newer = found.counter > trust["counter"]
    if not newer and (found.counter < trust["counter"] or given["statement"].decode() != trust["statement"]):
        raise RefusedError(
            "older",
            "%s is older than what this host accepted before: found counter %d of %s, needed %d of %s or a higher one: "
            "get the newest bundle" % (
                where, found.counter, moment(found.created), trust["counter"], moment(trust["created"]),
            ),
        )  # fmt: skip
    texts = {"statement": given["statement"].decode(), "signature": given["signature"].decode("latin-1")}
    created = max(found.created, trust["created"])
    return dict(trust, site=found.site, counter=found.counter, created=created, **texts)


def signed(trust: Json, raw: bytes, signature: bytes, where: str) -> Statement:
    """The statement, when a trusted key signed it and nobody else's signature was added or left out."""
    signatures = hostsign.signatures(signature, where)
    known = keys(trust)
    if not any(key_id(one.number) in known for one in signatures):
        raise RefusedError(
            "unknown key",
            "%s is signed by key %s, needed one that this host trusts: %s. A rotation that a trusted key signed brings "
            "another one" % (where, ", ".join(key_id(one.number) for one in signatures), ids(trust)),
        )
    for one in signatures:
        if key_id(one.number) in known:
            hostsign.verify(known[key_id(one.number)], one, raw, where)
    found = statement(raw, where)
    if sorted(key_id(one.number) for one in signatures) != sorted(found.keys):
        raise RefusedError("bad signature", "%s: found signatures of other keys than its statement names" % where)
    return found


def in_time(created: int, expires: int, latest: int, where: str, clock: Optional[int] = None) -> None:
    """Raises RefusedError outside of the time in which it holds; `latest` is the latest that it may be by now."""
    clock = latest if clock is None else clock
    if created > clock + SKEW:
        raise RefusedError(
            "not yet valid",
            "%s was made at %s, needed a time before now, which is %s by the clock of this host: set its clock"
            % (where, moment(created), moment(clock)),
        )
    if latest >= expires:
        raise RefusedError(
            "expired",
            "%s held until %s, needed one that holds at %s: get the newest bundle"
            % (where, moment(expires), moment(latest)),
        )


def current(trust: Json) -> Statement:
    """The statement that this host goes by. Raises RefusedError where there is none that holds now."""
    where = "what was signed for this host"
    if not trust["statement"]:
        raise unsigned(trust, where)
    found = signed(trust, trust["statement"].encode(), trust["signature"].encode("latin-1"), where)
    in_time(found.created, found.expires, max(now(), trust["created"]), where, now())
    return found


def unsigned(trust: Json, where: str) -> RefusedError:
    """What is said where nothing signed was presented."""
    return RefusedError(
        "unsigned",
        "%s is not signed: this host trusts %s, and takes only what one of them signed. Nothing was changed; provision "
        "it from a bundle that was made with 'phi4-edge bundle create --sign KEY'" % (where, ids(trust)),
    )


def fingerprint(lines: List[str]) -> str:
    """What stands for the content of a release that was admitted."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def admitted(trust: Json, release: str, lines: List[str]) -> Json:
    """The document with the release's content in it; the last 64 are kept."""
    kept = {name: one for name, one in trust["releases"].items() if name != release}
    kept = dict(list(kept.items())[1 - RELEASES_MOST :])
    return dict(trust, releases=dict(kept, **{release: fingerprint(lines)}))
