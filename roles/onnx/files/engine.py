"""Host side of the ONNX engine: an isolated Python environment, installed from pushed wheels alone.

The environment is built under another name and renamed when it is whole and its libraries load on this CPU, so that a
running service never sees half of it. Nothing but the interpreter is kept in its bin/: scripts would name the other
place.
"""

from __future__ import annotations

import glob
import io
import json
import os
import re
import zipfile

import hostadmit
from hostlib import (
    HostError,
    Json,
    damaged,
    entry,
    fsync_directory,
    inside,
    own_directory,
    read_json,
    read_record,
    regular_files,
    remove_tree,
    replace,
    sha256_file,
    write_atomic,
    write_record,
)
from hostrun import command, serve
from wheels import install_wheels

# A wheel set of 53 MB installs in 5 s on one x86-64 core; an SD card and four slow cores take minutes.
INSTALL_SECONDS = 1800.0
# The weights are read once and written three times over; the slowest disks do 10 MB/s.
REPACK_SECONDS = 3000.0
# Imports all that the service does, and Python writes the bytecode of what it imports; then the parts that libraries
# import only when they serve. The rest, eight files of ten, is never compiled: whoever imports it gets it uncompiled.
# onnxruntime would leave a device id and a database in root's home, and report to its maker.
PROBE = """
import os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import compileall, importlib, pkgutil, sys
import numpy, onnxruntime, onnxruntime_genai, phi4_engine
for module in pkgutil.iter_modules(phi4_engine.__path__):
    if module.name != "__main__":
        importlib.import_module("phi4_engine." + module.name)
for name in sys.argv[1:]:
    compileall.compile_dir(os.path.join(os.path.dirname(phi4_engine.__path__[0]), name), quiet=1)
print(onnxruntime_genai.__version__)
"""
IMPORTED_LATE = ("phi4_engine", "uvicorn")


def inspect(args: Json, _payload: bytes) -> Json:
    """Whether the environment is there and every file in it is what was installed. Changes nothing."""
    root = args["engine"]
    record = read_record(root)
    if not record:
        return {"complete": False, "damaged": []}
    bad = damaged(root, record)
    linked = os.path.exists(os.path.join(root, "bin", "python"))
    # One that an older version built does not say what it was made of; built again, its files stay as they are.
    return {"complete": linked and not bad and isinstance(made_of(root), dict), "damaged": bad}


def made_of(root: str) -> object:
    """What the record says that the environment was built from: digests of wheels and of our package."""
    document = read_json(root + ".json")
    return document.get("made_of") if isinstance(document, dict) else None


def sources(args: Json, payload: bytes) -> Json:
    """Digests of the wheels and of our own package. Raises HostError where a key is trusted here that signed neither.

    Asked before anything of them is executed.
    """
    state = os.path.dirname(os.path.dirname(args["wheelhouse"]))  # <state>/staging/<wheels>
    with zipfile.ZipFile(io.BytesIO(payload)) as packed:
        made = {"code": hostadmit.package({name: packed.read(name) for name in packed.namelist()})}
    made["wheels"] = hostadmit.tree(args["wheelhouse"])
    parts = [("wheelhouses", made["wheels"], "the wheels of the engine"), ("code", made["code"], "our own package")]
    hostadmit.guard(state, lambda: parts)
    return made


def build(args: Json, payload: bytes) -> Json:
    """The environment holds exactly the locked wheels and our package, durably, and its libraries load."""
    root, made = args["engine"], sources(args, payload)
    own_directory(os.path.dirname(root), 0o755)
    fresh = root + ".new"
    remove_tree(fresh)
    create(args["python"], fresh)
    packages = glob.glob(os.path.join(fresh, "lib", "python3.*", "site-packages"))[0]
    install_wheels(packages, args["wheelhouse"], args["wheel_lock"])
    unpack(payload, packages)
    python = os.path.join(fresh, "bin", "python")
    version = must("load the engine's libraries on this host", python, "-I", "-c", PROBE, *IMPORTED_LATE)
    settle(fresh, root)
    os.sync()  # tens of thousands of small files: one sync is far cheaper than an fsync of each
    record = read_record(root)
    if not mended(fresh, root, record):
        record = {}
        swap(fresh, root)
    files = [entry(os.path.join(root, name), name, record.get(name)) for name in regular_files(root)]
    write_record(root, files, made_of=made)
    return {"changed": True, "genai": version}


def mended(fresh: str, root: str, record: dict[str, Json]) -> bool:
    """True when `root` is whole again because the files that were damaged came from `fresh`, and no other was touched.

    False, and nothing was done, where more than single files differ from what was installed.
    """
    bad = damaged(root, record)
    names = set(regular_files(fresh))
    if names != set(record) or not os.path.exists(os.path.join(root, "bin", "python")):
        return False
    if any(sha256_file(inside(fresh, name)) != record[name].get("sha256") for name in bad):
        return False
    for name in bad:
        target = inside(root, name)
        own_directory(os.path.dirname(target), 0o755)
        replace(inside(fresh, name), target)
        cache, stem = os.path.join(os.path.dirname(name), "__pycache__"), os.path.splitext(os.path.basename(name))[0]
        for compiled in glob.glob(os.path.join(glob.escape(os.path.join(fresh, cache)), glob.escape(stem) + ".*.pyc")):
            own_directory(os.path.join(root, cache), 0o755)
            replace(compiled, os.path.join(root, cache, os.path.basename(compiled)))
    remove_tree(fresh)
    os.sync()
    return True


def must(what: str, *argv: str, seconds: float = INSTALL_SECONDS) -> str:
    """Output of a program that has to succeed. Raises HostError with the last of what it said."""
    status, output = command(*argv, timeout=seconds)
    if status:
        raise HostError(f"could not {what}: exit status {status}: {output[-1500:]}")
    return output


def create(python: str, root: str) -> None:
    """An empty environment without pip: distributions ship ensurepip in a package of its own."""
    wanted = tuple(int(number) for number in python.split("."))
    program = f"/usr/bin/python{python}"
    if not os.path.exists(program):
        program = "/usr/bin/python3"
    found = must("start Python", program, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    if tuple(int(number) for number in found.split(".")) != wanted:
        raise HostError(f"found Python {found}, the plan was made for {python}: run the same command again")
    must("create a Python environment", program, "-I", "-m", "venv", "--without-pip", root)


def unpack(archive: bytes, target: str) -> None:
    """Our own package lies in `target`, not yet durably; the archive holds plain relative names only."""
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        for name in packed.namelist():
            path = inside(target, name)
            own_directory(os.path.dirname(path), 0o755)
            with open(path, "xb") as stream:
                stream.write(packed.read(name))


def settle(fresh: str, root: str) -> None:
    """Nothing in the environment depends on the name under which it was built."""
    folder = os.path.join(fresh, "bin")
    for name in os.listdir(folder):
        if not re.fullmatch(r"python(3(\.\d+)?)?", name):
            os.unlink(os.path.join(folder, name))
    path = os.path.join(fresh, "pyvenv.cfg")
    with open(path) as stream:
        lines = [line for line in stream if not line.startswith("command")]
    write_atomic(path, "".join(lines).encode())
    for name in regular_files(fresh):
        # Wheels may carry any mode; the service's user must be able to read, and nobody but root to write.
        os.chmod(os.path.join(fresh, name), 0o644)


def repack(args: Json, _payload: bytes) -> Json:
    """The weights lie there as this machine's kernels read them, where memory and disk allow; else it is told why not.

    Whoever loads them compares scores with the model's own, so that nothing depends on them.
    """
    root, model, folder = (str(args[name]) for name in ("engine", "model", "repacked"))
    own_directory(folder, 0o755)
    before = set(os.listdir(folder))
    program = (os.path.join(root, "bin", "python"), "-I", "-m", "phi4_engine.repacked")
    told = must(
        "repack the model's weights", *program, model, folder, str(int(args["threads"])), seconds=REPACK_SECONDS
    )
    try:
        found = json.loads(told.strip().splitlines()[-1])
        name, taken, reason = str(found["path"]), int(found["bytes"]), str(found["reason"])
    except (ValueError, LookupError, TypeError):
        raise HostError(f"could not repack the model's weights: it ended with {told[-300:]!r}") from None
    return {"changed": not reason and name not in before, "bytes": taken, "reason": reason}


def swap(fresh: str, root: str) -> None:
    """`root` is the fresh environment; the one before is gone."""
    old = root + ".old"
    remove_tree(old)
    if os.path.lexists(root):
        os.rename(root, old)
    os.rename(fresh, root)
    fsync_directory(os.path.dirname(root))
    remove_tree(old)


if __name__ == "__main__":
    serve(globals(), {"inspect": inspect, "build": build, "repack": repack})
