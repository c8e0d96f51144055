"""Reads what an engine answers, within bounds: bytes of a body, pieces and text of a stream, length of a line.

Whoever answers may lie in every header. Nothing here trusts a length or a count that came with the answer, and nothing
is read to its end only because the end has to come. Seconds, and bytes on the wire with all that HTTP adds, are counted
below (ssh.wire).
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator

from phi4_edge.errors import HostFailedError

DONE = b"[DONE]"
MOST_BODY = 1024 * 1024  # bytes of a whole answer; the longest honest one is a tenth of it
MOST_TEXT = 1024 * 1024  # characters of an answer that comes in pieces
MOST_LIST = 256 * 1024  # bytes of a list of models, or of a report of health
MOST_ERROR = 64 * 1024  # bytes of an error's body
MOST_LINE = 64 * 1024  # bytes; a line of a stream holds one token, or the start of one tool call
MOST_HEAD = 128 * 1024  # bytes of status lines, headers and trailers
# Beside one piece for each token: the role, the reason to finish, the usage, and what a decoder still held.
SLACK = 16
CONTEXT = 131_072  # tokens; the model's own context length, where nothing shorter was asked for
_PIECE_BYTES = 2048  # what HTTP and JSON add to a token; engines need 200 to 500
_PIECE = 64 * 1024


def wire_bytes(most_tokens: int | None) -> int:
    """How many bytes an answer of so many tokens may take in all: as a whole, or in a stream."""
    return MOST_HEAD + 2 * MOST_BODY + most_pieces(most_tokens) * _PIECE_BYTES


def most_pieces(most_tokens: int | None) -> int:
    """How many pieces a stream may have that was asked for at most so many tokens."""
    return min(most_tokens or CONTEXT, CONTEXT) + SLACK


def body(response: http.client.HTTPResponse, most: int) -> bytes:
    """The whole body. Raises HostFailedError for one that is longer than `most` bytes, or is cut."""
    with _framed():
        data = response.read(most + 1)
    if len(data) > most:
        raise HostFailedError(f"the answer is longer than {most} bytes")
    return data


@contextlib.contextmanager
def _framed() -> Iterator[None]:
    """Raises HostFailedError for an answer that is cut, and for sizes that http.client takes for numbers of bytes."""
    try:
        yield
    except http.client.IncompleteRead as error:
        raise HostFailedError("the answer ended in the middle") from error
    except (ValueError, OverflowError) as error:
        raise HostFailedError("the answer breaks the rules of HTTP (a chunk's size)") from error


def events(response: http.client.HTTPResponse, most_tokens: int | None) -> Iterator[bytes]:
    """The data of each server-sent event, as it comes, until the stream ends or somebody has seen [DONE].

    Raises HostFailedError for more pieces than the tokens that were asked for, and for a line without end.
    """
    most, pieces = most_pieces(most_tokens), 0
    for line in _lines(response):
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        pieces += data != DONE
        if pieces > most:
            raise HostFailedError(
                f"the answer has more than {most} pieces, needed at most {most - SLACK} tokens: what answers there "
                "does not keep to what it was asked"
            )
        yield data


def check_text(length: int) -> None:
    """Raises HostFailedError for more text than any answer has; the length is in characters, so far."""
    if length > MOST_TEXT:
        raise HostFailedError(f"the text of the answer is longer than {MOST_TEXT} characters")


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Lines as they come. Raises HostFailedError for one that is too long, however slowly it grows."""
    rest = bytearray()
    while True:
        with _framed():
            piece = response.read1(_PIECE)
        if not piece:
            break
        begun = len(rest)
        rest += piece
        at = 0
        while (end := rest.find(b"\n", max(at, begun))) >= 0:
            _check(end - at)
            yield bytes(rest[at:end])
            at = end + 1
        del rest[:at]
        _check(len(rest))
    yield bytes(rest)


def _check(length: int) -> None:
    if length > MOST_LINE:
        raise HostFailedError(f"a line of the answer is longer than {MOST_LINE} bytes")
