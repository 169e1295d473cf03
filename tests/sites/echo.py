"""A site that tells what it was asked, and at which of its addresses; over TLS when it has a certificate."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from types import TracebackType
from typing import Self


class Echo:
    """`async with Echo("127.0.0.1", "127.0.0.2") as site`: the same port at each address. A path with an answer in
    `answers` gets that (status line and headers, then a body), others their own request back as JSON."""

    def __init__(self, *addresses: str, certificates: Path | None = None) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        """Address, path and headers (names in lower case) of each request."""
        self.answers: dict[str, tuple[str, str]] = {}
        self.port = 0
        self._addresses = addresses or ("127.0.0.1",)
        self._tls: ssl.SSLContext | None = None
        if certificates is not None:
            self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._tls.load_cert_chain(certificates / "server.crt", certificates / "server.key")
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()

    def url(self, path: str = "/", address: str = "") -> str:
        return f"http{'s' if self._tls else ''}://{address or self._addresses[0]}:{self.port}{path}"

    def paths(self, address: str = "") -> list[str]:
        return [path for at, path, _ in self.asked if address in ("", at)]

    def headers(self, path: str) -> dict[str, str]:
        """Of the last request for this path."""
        return next(headers for _, asked, headers in reversed(self.asked) if asked == path)

    async def __aenter__(self) -> Self:
        for address in self._addresses:
            server = await asyncio.start_server(self._connected, address, self.port, ssl=self._tls)
            self.port = server.sockets[0].getsockname()[1]
            self._servers.append(server)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.close()
        for server in self._servers:
            await server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        address = writer.get_extra_info("sockname")[0]
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                request, *lines = head.strip().split("\r\n")
                path = request.split(" ")[1]
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                self.asked.append((address, path, headers))
                usual = ("200 OK\r\nContent-Type: application/json", json.dumps({"path": path, "headers": headers}))
                start, body = self.answers.get(path, usual)
                writer.write(f"HTTP/1.1 {start}\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}".encode())
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
