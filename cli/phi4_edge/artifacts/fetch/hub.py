"""The model hub, through huggingface_hub: what a pinned revision holds, and its files byte for byte.

The only importer of huggingface_hub. Its own download functions start a file again after a kill, since the names of
their temporary files are random; `http_get` with a file of ours resumes at the last byte.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from phi4_edge import __version__
from phi4_edge.artifacts.fetch import http
from phi4_edge.errors import ArtifactError

# Read by huggingface_hub when it is imported. Plain HTTP is what resumes and what mirrors speak.
_SETTINGS = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
}
TIMEOUT = 30.0  # seconds without a byte or an answer
_LIBRARY = "phi4-edge"


@dataclass(frozen=True)
class HubFile:
    """One file of a revision. `sha256` is known for large files, `blob` (git's SHA-1) for the others."""

    path: str
    size: int
    sha256: str
    blob: str


@dataclass(frozen=True)
class Pin:
    """A repository at one commit; a branch or tag could be moved to other content."""

    repo: str
    revision: str


def endpoint() -> str | None:
    """The hub or mirror that the user chose with HF_ENDPOINT; None for huggingface_hub's default."""
    return os.environ.get("HF_ENDPOINT") or None


def listing(pin: Pin) -> tuple[HubFile, ...]:
    """Every file of the pinned revision. Raises ArtifactError when the hub has no such revision or does not answer."""
    _configure()
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint(), library_name=_LIBRARY, library_version=__version__)

    def ask() -> tuple[str | None, list[HubFile]]:
        info = api.model_info(pin.repo, revision=pin.revision, files_metadata=True, timeout=TIMEOUT)
        found = [
            HubFile(
                str(item.rfilename),
                int(item.size or 0),
                str(item.lfs.sha256) if item.lfs else "",
                "" if item.lfs else str(item.blob_id or ""),
            )
            for item in info.siblings or []
        ]
        return info.sha, found

    with _explained(pin):
        sha, found = http.patiently(ask, _passes)
    if sha != pin.revision:
        raise ArtifactError(
            f"the hub answers with revision {sha} of {pin.repo}, needed {pin.revision}; is HF_ENDPOINT a true mirror?"
        )
    return tuple(found)


def download(pin: Pin, file: HubFile, destination: Path, seen: Callable[[int], None]) -> None:
    """Complete `destination`, which may hold the first bytes of `file` already; `seen` gets the bytes held so far.

    Raises ArtifactError when the hub does not deliver; what was received stays for the next attempt.
    """
    _configure()
    destination.parent.mkdir(parents=True, exist_ok=True)

    def once() -> None:
        with _Meter(destination, seen) as target:
            _receive(pin, file, target)

    with _explained(pin):
        http.patiently(once, _passes)


class _Meter(io.FileIO):
    """A file opened at its end that reports its length after each write."""

    def __init__(self, path: Path, seen: Callable[[int], None]) -> None:
        path.touch()
        super().__init__(path, "r+")
        self._seen = seen
        self._seen(self.seek(0, os.SEEK_END))

    def write(self, data: Any, /) -> int:
        """Write all of `data`; a raw file may take only a part at a time."""
        view = memoryview(data)
        written = 0
        while written < len(view):
            written += super().write(view[written:]) or 0
        self._seen(self.tell())
        return written


def _receive(pin: Pin, file: HubFile, target: _Meter) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    if target.tell() > file.size:
        target.truncate(0)
        target.seek(0)
    headers = build_hf_headers(library_name=_LIBRARY, library_version=__version__)
    url = hf_hub_url(pin.repo, file.path, revision=pin.revision, endpoint=endpoint())
    found = get_hf_file_metadata(url, timeout=TIMEOUT, headers=headers, endpoint=endpoint())
    if found.commit_hash not in (None, pin.revision):
        raise ArtifactError(f"the hub serves {file.path} from commit {found.commit_hash}, needed {pin.revision}")
    if urlsplit(found.location).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)  # the token is the hub's, not its storage provider's
    # Compressed bytes could not be resumed at an offset of the file.
    headers["Accept-Encoding"] = "identity"
    http_get(found.location, target, resume_size=target.tell(), headers=headers, expected_size=file.size)
    os.fsync(target.fileno())


def _configure() -> None:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import logging

    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    # Its warnings about each retry would interleave with our progress; the last error is raised in any case.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _passes(error: Exception) -> bool:
    """Whether it may be over by the next attempt: a server error, or a lost connection."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, httpx2.TransportError)


@contextlib.contextmanager
def _explained(pin: Pin) -> Iterator[None]:
    """Turns what the hub's library raises into what was found, what was needed and what to do next."""
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = endpoint() or "the model hub"
    try:
        yield
    except GatedRepoError as error:
        raise ArtifactError(f"{where} asks for a token for {pin.repo}: log in with 'hf auth login'") from error
    except RevisionNotFoundError as error:
        raise ArtifactError(f"{where} has no revision {pin.revision} of {pin.repo}; check HF_ENDPOINT") from error
    except RepositoryNotFoundError as error:
        raise ArtifactError(f"{where} has no repository {pin.repo}, or not for you; check HF_ENDPOINT") from error
    except OfflineModeIsEnabled as error:
        raise ArtifactError("HF_HUB_OFFLINE is set, a download needs the hub: unset it") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise ArtifactError(
            f"{where} answered {status} for {pin.repo} after {len(http.PAUSES) + 1} attempts. {http.AGAIN}"
        ) from error
    except httpx2.HTTPError as error:
        reason = f"{type(error).__name__}: {error}"
        raise ArtifactError(
            f"{where} cannot be reached ({reason}). Check the network, the proxy and HF_ENDPOINT. {http.AGAIN}"
        ) from error
    except OSError as error:
        raise ArtifactError(f"the download of {pin.repo} stopped: {error}. {http.AGAIN}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{where} did not answer as a model hub does ({error}); check HF_ENDPOINT") from error
