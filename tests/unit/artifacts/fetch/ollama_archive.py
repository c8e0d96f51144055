"""A release of Ollama as an archive, and the server that it is fetched from."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from types import MappingProxyType

import zstandard

from phi4_edge.core.catalog.model import Catalog
from phi4_edge.data import load_catalog
from tests.unit.artifacts.fetch.standin_files import StandinFiles

VERSION = load_catalog().engines["ollama"].version
AMD64, ARM64, JETPACK = (
    "ollama-linux-amd64.tar.zst",
    "ollama-linux-arm64.tar.zst",
    "ollama-linux-arm64-jetpack6.tar.zst",
)
BASE = f"/mirror/v{VERSION}"
CPU, CUDA = f"ollama/{VERSION}-x86_64-cpu", f"ollama/{VERSION}-x86_64-cuda"
JETSON = f"ollama/{VERSION}-aarch64-jetpack6"
PLAIN = {
    "bin/ollama": b"#!program" * 1000,
    "lib/ollama/llama-server": b"#!server",
    "lib/ollama/libggml-base.so.0": b"library",
    "lib/ollama/cuda_v12/libggml-cuda.so": b"cuda 12",
    "lib/ollama/cuda_v13/libggml-cuda.so": b"cuda 13",
    "lib/ollama/vulkan/libggml-vulkan.so": b"vulkan",
}
LINKS = {
    "lib/ollama/libggml-base.so": "libggml-base.so.0",
    "lib/ollama/mlx_cuda_v13/libx.so": "../cuda_v13/libggml-cuda.so",
    "lib/ollama/libold.so": "cuda_v13/libggml-cuda.so",
}
PROGRAMS = ("bin/ollama", "lib/ollama/llama-server")


def entry(
    name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mode = size, kind, link, mode
    return info


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A .tar.zst of these members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return zstandard.ZstdCompressor().compress(out.getvalue())


def archive(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    """An archive of plain files and links, as a release has it."""
    members = [
        (entry(name, len(data), mode=0o755 if name in PROGRAMS else 0o644), data) for name, data in files.items()
    ]
    return packed(*members, *((entry(name, kind=tarfile.SYMTYPE, link=to), b"") for name, to in links.items()))


def published(changed: dict[str, bytes] | None = None) -> dict[str, bytes]:
    """What the download server holds: the archives and the list of their hashes."""
    files = {
        AMD64: archive(PLAIN, LINKS),
        ARM64: archive(PLAIN, LINKS),
        JETPACK: archive({"lib/ollama/cuda_jetpack6/libggml-cuda.so": b"jetson"}, {}),
        **(changed or {}),
    }
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  ./{name}\n" for name, data in files.items())
    return {f"{BASE}/{name}": data for name, data in files.items()} | {f"{BASE}/sha256sum.txt": sums.encode()}


def server(changed: dict[str, bytes] | None = None) -> StandinFiles:
    return StandinFiles(published(changed))


def catalog_pinning(sums: dict[str, str | None], digests: dict[str, str] | None = None) -> Catalog:
    """Our catalog with other hashes of the assets, and of what artifacts unpack to."""
    ours = load_catalog()
    engine = ours.engines["ollama"]
    assert engine.release is not None
    unpacked = {name.partition("-")[2]: digest for name, digest in (digests or {}).items()}
    known = {name: replace(one, digest=unpacked.get(name, "")) for name, one in engine.release.artifacts.items()}
    release = replace(
        engine.release,
        sha256=MappingProxyType({**engine.release.sha256, **sums}),
        artifacts=MappingProxyType(known),
    )
    return replace(ours, engines=MappingProxyType({**ours.engines, "ollama": replace(engine, release=release)}))
