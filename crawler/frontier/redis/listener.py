"""A thread that hears what is published, subscribes anew after each outage, and ends when told."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
from collections.abc import Callable

from redis import exceptions as told

from crawler.error import CrawlError
from crawler.frontier.redis.failure import reason
from crawler.frontier.redis.line import Line, pack
from crawler.frontier.redis.route import Route

log = logging.getLogger("crawler.redis")

BACKOFF_S = 0.1
"""After the first failure; doubles with each further one, with jitter."""
BACKOFF_S_MAX = 3.0
CLOSE_S_MAX = 5.0
"""Longest wait for the thread to end."""


class Listener:
    """Started by its construction. `on_message` must return soon; what it raises is logged."""

    def __init__(self, route: Route, channels: tuple[str, ...], on_message: Callable[[str, bytes], None]) -> None:
        self._route = route
        self._channels = channels
        self._on_message = on_message
        self._closed = threading.Event()
        self._connection: Line | None = None
        self._thread = threading.Thread(target=self._run, name="redis-listener", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        failures = 0
        while not self._closed.is_set():
            try:
                self._connection = connection = self._route.of(self._channels[0]).open()
                try:
                    self._subscribe(connection)
                    failures = 0
                    self._hear(connection)
                finally:
                    self._connection = None
                    connection.disconnect()
            except (told.RedisError, OSError, CrawlError) as error:
                self._route.distrust()
                if not failures and not self._closed.is_set():
                    known = error if isinstance(error, CrawlError) else reason(error, self._channels[0], worked=True)
                    log.info("subscription interrupted, trying again: %s", known)
            pause_s = min(BACKOFF_S * 2**failures, BACKOFF_S_MAX) * random.uniform(0.5, 1)
            failures = min(failures + 1, 10)
            self._closed.wait(pause_s)

    def _subscribe(self, connection: Line) -> None:
        connection.send_packed_command([pack([("SUBSCRIBE", *self._channels)])])
        for _ in self._channels:
            connection.read_response()
        self._tell("", b"")

    def _hear(self, connection: Line) -> None:
        while not self._closed.is_set():
            kind, channel, payload = connection.read_response(timeout=None)
            if kind == b"message":
                self._tell(channel.decode(errors="replace"), payload)

    def _tell(self, channel: str, payload: bytes) -> None:
        try:
            self._on_message(channel, payload)
        except Exception:
            log.exception("a listener failed")

    def close(self) -> None:
        """End the thread; safe to repeat."""
        self._closed.set()
        connection = self._connection
        # Wakes the thread that reads; it disconnects. redis-py has no public way to do so from another thread.
        wire = None if connection is None else connection._get_socket()
        if wire is not None:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S_MAX)
