"""Host side of trust: which keys this host takes, and whether what was signed for it may be used."""

from __future__ import annotations

from typing import Any, Dict, List

import hostadmit
import hosttrust
from hostlib import HostError, Json
from hostrun import serve
from hostsign import RefusedError, key_id, public_key
from hoststatement import statement

# The statements of every site that a controller serves.
PRESENTED_MOST = 64


def trust(args: Json, _payload: bytes) -> Json:
    """This host trusts the given keys. The first ones it takes as they come, others only from a key that it trusts."""
    before = hosttrust.read(args["state"])
    after = hosttrust.rotated(before, args["rotations"].encode("utf-8", "replace"), "the rotation of keys")
    for given in args["presented"]:
        # A bundle that was presented before may have brought the rotation.
        after = hosttrust.rotated(after, given["rotations"].encode("utf-8", "replace"), "the rotation of keys")
    known = hosttrust.keys(after)
    for name, line in sorted(args["keys"].items()):
        number = key_id(public_key(line).number)
        if before["keys"] and number not in known:
            raise RefusedError(
                "unknown key",
                "found %s trusted on this host, needed %s among them: another key is taken only with a rotation that a "
                "trusted one signed ('phi4-edge trust rotate'). Nothing was changed" % (hosttrust.ids(before), number),
            )
        after = hosttrust.with_key(after, line, name) if not before["keys"] else after
    if after != before and not args["check"]:
        hosttrust.write(args["state"], after)
    return {"changed": after != before, "trusted": sorted(hosttrust.keys(after))}


def present(args: Json, _payload: bytes) -> Json:
    """What was signed for this host is accepted and remembered, and names what the plan is going to bring.

    A host that trusts no key does nothing. Raises RefusedError with what was found, needed, and is to be done.
    """
    before = hosttrust.read(args["state"])
    if not before["keys"]:
        return {"changed": False, "trusted": []}
    given = chosen(before, args["presented"])
    after = hosttrust.judged(before, given, "what was signed")
    found = statement(after["statement"].encode(), "what was signed")
    hostadmit.require(found.names, wanted(args["wanted"], found.names))
    if after != before and not args["check"]:
        hosttrust.write(args["state"], after)
    return {
        "changed": after != before,
        "trusted": sorted(hosttrust.keys(after)),
        "counter": after["counter"],
        "site": after["site"],
    }


def chosen(trust: Json, presented: List[Json]) -> Dict[str, bytes]:
    """The statement of this host's site; the only one there is, where the host knows none yet."""
    if len(presented) > PRESENTED_MOST:
        raise HostError("found %d statements, needed at most %d" % (len(presented), PRESENTED_MOST))
    mine = [one for one in presented if not trust["site"] or one["site"] == trust["site"]]
    if len(mine) > 1:
        raise RefusedError(
            "other site",
            "this controller has what was signed for several sites (%s), and this host was told of none: provision it "
            "once from the bundle of its own site" % ", ".join(one["site"] for one in mine),
        )
    # One of another site is presented all the same: its refusal says more than that there is none.
    best = mine or presented[:1]
    if not best:
        return {}
    found = {name: str(best[0][name]).encode("latin-1", "replace") for name in ("signature", "rotations")}
    return dict(found, statement=str(best[0]["statement"]).encode("utf-8", "replace"))


def wanted(plan: Json, names: Dict[str, Any]) -> List[hostadmit.Part]:
    """What the plan says that it is going to bring; the wheels of a runtime are looked up by its id."""
    parts = [("artifacts", digest, "the planned artifact") for digest in plan["artifacts"]]
    parts += [("images", digest, "the planned image") for digest in plan["images"]]
    for runtime in plan["wheelhouses"]:
        parts.append(("wheelhouses", names["wheelhouses"].get(runtime, runtime), "the planned wheels"))
    return parts


if __name__ == "__main__":
    serve(globals(), {"trust": trust, "present": present})
