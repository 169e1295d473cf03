"""Bodies off the wire: counted and decompressed piece by piece, and refused the moment a cap is crossed.

Content codings of RFC 9110 §8.4.1 and the two newer ones: gzip (RFC 1952, several members), deflate (zlib as in
RFC 1950, or raw as many servers send it), br (RFC 7932), zstd (RFC 8878, window at most 8 MB by RFC 9659). One step of
a decoder gives PIECE_BYTES or little more (zstd: 16 MB), whatever the input claims: a bomb costs its cap, not its size.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from crawler.error import SiteError

ACCEPT_ENCODING = "gzip, deflate, br, zstd"

PIECE_BYTES = 1 << 18
"""Output of one step of a decoder."""

CODINGS_MAX = 4
"""Content codings on top of each other at most."""

_ZSTD_WINDOW_MAX = 1 << 23
_ZSTD_INPUT = (
    512  # A block of 4 bytes may mean 128 KB, and its decoder has no output limit: so it gets little at a time.
)


class Body:
    """One body being received. `feed` every chunk, then `finish`."""

    def __init__(self, coding: str, body_bytes_max: int, decoded_bytes_max: int) -> None:
        """`coding`: the Content-Encoding header, or "". Raises SiteError `bad_encoding` for one that is unknown."""
        names = [name for part in coding.lower().split(",") if (name := part.strip()) not in ("", "identity")]
        if len(names) > CODINGS_MAX or any(name not in _DECODERS for name in names):
            raise SiteError("bad_encoding", f"unknown Content-Encoding {coding[:100]!r}", final=True)
        self._decoders: list[_Decoder] = [_DECODERS[name]() for name in reversed(names)]
        self._body_bytes_max = body_bytes_max
        self._decoded_bytes_max = decoded_bytes_max
        self._pieces: list[bytes] = []
        self.wire_bytes = 0
        """Received so far, before decompression."""
        self.decoded_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Raises SiteError `body_max`, `decoded_max` or `bad_encoding`."""
        self.wire_bytes += len(chunk)
        if self.wire_bytes > self._body_bytes_max:
            raise SiteError("body_max", f"more than {self._body_bytes_max} bytes", final=True)
        if self._decoders:
            self._decode(chunk, 0)
        else:
            self._keep(chunk)

    def finish(self) -> bytes:
        """The whole body, decoded. Raises SiteError `bad_encoding` when the compressed data is cut short."""
        if self.wire_bytes and not all(decoder.complete() for decoder in self._decoders):
            raise SiteError("bad_encoding", "the compressed body is cut short")
        return self.so_far()

    def so_far(self) -> bytes:
        """What was decoded until now."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def _decode(self, data: bytes, index: int) -> None:
        if index == len(self._decoders):
            self._keep(data)
            return
        decoder = self._decoders[index]
        try:
            for piece in decoder.decode(data):
                self._decode(piece, index + 1)
        except decoder.error as error:
            raise SiteError("bad_encoding", f"{type(error).__name__}: {error}"[:200]) from None

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.decoded_bytes += len(piece)
        if self.decoded_bytes > self._decoded_bytes_max:
            raise SiteError("decoded_max", f"more than {self._decoded_bytes_max} bytes decompressed", final=True)


class _Gzip:
    """Members until the data ends; what follows the last one and is no member is padding."""

    error = zlib.error

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._padding = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data and not self._padding:
            if self._member.eof:
                if data[0] != 0x1F:
                    self._padding = True
                    return
                self._member = zlib.decompressobj(wbits=31)
            yield from _inflated(self._member, data)
            data = self._member.unused_data

    def complete(self) -> bool:
        return self._member.eof


class _Deflate:
    """zlib or raw: told apart by the two bytes of the zlib header (RFC 1950 §2.2)."""

    error = zlib.error

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None
        self._head = b""

    def decode(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            self._head += data
            if len(self._head) < 2:
                return
            data = self._head
            wrapped = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._stream = zlib.decompressobj(wbits=15 if wrapped else -15)
        if not self._stream.eof:
            yield from _inflated(self._stream, data)

    def complete(self) -> bool:
        return self._stream is not None and self._stream.eof


class _Brotli:
    def __init__(self) -> None:
        import brotli  # a shared library of 1 MB that many crawls never need

        self.error: type[Exception] = brotli.error
        self._stream: Any = brotli.Decompressor()

    def decode(self, data: bytes) -> Iterator[bytes]:
        if self._stream.is_finished():
            return
        piece = self._stream.process(data, output_buffer_limit=PIECE_BYTES)
        yield piece
        # A full piece may have left some behind, although the stream says that it could take more input.
        while len(piece) >= PIECE_BYTES or not self._stream.can_accept_more_data():
            piece = self._stream.process(b"", output_buffer_limit=PIECE_BYTES)
            yield piece

    def complete(self) -> bool:
        return bool(self._stream.is_finished())


class _Zstd:
    """Frames until the data ends."""

    def __init__(self) -> None:
        import zstandard  # as above

        self.error: type[Exception] = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_MAX)
        self._frame = self._decompressor.decompressobj()

    def decode(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_INPUT):
            part = data[start : start + _ZSTD_INPUT]
            while part:
                if self._frame.eof:
                    self._frame = self._decompressor.decompressobj()
                if piece := self._frame.decompress(part):
                    yield piece
                part = self._frame.unused_data if self._frame.eof else b""

    def complete(self) -> bool:
        return self._frame.eof


_Decoder = _Gzip | _Deflate | _Brotli | _Zstd

_DECODERS: dict[str, type[_Decoder]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}


def _inflated(stream: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """Output of all of `data`: a full piece may have left some behind although the input is used up."""
    while True:
        piece = stream.decompress(data, PIECE_BYTES)
        yield piece
        data = stream.unconsumed_tail
        if stream.eof or (not data and len(piece) < PIECE_BYTES):
            return
