"""A site that misbehaves: a raw socket server on loopback, one fault per path. It counts what it was asked for."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import brotli
import zstandard

PAGE = b"<html><title>fine</title><p>" + b"words " * 2_000 + b"<a href=next>next</a></html>"
HANG_S = 60.0
"""Longer than any test waits: whoever gets past a hang has given up on it."""

Writer = asyncio.StreamWriter
Fault = Callable[["Nasty", Writer, str], Awaitable[None]]


def answer(status: str, *headers: str, body: bytes = b"", length: int | None = None) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(head).encode("utf-8", "surrogateescape") + body


def html(body: bytes, *headers: str) -> bytes:
    return answer("200 OK", "Content-Type: text/html; charset=utf-8", *headers, body=body)


def bomb(size: int) -> bytes:
    stream = zlib.compressobj(9, wbits=31)
    return b"".join(stream.compress(bytes(1 << 20)) for _ in range(size >> 20)) + stream.flush()


FIXED: dict[str, bytes] = {
    "/fine": html(PAGE),
    "/empty": html(b""),
    "/no-type": answer("200 OK", body=PAGE),
    "/plain-204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "/gzip": html(gzip.compress(PAGE), "Content-Encoding: gzip"),
    "/deflate": html(zlib.compress(PAGE), "Content-Encoding: deflate"),
    "/raw-deflate": html(zlib.compress(PAGE, wbits=-15), "Content-Encoding: deflate"),
    "/br": html(brotli.compress(PAGE), "Content-Encoding: br"),
    "/zstd": html(zstandard.compress(PAGE), "Content-Encoding: zstd"),
    "/not-gzip": html(PAGE, "Content-Encoding: gzip"),
    "/rot13": html(PAGE, "Content-Encoding: rot13"),
    "/cut-gzip": html(gzip.compress(PAGE)[:-20], "Content-Encoding: gzip"),
    "/bomb": html(bomb(500 << 20), "Content-Encoding: gzip"),
    "/image": answer("200 OK", "Content-Type: image/png", body=b"\x89PNG" + bytes(1000)),
    "/redirect": answer("301 Moved", "Location: /fine#top", body=b"<a href=/fine>moved</a>"),
    "/redirect-twice": answer("302 Found", "Location: redirect"),
    "/loop": answer("302 Found", "Location: /loop"),
    "/redirect-mail": answer("302 Found", "Location: mailto:a@h.example"),
    "/redirect-bytes": answer("302 Found", "Location: /caf\udcc3\udca9"),
    "/redirect-nowhere": answer("302 Found"),
    "/300": answer("300 Multiple Choices", "Location: /fine"),
    "/304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "/404": answer("404 Not Found", body=PAGE),
    "/404-latin": answer("404 Nicht gef\udcfcnden"),
    "/410": answer("410 Gone"),
    "/408": answer("408 Request Timeout"),
    "/429": answer("429 Too Many Requests", "Retry-After: 7"),
    "/500": answer("500 Oops", body=PAGE),
    "/503": answer("503 Busy", "Retry-After: Fri, 01 Jan 2100 00:00:00 GMT"),
    "/503-when": answer("503 Busy", "Retry-After: whenever"),
    "/999": answer("999 Denied"),
    "/garbage": b"\x00\x01\x02 no HTTP at all\r\n\r\n" * 10,
    "/ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "/bad-length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "/two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "/bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\nabc\r\n",
    "/huge-header": b"HTTP/1.1 200 OK\r\nX-Huge: " + b"x" * 200_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "/many-headers": b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 20_000 + b"Content-Length: 0\r\n\r\n",
    "/announced-large": answer("200 OK", "Content-Type: text/html", length=1 << 40),
    "/robots.txt": answer(
        "200 OK", "Content-Type: application/octet-stream", body=b"User-agent: *\n" + b"#" * 3_000_000
    ),
}
"""Answers that are sent whole, after which the connection stays open."""


class Nasty:
    """`async with Nasty() as site`: `site.url("/fine")`."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, path: str) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._asked(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _asked(self, reader: asyncio.StreamReader, writer: Writer) -> bool:
        """Answer one request; False when the connection is to be closed."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = head.split(" ", 2)[1]
        self.asked[path] += 1
        self.agents.update(
            line.partition(":")[2].strip() for line in head.split("\r\n") if line.lower().startswith("user-agent")
        )
        if (fixed := FIXED.get(path)) is not None:
            writer.write(fixed)
            await writer.drain()
            return True
        await FAULTS[path](self, writer, path)
        return False


async def _close(site: Nasty, writer: Writer, path: str) -> None:
    """Nothing at all."""


async def _reset(site: Nasty, writer: Writer, path: str) -> None:
    writer.transport.abort()


async def _hang(site: Nasty, writer: Writer, path: str) -> None:
    await asyncio.sleep(HANG_S)


async def _hang_in_head(site: Nasty, writer: Writer, path: str) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-")
    await asyncio.sleep(HANG_S)


async def _hang_in_body(site: Nasty, writer: Writer, path: str) -> None:
    writer.write(answer("200 OK", "Content-Type: text/html", body=b"<p>", length=1000))
    await asyncio.sleep(HANG_S)


async def _drip(site: Nasty, writer: Writer, path: str) -> None:
    """A byte at a time, for ever: always alive, never done."""
    writer.write(answer("200 OK", "Content-Type: text/html", length=1_000_000))
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _endless(site: Nasty, writer: Writer, path: str) -> None:
    """Without a length, as fast as it is taken."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def _endless_chunks(site: Nasty, writer: Writer, path: str) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        await writer.drain()


async def _cut(site: Nasty, writer: Writer, path: str) -> None:
    writer.write(answer("200 OK", "Content-Type: text/html", body=b"<p>half", length=1000))


async def _cut_chunks(site: Nasty, writer: Writer, path: str) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")


async def _until_closed(site: Nasty, writer: Writer, path: str) -> None:
    writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE)


async def _chunks(site: Nasty, writer: Writer, path: str) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n")
    for start in range(0, len(PAGE), 100):
        piece = PAGE[start : start + 100]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    writer.write(b"0\r\n\r\n")


async def _then_close(site: Nasty, writer: Writer, path: str) -> None:
    """A whole answer that promises to keep the connection, which is then closed."""
    writer.write(html(PAGE))


FAULTS: dict[str, Fault] = {
    "/close": _close,
    "/reset": _reset,
    "/hang": _hang,
    "/hang-in-head": _hang_in_head,
    "/hang-in-body": _hang_in_body,
    "/drip": _drip,
    "/endless": _endless,
    "/endless-chunks": _endless_chunks,
    "/cut": _cut,
    "/cut-chunks": _cut_chunks,
    "/until-closed": _until_closed,
    "/chunks": _chunks,
    "/then-close": _then_close,
}
"""What ends the connection."""
