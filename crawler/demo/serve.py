"""Serves the demo shop over HTTP/1.1: GET and HEAD, keep-alive, nothing else. For loopback, not for the internet."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from http import HTTPStatus

from crawler.demo.shop import Reply, Shop

HEAD_BYTES_MAX = 64_000
"""Longest head of a request; a client that sends more is cut off."""


class Connection(asyncio.Protocol):
    """One client. Requests are answered in the order they came, a slow one holding those behind it."""

    def __init__(self, answer: Callable[[str, str], Reply]) -> None:
        self._answer = answer
        self._buffer = b""
        self._waiting: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass
        if not transport.get_extra_info("sockname")[0].startswith("127."):
            transport.abort()  # type: ignore[attr-defined]  # it listens on every address, and is for this machine only

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._waiting is not None:
            self._waiting.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._work()

    def _work(self) -> None:
        """Answer every request that is complete."""
        while self._transport is not None and self._waiting is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > HEAD_BYTES_MAX:
                    self._transport.abort()
                return
            head, self._buffer = self._buffer[:end].decode("latin-1"), self._buffer[end + 4 :]
            line, _, rest = head.partition("\r\n")
            method, _, target = line.rpartition(" ")[0].partition(" ")
            fields = dict(field.lower().split(":", 1) for field in rest.split("\r\n") if ":" in field)
            reply = self._answer(target.partition("?")[0], fields.get("host", "").strip())
            if method not in ("GET", "HEAD"):
                reply = Reply(405, {"Content-Type": "text/plain"}, b"only GET and HEAD\n")
            keep = "close" not in fields.get("connection", "") and method in ("GET", "HEAD")
            if reply.delay_s:
                loop = asyncio.get_running_loop()
                self._waiting = loop.call_later(reply.delay_s, self._send_late, reply, method == "HEAD", keep)
                return
            self._send(reply, method == "HEAD", keep)

    def _send_late(self, reply: Reply, head_only: bool, keep: bool) -> None:
        self._waiting = None
        self._send(reply, head_only, keep)
        self._work()

    def _send(self, reply: Reply, head_only: bool, keep: bool) -> None:
        assert self._transport is not None
        fields = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        head = (
            f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n{fields}"
            f"Content-Length: {len(reply.body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        self._transport.write(head.encode() + (b"" if head_only else reply.body))
        if not keep:
            self._transport.close()
            self._transport = None


class Service:
    """A shop with the one thing that it must remember: how often a page has failed."""

    def __init__(self, shop: Shop, log: Callable[[str], None] | None = None) -> None:
        self._shop = shop
        self._log = log
        self._failures: dict[tuple[str, str], int] = {}

    def answer(self, path: str, host: str) -> Reply:
        """The reply to a GET. `log` gets each URL asked for."""
        reply = self._shop.page(path, host, self._failures.get((host, path), 0))
        if reply.status == 500:
            self._failures[host, path] = self._failures.get((host, path), 0) + 1
        if self._log is not None:
            self._log(f"http://{host}{path}")
        return reply


def listen(port: int) -> socket.socket:
    """A socket for every loopback address (port 0: any free one); `Connection` turns away who comes to another. Raises
    OSError."""
    server = socket.create_server(("0.0.0.0", port), backlog=1_024)
    server.setblocking(False)
    return server


def names(port: int, count: int) -> tuple[str, ...]:
    """The hosts 127.0.0.1:port, 127.0.0.2:port … Raises ValueError for more than 250."""
    if not 1 <= count <= 250:
        raise ValueError(f"{count} hosts: expected 1 to 250")
    return tuple(f"127.0.0.{last}:{port}" for last in range(1, count + 1))


async def serve(service: Service, server: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Closes the socket."""
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Connection(service.answer), sock=server)
    try:
        await stop.wait()
    finally:
        listening.close()
