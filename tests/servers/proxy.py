"""Proxies on loopback: one that speaks HTTP (plain requests and CONNECT) and one that speaks SOCKS5 (RFC 1928, 1929).

They connect every name to the site given, so that names of tests need no DNS, and note what they were asked for."""

from __future__ import annotations

import asyncio
import contextlib
from base64 import b64encode
from types import TracebackType
from typing import Literal, Self

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


class ProxyServer:
    """`async with ProxyServer("http", site_port) as proxy`. `says`: what it answers instead of doing its part."""

    def __init__(
        self,
        kind: Literal["http", "socks5"],
        site_port: int,
        *,
        user: str = "",
        password: str = "",
        says: int = 0,
        port: int = 0,
    ) -> None:
        self.kind = kind
        self.says = says
        self.port = port
        self.asked: list[str] = []
        """`host:port` of tunnels, URLs of plain requests."""
        self.heads: list[str] = []
        self._site_port = site_port
        self._login = (user, password)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        serve = self._http if self.kind == "http" else self._socks
        self._server = await asyncio.start_server(
            lambda reader, writer: self._served(serve, reader, writer), "127.0.0.1", self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _served(self, serve: object, reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)  # type: ignore[operator]
        self._tasks.discard(task)
        writer.close()

    async def _http(self, reader: Reader, writer: Writer) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split(" ", 2)
        self.asked.append(target)
        self.heads.append(head)
        user, password = self._login
        wanted = f"Proxy-Authorization: Basic {b64encode(f'{user}:{password}'.encode()).decode()}\r\n"
        if self.says or (user and wanted not in head):
            writer.write(f"HTTP/1.1 {self.says or 407} Proxy Says\r\nContent-Length: 0\r\n\r\n".encode())
            return
        site_reader, site_writer = await asyncio.open_connection("127.0.0.1", self._site_port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            path = target.split("/", 3)[3]
            site_writer.write(head.replace(target, f"/{path}", 1).encode("latin-1"))
        await _join(reader, writer, site_reader, site_writer)

    async def _socks(self, reader: Reader, writer: Writer) -> None:
        methods = await reader.readexactly((await reader.readexactly(2))[1])
        user, password = self._login
        if user:
            if 2 not in methods:
                writer.write(b"\x05\xff")
                return
            writer.write(b"\x05\x02")
            name = await reader.readexactly((await reader.readexactly(2))[1])
            given = await reader.readexactly((await reader.readexactly(1))[0])
            right = (name.decode(), given.decode()) == (user, password)
            writer.write(b"\x01\x00" if right else b"\x01\x01")
            if not right:
                return
        else:
            writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = ".".join(map(str, await reader.readexactly(4 if kind == 1 else 16)))
        port = int.from_bytes(await reader.readexactly(2))
        self.asked.append(f"{host}:{port}")
        if self.says:
            writer.write(bytes((5, self.says, 0, 1, 0, 0, 0, 0, 0, 0)))
            return
        site_reader, site_writer = await asyncio.open_connection("127.0.0.1", self._site_port)
        writer.write(bytes((5, 0, 0, 1, 127, 0, 0, 1, 0, 80)))
        await _join(reader, writer, site_reader, site_writer)


async def _join(reader: Reader, writer: Writer, site_reader: Reader, site_writer: Writer) -> None:
    async def copy(source: Reader, target: Writer) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()
        target.close()

    try:
        await asyncio.gather(copy(reader, site_writer), copy(site_reader, writer))
    finally:
        site_writer.close()
