"""A release of Ollama and an image of it, as its makers lay them out, with the stand-in as the program.

The archive holds what a real one holds in kind: programs, libraries with their links, and folders for GPUs, each a few
bytes long. The image has a Python and what that needs, and neither a shell nor curl.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import zstandard

VERSION = "0.35.0"
HERE = Path(__file__).parent
INTERPRETER = "/usr/bin/python3"
# Go's names of machines, as in the names of the assets.
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
GPU_FOLDERS = ("cuda_v12", "cuda_v13", "vulkan")
LIBRARIES = {
    "libggml-base.so.0.0.0": b"\x7fELF stand-in for ggml\n",
    "libggml-cpu.so": b"\x7fELF stand-in for the CPU backend\n",
    "llama-quantize": b"#!/bin/sh\nexit 0\n",
}
LINKS = {"libggml-base.so": "libggml-base.so.0", "libggml-base.so.0": "libggml-base.so.0.0.0"}
# The same archive byte for byte each time it is built.
EPOCH = 1_700_000_000


def executable(module: str = "__main__") -> bytes:
    """A program of the stand-in as one file: the package in a zip archive behind its interpreter's line."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        start = f"import sys\nfrom standin_ollama.{module} import main\nsys.exit(main(sys.argv[1:]))\n"
        archive.writestr(zipfile.ZipInfo("__main__.py"), start)
        for path in sorted((HERE / "standin_ollama").glob("*.py")):
            archive.writestr(zipfile.ZipInfo(f"standin_ollama/{path.name}"), path.read_bytes())
    return f"#!{INTERPRETER} -I\n".encode() + packed.getvalue()


def contents() -> dict[str, bytes]:
    """Every regular file of the plain archive by name."""
    files = {"bin/ollama": executable(), "lib/ollama/llama-server": executable("runner")}
    files |= {f"lib/ollama/{name}": data for name, data in LIBRARIES.items()}
    return files | {f"lib/ollama/{folder}/libggml-{folder}.so": b"\x7fELF " + folder.encode() for folder in GPU_FOLDERS}


def is_program(name: str) -> bool:
    return name.endswith(("/ollama", "/llama-server", "/llama-quantize"))


def member(name: str, size: int = 0, mode: int = 0o644, link: str = "") -> tarfile.TarInfo:
    """A line of an archive that is the same on every machine."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, mode, EPOCH
    if link:
        info.type, info.linkname = tarfile.SYMTYPE, link
    return info


def archive(prefix: str = "./") -> bytes:
    """The plain archive, not compressed. The names begin with ./ as in the real one."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in sorted(contents().items()):
            tar.addfile(member(prefix + name, len(data), 0o755 if is_program(name) else 0o644), io.BytesIO(data))
        for name, target in LINKS.items():
            tar.addfile(member(f"{prefix}lib/ollama/{name}", link=target))
    return packed.getvalue()


def release(folder: Path, machine: str = "x86_64") -> Path:
    """`folder` holds the assets of the release for a machine, and sha256sum.txt as its makers write it."""
    folder.mkdir(parents=True, exist_ok=True)
    asset = folder / f"ollama-linux-{MACHINES[machine]}.tar.zst"
    asset.write_bytes(zstandard.ZstdCompressor().compress(archive()))
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.name}\n" for path in sorted(folder.glob("*.zst"))
    ]
    (folder / "sha256sum.txt").write_text("".join(lines))
    return folder


def unpack(folder: Path, gpu: bool = False) -> Path:
    """`folder` holds what a host gets: programs and links as they are, folders for GPUs only where one is."""
    for name, data in contents().items():
        if gpu or not any(f"/{one}/" in name for one in GPU_FOLDERS):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o755 if is_program(name) else 0o644)
    for name, target in LINKS.items():
        (folder / "lib" / "ollama" / name).symlink_to(target)
    return folder


def base_files() -> list[Path]:
    """What a Python needs to run: itself, its library, the shared objects of both, and those of compiled packages.

    No shell, no curl.
    """
    python = Path(INTERPRETER).resolve()
    library = Path(
        subprocess.check_output(
            [INTERPRETER, "-c", "import os; print(os.path.dirname(os.__file__))"], text=True
        ).strip()
    )
    skipped = {"test", "tests", "idlelib", "tkinter", "lib2to3", "ensurepip", "__pycache__", "site-packages"}
    modules = [path for path in library.rglob("*") if path.is_file() and not skipped & set(path.parts)]
    programs = [python, *(path for path in modules if path.suffix == ".so")]
    told = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    objects = {Path(name) for name in re.findall(r"(/\S+\.so\S*)(?= \(0x)", told)}
    cache = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    # Every Debian image has them: they come with the C library, and apt is written in C++.
    always = r"\b(?:libgcc_s|libstdc\+\+|libm|librt|libdl|libpthread|libutil|libresolv)\.so\S* \(libc6,\S+ => (/\S+)"
    objects |= {Path(name) for name in re.findall(always, cache)}
    return [python, *modules, *sorted(objects)]


def base_layer() -> bytes:
    """The root file system of the image, as a layer; /bin and its like are links, as on Ubuntu."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in ("bin", "lib", "lib64", "sbin"):
            tar.addfile(member(name, link=f"usr/{name}"))
        tmp = member("tmp", mode=0o1777)
        tmp.type = tarfile.DIRTYPE
        tar.addfile(tmp)
        for path in base_files():
            data = path.read_bytes()
            inside = re.sub(r"^(lib|lib64|bin)/", r"usr/\1/", path.as_posix().lstrip("/"))
            tar.addfile(member(inside, len(data), 0o755 if os.access(path, os.X_OK) else 0o644), io.BytesIO(data))
        name = Path(INTERPRETER).resolve().name
        if name != Path(INTERPRETER).name:
            tar.addfile(member(INTERPRETER.lstrip("/"), link=name))
    return packed.getvalue()


def program_layer() -> bytes:
    """The program and its libraries, where the real image has them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in sorted(contents().items()):
            tar.addfile(member(f"usr/{name}", len(data), 0o755 if is_program(name) else 0o644), io.BytesIO(data))
        for name, target in LINKS.items():
            tar.addfile(member(f"usr/lib/ollama/{name}", link=target))
    return packed.getvalue()


def configuration(layers: list[bytes], machine: str) -> bytes:
    """The image's configuration; its SHA-256 is the image's id."""
    ids = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    config = {
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "OLLAMA_HOST=0.0.0.0:11434",
                "NVIDIA_DRIVER_CAPABILITIES=compute,utility", "NVIDIA_VISIBLE_DEVICES=all"],
        "Entrypoint": ["/bin/ollama"], "Cmd": ["serve"], "ExposedPorts": {"11434/tcp": {}},
    }  # fmt: skip
    document = {
        "architecture": MACHINES[machine], "os": "linux", "created": "2026-11-01T00:00:00Z", "config": config,
        "rootfs": {"type": "layers", "diff_ids": ids},
    }  # fmt: skip
    return json.dumps(document, sort_keys=True).encode()


def image(path: Path, tag: str = f"docker.io/ollama/ollama:{VERSION}", machine: str = "x86_64") -> str:
    """`path` is an archive for `docker load`; returns the image's id."""
    layers = [base_layer(), program_layer()]
    config = configuration(layers, machine)
    name = hashlib.sha256(config).hexdigest()
    files = {f"{name}.json": config} | {f"{index}/layer.tar": layer for index, layer in enumerate(layers)}
    listed = [{"Config": f"{name}.json", "RepoTags": [tag], "Layers": [one for one in files if one.endswith(".tar")]}]
    with tarfile.open(path, "w") as tar:
        for inside, data in [*files.items(), ("manifest.json", json.dumps(listed).encode())]:
            tar.addfile(member(inside, len(data)), io.BytesIO(data))
    return f"sha256:{name}"


def registry_image(machine: str = "x86_64") -> tuple[bytes, dict[str, bytes]]:
    """The image as a registry holds it: its manifest, and every blob by digest."""
    layers = [base_layer(), program_layer()]
    config = configuration(layers, machine)
    packed = [gzip.compress(layer, 1, mtime=0) for layer in layers]
    blobs = {"sha256:" + hashlib.sha256(data).hexdigest(): data for data in [config, *packed]}
    kind = "application/vnd.oci.image."
    described = [
        {
            "mediaType": kind + ("config.v1+json" if index == 0 else "layer.v1.tar+gzip"),
            "digest": digest,
            "size": len(data),
        }
        for index, (digest, data) in enumerate(blobs.items())
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": kind + "manifest.v1+json",
        "config": described[0],
        "layers": described[1:],
    }
    return json.dumps(document).encode(), blobs
