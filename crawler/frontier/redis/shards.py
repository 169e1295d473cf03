"""A crawl's shards on the server: their keys, which host is in which, and running a script on some or all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from zlib import crc32

from crawler.error import SettingsError
from crawler.frontier.policy import parse_token
from crawler.frontier.redis.record import pack_rules, whole_number
from crawler.frontier.redis.scripts import script
from crawler.frontier.redis.wire import Wire
from crawler.model import Rules

KEY: Final = "crawler:{%s:%d}"
"""A shard's own key; all others start with it. What is in braces decides on the hash slot (Redis Cluster spec)."""

CRAWLS: Final = "crawler:crawls"
"""A hash of the crawls of the server: name -> when it began, in ms."""

CALL_MAX: Final = 100
"""Rows that one script call may touch, 1 to 3 ms of the server; longer batches are several calls of one trip, and
others are served in between."""

CALL_BYTES_MAX: Final = 262_144
"""Bytes of requests that one script call may take or give, but for a single one that is larger: 2 to 3 ms of the
server, which serves nobody else meanwhile."""

TRIP_BYTES_MAX: Final = 8_388_608
"""Bytes of requests that go to the server in one trip."""

SCAN_COUNT: Final = 1_000
"""Keys that one SCAN looks at."""

NAME_BYTES_MAX: Final = 200
"""Of a crawl's name in UTF-8: with what is put behind it, a file's name may have 255."""

PRODUCER: Final = "producer"
_ADDRESS = re.compile(r"[\d.]+|\[[0-9a-f:.]+\]")
_NOT_IN_NAMES = re.compile(r"[{}/\s\x00-\x1f\x7f\ud800-\udfff]")


def shard_of(host: str, shards: int) -> int:
    """By the last two labels of the host's name, or its whole IP address: what may have to be polite together, a
    registrable domain, is in one shard."""
    if shards == 1:
        return 0
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if not _ADDRESS.fullmatch(name):
        name = ".".join(name.split(".")[-2:])
    return crc32(name.encode()) % shards


def check_name(name: str) -> str:
    """The name, if it can be part of a key and of a file's name. Raises SettingsError."""
    length = len(name.encode(errors="replace"))
    if not 0 < length <= NAME_BYTES_MAX or name.startswith(".") or _NOT_IN_NAMES.search(name):
        raise SettingsError(
            f"crawl name {name!r}: on Redis it has 1 to {NAME_BYTES_MAX} bytes, no spaces, slashes or braces, and no "
            "dot in front; set crawl.name, or --state redis:NAME"
        )
    return name


class Shards:
    """Thread-safe."""

    def __init__(self, wire: Wire, name: str, rules: Rules, clock: Callable[[], int] | None) -> None:
        """`clock`: None, so that the server's own is used; tests bring theirs."""
        self.wire = wire
        self.name = check_name(name)
        self.rules = rules
        self.count = 1
        self._packed_rules = pack_rules(rules)
        self._clock = clock

    def key(self, shard: int) -> str:
        return KEY % (self.name, shard)

    def of(self, host: str) -> int:
        return shard_of(host, self.count)

    def run(self, name: str, shard: int, *arguments: Any, durable: bool = False) -> Any:
        """One script on one shard. One trip."""
        return self.wire.run(script(name), self.key(shard), *self._all(arguments), durable=durable)

    def runs(self, name: str, calls: Sequence[tuple[int, Sequence[Any]]], *, durable: bool = False) -> list[Any]:
        """One script on several shards, several times on one if need be, in that order. One trip to each server."""
        if len(calls) == 1:
            shard, arguments = calls[0]
            return [self.run(name, shard, *arguments, durable=durable)]
        keyed = [(self.key(shard), self._all(arguments)) for shard, arguments in calls]
        return self.wire.runs(script(name), keyed, durable=durable)

    def each(self, name: str, *arguments: Any) -> list[Any]:
        """One script on every shard."""
        return self.runs(name, [(shard, arguments) for shard in range(self.count)])

    def _all(self, arguments: Sequence[Any]) -> tuple[Any, ...]:
        return (self._clock() if self._clock else 0, self._packed_rules, *arguments)

    def prefix(self, shard: int) -> str:
        """What the keys of the shard's present generation start with. One trip."""
        generation = self.wire.call(self.key(shard), "HGET", self.key(shard), "generation")
        return f"{self.key(shard)}:{whole_number(generation, f'{self.key(shard)} generation')}:"

    # Tokens. A lease's serial says which shard gave it; producers live in shard 0.

    def token(self, request_id: str, shard: int, serial: int) -> str:
        return f"{request_id}:{serial * self.count + shard}"

    def parse(self, token: str) -> tuple[int, int, str]:
        """Shard, serial, request_id; serial 0, which no lease has, when it cannot be a token."""
        request_id, number = parse_token(token)
        if number < 0:
            return 0, 0, request_id
        if request_id == PRODUCER:
            return 0, number, PRODUCER
        return number % self.count, number // self.count, request_id

    def grouped(self, rows: Mapping[int, Sequence[Any]]) -> list[tuple[int, Sequence[Any]]]:
        """Rows by shard, cut into pieces that one call may touch."""
        return [
            (shard, some[start : start + CALL_MAX])
            for shard, some in rows.items()
            for start in range(0, len(some), CALL_MAX)
        ]


def crawls(wire: Wire) -> tuple[str, ...]:
    """Names of the crawls of the server, in order. One trip."""
    return tuple(sorted(name.decode(errors="replace") for name in wire.call(CRAWLS, "HKEYS", CRAWLS)))


def erase(wire: Wire, name: str) -> None:
    """Remove a crawl with all its keys, whatever they hold. Cost: a walk over the servers' keys."""
    pattern = f"{glob(KEY.partition('%')[0] + name)}:*"  # also what belongs to a crawl named `name:…`
    start = re.escape(KEY.partition("%")[0] + name).encode()
    mine = re.compile(start + rb":\d+\}(?:$|:)")
    for server in wire.servers():
        cursor: bytes | int = b"0"
        while True:
            cursor, found = wire.ask(server, "SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)
            if going := [key for key in found if mine.match(key)]:
                wire.calls([(key.decode(errors="replace"), ("UNLINK", key)) for key in going])
            if cursor in (b"0", 0):
                break
    wire.call(CRAWLS, "HDEL", CRAWLS, name)


def glob(text: str) -> str:
    """Text that a pattern of SCAN takes as it is."""
    return re.sub(r"([*?\[\]\\^])", r"\\\1", text)
