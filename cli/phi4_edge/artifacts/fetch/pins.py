"""What is known of release archives: their hashes, and what each of them unpacks to.

A bundle holds what was unpacked of an archive, not the archive. So what it brings is held to the catalog's digest of
the unpacked files where it has one, else to what this store unpacked itself or was brought first.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping

from phi4_edge.artifacts.store import files
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.engines.ollama import NAME as ENGINE
from phi4_edge.errors import ArtifactError

NAME = re.compile(r"ollama/(?P<version>[0-9][0-9A-Za-z.]*)-(?P<arch>x86_64|aarch64)-(?P<flavour>cpu|cuda|jetpack[56])")
# Own builds behind a mirror: their hashes instead of the catalog's, as <asset>=<sha256>, separated by commas.
SHA256_SETTING = "PHI4_EDGE_OLLAMA_SHA256"
FORMAT = "phi4-edge/pins/1"


def own() -> dict[str, str]:
    """SHA-256 by asset as the operator set them, who then answers for what is behind the mirror."""
    found = {}
    for pair in filter(None, os.environ.get(SHA256_SETTING, "").split(",")):
        asset, equals, value = pair.strip().partition("=")
        if not equals or not re.fullmatch(r"[0-9a-f]{64}", value):
            raise ArtifactError(f"{SHA256_SETTING} holds {pair!r}, needed <asset>=<64 hexadecimal digits>")
        found[asset] = value
    return found


def require_known(held: Manifest, catalog: Catalog) -> None:
    """Raise ArtifactError unless the release `held` is one of the catalog, unpacked from archives that it pins.

    Which files these unpack to is compared where the catalog has their digest and the archives are the catalog's.
    """
    release, match = catalog.engines[ENGINE].release, NAME.fullmatch(held.artifact)
    known = release.artifacts.get(f"{match['arch']}-{match['flavour']}") if release and match else None
    if release is None or match is None or known is None or match["version"] != catalog.engines[ENGINE].version:
        raise ArtifactError(f"{held.artifact} is no release of this installation's catalog")
    made_from, ours = held.source.get("assets"), own()
    pinned = {name: ours.get(name) or release.sha256.get(name) for name in known.assets}
    if not isinstance(made_from, dict) or made_from.keys() != pinned.keys():
        raise ArtifactError(f"{held.artifact} does not say that it is made of {', '.join(known.assets)}")
    for name, wanted in pinned.items():
        if wanted and made_from[name] != wanted:
            raise ArtifactError(
                f"{held.artifact} is made of {name} with sha256 {str(made_from[name])[:12]!a}, needed {wanted[:12]}…, "
                "which this installation has pinned"
            )
    if known.digest and not ours.keys() & pinned.keys() and held.digest != known.digest:
        raise ArtifactError(f"{held.artifact} holds {held.digest[:12]}…, the catalog's archives {known.digest[:12]}…")


def require_same_tree(store: Store, artifacts: Mapping[str, str]) -> None:
    """Raise ArtifactError where a release among `artifacts` (id → digest) is another than `store` has known it as."""
    pins = read(store)
    for name, digest in artifacts.items():
        known = pins.get(_tree(name), digest) if NAME.fullmatch(name) and not own() else digest
        if known != digest:
            raise ArtifactError(
                f"found {name} with the content {digest[:12]}…, needed {known[:12]}…, which this store unpacked or was "
                "brought first: somebody changed it. Look why; if the new one is right, remove the line "
                f"{_tree(name)!r} from {store.root / 'pins.json'}"
            )


def pin_tree(store: Store, artifact: str, digest: str) -> None:
    """Remember that `artifact` is `digest`, unless the operator answers for its archives."""
    if NAME.fullmatch(artifact) and not own():
        pins = read(store)
        if pins.get(_tree(artifact)) != digest:
            write(store, {**pins, _tree(artifact): digest})


def _tree(artifact: str) -> str:
    return f"{artifact} unpacked"


def write(store: Store, pins: Mapping[str, str]) -> None:
    """Replace what is pinned."""
    files.write_json(store.root / "pins.json", {"format": FORMAT, "pins": dict(pins)})


def read(store: Store) -> dict[str, str]:
    """What is pinned, by name. Raises ArtifactError for a file that cannot be read."""
    path = store.root / "pins.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}, needed {FORMAT!r}")
        return {str(name): str(value) for name, value in document["pins"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path} cannot be used ({error}): restore it, or remove it to pin again what is fetched next"
        ) from error
