"""Bodies: every content coding in every chunking, and the caps that hold whatever the input claims."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from crawler.body import Body
from crawler.error import SiteError

TEXT = b"<p>hello hello hello " * 5_000 + bytes(range(256)) * 40


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "identity": ("", bytes),
    "named identity": ("identity", bytes),
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "gzip members": ("gzip", lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:])),
    "gzip and padding": ("gzip", lambda data: gzip.compress(data) + b"\0" * 600),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "zstd frames": ("zstd", lambda data: zstandard.compress(data[:1000]) + zstandard.compress(data[1000:])),
    "two codings": ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    "an empty list member": ("gzip, ", gzip.compress),
}
COMPRESSED = [name for name, (coding, _) in CODINGS.items() if coding not in ("", "identity")]


def received(coding: str, data: bytes, chunk: int, decoded_max: int = 1 << 30) -> bytes:
    body = Body(coding, 1 << 30, decoded_max)
    for start in range(0, len(data), chunk):
        body.feed(data[start : start + chunk])
    return body.finish()


@pytest.mark.parametrize("name", CODINGS)
@pytest.mark.parametrize("chunk", [1, 2, 7, 1000, 1 << 20])
def test_every_coding_in_every_chunking(name: str, chunk: int) -> None:
    coding, compress = CODINGS[name]
    data = TEXT if chunk > 2 else TEXT[:3_000]
    assert received(coding, compress(data), chunk) == data


@pytest.mark.parametrize("name", CODINGS)
def test_an_empty_body_is_empty(name: str) -> None:
    coding, compress = CODINGS[name]
    assert received(coding, b"", 1) == b""
    assert received(coding, compress(b""), 1) == b""


@pytest.mark.parametrize("name", CODINGS)
def test_large_bodies_of_many_pieces(name: str) -> None:
    coding, compress = CODINGS[name]
    data = random.Random(1).randbytes(100_000) * 25
    assert received(coding, compress(data), 65_536) == data


@pytest.mark.parametrize("name", [name for name in COMPRESSED if "padding" not in name])
@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_body_cut_short_is_bad(name: str, cut: int) -> None:
    coding, compress = CODINGS[name]
    data = random.Random(2).randbytes(2_000)
    with pytest.raises(SiteError) as raised:
        received(coding, compress(data)[:-cut], 500)
    assert raised.value.reason == "bad_encoding"
    assert not raised.value.final


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "gzip, br"])
def test_a_body_that_is_not_compressed_is_bad(coding: str) -> None:
    with pytest.raises(SiteError) as raised:
        received(coding, b"<html><p>not compressed at all, whatever the header says</html>", 10)
    assert raised.value.reason == "bad_encoding"


@pytest.mark.parametrize("coding", ["compress", "gzip, rot13", "gzip, gzip, gzip, gzip, gzip", "\xff"])
def test_unknown_codings_are_refused(coding: str) -> None:
    with pytest.raises(SiteError) as raised:
        Body(coding, 100, 100)
    assert raised.value.reason == "bad_encoding"
    assert raised.value.final


def test_the_wire_has_a_cap() -> None:
    body = Body("", 10, 100)
    body.feed(b"12345")
    body.feed(b"67890")
    with pytest.raises(SiteError) as raised:
        body.feed(b"1")
    assert (raised.value.reason, raised.value.final) == ("body_max", True)


def bomb(coding: str, size: int) -> bytes:
    """`size` bytes of nothing, compressed."""
    zeros = bytes(1 << 20)
    if coding == "zstd":
        writer = zstandard.ZstdCompressor(level=1).compressobj()
        return b"".join(writer.compress(zeros) for _ in range(size >> 20)) + writer.flush()
    if coding == "br":
        squeezer = brotli.Compressor(quality=1)
        return b"".join(squeezer.process(zeros) for _ in range(size >> 20)) + squeezer.finish()
    stream = zlib.compressobj(9, wbits=31 if coding == "gzip" else 15)
    return b"".join(stream.compress(zeros) for _ in range(size >> 20)) + stream.flush()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_costs_its_cap_and_not_its_size(coding: str) -> None:
    data = bomb(coding, 500 << 20)
    assert len(data) < 1 << 20
    cap = 4 << 20
    tracemalloc.start()
    try:
        with pytest.raises(SiteError) as raised:
            received(coding, data, 1 << 20, cap)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (raised.value.reason, raised.value.final) == ("decoded_max", True)
    # A zstd block says with 4 bytes that it is 128 KB, so one step of its decoder may give 16 MB.
    assert peak < cap + (40 << 20 if coding == "zstd" else 4 << 20)


def test_a_bomb_in_a_bomb() -> None:
    data = gzip.compress(bomb("gzip", 500 << 20))
    with pytest.raises(SiteError) as raised:
        received("gzip, gzip", data, 1 << 20, 4 << 20)
    assert raised.value.reason == "decoded_max"


def test_the_first_part_of_a_body_can_be_had() -> None:
    data = gzip.compress(TEXT)
    body = Body("gzip", 1 << 20, 1 << 20)
    body.feed(data[: len(data) // 2])
    assert body.so_far()
    assert TEXT.startswith(body.so_far())
    assert body.wire_bytes == len(data) // 2
