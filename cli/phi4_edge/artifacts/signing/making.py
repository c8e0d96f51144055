"""Makes the statement of a bundle from its contents, and has it signed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from phi4_edge import __version__
from phi4_edge.artifacts.bundle.manifest import Contents
from phi4_edge.artifacts.signing import rotation, statement
from phi4_edge.artifacts.signing.judge import Presented
from phi4_edge.artifacts.signing.minisign import SIGNATURES
from phi4_edge.artifacts.signing.rotation import CHAIN, Signed
from phi4_edge.artifacts.signing.secret import SecretKey
from phi4_edge.artifacts.signing.statement import Named, Statement
from phi4_edge.artifacts.store import manifest
from phi4_edge.core import manifest as core_manifest
from phi4_edge.errors import ArtifactError

_WEIGHTS = ".gguf"


@dataclass(frozen=True)
class Signing:
    """What a bundle is signed with: keys, site, counter, times in seconds since 1970, and rotations that go with it.

    `code` are the programs of this installation by name, as `content.code()` gives them.
    """

    keys: tuple[SecretKey, ...]
    code: Mapping[str, str]
    created: int
    expires: int
    counter: int
    site: str = statement.SITE
    rotations: tuple[Signed, ...] = ()

    def sign(self, contents: Contents) -> Presented:
        """The statement about `contents`, its signatures and rotations. Raises ArtifactError for what cannot be."""
        ids = [key.public.id for key in self.keys]
        if not 0 < len(set(ids)) == len(ids) <= SIGNATURES or len(self.rotations) > CHAIN:
            raise ArtifactError(
                f"found {len(ids)} keys and {len(self.rotations)} rotations, needed 1 to {SIGNATURES} different keys "
                f"and at most {CHAIN} rotations"
            )
        raw = contents.encode()
        made = Statement(
            __version__, self.site, self.created, self.expires, self.counter, tuple(ids),
            hashlib.sha256(raw).hexdigest(), names(contents, self.code),
        )  # fmt: skip
        text = made.encode()
        statement.decode(text, "what was to be signed")
        signature = b"".join(key.sign(text, made.comment).encode() for key in self.keys)
        return Presented(text, signature, rotation.packed(self.rotations) if self.rotations else b"")


def names(contents: Contents, code: Mapping[str, str]) -> Named:
    """What a gateway may be given out of a bundle of these contents, and beside it of this installation's programs."""
    inside = {f"artifacts/{digest}" for digest in contents.artifacts.values()}
    weights = {
        entry.sha256
        for entry in contents.files
        if entry.path.endswith(_WEIGHTS) and "/".join(entry.path.split("/")[:2]) in inside
    }
    return Named(
        artifacts=dict(contents.artifacts),
        wheelhouses={name: wheels(contents, name) for name in contents.wheelhouses},
        images={key: {name: str(line[name]) for name in ("digest", "id")} for key, line in contents.images.items()},
        code=dict(code),
        weights=tuple(sorted(weights)),
    )


def wheels(contents: Contents, name: str) -> str:
    """Digest of the wheels of a runtime, as a host that was sent them finds it."""
    prefix = f"wheelhouses/{name}/"
    inside = {entry.path.removeprefix(prefix): entry for entry in contents.files if entry.path.startswith(prefix)}
    return core_manifest.digest(
        [core_manifest.File(path, one.size, one.sha256) for path, one in inside.items() if path != manifest.NAME]
    )
