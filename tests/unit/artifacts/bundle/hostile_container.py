"""Files that are no bundle, or one in another tar than ours: each returns the bytes of a file."""

from __future__ import annotations

import gzip
import io
import re
import tarfile

from phi4_edge.artifacts.bundle import format as bundle_format
from phi4_edge.artifacts.bundle.manifest import NAME
from tests.unit.artifacts.bundle.forge import Forge

BLOCK = bundle_format.BLOCK
Bytes = bytes


def _cut(forge: Forge, length: int) -> Bytes:
    return forge.raw[:length]


def _changed_header(forge: Forge, **fields: object) -> Bytes:
    """The header of the first blob has other fields, with a right checksum."""
    at = _first_blob(forge)
    info = tarfile.TarInfo.frombuf(forge.raw[at : at + BLOCK], "utf-8", "strict")
    for name, value in fields.items():
        setattr(info, name, value)
    return forge.raw[:at] + info.tobuf(tarfile.GNU_FORMAT)[-BLOCK:] + forge.raw[at + BLOCK :]


def _first_blob(forge: Forge) -> int:
    found = re.search(rb"blobs/[0-9a-f]{64}\0", forge.raw)
    assert found is not None
    return found.start()


def _before_first_blob(forge: Forge, more: bytes) -> Bytes:
    at = _first_blob(forge)
    return forge.raw[:at] + more + forge.raw[at:]


def _member(name: str, kind: bytes, data: bytes = b"", link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), link
    return info.tobuf(tarfile.GNU_FORMAT) + data + bundle_format.padding(len(data))


def _with_size_field(forge: Forge, field: bytes) -> Bytes:
    """The manifest's header says another size, with a right checksum."""
    head = bytearray(forge.raw[:BLOCK])
    head[124:136] = field.ljust(12, b"\0")
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + forge.raw[BLOCK:]


def _swapped(forge: Forge) -> Bytes:
    first, second, *rest = [member for member in forge.members() if member[0].startswith("blobs/")]
    bill = [member for member in forge.members() if not member[0].startswith("blobs/")]
    raw = forge.manifest()
    out = bundle_format.header(NAME, len(raw)) + raw + bundle_format.padding(len(raw))
    for name, data in [*bill, second, first, *rest]:
        out += bundle_format.header(name, len(data)) + data + bundle_format.padding(len(data))
    return out + bundle_format.ending(len(out))


def _flipped(forge: Forge, mark: bytes) -> Bytes:
    at = forge.raw.index(mark)
    return forge.raw[:at] + bytes([forge.raw[at] ^ 1]) + forge.raw[at + 1 :]


def _padded(forge: Forge) -> Bytes:
    """Something lies in what fills the manifest's last block."""
    length = len(forge.manifest())
    at = BLOCK + length
    assert bundle_format.padding(length)
    return forge.raw[:at] + b"x" + forge.raw[at + 1 :]


def _plain_tar(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        tar.addfile(info)
    return packed.getvalue()


CASES = {
    "empty-file": lambda forge: b"",
    "one-byte": lambda forge: b"{",
    "zeros": lambda forge: b"\0" * (1 << 20),
    "cut-in-first-header": lambda forge: _cut(forge, 300),
    "cut-in-manifest": lambda forge: _cut(forge, BLOCK + 100),
    "cut-in-blob": lambda forge: _cut(forge, _first_blob(forge) + BLOCK + 3),
    "cut-before-end": lambda forge: _cut(forge, len(forge.raw) - 1),
    "cut-whole-end": lambda forge: _cut(forge, len(forge.raw) - tarfile.RECORDSIZE),
    "byte-added": lambda forge: forge.raw + b"\0",
    "second-bundle-added": lambda forge: forge.raw + forge.raw,
    "blob-flipped": lambda forge: _flipped(forge, b"GGUFGGUF"),
    "end-not-empty": lambda forge: forge.raw[:-1] + b"x",
    "padding-not-empty": _padded,
    "blobs-swapped": _swapped,
    "blob-missing": lambda forge: forge.raw[: _first_blob(forge)] + bundle_format.ending(_first_blob(forge)),
    "gzipped": lambda forge: gzip.compress(forge.raw, 1),
    "header-executable": lambda forge: _changed_header(forge, mode=0o755),
    "header-setuid": lambda forge: _changed_header(forge, mode=0o4755),
    "header-time": lambda forge: _changed_header(forge, mtime=1),
    "header-owner": lambda forge: _changed_header(forge, uname="root"),
    "header-symlink": lambda forge: _changed_header(forge, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "header-hard-link": lambda forge: _changed_header(forge, type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "header-device": lambda forge: _changed_header(forge, type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "header-pipe": lambda forge: _changed_header(forge, type=tarfile.FIFOTYPE),
    "header-folder": lambda forge: _changed_header(forge, type=tarfile.DIRTYPE),
    "header-sparse": lambda forge: _changed_header(forge, type=tarfile.GNUTYPE_SPARSE),
    "header-contiguous": lambda forge: _changed_header(forge, type=tarfile.CONTTYPE),
    "header-other-name": lambda forge: _changed_header(forge, name="../../escape"),
    "pax-header": lambda forge: _before_first_blob(forge, _member("x", b"x", b"19 path=../escape\n")),
    "pax-global-header": lambda forge: _before_first_blob(forge, _member("g", b"g", b"19 path=../escape\n")),
    "long-name": lambda forge: _before_first_blob(forge, _member("././@LongLink", b"L", b"../../escape\0")),
    "long-link": lambda forge: _before_first_blob(forge, _member("././@LongLink", b"K", b"/etc/passwd\0")),
    "member-in-between": lambda forge: _before_first_blob(forge, _member("extra", b"0", b"more")),
    "link-in-between": lambda forge: _before_first_blob(forge, _member("extra", b"2", b"", "/etc")),
    "size-of-manifest-too-long": lambda forge: _with_size_field(forge, b"77777777777"),
    "size-of-manifest-binary": lambda forge: _with_size_field(forge, b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7),
    "size-of-manifest-negative": lambda forge: _with_size_field(forge, b"\xff" * 12),
    "size-of-manifest-no-number": lambda forge: _with_size_field(forge, b"twelve"),
    "size-of-manifest-zero": lambda forge: _with_size_field(forge, b"00000000000"),
    "manifest-named-elsewhere": lambda forge: _plain_tar("../manifest.json"),
    "manifest-a-link": lambda forge: _plain_tar(NAME, tarfile.SYMTYPE, "/etc/passwd"),
    "manifest-a-device": lambda forge: _plain_tar(NAME, tarfile.CHRTYPE),
    "other-tar": lambda forge: _plain_tar("../../escape"),
}
