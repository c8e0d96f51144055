"""The ONNX engine's own package, as it is sent to a host, and the lock that a host holds its wheels to."""

from __future__ import annotations

import io
import zipfile

from phi4_edge import content
from phi4_edge.core import wheel_lock
from phi4_edge.errors import ArtifactError


def package() -> bytes:
    """A zip archive of the package, names relative to site-packages."""
    source = content.roles() / "onnx" / "files" / "engine" / "src"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.writestr(path.relative_to(source).as_posix(), path.read_bytes())
    return packed.getvalue()


def lock(python: str) -> str:
    """The lock of the engine's wheels for `python` ("3.13"), as this installation has it.

    Raises ArtifactError where it has none.
    """
    path = content.roles() / "onnx" / "files" / "engine" / "locks" / wheel_lock.file_name(python)
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ArtifactError(f"found no lock of the engine's wheels for Python {python}: {error}") from None
