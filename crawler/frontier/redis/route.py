"""Which server has a key: always the same one, the primary that Sentinel names, or the node that has its slot."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from redis import exceptions as told
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from crawler.error import BackendError, SettingsError
from crawler.frontier.redis.failure import reason
from crawler.frontier.redis.server import Server, Vitals

Make = Callable[[str, int], Server]
"""A server by host and port."""


class Route(Protocol):
    def of(self, key: str) -> Server:
        """The server that has the key. Raises CrawlError when nobody knows."""

    def servers(self) -> tuple[Server, ...]:
        """All servers that have keys."""

    def distrust(self, server: Server | None = None) -> None:
        """What is known may be out of date: ask anew before the next answer, and this server last."""

    def close(self) -> None: ...


class Fixed:
    """One server, for ever."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def of(self, key: str) -> Server:
        return self._server

    def servers(self) -> tuple[Server, ...]:
        return (self._server,)

    def distrust(self, server: Server | None = None) -> None:
        """There is nobody to ask."""

    def close(self) -> None:
        self._server.close()


class BySentinel:
    """The primary that a Sentinel names (https://redis.io/docs/latest/develop/reference/sentinel-clients/)."""

    def __init__(self, primary: str, sentinels: Sequence[Server], make: Make, shown: str, vitals: Vitals) -> None:
        self._primary = primary
        self._sentinels = list(sentinels)
        self._make = make
        self._shown = shown
        self._vitals = vitals
        self._server: Server | None = None
        self._doubted = True
        self._lock = threading.Lock()

    def of(self, key: str) -> Server:
        server = self._server
        return server if server is not None and not self._doubted else self._asked()

    def _asked(self) -> Server:
        """The primary by the first Sentinel that answers and knows it; that one is asked first the next time."""
        with self._lock:
            if self._server is not None and not self._doubted:
                return self._server
            answered, failed = False, None
            for sentinel in list(self._sentinels):
                try:
                    found = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._primary)
                except (told.RedisError, OSError) as error:
                    failed = failed or reason(error, f"{sentinel.name} (a Sentinel)", worked=bool(self._vitals.worked))
                    continue
                answered = True
                if found:
                    self._sentinels.remove(sentinel)
                    self._sentinels.insert(0, sentinel)
                    return self._take(found[0].decode(), int(found[1]))
        if not answered and failed is not None:
            if isinstance(failed, SettingsError):
                raise SettingsError(f"{failed}; for Sentinels: [redis] sentinel_user, sentinel_password")
            raise BackendError(f"no Sentinel of {self._shown} answers: {failed}")
        text = f"no Sentinel of {self._shown} knows a primary named {self._primary}: see `sentinel monitor`"
        raise (BackendError if self._vitals.worked else SettingsError)(text)

    def _take(self, host: str, port: int) -> Server:
        server = self._make(host, port)
        if self._server is None or server.name != self._server.name:
            old, self._server = self._server, server
            if old is not None:
                old.close()
        self._doubted = False
        return self._server

    def servers(self) -> tuple[Server, ...]:
        return (self.of(""),)

    def distrust(self, server: Server | None = None) -> None:
        self._doubted = True

    def close(self) -> None:
        for server in (*self._sentinels, *filter(None, [self._server])):
            server.close()


class ByCluster:
    """The node that has the key's slot (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/)."""

    def __init__(self, seeds: Sequence[Server], make: Make, shown: str, vitals: Vitals) -> None:
        self._known = {server.name: server for server in seeds}
        self._make = make
        self._shown = shown
        self._vitals = vitals
        self._slots: list[Server | None] = []
        self._suspect: Server | None = None
        self._doubted = True
        self._lock = threading.Lock()

    def of(self, key: str) -> Server:
        slot = key_slot(key.encode())
        server = self._map()[slot]
        if server is None:
            self._doubted = True
            raise BackendError(f"Redis at {self._shown}: no node serves slot {slot}: the Cluster is failing over")
        return server

    def servers(self) -> tuple[Server, ...]:
        return tuple(sorted({server for server in self._map() if server is not None}, key=lambda server: server.name))

    def _map(self) -> list[Server | None]:
        if not self._doubted:
            return self._slots
        with self._lock:
            if self._doubted:
                self._load()
            return self._slots

    def _load(self) -> None:
        """Ask one node after another, in no order, so that one with an old map does not always win; but last the one
        that failed just now, which may take long not to answer."""
        failed = None
        shuffled = random.sample(list(self._known.values()), len(self._known))
        for server in sorted(shuffled, key=lambda server: server is self._suspect):
            try:
                ranges = server.ask("CLUSTER", "SLOTS")
            except (told.RedisError, OSError) as error:
                failed = reason(error, server.name, worked=bool(self._vitals.worked))
                if isinstance(failed, SettingsError):
                    raise failed from None
                continue
            slots: list[Server | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
            for first, last, (host, port, *_), *_ in ranges:
                node = self._node(host.decode() if host else server.name.rpartition(":")[0].strip("[]"), port)
                slots[first : last + 1] = [node] * (last + 1 - first)
            if self._slots and slots != self._slots:
                self._vitals.turn()
            self._slots, self._doubted = slots, False
            return
        raise BackendError(f"no node of {self._shown} answers: {failed}")

    def _node(self, host: str, port: int) -> Server:
        server = self._make(host, port)
        return self._known.setdefault(server.name, server)

    def distrust(self, server: Server | None = None) -> None:
        self._suspect = server or self._suspect
        self._doubted = True

    def close(self) -> None:
        for server in self._known.values():
            server.close()
