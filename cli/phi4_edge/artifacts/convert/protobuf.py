"""Protocol Buffers' wire format: fields of a message as places in a buffer, and the few kinds that we write.

Reading copies nothing, so that a change can keep every other byte as it was. What comes in is not trusted: lengths stay
inside their message, numbers have at most 64 bits, groups are refused, and a `Budget` bounds what one file may cost.
Source: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_LONGEST_VARINT = 10  # bytes that 64 bits take


class WireError(ValueError):
    """The bytes are no message: cut off, longer than their message, or of a kind that does not exist."""


@dataclass
class Budget:
    """How many fields may still be read; a short file can nest and repeat what takes hours to read."""

    fields: int

    def spend(self) -> None:
        """Count one field. Raises WireError when there were too many."""
        self.fields -= 1
        if self.fields < 0:
            raise WireError("it has more fields than any model that is known")


@dataclass(frozen=True, slots=True)
class Span:
    """A message: the bytes of `buffer` from `start` up to `end`."""

    buffer: memoryview
    start: int
    end: int

    @property
    def raw(self) -> memoryview:
        """The bytes themselves, not copied."""
        return self.buffer[self.start : self.end]

    def text(self) -> str:
        """The bytes as UTF-8. Raises WireError for other bytes."""
        try:
            return bytes(self.raw).decode("utf-8")
        except UnicodeDecodeError as error:
            raise WireError(f"a name at byte {self.start} is not UTF-8") from error


@dataclass(frozen=True, slots=True)
class Field:
    """One field: number, kind, its number (VARINT) or its content (all others), and `whole`: with tag and length."""

    number: int
    kind: int
    value: int
    content: Span
    whole: Span


def fields(message: Span, budget: Budget) -> Iterator[Field]:
    """The fields of `message` in their order. Raises WireError where it is none, or where `budget` ends."""
    at = message.start
    while at < message.end:
        budget.spend()
        tag, body = _varint(message, at)
        number, kind, value = tag >> 3, tag & 7, 0
        if not number:
            raise WireError(f"byte {at} is not the beginning of a field")
        if kind == VARINT:
            value, end = _varint(message, body)
        elif kind == BYTES:
            length, body = _varint(message, body)
            end = body + length
        elif kind in _WIDTHS:
            end = body + _WIDTHS[kind]
        else:
            raise WireError(f"byte {at} begins a field of kind {kind}")
        if end > message.end:
            raise WireError(f"the field at byte {at} ends at byte {end}, its message at byte {message.end}")
        buffer = message.buffer
        yield Field(number, kind, value, Span(buffer, body, end), Span(buffer, at, end))
        at = end


def packed(message: Span, budget: Budget) -> Iterator[int]:
    """The numbers of a packed field. Raises WireError where its content is cut off, or where `budget` ends."""
    at = message.start
    while at < message.end:
        budget.spend()
        value, at = _varint(message, at)
        yield value


def message(parts: Sequence[Field], wanted: int) -> Field | None:
    """The message in field `wanted`; None where there is none. Raises WireError for a number."""
    found = next((part for part in parts if part.number == wanted), None)
    if found and found.kind != BYTES:
        raise WireError(f"found a number in field {wanted}, needed a message")
    return found


def number(parts: Sequence[Field], wanted: int) -> int:
    """The integer in field `wanted`; 0 where there is none. Raises WireError for anything else."""
    found = next((part for part in parts if part.number == wanted), None)
    if found and found.kind != VARINT:
        raise WireError(f"found field {wanted} of kind {found.kind}, needed an integer")
    return found.value if found else 0


def text(parts: Sequence[Field], wanted: int) -> str:
    """The text in field `wanted`; empty where there is none. Raises WireError for anything else."""
    found = message(parts, wanted)
    return found.content.text() if found else ""


def texts(parts: Sequence[Field], wanted: int) -> tuple[str, ...]:
    """The text in each field `wanted`. Raises WireError for anything else."""
    return tuple(text((part,), wanted) for part in parts if part.number == wanted)


def signed(value: int) -> int:
    """A varint as the int64 that it stands for."""
    return value - (1 << 64) if value >> 63 else value


def varint(value: int) -> bytes:
    """`value`, from 0 to 2^64 - 1, as a varint."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*made, value))


def number_field(number: int, value: int) -> bytes:
    """A field of kind VARINT."""
    return varint(number << 3 | VARINT) + varint(value)


def bytes_field(number: int, *parts: bytes | memoryview) -> bytes:
    """A field of kind BYTES whose content is `parts`, one after the other."""
    return b"".join((varint(number << 3 | BYTES), varint(sum(map(len, parts))), *parts))


def text_field(number: int, text: str) -> bytes:
    """A field of kind BYTES with `text` in UTF-8."""
    return bytes_field(number, text.encode())


def _varint(message: Span, at: int) -> tuple[int, int]:
    """The varint at `at`, and where it ends."""
    value = 0
    for count in range(_LONGEST_VARINT):
        if at + count >= message.end:
            raise WireError(f"it ends in the middle of a number at byte {at}")
        byte = message.buffer[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if value >> 64:
                break
            return value, at + count + 1
    raise WireError(f"the number at byte {at} has more than 64 bits")
