"""The manifest of a bundle: what it says, its one spelling, and the closed form of every name in it.

A name that a bundle brings becomes a path, a line of an index or a word on a terminal. So each has one form, which is
held here before anything is done with it: what is not in the form is no bundle.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from phi4_edge import __version__
from phi4_edge.artifacts.store.manifest import FileEntry, artifact_id
from phi4_edge.core import image_reference, strict_json
from phi4_edge.core.image_reference import DIGEST
from phi4_edge.core.text import LARGEST as LARGEST_FILE
from phi4_edge.core.text import clean
from phi4_edge.errors import ArtifactError

FORMAT = "phi4-edge/bundle/1"
NAME = "manifest.json"
SBOM = "sbom.cdx.json"
# A file takes 250 bytes of it. A fleet with every engine, model and architecture of the catalog has 3000 files.
LARGEST = 8 << 20
MOST_FILES = LARGEST // 250
# Values in it: four for each file, and room for the rest.
_MOST_PARTS = 5 * MOST_FILES
_DEEPEST = 4
_SHA256 = re.compile(r"[0-9a-f]{64}")
WHEELHOUSE = re.compile(r"(?P<engine>[0-9a-f]{16})-cp3(?P<minor>[0-9]{1,2})-(?P<arch>x86_64|aarch64)")
# Words that are compared with our own and are never a path: engines, ways to run.
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,79}")
_LONGEST_HOST = 253
# One part of a path. ASCII, so that two names that look alike are alike; nothing hidden, nothing that ends in a dot.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@~-]{0,199}(?<!\.)")
_LONGEST_PATH, _DEEPEST_PATH = 600, 16
# Names that are devices on file systems which a bundle may be carried or unpacked on.
_DEVICE = re.compile(r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")
_FOLDERS: dict[str, re.Pattern[str]] = {"artifacts": _SHA256, "wheelhouses": WHEELHOUSE, "images": _SHA256}
_LINE = ("digest", "id", "path", "reference", "size")
_HOST = {"engine": str, "service_manager": str, "model": str, "runtime": str, "images": list, "image_delivery": str}
_MOST_IMAGES = 8  # of one host: engine and chat page


@dataclass(frozen=True)
class Contents:
    """What a bundle's manifest says.

    `files` are named as in the store (`artifacts/<digest>/…`, `wheelhouses/…`, `images/…`), and the bill of materials.
    `artifacts` and `images` are the lines of the store's indexes, `hosts` says what is for whom, `engines` what our own
    files were.
    """

    version: str
    files: tuple[FileEntry, ...]
    artifacts: Mapping[str, str]
    images: Mapping[str, Mapping[str, Any]]
    wheelhouses: tuple[str, ...]
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)

    @property
    def members(self) -> list[tuple[str, FileEntry]]:
        """Every member after the manifest in the order of the file: its name, and the first file that it is."""
        blobs: dict[str, FileEntry] = {}
        for entry in sorted(self.files, key=lambda entry: (entry.sha256, entry.path)):
            if entry.path != SBOM:
                blobs.setdefault(f"blobs/{entry.sha256}", entry)
        return [*((SBOM, entry) for entry in self.files if entry.path == SBOM), *blobs.items()]

    def encode(self) -> bytes:
        """The exact bytes of manifest.json; `digest` covers everything else in it."""
        document: dict[str, Any] = {
            "format": FORMAT,
            "phi4_edge_version": self.version,
            "files": [{"path": e.path, "size": e.size, "sha256": e.sha256} for e in sorted(self.files)],
            "artifacts": dict(self.artifacts),
            "images": {key: dict(entry) for key, entry in self.images.items()},
            "wheelhouses": sorted(self.wheelhouses),
            "hosts": {host: dict(what) for host, what in self.hosts.items()},
            "engines": dict(self.engines),
        }
        return _text({**document, "digest": hashlib.sha256(_text(document)).hexdigest()})


def decode(raw: bytes, where: str) -> Contents:
    """What the bytes of a manifest.json say. Raises ArtifactError where `encode` would not have written them."""
    try:
        if len(raw) > LARGEST:
            raise ValueError(f"it has more than {LARGEST} bytes")
        document = strict_json.loads(raw, _MOST_PARTS, _DEEPEST)
        version = str(document["phi4_edge_version"])
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r:.80}, needed {FORMAT!r}")
        if version != __version__:
            raise _OtherVersionError(version)
        contents = _contents(version, document)
        require_form(contents)
    except _OtherVersionError:
        raise ArtifactError(
            f"{where} was made by phi4-edge {clean(version, 40)}, this is {__version__}: create it again with this "
            f"version, or install phi4-edge {clean(version, 40)}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, ArtifactError) as error:
        raise ArtifactError(f"{where}: its manifest cannot be used ({error}); create the bundle again") from error
    if contents.encode() != raw:
        raise ArtifactError(f"{where}: {NAME} was changed: it is not what its own digest says; copy the bundle again")
    return contents


class _OtherVersionError(Exception):
    """The bundle is of another version of ours, whose manifest may be another."""


def _contents(version: str, document: Mapping[str, Any]) -> Contents:
    return Contents(
        version=version,
        files=tuple(_file(line) for line in document["files"]),
        artifacts={artifact_id(name): _hex(value) for name, value in document["artifacts"].items()},
        images={_key(name): _image(name, entry) for name, entry in document["images"].items()},
        wheelhouses=tuple(_match(WHEELHOUSE, name, "the name of a wheelhouse") for name in document["wheelhouses"]),
        hosts={_name(name): _host(what) for name, what in document["hosts"].items()},
        engines={_word(name): _hex(value) for name, value in document["engines"].items()},
    )


def require_form(contents: Contents) -> None:
    """Raise ValueError unless the names of all files can be there together, on any file system, below the store."""
    files = [entry.path for entry in contents.files]
    if len(files) > MOST_FILES:
        raise ValueError(f"it names {len(files)} files, at most {MOST_FILES} are accepted")
    if files.count(SBOM) != 1:
        raise ValueError(f"it does not name one {SBOM}")
    if len(set(contents.wheelhouses)) != len(contents.wheelhouses):
        raise ValueError("it names a wheelhouse twice")
    sizes: dict[str, int] = {}
    for entry in contents.files:
        if entry.path != SBOM:
            require_path(entry.path)
        if sizes.setdefault(entry.sha256, entry.size) != entry.size:
            raise ValueError(f"{entry.path} has {entry.size} bytes, one with the same content has another size")
    require_each_once(files)


def require_each_once(paths: Iterable[str]) -> None:
    """Raise ValueError for a name that is there twice, also when case does not count, or is a file and a folder."""
    known: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        if (other := known.setdefault(path.casefold(), path)) is not path:
            raise ValueError(f"it names {other[:120]} and {path[:120]}")
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if folders.setdefault(above.casefold(), above) != above:
                raise ValueError(f"it names the folders {folders[above.casefold()][:120]} and {above[:120]}")
    if both := known.keys() & folders.keys():
        raise ValueError(f"{known[min(both)][:120]} is a file and a folder in it")


def require_path(path: str) -> None:
    """Raise ValueError unless `path` is a file in a folder of the store that a bundle may bring."""
    parts = path.split("/")
    if len(parts) < 3 or parts[0] not in _FOLDERS or not _FOLDERS[parts[0]].fullmatch(parts[1]):
        raise ValueError(f"{path[:120]!r} is in no folder of the store that a bundle may fill")
    if len(path) > _LONGEST_PATH or len(parts) > _DEEPEST_PATH:
        raise ValueError(f"{path[:120]!r} is longer or deeper than any name of ours")
    if any(not _PART.fullmatch(part) or _DEVICE.fullmatch(part) for part in parts[2:]):
        raise ValueError(f"{path[:120]!r} is not a plain relative file name")


def _text(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode()


def _file(line: Mapping[str, Any]) -> FileEntry:
    path, size = line["path"], line["size"]
    if type(size) is not int or not 0 <= size <= LARGEST_FILE:
        raise ValueError(f"size {size!r}")
    if not isinstance(path, str):
        raise ValueError(f"path {path!r:.80}")
    return FileEntry(path, size, _hex(line["sha256"]))


def _key(name: str) -> str:
    """`repository:tag/architecture`."""
    text, _, architecture = name.rpartition("/")
    found = image_reference.parse(text)
    if found.digest or not found.tag or architecture not in image_reference.ARCHITECTURES.values():
        raise ValueError(f"{name[:120]!r} is not repository:tag/architecture")
    return name


def _image(key: str, line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the store's index of images; it goes there as it is, and its digest names a folder."""
    entry = dict(line)
    right = tuple(sorted(entry)) == _LINE and type(entry["size"]) is int and 0 <= entry["size"] <= LARGEST_FILE
    if not right or not all(isinstance(entry[name], str) for name in _LINE if name != "size"):
        raise ValueError(f"image {entry!r:.200}")
    folder = f"images/{entry['digest'].removeprefix('sha256:')}"
    if not DIGEST.fullmatch(entry["digest"]) or not DIGEST.fullmatch(entry["id"]) or entry["path"] not in ("", folder):
        raise ValueError(f"image {entry!r:.200}")
    if entry["reference"] != key.rpartition("/")[0]:
        raise ValueError(f"image {key[:120]} is called {entry['reference'][:120]!r}")
    return entry


def _host(line: Mapping[str, Any]) -> dict[str, Any]:
    what = dict(line)
    wrong = [name for name, kind in _HOST.items() if not isinstance(what[name], kind) and name != "runtime"]
    if what.keys() != _HOST.keys() or wrong or not isinstance(what["runtime"], str | None):
        raise ValueError(f"host {what!r:.200}")
    if len(what["images"]) > _MOST_IMAGES or not all(isinstance(one, str) for one in what["images"]):
        raise ValueError(f"host {what!r:.200}")
    for name in ("engine", "service_manager", "image_delivery"):
        _word(what[name])
    return what


def _hex(value: object) -> str:
    return _match(_SHA256, value, "a SHA-256")


def _name(value: str) -> str:
    """A host's name: any that can be printed."""
    if not value or clean(value, _LONGEST_HOST) != value:
        raise ValueError(f"{value!r:.120} is not the name of a host")
    return value


def _word(value: object) -> str:
    return _match(_WORD, value, "a plain word")


def _match(form: re.Pattern[str], value: object, what: str) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"{value!r:.120} is not {what}")
    return value
