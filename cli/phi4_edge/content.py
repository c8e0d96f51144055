"""Where the Ansible collection is: beside our package, installed from a wheel as well as in a checkout.

In a wheel `ansible_collections/phi4_edge/edge` holds them, in a checkout links to them, so that Ansible finds the same
tree by itself wherever it finds our package.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def package() -> Path:
    """Directory of our Python package."""
    return _PACKAGE


def collections() -> Path:
    """Directory that holds `ansible_collections/`, for `ANSIBLE_COLLECTIONS_PATH`."""
    return _PACKAGE.parent


def root() -> Path:
    """Directory of the collection: roles, playbooks, plugins. Raises FileNotFoundError for a damaged installation."""
    tree = collections() / "ansible_collections" / "phi4_edge" / "edge"
    if not all((tree / part).is_dir() for part in ("roles", "playbooks", "plugins")):
        raise FileNotFoundError(f"found no collection phi4_edge.edge at {tree}, needed it: install phi4-edge again")
    return (tree / "roles").resolve().parent  # in a checkout its root, where the links lead


def roles() -> Path:
    """Directory of the roles."""
    return root() / "roles"


def playbook(name: str) -> Path:
    """Path of the playbook `name` (without suffix)."""
    return root() / "playbooks" / f"{name}.yml"


# What Python, tests and linters leave in a checkout, and no wheel holds.
_LEFT = re.compile(r"__pycache__|\..*|.*\.pyc")
# The parts of the collection that decide what is done, for a worker that must do the same.
PARTS = ("meta", "playbooks", "plugins", "roles")
# Tests of the engine are in the checkout alone.
_TESTS = Path("roles/onnx/files/engine/tests")


def leftover(inside: Path) -> bool:
    """Whether a path, relative to the collection or the package, is not part of what is installed."""
    return any(map(_LEFT.fullmatch, inside.parts)) or inside.is_relative_to(_TESTS)


def digest(*relative: str) -> str:
    """SHA-256 over names and bytes of every file below the given paths of the content root.

    Two installations with equal digests render and install the same things, so a digest that changed is a change to
    apply. Caches do not count.
    """
    total = hashlib.sha256()
    base = root()
    for name in sorted(relative):
        top = base / name
        files = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        for path in files:
            inside = path.relative_to(base)
            if leftover(inside):
                continue
            total.update(f"{inside.as_posix()}\0{path.stat().st_size}\0".encode())
            total.update(path.read_bytes())
    return total.hexdigest()


# What our own image of ONNX and the engine's files on a host are built from. Its tests are not installed.
ONNX_ENGINE = ("roles/onnx/files/engine/src", "roles/onnx/files/engine/locks")
# What Ollama's folder of models is made with, beside the weights and the variants of the plan.
OLLAMA_STORE = ("roles/ollama/templates/chat.gotmpl", "roles/ollama/files/create.py")
# What an engine of ours takes as numbers, beside its code: the planner and the engine read the same file.
_BOUNDS = "files/engine/src/phi4_engine/bounds.json"
ENGINE_PACKAGE, PLUGINS = "roles/onnx/files/engine/src", "roles/vllm/files/plugin"
# What a host with a gateway says at /metrics, made of its own modules and two that others have too.
METRICS = ("exporter.py", *(f"metrics_{name}.py" for name in ("fetch", "host", "served", "text", "units")))
TELLING = ("hostpath.py", "hosttools.py")
# What measures prompts for a gateway, and what HAProxy asks it with.
MEASURE = (*(f"measure{name}.py" for name in ("", "_count", "_gguf", "_model", "_prompt", "_tools")), "measure.lua")
# Programs of ours that gateways get as single files, by their names there.
PROGRAMS = {
    "load.py": "roles/ollama/files/load.py",
    "journal.sed": "roles/ollama/files/journal.sed",
    "start.py": "roles/webui/files/start.py",
    "heal.py": "roles/service/files/heal.py",
    **{name: f"roles/gateway/files/{name}" for name in (*METRICS, *MEASURE)},
    **{name: f"{PLUGINS}/{name}" for name in ("tool_parser.py", "tool_calls.py", "chat_template.jinja")},
}
# What units of containers run before them, and what programs of a gateway import, is part of the package, beside what
# else works on hosts.
PORT, _HOST = "port.py", _PACKAGE / "remote" / "host"
HEALING = (
    "hostaround.py",
    "hostguard.py",
    "hostlib.py",
    "hostlockstate.py",
    "hostprivate.py",
    "hostreceipt.py",
    "hostseal.py",
)
PACKAGED = {PORT: "hostport.py", **{name: name for name in (*HEALING, *TELLING)}}
# Those that are code, and no part of another file.
_CODE = ("load.py", "tool_parser.py", "tool_calls.py", "heal.py", *METRICS, *MEASURE, *PACKAGED)


def bounds(engine: str) -> Path:
    """Path of the file with what an engine of ours takes as numbers; engines of others have none."""
    return roles() / engine / _BOUNDS


def program(name: str) -> Path:
    """Path of the program of ours that a gateway has under this name."""
    return _HOST / PACKAGED[name] if name in PACKAGED else root() / PROGRAMS[name]


def runtimes() -> dict[str, str]:
    """Digests of what releases are made of that is ours: what things are built from, and each program by its name.

    "phi4-edge/onnx": our engine and its image; "ollama store": Ollama's folder of models.
    """
    built = {"phi4-edge/onnx": digest(*ONNX_ENGINE), "ollama store": digest(*OLLAMA_STORE)}
    return built | {name: _sha256(program(name)) for name in (*PROGRAMS, *PACKAGED)}


def code() -> dict[str, str]:
    """SHA-256 of each program of ours that a release is made of; of the ONNX engine's package, over all of its files.

    A gateway that trusts keys runs only those that a signed statement names.
    """
    source = root() / ENGINE_PACKAGE
    files = [path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    lines = [f"{_sha256(path)}  {path.relative_to(source).as_posix()}\n" for path in files]
    single = {name: _sha256(program(name)) for name in _CODE}
    return {"phi4_engine": hashlib.sha256("".join(sorted(lines)).encode()).hexdigest(), **single}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
