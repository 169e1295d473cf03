"""One connection to RabbitMQ, kept: opened when first needed, and again whenever it was lost.

All of this runs in the loop of `crawler/exchange/rabbit/thread.py`. pika calls back from within its reading of the
socket, where an exception would abort the connection: callbacks only note what happened and wake who waits.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pika  # type: ignore[import-untyped]

from crawler.error import BackendError, CrawlError, SettingsError
from crawler.exchange.rabbit.address import Address
from crawler.exchange.rabbit.channel import Channel
from crawler.exchange.rabbit.failure import reason
from crawler.exchange.rabbit.intake import READ_BYTES, connection_class
from crawler.tables import RabbitTable

AGAIN_S = (0.5, 10.0)
"""Before connecting again: any time up to the first, doubled with each failure up to the second (full jitter), so that
a fleet does not come back at one instant."""
PATIENCE_S = 2.0
"""A verb waits so long for a connection that is being opened again; then it raises, and its caller waits."""

logging.getLogger("pika").setLevel(logging.CRITICAL + 1)  # what it has to tell comes as our errors
_log = logging.getLogger(__name__)


class Link:
    """`on_up` is called with each new connection, before anybody else may use it."""

    def __init__(
        self,
        address: Address,
        table: RabbitTable,
        *,
        name: str,
        on_up: Callable[[], Awaitable[None]],
        on_down: Callable[[], None] = lambda: None,
        on_gate: Callable[[], None] = lambda: None,
    ) -> None:
        """`name` is shown by the broker's tools. `on_gate`: the broker takes messages again, or no more."""
        self.blocked = ""
        """Why the broker takes no messages now; empty: it does."""
        self._address = address
        self._table = table
        self._name = name
        self._on_up = on_up
        self._on_down = on_down
        self._on_gate = on_gate
        self._hosts = random.sample(address.hosts, len(address.hosts))
        self._where = "{}:{}".format(*self._hosts[0])
        self._connection: Any = None
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._opening = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None
        self._why: CrawlError = BackendError(f"RabbitMQ at {self._where}: not connected")

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    @property
    def where(self) -> str:
        """host:port of the last try."""
        return self._where

    async def up(self) -> None:
        """Raises BackendError while there is no connection; when there never was one, also SettingsError."""
        if self._up.is_set():
            return
        if self._keeping is None:
            async with self._opening:
                if self._keeping is None:
                    await self._open()
                    self._keeping = asyncio.create_task(self._keep())
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._up.wait()
        except TimeoutError:
            raise self._why from None

    async def channel(self) -> Channel:
        """A new one on the connection as it is now. Raises BackendError."""
        if self._connection is None:
            raise self._why
        return await Channel.open(self._connection, self.reason, self._table.timeout_s)

    def reason(self, error: BaseException) -> CrawlError:
        """What an error of this connection means."""
        return reason(error, self._where, self._address, worked=self._keeping is not None)

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
        self._why = BackendError(f"RabbitMQ at {self._where}: used after close()")
        connection, self._connection = self._connection, None
        self._up.clear()
        if connection is not None and not connection.is_closed:
            await _end(connection)

    async def _open(self) -> None:
        """The first host that answers. Raises what the last one said, or the first refusal."""
        for host, port in self._hosts:
            self._where = f"{host}:{port}"
            try:
                await self._open_at(host, port)
                return
            except BackendError as error:
                self._why = error
        raise self._why

    async def _open_at(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        way = connection_class.create_connection(
            [parameters(self._address, self._table, host, port, self._name)],
            on_done=lambda made: None if answer.done() else answer.set_result(made),
            custom_ioloop=loop,
        )
        try:
            async with asyncio.timeout(self._table.connect_s + 1):
                made = await answer
        except (TimeoutError, asyncio.CancelledError) as error:
            way.abort()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise self.reason(error) from None
        if isinstance(made, BaseException):
            raise self.reason(made) from None
        made._transport._MAX_RECV_BYTES = READ_BYTES
        self._connection, self.blocked = made, ""
        self._down.clear()
        made.add_on_close_callback(self._closed)
        made.add_on_connection_blocked_callback(self._gate)
        made.add_on_connection_unblocked_callback(self._gate)
        try:
            await self._on_up()
        except CrawlError:
            if made.is_open:
                made.close()
            raise
        if self._connection is made:
            self._up.set()
        else:
            raise self._why

    def _closed(self, connection: Any, error: BaseException) -> None:
        if connection is not self._connection:
            return
        self._why = self.reason(error)
        if not isinstance(self._why, BackendError):  # it had worked: an administrator's doing, not the settings'
            self._why = BackendError(str(self._why))
        self._connection = None
        self._up.clear()
        self._down.set()
        self._on_down()

    def _gate(self, connection: Any, told: Any) -> None:
        if connection is self._connection:
            self.blocked = getattr(told.method, "reason", "")
            self._on_gate()

    async def _keep(self) -> None:
        while True:
            await self._down.wait()
            _log.warning("%s; connecting again", self._why)
            began, failures = time.monotonic(), 0
            while not self._up.is_set():
                await asyncio.sleep(random.uniform(0, min(AGAIN_S[0] * 2.0 ** min(failures, 30), AGAIN_S[1])))
                self._hosts = [*self._hosts[1:], self._hosts[0]]
                failures += 1
                try:
                    await self._open()
                except CrawlError as error:
                    self._why = error if isinstance(error, BackendError) else BackendError(str(error))
            _log.warning("RabbitMQ at %s is back after %.1f s", self._where, time.monotonic() - began)


async def _end(connection: Any) -> None:
    """Until its socket is closed: in order, or, when the broker does not answer in time, without its consent."""
    closed = asyncio.Event()
    connection.add_on_close_callback(lambda *told: closed.set())
    if connection.is_open:
        connection.close()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await closed.wait()
    except TimeoutError:
        connection._adapter_disconnect_stream()
        await asyncio.sleep(0.01)  # pika closes the socket in a later turn of the loop
    await asyncio.sleep(0)


def parameters(address: Address, table: RabbitTable, host: str, port: int, name: str) -> pika.ConnectionParameters:
    """Of a connection to one of the address's hosts; `name`: as administrators see it."""
    return pika.ConnectionParameters(
        host=host,
        port=port,
        virtual_host=address.vhost,
        credentials=pika.PlainCredentials(address.user, address.password),
        heartbeat=table.heartbeat_s,
        ssl_options=pika.SSLOptions(tls_context(table), host) if address.tls else None,
        socket_timeout=table.connect_s,
        stack_timeout=table.connect_s,
        client_properties={"connection_name": name},
    )


def tls_context(table: RabbitTable) -> ssl.SSLContext:
    """Raises SettingsError when a file is no certificate or key."""
    try:
        context = ssl.create_default_context(cafile=table.ca_file or None)
        if table.cert_file:
            context.load_cert_chain(table.cert_file, table.key_file or None)
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(f"[rabbit] ca_file, cert_file, key_file: {error}") from None
    return context
