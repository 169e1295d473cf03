"""A connection to Redis, and commands in the form that goes over it.

redis-py makes the connections (TCP, TLS, socket; AUTH, SELECT; RESP2) and reads the answers. Its pools, retries and
cluster client are left out: a command is never sent twice behind our back, and a batch may hold scripts.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from crawler.frontier.redis.address import Address
from crawler.tables import RedisTable

Part = bytes | str | int | float
Command = Sequence[Part]

READ_BYTES = 65_536
"""Taken from a connection at once."""


class Line(Protocol):
    """What is used of a connection of redis-py, which gives it no types."""

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def send_packed_command(self, command: list[bytes], check_health: bool = ...) -> None: ...

    def read_response(self, *, timeout: float | None = ...) -> Any: ...

    def _get_socket(self) -> socket.socket | None: ...


def pack(commands: Sequence[Command]) -> bytes:
    """Commands as Redis reads them (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    out = []
    for command in commands:
        out.append(b"*%d\r\n" % len(command))
        for part in command:
            if isinstance(part, str):
                part = part.encode()
            elif not isinstance(part, bytes):
                if not isinstance(part, int | float) or isinstance(part, bool):
                    raise TypeError(f"not a part of a command: {part!r}")
                part = repr(part).encode()
            out.append(b"$%d\r\n%b\r\n" % (len(part), part))
    return b"".join(out)


def maker(address: Address, table: RedisTable, *, sentinel: bool = False) -> Callable[[str, int], Line]:
    """Makes unconnected connections to a host and port, or to the address's socket. `sentinel`: as a Sentinel wants."""
    settings: dict[str, Any] = {
        "username": (table.sentinel_user if sentinel else address.user) or None,
        "password": (table.sentinel_password if sentinel else address.password) or None,
        "db": 0 if sentinel else address.db,
        "socket_timeout": table.connect_s if sentinel else table.timeout_s,
        "socket_connect_timeout": table.connect_s,
        "socket_read_size": READ_BYTES,
        "protocol": 2,
        "driver_info": None,
        "retry": Retry(NoBackoff(), 0),
    }
    if address.tls:
        settings["ssl_ca_certs"] = table.ca_file or None
        settings["ssl_certfile"] = table.cert_file or None
        settings["ssl_keyfile"] = table.key_file or None

    kind: Any = UnixDomainSocketConnection if address.path else SSLConnection if address.tls else Connection

    def make(host: str, port: int) -> Line:
        line: Line = kind(path=address.path, **settings) if address.path else kind(host=host, port=port, **settings)
        return line

    return make
