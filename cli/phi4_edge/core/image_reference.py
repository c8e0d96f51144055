"""References to container images: what people write, and which registry, repository, tag and digest it means.

The short forms are those of Docker: `python` is docker.io/library/python, a first part with a dot, a port or the name
localhost is a registry. Pure: nothing here touches a network.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from phi4_edge.errors import ArtifactError

DOCKER_HUB = "docker.io"
# The host behind the name docker.io that speaks the registry's protocol.
DOCKER_HUB_HOST = "registry-1.docker.io"
# Images of this prefix are built on the controller and are in no registry.
OURS = "phi4-edge/"
# uname's names of machines, and those of container images.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_MIRROR = re.compile(r"(?:(https?)://)?([^/]+)((?:/[^/]+)*)/?")


@dataclass(frozen=True, slots=True)
class Reference:
    """One image in one registry. `tag` and `digest` are empty where the text had none."""

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def name(self) -> str:
        """Registry and repository, in full."""
        return f"{self.registry}/{self.repository}"

    @property
    def pinned(self) -> str:
        """`<registry>/<repository>@<digest>`, or with the tag where no digest is known."""
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a registry is asked: base URL without a path at its end, and the repository as it is called there."""

    url: str
    host: str
    repository: str

    @property
    def name(self) -> str:
        """What Docker on a host is given: host and repository, without a scheme."""
        return f"{self.host}/{self.repository}"


def parse(text: str) -> Reference:
    """The reference that `text` means. Raises ArtifactError, with the part that is wrong, when it is none."""
    rest, _, digest = text.partition("@")
    if "@" in text and not DIGEST.fullmatch(digest):
        raise _refused(text, "a digest is sha256: and 64 hex digits")
    first, slash, path = rest.partition("/")
    has_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry, remainder = (first, path) if has_registry else (DOCKER_HUB, rest)
    repository, colon, tag = remainder.partition(":")
    if registry in (DOCKER_HUB, "index.docker.io", DOCKER_HUB_HOST):
        registry, repository = DOCKER_HUB, repository if "/" in repository else f"library/{repository}"
    if not _HOST.fullmatch(registry):
        raise _refused(text, f"{registry!r} is not a host")
    if not _PATH.fullmatch(repository) or len(repository) > 255:
        raise _refused(text, f"{repository!r} is not a repository (lower-case words with / between them)")
    if colon and not _TAG.fullmatch(tag):
        raise _refused(text, f"{tag!r} is not a tag")
    if not tag and not digest:
        raise _refused(text, "it has neither a tag nor a digest, and nothing of ours is 'latest'")
    return Reference(registry, repository, tag, digest)


def endpoint(reference: Reference, mirror: str = "") -> Endpoint:
    """Where `reference` is fetched: from its own registry, or from `mirror` (host[:port][/prefix]) in its place.

    TLS, unless the registry is on this machine or the mirror was given as http://…. Raises ArtifactError for a mirror
    that is none.
    """
    if not mirror:
        host = DOCKER_HUB_HOST if reference.registry == DOCKER_HUB else reference.registry
        shown = reference.registry
        return _endpoint("", host, reference.repository, shown)
    match = _MIRROR.fullmatch(mirror)
    prefix = match[3].strip("/") if match else ""
    if not match or not _HOST.fullmatch(match[2]) or (prefix and not _PATH.fullmatch(prefix)):
        raise ArtifactError(
            f"found the image mirror {mirror!r}, needed host[:port][/prefix], with http:// in front only where it has "
            "no TLS: correct phi4_image_mirror"
        )
    repository = f"{prefix}/{reference.repository}" if prefix else reference.repository
    return _endpoint(match[1] or "", match[2], repository, match[2])


def platform(architecture: str) -> str:
    """The architecture as images name it, from either spelling (x86_64 or amd64)."""
    name = ARCHITECTURES.get(architecture, architecture)
    if name not in ARCHITECTURES.values():
        raise ArtifactError(f"found the architecture {architecture!r}, needed one of {', '.join(ARCHITECTURES)}")
    return name


def local_name(repository: str, tag: str, digest: str) -> str:
    """The name under which an image of ours lies in a host's Docker: never the name that its owner would pull.

    It keeps `docker image prune` away, and removing it leaves what the host's owner has under other names.
    """
    base = repository.rpartition("/")[2]
    return f"{OURS}{base}:{tag[:100]}-{digest.removeprefix('sha256:')[:12]}"


def _endpoint(scheme: str, host: str, repository: str, shown: str) -> Endpoint:
    chosen = scheme or ("http" if _loopback(host) else "https")
    return Endpoint(f"{chosen}://{host}", shown, repository)


def _loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if re.search(r":[0-9]+$", host) else host
    name = name.strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _refused(text: str, why: str) -> ArtifactError:
    return ArtifactError(f"found the image {text[:200]!r}, needed [registry/]repository:tag[@sha256:…]: {why}")
