"""The bundle file: one tar, written so that every byte of it follows from its manifest and the contents.

Members, in this order: `manifest.json`, where it is signed `statement.json`, `statement.json.minisig` and
`rotations.json`, then `sbom.cdx.json`, then `blobs/<sha256>` sorted by name. The manifest maps
the files of the store to blobs; a file that several things share is there once. A reader rebuilds each header and
compares, so a changed byte anywhere is found, and nothing of the file but its manifest is ever interpreted.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from phi4_edge.artifacts.bundle.manifest import LARGEST, NAME, Contents, decode
from phi4_edge.artifacts.signing import minisign, statement
from phi4_edge.artifacts.signing.judge import NOTHING, Presented
from phi4_edge.artifacts.signing.rotation import LIST_MOST
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.manifest import FileEntry
from phi4_edge.core.image_walk import BLOBS
from phi4_edge.errors import ArtifactError

BLOCK = tarfile.BLOCKSIZE
# What is behind the manifest of a signed bundle, and how large it may be.
SIGNED = {statement.NAME: statement.MOST, statement.SIGNATURE: minisign.FILE_MOST, statement.ROTATIONS: LIST_MOST}
_CHUNK = 1 << 20


def header(name: str, size: int) -> bytes:
    """The one header that a member may have."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """What fills the last block of a member."""
    return b"\0" * (-size % BLOCK)


def ending(length: int) -> bytes:
    """What closes a tar of `length` bytes: two empty blocks, filled to a whole record."""
    return b"\0" * (2 * BLOCK + -(length + 2 * BLOCK) % tarfile.RECORDSIZE)


def read_contents(stream: IO[bytes], where: str) -> Contents:
    """What the bundle `stream`, which is at its beginning, holds; `stream` is at its second member afterwards.

    Raises ArtifactError for what is no bundle of this version.
    """
    return decode(read_manifest(stream, where), where)


def read_manifest(stream: IO[bytes], where: str) -> bytes:
    """The exact bytes of the manifest at the beginning of `stream`, bounded and not looked into.

    Raises ArtifactError for what does not begin as a bundle does.
    """
    first = stream.read(BLOCK)
    try:
        info = tarfile.TarInfo.frombuf(first, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        info = tarfile.TarInfo()
    if info.name != NAME or info.size <= 0:
        raise ArtifactError(f"{where} is not a bundle: needed a file written by 'phi4-edge bundle create'")
    if info.size > LARGEST:
        raise ArtifactError(
            f"{where}: its manifest has {info.size} bytes, at most {LARGEST} are accepted: it is not a bundle"
        )
    raw = stream.read(info.size)
    whole = first == header(NAME, info.size) and len(raw) == info.size
    if not whole or stream.read(len(padding(info.size))) != padding(info.size):
        raise ArtifactError(f"{where}: {NAME} was changed or cut off; copy the bundle again")
    return raw


def read_signed(stream: IO[bytes], where: str) -> Presented:
    """What comes behind the manifest in a signed bundle; of an unsigned one nothing. Bounded, and not looked into.

    `stream` is at its next member afterwards. Raises ArtifactError for a member that was cut off.
    """
    found = {}
    for name, largest in SIGNED.items():
        position = stream.tell()
        first = stream.read(BLOCK)
        size = _size(first)
        if not 0 < size <= largest or first != header(name, size):
            stream.seek(position)
            continue
        found[name] = stream.read(size)
        if len(found[name]) != size or stream.read(len(padding(size))) != padding(size):
            raise _changed(where, name, "the file is cut off, or its last block is not empty")
    return Presented(*(found.get(name, b"") for name in SIGNED))


def signed_members(given: Presented) -> bytes:
    """The members behind the manifest of a signed bundle, as they are written."""
    texts = dict(zip(SIGNED, (given.statement, given.signature, given.rotations), strict=True))
    return b"".join(header(name, len(raw)) + raw + padding(len(raw)) for name, raw in texts.items() if raw)


def _size(block: bytes) -> int:
    """Bytes of the member whose header this is; 0 for what is none."""
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size
    except tarfile.HeaderError:
        return 0


def walk(stream: IO[bytes], contents: Contents, where: str) -> Iterator[tuple[str, int]]:
    """Check every member behind the manifest; yield its SHA-256 and the position of its bytes.

    Raises ArtifactError that names the first one that is not what the manifest says, and for anything at the end.
    """
    for member, entry in contents.members:
        name, sha256, size = entry.path, entry.sha256, entry.size
        if stream.read(BLOCK) != header(member, size):
            raise _changed(where, name, "its header was changed, or the file ends before it")
        position = stream.tell()
        digest = hashlib.sha256()
        left = size
        while left and (block := stream.read(min(_CHUNK, left))):
            digest.update(block)
            left -= len(block)
        if left:
            raise _changed(where, name, f"the file ends {left} bytes before its end")
        if digest.hexdigest() != sha256:
            raise _changed(where, name, f"found sha256 {digest.hexdigest()[:12]}…, needed {sha256[:12]}…")
        if stream.read(len(padding(size))) != padding(size):
            raise _changed(where, name, "the padding of its last block is not empty")
        yield sha256, position
    wanted = ending(stream.tell())
    if stream.read(len(wanted) + 1) != wanted:
        raise ArtifactError(f"{where}: its end was changed, cut off or added to; copy the bundle again")


def _changed(where: str, name: str, what: str) -> ArtifactError:
    return ArtifactError(
        f"{where}: {name} was changed or cut off ({what}). Nothing of the bundle was used; copy it again from where it "
        "was made"
    )


def size_of(contents: Contents, given: Presented = NOTHING) -> int:
    """Bytes of the whole file; `given` is what it is signed with."""
    raw = len(contents.encode())
    total = BLOCK + raw + len(padding(raw)) + len(signed_members(given))
    total += sum(BLOCK + entry.size + len(padding(entry.size)) for _, entry in contents.members)
    return total + len(ending(total))


def hashed(stream: IO[bytes], out: IO[bytes]) -> str:
    """Copy `stream` to `out`; SHA-256 of what was copied."""
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(_CHUNK), b""):
        digest.update(block)
        out.write(block)
    return digest.hexdigest()


def of_folder(root: Path, folder: Path) -> list[FileEntry]:
    """The files of one folder of the store, its manifest among them, named from the store's root.

    Of an image only the blobs count: what lies beside them is made anew from them.
    """
    held = manifest.Manifest.read(folder / manifest.NAME)
    prefix = folder.relative_to(root).as_posix()
    own = folder / manifest.NAME
    if prefix.startswith("images/"):
        blobs = [entry for entry in held.files if entry.path.startswith(f"{BLOBS}/")]
        return [FileEntry(f"{prefix}/{entry.path}", entry.size, entry.sha256) for entry in blobs]
    entries = [FileEntry(f"{prefix}/{entry.path}", entry.size, entry.sha256) for entry in held.files]
    return [*entries, FileEntry(f"{prefix}/{manifest.NAME}", own.stat().st_size, manifest.sha256_of(own))]
