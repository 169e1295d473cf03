"""Opening a list of seeds and reading it by lines, in constant memory: gzip by its magic number, lines with a limit."""

from __future__ import annotations

import codecs
import gzip
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO, cast

from crawler.error import SettingsError
from crawler.model import REQUEST_BYTES_MAX

CHUNK_BYTES = 1 << 18
"""Read at once at most."""

LINE_BYTES_MAX = 2 * REQUEST_BYTES_MAX
"""Longer lines are refused: no request that a frontier admits needs one."""

GZIP = b"\x1f\x8b"
UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}

OPENING_BYTES = 4
"""So many bytes tell whether a list is XML, JSON or text, and are more than a byte order mark has."""


def open_list(source: str) -> BinaryIO:
    """The file, or standard input for `-`. Raises SettingsError when it is missing or cannot be read."""
    if source == "-":
        return sys.stdin.buffer
    try:
        file = open(source, "rb")  # noqa: SIM115 (the caller closes it)
        file.peek(1)
    except FileNotFoundError:
        hint = f"; if it is a URL, write https://{source}" if "." in source else ""
        raise SettingsError(f"{source}: no such file{hint}") from None
    except OSError as error:
        raise SettingsError(f"{source}: cannot be read: {error.strerror}") from None
    return file


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """The content in pieces of what is there, without waiting for more, unpacked if it is gzip; b"" comes before
    every read that may wait. Raises OSError, EOFError or zlib.error when the gzip data is damaged or cut."""
    waits = not file.seekable()
    first = file.read(2)
    rest = _Joined(first, file)
    stream = cast(BinaryIO, gzip.GzipFile(fileobj=cast(Any, rest), mode="rb") if first == GZIP else rest)
    while True:
        if waits:
            yield b""
        chunk = stream.read1(CHUNK_BYTES)  # type: ignore[attr-defined]
        if not chunk:
            return
        yield chunk


def in_utf_8(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of `chunks` as they are, but those of a list in UTF-16, by its byte order mark, in UTF-8; what is no
    character there becomes U+FFFD."""
    head, decoder = b"", None
    for piece in pieces:
        if len(head) < 2 and piece:
            head += piece
            if len(head) < 2:
                continue
            if name := UTF16_BOMS.get(head[:2]):
                decoder = codecs.getincrementaldecoder(name)("replace")
            piece = head[2:] if decoder is not None else head
        yield decoder.decode(piece).encode() if decoder is not None and piece else piece
    if decoder is not None:
        yield decoder.decode(b"", True).encode()
    elif len(head) == 1:
        yield head


def opening(pieces: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes that say something, without byte order mark, as many as tell a list's form; and the whole list.
    Memory: what is white space at its beginning."""
    rest = iter(pieces)
    taken: list[bytes] = []
    start = b""
    for piece in rest:
        taken.append(piece)
        start = (start + piece).removeprefix(UTF8_BOM).lstrip()
        if len(start) >= OPENING_BYTES:
            break
    return start, chain(taken, rest)


class _Joined:
    """A stream with the bytes that were read from it already put back in front."""

    def __init__(self, first: bytes, file: BinaryIO) -> None:
        self._first = first
        self._read1 = getattr(file, "read1", file.read)

    def read1(self, size: int = -1) -> bytes:
        first, self._first = self._first, b""
        return first or cast(bytes, self._read1(size))

    read = read1
    """May return less than `size` before the end: gzip asks again."""


def lines_of(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes] | None]:
    """Line numbers, from 1, and lines without their end; a line over `LINE_BYTES_MAX` comes cut to that and one byte.
    None: the next read may wait. `pieces`: as of `chunks`. Cost: 0.3 µs a line."""
    number, tail = 0, b""
    for chunk in pieces:
        if not chunk:
            yield None
            continue
        *whole, last = chunk.split(b"\n")
        if not whole:
            if len(tail) <= LINE_BYTES_MAX:
                tail = (tail + last)[: LINE_BYTES_MAX + 1]
            continue
        number += 1
        line = (tail + whole[0])[: LINE_BYTES_MAX + 1]
        yield number, line.removeprefix(UTF8_BOM) if number == 1 else line
        for line in whole[1:]:
            number += 1
            yield number, line
        tail = last
    if tail:
        yield number + 1, tail if number else tail.removeprefix(UTF8_BOM)
