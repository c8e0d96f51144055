"""What a client may say."""

from __future__ import annotations

import pytest

from phi4_edge.artifacts.serve import request

SHA = "a" * 64


def head(first: str = f"GET /{SHA} HTTP/1.1", *lines: str) -> bytes:
    return "\r\n".join([first, *(lines or ("Host: x", "Range: bytes=5-9", "Phi4-Token: abc"))]).encode()


def test_a_range_of_a_file_by_its_hash() -> None:
    found = request.parse(head())
    assert (found.sha256, found.first, found.last, found.token, found.length) == (SHA, 5, 9, "abc", 5)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (head(f"POST /{SHA} HTTP/1.1"), 405),
        (head(f"HEAD /{SHA} HTTP/1.1"), 405),
        (b"", 405),
        (b"\xff\xfe", 400),
        (head("GET /../../etc/shadow HTTP/1.1"), 404),
        (head("GET /etc/shadow HTTP/1.1"), 404),
        (head(f"GET /{SHA}/.. HTTP/1.1"), 404),
        (head(f"GET /{SHA.upper()} HTTP/1.1"), 404),
        (head(f"GET http://other/{SHA} HTTP/1.1"), 404),
        (head(f"GET /{SHA} HTTP/1.0"), 404),
        (head(f"GET /{SHA} HTTP/1.1", "Host: x"), 416),
        (head(f"GET /{SHA} HTTP/1.1", "Range: bytes=-5"), 416),
        (head(f"GET /{SHA} HTTP/1.1", "Range: bytes=5-"), 416),
        (head(f"GET /{SHA} HTTP/1.1", "Range: bytes=-1-5"), 416),
        (head(f"GET /{SHA} HTTP/1.1", "Range: bytes=9-5"), 416),
        (head(f"GET /{SHA} HTTP/1.1", "Range: bytes=0-1,5-6"), 416),
        (head(f"GET /{SHA} HTTP/1.1", "Range: bytes=0-" + "9" * 400), 416),
        (head(f"GET /{SHA} HTTP/1.1", f"Range: bytes=0-{request.MOST_RANGE}"), 416),
        (head(f"GET /{SHA} HTTP/1.1", "Range: bytes=0-1", "Range: bytes=0-2"), 400),
        (head(f"GET /{SHA} HTTP/1.1", "Range: bytes=0-1", "Content-Length: 5"), 400),
        (head(f"GET /{SHA} HTTP/1.1", "Range: bytes=0-1", "no colon"), 400),
    ],
)
def test_anything_else_is_refused(text: bytes, status: int) -> None:
    with pytest.raises(request.RefusedError) as caught:
        request.parse(text)
    assert caught.value.status == status
