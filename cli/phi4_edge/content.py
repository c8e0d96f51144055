"""Where the roles and playbooks are: inside the installed wheel, or at the root of a checkout.

Located by `__file__`: an editable install leaves a stale `_content` snapshot in site-packages, which is never beside
this file.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """Directory that holds `roles/` and `playbooks/`. Raises FileNotFoundError for a damaged installation."""
    for candidate in (_PACKAGE / "_content", _PACKAGE.parents[1]):
        if (candidate / "roles").is_dir() and (candidate / "playbooks").is_dir():
            return candidate
    raise FileNotFoundError(
        f"no roles/ and playbooks/ beside {_PACKAGE}: the installation is damaged, install it again"
    )


def roles() -> Path:
    """Directory of the roles, for `ANSIBLE_ROLES_PATH`."""
    return root() / "roles"


def playbook(name: str) -> Path:
    """Path of the playbook `name` (without suffix)."""
    return root() / "playbooks" / f"{name}.yml"


def host_script(role: str, name: str) -> tuple[str, dict[str, str]]:
    """Text of `roles/<role>/files/<name>.py`, which runs on a host, and of the modules of ours that it imports there.

    A module lies beside the script or among those that all roles share; each comes after the ones that it imports.
    """
    folders = (roles() / role / "files", roles() / "receipt" / "files")
    script = (folders[0] / f"{name}.py").read_text()
    modules: dict[str, str] = {}
    _collect(script, folders, modules)
    return script, modules


def _collect(text: str, folders: tuple[Path, ...], modules: dict[str, str]) -> None:
    """`modules` holds every module of `folders` that `text` imports at its top level."""
    for module in re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE):
        path = next((folder / f"{module}.py" for folder in folders if (folder / f"{module}.py").is_file()), None)
        if path is not None and module not in modules:
            source = path.read_text()
            _collect(source, folders, modules)
            modules[module] = source


# What Python, tests and linters leave in a checkout, and no wheel holds.
_LEFT = re.compile(r"__pycache__|\..*_cache|.*\.pyc")


def leftover(inside: Path) -> bool:
    """Whether a path, relative to the checkout or the package, is no part of it but of somebody's cache."""
    return any(map(_LEFT.fullmatch, inside.parts))


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
# What every release is made of besides.
SERVICE = ("roles/service/templates", "roles/service/vars", "roles/webui/vars")
# What each engine's release is made of; a change in any of these is a new release.
RELEASES = {
    "onnx": (*ONNX_ENGINE, "roles/onnx/templates", "roles/onnx/vars", *SERVICE),
    "ollama": ("roles/ollama/templates", "roles/ollama/vars", *SERVICE),
    "vllm": ("roles/vllm/files/plugin", "roles/vllm/vars", *SERVICE),
}


def runtimes() -> dict[str, str]:
    """Digest of what each engine's release is made of, and of what single parts of it are built from."""
    made = {name: _with_compose(digest(*paths)) for name, paths in RELEASES.items()}
    return made | {"phi4-edge/onnx": digest(*ONNX_ENGINE), "ollama store": digest(*OLLAMA_STORE)}


def _with_compose(first: str) -> str:
    """A change in how the document of Compose is made is a new release too; that code is no file of a role."""
    total = hashlib.sha256(first.encode())
    for path in sorted((_PACKAGE / "core").glob("compose*.py")):
        total.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()
