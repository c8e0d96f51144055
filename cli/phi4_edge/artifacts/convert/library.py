"""Takes a GGUF file from Ollama's own library, which speaks the registry protocol, in place of converting one.

Nothing of it is believed: which file it is says the catalog by its digest, what is in it is read and compared with the
model, and it must answer in llama.cpp like one that was converted here.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from phi4_edge.artifacts.convert import gguf, gguf_file, prover
from phi4_edge.artifacts.convert.gguf_file import Header
from phi4_edge.artifacts.convert.scripts.copy_order import LAST
from phi4_edge.artifacts.fetch import pins
from phi4_edge.artifacts.images.registry import Document, Registry
from phi4_edge.artifacts.store import manifest, resources
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core import image_reference
from phi4_edge.core.catalog.library import Library, LibraryFile
from phi4_edge.core.catalog.model import Catalog, Model
from phi4_edge.core.image_reference import DIGEST
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

# How it is called where a source is named.
NAME = "library"
MIRROR = "PHI4_EDGE_OLLAMA_REGISTRY"
_MODEL, _LICENCE = "application/vnd.ollama.image.model", "application/vnd.ollama.image.license"
_MOST_LAYERS = 32
_MORE = 1.1  # a file may be so many times as large as the catalog says
_SPARE = 100_000_000
_ARCHITECTURE = "phi3"


class UnusableError(ArtifactError):
    """The library cannot be reached, does not have the file, or has one that is not what this release serves."""


@dataclass(frozen=True)
class _Kind:
    """llama.cpp's number of a quantization, the type of most of its numbers, and which others a file may have."""

    file_type: int
    main: str
    others: frozenset[str]


_KINDS: Mapping[str, _Kind] = {
    "q4_K_M": _Kind(15, "Q4_K", frozenset({"Q5_K", "Q6_K", "Q8_0", "F16", "F32"})),
    "q8_0": _Kind(7, "Q8_0", frozenset({"F16", "F32"})),
}
# Of q4_K_M's numbers some 60 % are of that type: the embedding, and half of some layers, are finer.
_LEAST_MAIN = 0.4


@dataclass(frozen=True)
class _Found:
    """What the manifest names: digest of the manifest, SHA-256 and bytes of the model, digests of licences."""

    manifest: str
    sha256: str
    size: int
    licences: tuple[str, ...]


def offers(catalog: Catalog, model_id: str, variant: str) -> bool:
    """Whether the library has this artifact of the model."""
    library = catalog.models[model_id].library
    return library is not None and variant in library.files


def fetch(store: Store, catalog: Catalog, model_id: str, variant: str, progress: Progress = silent) -> str:
    """Have `<model_id>/<variant>` as the library publishes it in the store; return its digest.

    A killed fetch is resumed at the last byte. Raises UnusableError where the library does not have or deliver what
    is needed, and ArtifactError where it has another file than was pinned, or disk, memory or llama.cpp will not do.
    """
    library = catalog.models[model_id].library
    if library is None or variant not in library.files:
        held = ", ".join(sorted(library.files)) if library else "nothing"
        raise ArtifactError(f"Ollama's library has {held} of {model_id}, and no {variant}: convert it instead")
    target, name = manifest.artifact_id(f"{model_id}/{variant}"), library.reference(variant)
    with store.making(target, progress):
        known = pins.read(store).get(name, "")
        if (held_already := _held(store, target, library.files[variant], known)) is not None:
            return held_already
        with _registry(library, variant) as registry:
            progress(Event(target, "resolving", name))
            found = _resolve(registry, library, variant)
            _require_pinned(store, name, found, library.files[variant], known)
            file = _receive(store, registry, found, target, progress)
        return _adopt(store, catalog.models[model_id], variant, found, file, progress)


def _held(store: Store, target: str, wanted: LibraryFile, known: str) -> str | None:
    """Digest of the artifact when the store has it whole, from the library, and of the file that is pinned."""
    if target not in store.digests() or store.damage(target):
        return None
    found = store.manifest(target)
    blob = str(found.source.get("sha256", ""))
    same = found.source.get("kind") == NAME and blob.startswith(wanted.sha256) and known in ("", blob)
    return found.digest if same else None


def _registry(library: Library, variant: str) -> Registry:
    reference = image_reference.parse(library.reference(variant))
    return Registry(image_reference.endpoint(reference, os.environ.get(MIRROR, "")), MIRROR)


def _resolve(registry: Registry, library: Library, variant: str) -> _Found:
    """What the tag names now. Raises UnusableError."""
    try:
        return _layers(registry.manifest(library.files[variant].tag))
    except UnusableError:
        raise
    except ArtifactError as error:
        raise UnusableError(str(error)) from error


def _layers(document: Document) -> _Found:
    """The layers that are taken. Raises UnusableError for a manifest that is none of a model in Ollama's form."""
    listed = json.loads(document.raw).get("layers")
    layers = listed if isinstance(listed, list) and len(listed) <= _MOST_LAYERS else []
    whole = [
        (layer["mediaType"], layer["digest"], layer["size"])
        for layer in layers
        if isinstance(layer, dict)
        and isinstance(layer.get("mediaType"), str)
        and isinstance(layer.get("digest"), str)
        and DIGEST.fullmatch(layer["digest"])
        and type(layer.get("size")) is int
    ]
    models = [(digest, size) for kind, digest, size in whole if kind == _MODEL]
    if len(whole) != len(layers) or len(models) != 1 or models[0][1] <= 0:
        raise UnusableError(
            f"found a manifest with {len(layers)} layers of which {len(models)} are models, needed one model with its "
            "digest and size: is it a model of Ollama's library?"
        )
    licences = tuple(digest for kind, digest, _ in whole if kind == _LICENCE)
    return _Found(document.digest, models[0][0].removeprefix("sha256:"), models[0][1], licences)


def _require_pinned(store: Store, name: str, found: _Found, wanted: LibraryFile, known: str) -> None:
    """Raise ArtifactError when it is another file than the catalog's, or than the first time; or an absurd size."""
    if not found.sha256.startswith(wanted.sha256):
        raise ArtifactError(
            f"{name}: found a file with sha256 {found.sha256[:12]}…, needed {wanted.sha256[:12]}…, which this release "
            "has pinned: its publisher or the mirror changed it. Convert the checkpoint instead: --from safetensors"
        )
    if known and found.sha256 != known:
        raise ArtifactError(
            f"{name}: found a file with sha256 {found.sha256[:20]}…, needed {known[:20]}…, to which it was pinned when "
            "it was first fetched: somebody changed it. Look why; if the new one is right, remove the line "
            f"{name!r} from {store.root / 'pins.json'}"
        )
    if not wanted.size / _MORE <= found.size <= wanted.size * _MORE:
        raise UnusableError(f"{name}: found a file of {found.size} bytes, needed about {wanted.size}")


def _receive(store: Store, registry: Registry, found: _Found, target: str, progress: Progress) -> Path:
    """The file, complete and of its digest, in the folder that survives a kill."""
    folder = store.root / "partial" / target.replace("/", "-")
    store.hold("partial", folder.name)
    file, part = folder / gguf.FILE, folder / f"{gguf.FILE}.part"
    if file.is_file() and manifest.sha256_of(file) == found.sha256:
        return file
    here = part.stat().st_size if part.is_file() else 0
    # Once more: a file that is not in Ollama's order is written again.
    resources.require_disk(store.root, max(2 * found.size - here, 0) + _SPARE, f"fetching {target}")
    try:
        registry.blob(
            f"sha256:{found.sha256}", found.size, part,
            lambda held: progress(Event(target, "fetching", gguf.FILE, held, found.size)),
        )  # fmt: skip
    except ArtifactError as error:
        raise UnusableError(str(error)) from error
    part.replace(file)
    return file


def _adopt(store: Store, model: Model, variant: str, found: _Found, file: Path, progress: Progress) -> str:
    """The artifact is in the store once it is what it should be, and has answered."""
    target, library = f"{model.id}/{variant}", _of(model)
    progress(Event(target, "checking"))
    try:
        header = gguf_file.read(file)
        wrong = problems(header, model, library, variant.removeprefix(gguf.PREFIX))
    except ArtifactError as error:
        header, wrong = None, [str(error)]
    if header is None or wrong:
        store.discard(file.parent)
        raise UnusableError(
            f"{library.reference(variant)} is not what this release serves as {variant}: {'; '.join(wrong)}. Convert "
            "the checkpoint instead: --from safetensors"
        )
    resources.require_memory(int(found.size * _MORE) + gguf.MEMORY_BASE, f"trying {target}")
    with store.workspace(NAME) as work:
        output = work / "output"
        output.mkdir()
        if header.in_copy_order:
            os.link(file, output / gguf.FILE)
        else:
            progress(Event(target, "putting in Ollama's order"))
            gguf_file.arrange(file, header, output / gguf.FILE)
        tester = prover.ensure(store, progress)
        prover.prove(tester, output / gguf.FILE, work, target, progress)
        progress(Event(target, "hashing"))
        description = _describe(model, variant, found, output, header.in_copy_order, tester.versions)
        with store.exclusive():
            pins.write(store, {**pins.read(store), library.reference(variant): found.sha256})
        digest = store.adopt(output, description)
    store.discard(file.parent)
    return digest


def _describe(
    model: Model, variant: str, found: _Found, output: Path, as_published: bool, versions: Mapping[str, str]
) -> Manifest:
    library = _of(model)
    return Manifest(
        artifact=f"{model.id}/{variant}",
        files=manifest.describe(output),
        licence=model.licence,
        source={
            "kind": NAME, "repo": f"{library.registry}/{library.repository}", "tag": library.files[variant].tag,
            "manifest": found.manifest, "sha256": found.sha256, "licences": list(found.licences),
        },
        created_by=dict(versions),
        parameters={
            "type": variant.removeprefix(gguf.PREFIX),
            "order": "as published" if as_published else "llama-quantize's",
        },
    )  # fmt: skip


def _of(model: Model) -> Library:
    assert model.library is not None, "it was asked for its file"  # noqa: S101
    return model.library


def problems(header: Header, model: Model, library: Library, kind: str) -> list[str]:
    """What a file says that is not so of the model in this quantization, a line each with found and needed."""
    shape, wanted = model.architecture, _KINDS[kind]
    assert shape is not None, "a model of the library has a shape"  # noqa: S101
    heads, width = header.values.get(f"{_ARCHITECTURE}.attention.head_count"), _number(header, "embedding_length")
    tensors = {tensor.name: tensor for tensor in header.tensors}
    angles = sorted({one.shape[0] for name, one in tensors.items() if name.startswith("rope_factors")})
    embedding = tensors.get("token_embd.weight")
    pairs = [
        ("architecture", header.values.get("general.architecture"), _ARCHITECTURE),
        ("file type", header.values.get("general.file_type"), wanted.file_type),
        ("layers", _number(header, "block_count"), shape.layers),
        ("KV heads", _number(header, "attention.head_count_kv"), shape.kv_heads),
        ("head size", width // heads if isinstance(heads, int) and heads > 0 else None, shape.head_dim),
        ("rotary dimensions", _number(header, "rope.dimension_count"), library.rotary_dimensions),
        ("angles of rope factors", angles, [library.rotary_dimensions // 2]),
        ("vocabulary", header.lengths.get("tokenizer.ggml.tokens"), shape.vocabulary),
        ("embedding", list(embedding.shape) if embedding else None, [width, shape.vocabulary]),
    ]
    wrong = [f"{name}: found {str(found)[:60]}, needed {needed}" for name, found, needed in pairs if found != needed]
    wrong += [f"{key}: found none, needed one" for key in LAST if key not in header.spans]
    if (context := _number(header, "context_length")) < library.context_length:
        wrong.append(f"context: found {context} tokens, needed {library.context_length}")
    numbers = Counter[str]()
    for tensor in header.tensors:
        numbers[tensor.type] += tensor.numbers
    total = sum(numbers.values())
    # The rope factors are no parameters of the model.
    if not shape.parameters <= total <= shape.parameters + 10 * shape.head_dim:
        wrong.append(f"parameters: found {total}, needed {shape.parameters}")
    if (strange := sorted(set(numbers) - {wanted.main} - wanted.others)) or numbers[wanted.main] < _LEAST_MAIN * total:
        kinds = ", ".join(strange) or f"{numbers[wanted.main]} of {total} numbers in {wanted.main}"
        wrong.append(
            f"tensors: found {kinds}, needed most in {wanted.main}, others in {', '.join(sorted(wanted.others))}"
        )
    return wrong


def _number(header: Header, key: str) -> int:
    """A number of the architecture's own; -1 where it is none."""
    found = header.values.get(f"{_ARCHITECTURE}.{key}")
    return found if type(found) is int else -1
