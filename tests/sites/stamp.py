"""A small HTTP server that notes, to the microsecond, when each request came and when its response was written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from itertools import pairwise
from time import monotonic
from types import TracebackType
from typing import NamedTuple, Self

Answer = Callable[[str, str], tuple[int, dict[str, str], bytes]]
"""(address asked, path) -> status, headers, body."""


class Stamp(NamedTuple):
    address: str
    path: str
    came: float
    written: float


class StampServer:
    """Listens on every address of the machine; `with StampServer(answer, slow_s) as server: server.port`."""

    def __init__(self, answer: Answer, *, slow_s: float | Callable[[str, str], float] = 0.0) -> None:
        """`slow_s`: every answer takes so long; or how long, by address and path."""
        self._answer = answer
        self._slow_s = slow_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.stamps: list[Stamp] = []
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "0.0.0.0", 0), self._loop)
        self._server = starting.result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")[0]
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                came = monotonic()
                path = head.split(b" ", 2)[1].decode()
                slow_s = self._slow_s(address, path) if callable(self._slow_s) else self._slow_s
                if slow_s:
                    await asyncio.sleep(slow_s)
                status, headers, body = self._answer(address, path)
                lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                answer = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body
                # Before the write, which sends a small answer at once: after it this thread may have to wait for the
                # processor while the client goes on.
                written = monotonic()
                writer.write(answer)
                self.stamps.append(Stamp(address, path, came, written))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def gaps(self) -> dict[str, list[float]]:
        """By address: seconds from the end of each response to the next request, in the order of requests."""
        found: dict[str, list[float]] = {}
        for address in sorted({stamp.address for stamp in self.stamps}):
            mine = sorted((stamp for stamp in self.stamps if stamp.address == address), key=lambda stamp: stamp.came)
            found[address] = [after.came - before.written for before, after in pairwise(mine)]
        return found
