"""What was accepted for each site, kept in the store: a host that trusts keys is shown it before it is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping

from phi4_edge.artifacts.signing.judge import Presented
from phi4_edge.artifacts.store import files
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core import signed
from phi4_edge.errors import ArtifactError


def read(store: Store) -> dict[str, Presented]:
    """What lies there by site. Raises ArtifactError for a file that is damaged."""
    path = store.root / signed.NAME
    try:
        with path.open("rb") as stream:
            raw = stream.read(signed.MOST + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    sites = signed.decode(raw.decode("utf-8", "replace") if len(raw) <= signed.MOST else "", str(path))
    return {site: given(one) for site, one in sites.items()}


def given(texts: Mapping[str, str]) -> Presented:
    """What was signed, as bytes."""
    return Presented(*(texts[name].encode("latin-1", "replace") for name in ("statement", "signature", "rotations")))


def texts(one: Presented) -> dict[str, str]:
    """The same as texts, for a document."""
    parts = {"statement": one.statement, "signature": one.signature, "rotations": one.rotations}
    return {name: raw.decode("latin-1") for name, raw in parts.items()}


def put(store: Store, site: str, new: Presented) -> None:
    """The site's statement is this one from now on; nothing of it is verified here."""
    with store.exclusive():
        lines = {name: texts(one) for name, one in {**read(store), site: new}.items()}
        document = signed.document(lines)
        if len(json.dumps(document)) > signed.MOST or len(lines) > signed.SITES_MOST:
            raise ArtifactError(f"found what was signed for {len(lines)} sites, and no room for another one")
        store.root.mkdir(parents=True, exist_ok=True)
        files.write_json(store.root / signed.NAME, document)
