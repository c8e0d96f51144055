"""What every bundle passes before anything in it is looked at: is it signed by whom this controller trusts?"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from phi4_edge.artifacts.bundle.manifest import Contents
from phi4_edge.artifacts.signing import judge, making, minisign, rotation, shelf
from phi4_edge.artifacts.signing import statement as signing_statement
from phi4_edge.artifacts.signing.judge import NOTHING, Presented, Verdict
from phi4_edge.artifacts.signing.minisign import SUFFIX, SignatureRefusedError
from phi4_edge.artifacts.signing.statement import Named, Statement, moment
from phi4_edge.artifacts.signing.trust import Keeper, Trust
from phi4_edge.artifacts.store.store import Store
from phi4_edge.errors import ArtifactError


@dataclass(frozen=True)
class Passed:
    """What was found out about one bundle: `verdict` is None where no key is trusted here; `note` is for people.

    `vouched`: a controller that was let in handed it over, and says by that which sites it serves.
    """

    note: str = ""
    verdict: Verdict | None = None
    given: Presented = NOTHING
    statement: Statement | None = None
    vouched: bool = False


UNASKED = Passed()


@dataclass(frozen=True)
class Gate:
    """Holds bundles to the keys that `keeper` has; `now` is seconds since 1970."""

    keeper: Keeper
    now: int

    def open(self, stream: BinaryIO, manifest: bytes, given: Presented, path: Path) -> Passed:
        """What is to be said of the bundle `stream`, which lies at `path`. Nothing is remembered.

        Raises SignatureRefusedError where keys are trusted and it is not to be used. `stream` is where it was.
        """
        where, trust = str(path), self.keeper.read()
        if not trust.keys:
            return self._unjudged(manifest, given, path)
        beside = path.with_name(path.name + SUFFIX)
        if given.signature or not beside.is_file():
            verdict = judge.presented(trust, given, manifest, where, self.now)
        else:
            position = stream.tell()
            stream.seek(0)
            verdict = judge.detached(trust, read_beside(beside), stream, given.statement, where, self.now)
            stream.seek(position)
        note = f"signed by {_named(verdict.trust, verdict.keys)}, {_about(verdict.statement)}"
        return Passed(note, verdict, given, verdict.statement)

    def remember(self, store: Store, passed: Passed, where: str) -> None:
        """The bundle counts as accepted: older ones are refused from now on, and hosts are shown what was signed.

        Raises SignatureRefusedError where a newer one was accepted meanwhile.
        """
        if passed.verdict is not None:
            verdict = passed.verdict

            def again(trust: Trust) -> Trust:
                taken = judge.rotated(trust, passed.given.rotations, where, self.now)
                taken = _vouched(taken, verdict.statement.site) if passed.vouched else taken
                return judge.in_order(taken, verdict.statement, verdict.name, verdict.keys, where, self.now).trust

            self.keeper.change(again)
        if passed.statement is not None and passed.given.signature:
            shelf.put(store, passed.statement.site, passed.given)

    def handed(self, store: Store, contents: Contents, given: Collection[Presented], where: str) -> None:
        """What another controller hands over may be taken, and is remembered: a statement of those names each part.

        Raises SignatureRefusedError where keys are trusted here and none does. Nothing is asked where none is trusted.
        """
        trust, refused = self.keeper.read(), list[SignatureRefusedError]()
        accepted = list[Passed]()
        for one in given:
            found = signing_statement.decode(one.statement, where)
            try:
                known = _vouched(trust, found.site)
                verdict = judge.presented(known, one, None, where, self.now) if trust.keys else None
            except SignatureRefusedError as error:
                refused.append(error)
            else:
                accepted.append(Passed("", verdict, one, found, vouched=True))
        if trust.keys:
            try:
                names = [passed.statement.names for passed in accepted if passed.statement]
                _require_named(making.names(contents, {}), names, trust, where)
            except SignatureRefusedError as error:
                raise refused[0] if refused else error from None
        for passed in accepted:
            self.remember(store, passed, where)

    def _unjudged(self, manifest: bytes, given: Presented, path: Path) -> Passed:
        """What is said where no key is trusted; what claims to be signed must at least be about this bundle."""
        if not given.statement:
            lies = path.with_name(path.name + SUFFIX).is_file()
            beside = f" inside, and nothing checked {path.name}{SUFFIX}" if lies else ""
            return Passed(f"not signed{beside}; no key is trusted on this controller ('phi4-edge trust add')")
        found = signing_statement.decode(given.statement, str(path))
        ids = [one.id for one in minisign.signatures(given.signature, str(path))] if given.signature else []
        if given.rotations:
            rotation.unpacked(given.rotations, str(path))
        if hashlib.sha256(manifest).hexdigest() != found.manifest or sorted(ids) != sorted(found.keys):
            raise SignatureRefusedError(
                "bad signature", f"{path}: found a statement about another bundle, needed its own: copy it again"
            )
        note = f"signed by {', '.join(ids) or 'nobody'}, which is not trusted here, so nothing of it was verified"
        return Passed(f"{note} ('phi4-edge trust add' of that key, if you know it)", None, given, found)


def _vouched(trust: Trust, site: str) -> Trust:
    """The same, where the site need not have been the first one."""
    return trust.with_site(site, trust.seen(site))


def read_beside(path: Path) -> bytes:
    """The text of a .minisig file, bounded. Raises ArtifactError when it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(minisign.FILE_MOST + 1)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error


def _require_named(wanted: Named, statements: Collection[Named], trust: Trust, where: str) -> None:
    """Raise SignatureRefusedError unless every part is in one of the statements, by its digest."""
    if not statements:
        raise judge.unsigned(trust, where)
    for kind in ("artifacts", "wheelhouses", "images"):
        known = [getattr(one, kind) for one in statements]
        needed: Mapping[str, object] = getattr(wanted, kind)
        for name, digest in needed.items():
            if not any(digest in one.values() for one in known):
                raise SignatureRefusedError(
                    "not named",
                    f"{where}: {name} is not named in what was signed, needed content that is: provision from the "
                    "newest signed bundle",
                )


def _named(trust: Trust, ids: tuple[str, ...]) -> str:
    names = {one.key.id: one.name for one in trust.keys}
    return " and ".join(f"{key} ({names[key]})" if names.get(key) else key for key in ids)


def _about(found: Statement) -> str:
    return f"site {found.site}, counter {found.counter}, holds until {moment(found.expires)}"
