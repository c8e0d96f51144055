"""Unpacks a release archive (.tar.zst): plain files, folders and links that stay inside, and nothing else."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import zstandard

from phi4_edge.artifacts.store import files, manifest
from phi4_edge.errors import ArtifactError

# An archive with CUDA libraries unpacks to 4 GB; what goes far beyond is no release of an engine.
LIMIT = 20_000_000_000
MEMBERS = 20_000
# zstd -19 needs 8 MiB; a header that asks for gigabytes is an attack on memory.
_WINDOW = 1 << 27
_BLOCK = 1 << 20


def unpack(archive: Path, folder: Path, wanted: Callable[[str], bool], limit: int = LIMIT) -> None:
    """Unpack the members of `archive` for which `wanted` is true into `folder`, over what is there.

    Raises ArtifactError for a name that leaves the folder, a device or any other special member, more than `limit`
    bytes, and for what is no such archive. Links are checked by who takes the folder into the store.
    """
    try:
        with archive.open("rb") as packed:
            reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(packed)
            with reader, tarfile.open(fileobj=reader, mode="r|", encoding="utf-8", errors="strict") as tar:
                _members(tar, folder, wanted, limit, archive.name)
    except (zstandard.ZstdError, tarfile.TarError, EOFError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{archive.name} is not a .tar.zst archive that can be unpacked: {error}") from error


def drop_dangling(folder: Path) -> None:
    """Remove links to what was not unpacked, and folders that nothing is in."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if (path.is_symlink() and not path.exists()) or (
            path.is_dir() and not path.is_symlink() and not any(path.iterdir())
        ):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _members(tar: tarfile.TarFile, folder: Path, wanted: Callable[[str], bool], limit: int, where: str) -> None:
    room = limit
    for number, member in enumerate(tar):
        if number >= MEMBERS:
            raise ArtifactError(f"{where} has more than {MEMBERS} members: refused")
        name = member.name.removeprefix("./").rstrip("/")
        if name in ("", "."):
            continue
        manifest.relative(name)
        if not wanted(name):
            continue
        room -= member.size if member.isreg() else 0
        if room < 0:
            raise ArtifactError(f"{where} unpacks to more than {limit} bytes: refused")
        _place(tar, member, folder, name, where)


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, name: str, where: str) -> None:
    target = folder / name
    _require_plain_way(folder, target, where)
    if member.isdir():
        if not target.is_dir():
            files.erase(target)
            target.mkdir(parents=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    files.erase(target)
    if member.issym():
        target.symlink_to(member.linkname)
    elif member.islnk():
        _copy(folder, member, target, where)
    elif member.isreg():
        content = tar.extractfile(member)
        assert content is not None, "a regular member has content"  # noqa: S101
        _write(content, target, member)
    else:
        raise ArtifactError(f"{where}: {name!r} is neither file, folder nor link: refused")


def _require_plain_way(folder: Path, target: Path, where: str) -> None:
    """Nothing is written through a link that an earlier member made."""
    for parent in target.relative_to(folder).parents:
        if (folder / parent).is_symlink():
            raise ArtifactError(f"{where}: {target.relative_to(folder)} lies below a link: refused")


def _write(content: IO[bytes], target: Path, member: tarfile.TarInfo) -> None:
    with target.open("wb") as stream:
        shutil.copyfileobj(content, stream, _BLOCK)
        if stream.tell() != member.size:
            raise EOFError(f"{member.name} ends after {stream.tell()} of {member.size} bytes")
    target.chmod(0o755 if member.mode & 0o100 else 0o644)


def _copy(folder: Path, member: tarfile.TarInfo, target: Path, where: str) -> None:
    """A hard link becomes a copy of the file that it names, which came before it."""
    source = folder / manifest.relative(member.linkname.removeprefix("./"))
    _require_plain_way(folder, source, where)
    if source.is_symlink() or not source.is_file():
        raise ArtifactError(f"{where}: {member.name!r} is a link to {member.linkname!r}, which is not in the archive")
    shutil.copy(source, target)
