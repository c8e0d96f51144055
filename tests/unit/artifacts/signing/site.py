"""A controller at a site, the keys that it may trust, and bundles that are made for it."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from phi4_edge.artifacts.bundle import bundle
from phi4_edge.artifacts.bundle.bundle import Bundle
from phi4_edge.artifacts.signing.gate import Gate
from phi4_edge.artifacts.signing.making import Signing
from phi4_edge.artifacts.signing.minisign import SignatureRefusedError
from phi4_edge.artifacts.signing.secret import SecretKey
from phi4_edge.artifacts.signing.trust import Keeper
from phi4_edge.artifacts.store.store import Store
from tests.unit.artifacts.bundle.full_store import Content, fleet

DAY, NOW = 86400, 1_900_000_000
OURS, NEXT, STRANGER = (SecretKey(bytes([n]) * 8, bytes([n]) * 32) for n in (1, 2, 9))
CODE = {"phi4_engine": "e" * 64}
PLAIN = Signing((OURS,), CODE, NOW - DAY, NOW + 30 * DAY, 5)


@dataclass
class Site:
    """A controller at a site, and what it was given."""

    folder: Path
    origin: Store

    @property
    def gate(self) -> Gate:
        return Gate(Keeper(self.folder / "config", self.folder / "state"), NOW)

    def trust(self, *keys: SecretKey) -> None:
        for key in keys:
            self.gate.keeper.change(lambda trust, key=key: trust.with_key(key.public, "release", NOW))  # type: ignore[misc]

    def made(self, signing: Signing | None = PLAIN, name: str = "fleet.tar") -> Path:
        bundle.create(self.origin, fleet(self.origin), Content(), self.folder / name, signing=signing)
        return self.folder / name

    def open(self, path: Path) -> Bundle:
        return Bundle.open(path, Content(), gate=self.gate)

    def use(self, path: Path) -> Store:
        """What `provision --bundle` does with it."""
        opened, store = self.open(path), Store(self.folder / "here")
        self.gate.remember(store, opened.passed, str(path))
        opened.bring(store)
        return store


def refused(site: Site, path: Path, reason: str) -> None:
    with pytest.raises(SignatureRefusedError) as caught:
        site.use(path)
    assert caught.value.reason == reason
    assert caught.value.exit_code == 3
    assert not (site.folder / "here").exists()


def rewrite(path: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """The tar with one member changed, written as ours are."""
    from phi4_edge.artifacts.bundle import format as bundle_format

    with tarfile.open(path) as archive:
        parts = [(one.name, archive.extractfile(one).read()) for one in archive]  # type: ignore[union-attr]
    text = b""
    for member, raw in parts:
        found = change(raw) if member == name else raw
        if found:
            text += bundle_format.header(member, len(found)) + found + bundle_format.padding(len(found))
    path.write_bytes(text + bundle_format.ending(len(text)))
