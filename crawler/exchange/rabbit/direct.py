"""A blocking connection to RabbitMQ, for commands that watch or feed: what they do they do in one thread, and they wait
in it anyway. Workers and stores have their own (`crawler/exchange/rabbit/link.py`)."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pika  # type: ignore[import-untyped]
from pika.adapters.utils.connection_workflow import AMQPConnectorException  # type: ignore[import-untyped]
from pika.exceptions import AMQPError  # type: ignore[import-untyped]

from crawler.error import BackendError, CrawlError
from crawler.exchange.rabbit.address import Address
from crawler.exchange.rabbit.failure import reason
from crawler.exchange.rabbit.link import parameters
from crawler.tables import RabbitTable

logging.getLogger("pika").setLevel(logging.CRITICAL + 1)  # what it has to tell comes as our errors


class Direct:
    """One connection with one channel. `worked`: there was one before, so that a refusal is no longer the settings'."""

    def __init__(self, address: Address, table: RabbitTable, *, name: str, worked: bool = False) -> None:
        """Connects to the first host that answers. Raises SettingsError (password, vhost, rights), BackendError."""
        self._address = address
        self._worked = worked
        self.where = ""
        self.queue = ""
        """The one that is read."""
        failed: CrawlError = BackendError("RabbitMQ: no host")
        for host, port in random.sample(address.hosts, len(address.hosts)):
            self.where = f"{host}:{port}"
            try:
                with self.told():
                    self._connection = pika.BlockingConnection(parameters(address, table, host, port, name))
                    self.channel: Any = self._connection.channel()
                return
            except BackendError as error:
                failed = error
        raise failed

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors of pika within come out as ours."""
        try:
            yield
        except (AMQPError, AMQPConnectorException, OSError) as error:  # the second: of a handshake that never ends
            raise reason(error, self.where, self._address, worked=self._worked) from None

    def renew(self) -> None:
        """A new channel: the broker closes one on which it refused something. Raises BackendError."""
        with self.told():
            self.channel = self._connection.channel()

    def pump(self, seconds: float) -> None:
        """Let what has come be handled, and wait for more as long. Raises BackendError."""
        with self.told():
            self._connection.process_data_events(time_limit=seconds)

    def close(self) -> None:
        with suppress(AMQPError, OSError):
            if self._connection.is_open:
                self._connection.close()
