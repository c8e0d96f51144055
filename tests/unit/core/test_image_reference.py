"""References to images: what people write, where it leads, and what is refused."""

from __future__ import annotations

import pytest

from phi4_edge.core import image_reference
from phi4_edge.errors import ArtifactError

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "name", "tag", "digest"),
    [
        ("python:3.13", "docker.io/library/python", "3.13", ""),
        ("ollama/ollama:0.35.0", "docker.io/ollama/ollama", "0.35.0", ""),
        ("docker.io/python:3", "docker.io/library/python", "3", ""),
        ("index.docker.io/vllm/vllm-openai:v1", "docker.io/vllm/vllm-openai", "v1", ""),
        ("ghcr.io/open-webui/open-webui:v0.6@" + DIGEST, "ghcr.io/open-webui/open-webui", "v0.6", DIGEST),
        ("localhost/a/b:1", "localhost/a/b", "1", ""),
        ("mirror:5000/a:1", "mirror:5000/a", "1", ""),
        ("[::1]:5000/a@" + DIGEST, "[::1]:5000/a", "", DIGEST),
        ("a/b/c/d:x_1.2-3", "docker.io/a/b/c/d", "x_1.2-3", ""),
    ],
)  # fmt: skip
def test_what_is_written_means_what_docker_means(text: str, name: str, tag: str, digest: str) -> None:
    found = image_reference.parse(text)
    assert (found.name, found.tag, found.digest) == (name, tag, digest)
    assert found.pinned == f"{name}@{digest}" if digest else f"{name}:{tag}"


@pytest.mark.parametrize(
    "text",
    ["python", "Python:3", "a//b:1", "a:b:c", "a:1@sha256:12", "a@md5:1", "-x/y:1", "../etc:1", "a/b:1\n", "", ":1",
     "a/../b:1", "http://a/b:1", "mirror:port/a:1", "a:" + "x" * 129, "x" * 300 + ":1"],
)  # fmt: skip
def test_what_is_no_reference_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ArtifactError, match=r"found the image .*needed"):
        image_reference.parse(text)


@pytest.mark.parametrize(
    ("text", "mirror", "url", "path"),
    [
        ("python:3", "", "https://registry-1.docker.io", "library/python"),
        ("ghcr.io/a/b:1", "", "https://ghcr.io", "a/b"),
        ("localhost:5000/a:1", "", "http://localhost:5000", "a"),
        ("127.3.0.1:5000/a:1", "", "http://127.3.0.1:5000", "a"),
        ("10.0.0.1:5000/a:1", "", "https://10.0.0.1:5000", "a"),
        ("python:3", "mirror.site:5000", "https://mirror.site:5000", "library/python"),
        ("ghcr.io/a/b:1", "mirror.site/edge/x/", "https://mirror.site", "edge/x/a/b"),
        ("ghcr.io/a/b:1", "http://mirror:80/p", "http://mirror:80", "p/a/b"),
        ("ghcr.io/a/b:1", "https://localhost:5000", "https://localhost:5000", "a/b"),
    ],
)
def test_plain_http_is_for_this_machine_and_for_those_who_say_so(text: str, mirror: str, url: str, path: str) -> None:
    found = image_reference.endpoint(image_reference.parse(text), mirror)
    assert (found.url, found.repository) == (url, path)
    assert "://" not in found.name


@pytest.mark.parametrize("mirror", ["ftp://x", "a b", "/x", "host/UPPER", "host/../x", "user:pw@host", "host?x"])
def test_a_mirror_that_is_none_is_refused(mirror: str) -> None:
    with pytest.raises(ArtifactError, match="phi4_image_mirror"):
        image_reference.endpoint(image_reference.parse("a/b:1"), mirror)


def test_the_name_on_a_host_is_ours_and_holds_the_digest() -> None:
    assert (
        image_reference.local_name("vllm/vllm-openai", "v0.33.0", DIGEST)
        == "phi4-edge/vllm-openai:v0.33.0-aaaaaaaaaaaa"
    )
    longest = image_reference.local_name("a/b", "t" * 128, DIGEST)
    assert image_reference.parse(longest).tag == longest.rpartition(":")[2]


def test_architectures_have_two_spellings() -> None:
    assert [image_reference.platform(name) for name in ("x86_64", "amd64", "aarch64", "arm64")] == ["amd64"] * 2 + [
        "arm64"
    ] * 2
    with pytest.raises(ArtifactError, match="armv7l"):
        image_reference.platform("armv7l")
