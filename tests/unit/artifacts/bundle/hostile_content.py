"""Bundles that are what their manifest says, and bring what nobody of ours made. Each returns the file's bytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

from phi4_edge.artifacts.bundle.manifest import NAME
from phi4_edge.artifacts.store.manifest import LARGEST_MANIFEST
from tests.unit.artifacts.bundle.forge import Forge, tree_digest

Make = Callable[[Forge], bytes]


def _model(change: Callable[[Forge, str], None], name: str = "tiny/gguf-q4_0") -> Make:
    """The model's folder was changed, and is named after what it holds now."""

    def made(forge: Forge) -> bytes:
        change(forge, forge.folder("model"))
        forge.rehouse("model", name)
        return forge.tar()

    return made


def _manifest(kind: str, **fields: Any) -> Make:
    """The manifest.json of a folder has other fields; its digest, and the folder's name, are right again."""

    def made(forge: Forge) -> bytes:
        def change(held: dict[str, Any]) -> None:
            held.update(fields)
            held["digest"] = tree_digest(held)

        forge.edit(forge.folder(kind), change)
        if kind in ("model", "release"):
            names = {digest: name for name, digest in forge.document["artifacts"].items()}
            forge.rehouse(kind, names[forge.digest(kind)])
        return forge.tar()

    return made


def _raw_manifest(raw: bytes) -> Make:
    def made(forge: Forge) -> bytes:
        forge.put(f"{forge.folder('model')}/{NAME}", raw)
        return forge.tar()

    return made


def _dropped(kind: str, ending: str) -> Make:
    def made(forge: Forge) -> bytes:
        folder = forge.folder(kind)
        forge.drop(next(one["path"] for one in forge.document["files"]
                        if one["path"].startswith(folder) and one["path"].endswith(ending)))  # fmt: skip
        return forge.tar()

    return made


def _unlisted(forge: Forge) -> bytes:
    forge.put(f"{forge.folder('model')}/extra", b"lies in the store afterwards")
    return forge.tar()


def _no_files_at_all(forge: Forge) -> bytes:
    folder = forge.folder("model")
    forge.document["files"] = [one for one in forge.document["files"] if not one["path"].startswith(folder)]
    return forge.tar()


def _other_folder(forge: Forge) -> bytes:
    """A whole artifact under another digest than its own."""
    old, new = forge.folder("model"), "artifacts/" + "a" * 64
    for line in forge.document["files"]:
        line["path"] = str(line["path"]).replace(old, new)
    forge.document["artifacts"]["tiny/gguf-q4_0"] = "a" * 64
    return forge.tar()


def _for_nobody(forge: Forge) -> bytes:
    forge.document["hosts"].pop("gw3")
    return forge.tar()


def _needs_more(forge: Forge) -> bytes:
    forge.document["hosts"]["gw1"]["model"] = "phi-4-mini-instruct/gguf-q4_k_m"
    return forge.tar()


def _two_names(forge: Forge) -> bytes:
    forge.document["artifacts"]["tiny/gguf-f16"] = forge.digest("model")
    forge.document["hosts"]["gw9"] = {**forge.document["hosts"]["gw1"], "model": "tiny/gguf-f16"}
    return forge.tar()


def _release_named(name: str) -> Make:
    """The release is called `name` everywhere."""

    def made(forge: Forge) -> bytes:
        (old,) = (one for one in forge.document["artifacts"] if one.startswith("ollama/"))
        forge.edit(forge.folder("release"), lambda held: held.update(artifact=name))
        forge.document["artifacts"][name] = forge.document["artifacts"].pop(old)
        for what in forge.document["hosts"].values():
            what["runtime"] = name if what["runtime"] == old else what["runtime"]
        return forge.tar()

    return made


def _link(path: str, target: str, *more: tuple[str, str]) -> Make:
    links = [{"path": one, "target": to} for one, to in ((path, target), *more)]
    return _manifest("release", links=links)


# Wheels -------------------------------------------------------------------------------------------------------------


def _wheels(change: Callable[[Forge, str], None]) -> Make:
    """The wheelhouse was changed, and its own manifest agrees."""

    def made(forge: Forge) -> bytes:
        change(forge, forge.folder("wheelhouse"))
        forge.relist(forge.folder("wheelhouse"))
        return forge.tar()

    return made


def _evil() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        zipped.writestr(zipfile.ZipInfo("pip/__main__.py"), "raise SystemExit('run as root')\n")
    return packed.getvalue()


def _wheel(forge: Forge, folder: str) -> str:
    return next(str(one["path"]) for one in forge.document["files"]
                if one["path"].startswith(folder) and one["path"].endswith(".whl"))  # fmt: skip


def _moved_wheelhouse(name: str) -> Make:
    """The whole wheelhouse under another name, for the hosts too."""

    def made(forge: Forge) -> bytes:
        old, new = forge.folder("wheelhouse"), f"wheelhouses/{name}"
        for line in forge.document["files"]:
            line["path"] = str(line["path"]).replace(old, new)
        forge.document["wheelhouses"] = [name]
        forge.document["hosts"]["gw3"]["runtime"] = name
        return forge.tar()

    return made


_DEEP: Any = []
for _ in range(60):
    _DEEP = [_DEEP]

CASES: dict[str, Make] = {
    "artifact-missing-files": _dropped("model", "model.gguf"),
    "artifact-no-files": _no_files_at_all,
    "artifact-without-manifest": _dropped("model", NAME),
    "artifact-extra-file": _unlisted,
    "artifact-other-name": _manifest("model", artifact="tiny/gguf-f16"),
    "artifact-other-digest": _other_folder,
    "artifact-for-nobody": _for_nobody,
    "artifact-needed-and-missing": _needs_more,
    "artifact-of-two-names": _two_names,
    "artifact-manifest-nested": _manifest("model", source={"x": _DEEP}),
    "artifact-manifest-bomb": _raw_manifest(b"[" + b"{}," * 2_700_000 + b"{}]"),
    "artifact-manifest-too-long": _raw_manifest(b" " * (LARGEST_MANIFEST + 1)),
    "artifact-manifest-no-json": _raw_manifest(b"MZ"),
    "artifact-manifest-of-another-format": _manifest("model", format="phi4-edge/manifest/2"),
    "artifact-manifest-changed": _raw_manifest(b'{"format": "phi4-edge/manifest/1"}'),
    "artifact-file-setuid": _model(
        lambda forge, folder: forge.edit(folder, lambda held: held["files"][0].update(mode="4755"))
    ),
    "artifact-with-a-program": _model(
        lambda forge, folder: (forge.put(f"{folder}/modeling_phi.py", b"run"), forge.relist(folder))[0]
    ),
    "artifact-with-a-pickle": _model(
        lambda forge, folder: (forge.put(f"{folder}/PYTORCH_MODEL.BIN", b"run"), forge.relist(folder))[0]
    ),
    "artifact-with-a-link": _manifest("model", links=[{"path": "link", "target": "model.gguf"}]),
    "release-of-other-archives": _manifest(
        "release", source={"kind": "release", "url": "x", "assets": {"ollama-linux-amd64.tar.zst": "c" * 64}}
    ),
    "release-without-archives": _manifest("release", source={}),
    "release-not-in-the-catalog": _release_named("ollama/0.0.1-x86_64-cpu"),
    "release-of-another-flavour": _release_named("ollama/0.35.0-x86_64-rocm"),
    "link-absolute": _link("link", "/etc/passwd"),
    "link-up": _link("link", "../../../etc/passwd"),
    "link-up-later": _link("link", "bin/../../../etc/passwd"),
    "link-through-a-link": _link("a/b/x", "../../bin", ("a/b/y", "x/../../etc")),
    "link-above-a-file": _link("bin", "lib"),
    "link-called-up": _link("../link", "bin/ollama"),
    "link-called-as-a-file": _link("bin/ollama", "x"),
    "link-other-case": _link("BIN/x", "y"),
    "link-escape-codes": _link("\x1b[2J", "bin/ollama"),
    "link-empty": _link("link", ""),
    "wheel-other-bytes": _wheels(lambda forge, folder: forge.put(_wheel(forge, folder), _evil())),
    "wheel-of-pip-added": _wheels(lambda forge, folder: forge.put(f"{folder}/pip-26.3-py3-none-any.whl", _evil())),
    "wheel-is-a-folder": _wheels(lambda forge, folder: forge.put(f"{folder}/pip-1.whl/pip/__main__.py", b"run")),
    "wheel-missing": _wheels(lambda forge, folder: forge.drop(_wheel(forge, folder))),
    "wheel-renamed": _wheels(
        lambda forge, folder: forge.rename(_wheel(forge, folder), f"{folder}/pip-26.3-py3-none-any.whl")
    ),
    "wheel-version-renamed": _wheels(
        lambda forge, folder: forge.rename(_wheel(forge, folder), _wheel(forge, folder).replace("-1.0-", "-2.0-"))
    ),
    "wheel-for-another-machine": _wheels(
        lambda forge, folder: forge.rename(
            _wheel(forge, folder), f"{folder}/sample-1.0-cp313-cp313-manylinux_2_28_aarch64.whl"
        )
    ),
    "wheels-and-a-script": _wheels(lambda forge, folder: forge.put(f"{folder}/setup.py", b"run")),
    "wheels-and-a-source-package": _wheels(lambda forge, folder: forge.put(f"{folder}/sample-1.0.tar.gz", b"run")),
    "wheels-requirements-changed": _wheels(
        lambda forge, folder: forge.put(f"{folder}/requirements.txt", b"evil==1.0\n")
    ),
    "wheels-requirements-missing": _wheels(lambda forge, folder: forge.drop(f"{folder}/requirements.txt")),
    "wheels-extra-unlisted": lambda forge: (forge.put(f"{forge.folder('wheelhouse')}/x.whl", b"x"), forge.tar())[1],
    "wheels-of-another-artifact": _manifest("wheelhouse", artifact="wheelhouse/cp312-x86_64"),
    "wheels-with-links": _manifest("wheelhouse", links=[{"path": "pip-1.whl", "target": "requirements.txt"}]),
    "wheels-of-another-engine": _moved_wheelhouse("fedcba9876543210-cp313-x86_64"),
    "wheels-for-another-machine": _moved_wheelhouse("0123456789abcdef-cp313-aarch64"),
    "wheels-without-a-lock": _moved_wheelhouse("0123456789abcdef-cp399-x86_64"),
}
