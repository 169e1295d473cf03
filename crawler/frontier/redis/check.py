"""Whether the servers behind a Wire are fit for a crawl: asked once, before work begins. Reads only."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from crawler.error import SettingsError
from crawler.frontier.redis.failure import Forbidden
from crawler.frontier.redis.wire import Wire

T = TypeVar("T")

VERSION_MIN = (7, 0)
"""Script errors are told apart, INFO and CONFIG GET take several names: Redis 7.0, April 2022."""

SKEW_S_MAX = 2.0
"""Clocks further apart than this are told: times are the server's, and people read them by their own clock."""

INTSET_MIN = 256
"""set-max-intset-entries below this makes seen URLs cost several times as much: buckets hold up to so many."""

CONFIG = ("save", "appendfsync", "set-max-intset-entries")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a server tells of itself. Empty or None: it may not be asked."""

    server: str
    info: dict[str, str] = {}
    config: dict[str, str] = {}
    skew_s: float | None = None
    """Its clock minus ours."""
    forbidden: tuple[str, ...] = ()
    """The commands that its ACL, or its owner, does not allow."""


def check(wire: Wire) -> tuple[str, ...]:
    """Warnings, one sentence each. Raises SettingsError for what would lose the crawl or cannot work, BackendError when
    a server does not answer. Three trips per server."""
    cluster = wire.address.kind == "cluster"
    return tuple(warning for server in wire.servers() for warning in judge(_facts(wire, server), cluster=cluster))


def _facts(wire: Wire, server: str) -> Facts:
    forbidden: list[str] = []

    def asked(name: str, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except Forbidden:
            forbidden.append(name)
            return None

    info = asked("INFO", lambda: wire.info(server)) or {}
    if info and _version(info) < VERSION_MIN:
        return Facts(server=server, info=info)
    config = asked("CONFIG GET", lambda: _config(wire, server)) or {}
    skew_s = asked("TIME", lambda: _skew_s(wire, server))
    return Facts(server=server, info=info, config=config, skew_s=skew_s, forbidden=tuple(forbidden))


def _config(wire: Wire, server: str) -> dict[str, str]:
    flat = [text.decode(errors="replace") for text in wire.ask(server, "CONFIG", "GET", *CONFIG)]
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _skew_s(wire: Wire, server: str) -> float:
    before_s = time.time()
    seconds, micros = wire.ask(server, "TIME")
    return float(int(seconds) + int(micros) / 1e6 - (before_s + time.time()) / 2)


def _version(info: dict[str, str]) -> tuple[int, int]:
    numbers = [int(number) for number in re.findall(r"\d+", info.get("redis_version", ""))[:2]]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)


def judge(facts: Facts, *, cluster: bool) -> Iterator[str]:
    """The warnings about one server. Raises SettingsError as `check` does. Pure."""
    at = f"Redis at {facts.server}"
    if facts.info:
        _refuse(facts.info, at, cluster=cluster)
        yield from _memory(facts.info, at)
        yield from _persistence(facts, at)
    entries = facts.config.get("set-max-intset-entries", "")
    if entries.isdigit() and int(entries) < INTSET_MIN:
        yield f"{at}: set-max-intset-entries is {entries}: seen URLs need much more memory than with 512"
    if facts.skew_s is not None and abs(facts.skew_s) > SKEW_S_MAX:
        direction = "ahead of" if facts.skew_s > 0 else "behind"
        there = time.strftime("%H:%M:%S", time.gmtime(time.time() + facts.skew_s))
        here = time.strftime("%H:%M:%S", time.gmtime())
        yield (
            f"{at}: its clock is {abs(facts.skew_s):.0f} s {direction} this machine's ({there} and {here} UTC): "
            "set both by NTP; a jump of the server's clock delays the crawl"
        )
    if facts.forbidden:
        names = " and ".join(facts.forbidden)
        yield f"{at}: it could not be checked in full, since {names} is not allowed to this user"


def _refuse(info: dict[str, str], at: str, *, cluster: bool) -> None:
    if _version(info) < VERSION_MIN:
        found = info.get("redis_version", "of no known version")
        raise SettingsError(f"{at} is {found}; the crawler needs Redis {VERSION_MIN[0]}.{VERSION_MIN[1]} or newer")
    if info.get("cluster_enabled") == "1" and not cluster:
        raise SettingsError(f"{at} is a node of a Cluster: write redis+cluster:// instead of redis:// in frontier.url")
    if info.get("cluster_enabled") == "0" and cluster:
        raise SettingsError(f"{at} is not a Cluster: write redis:// instead of redis+cluster:// in frontier.url")
    if info.get("role") == "slave":
        primary = f"{info.get('master_host', '')}:{info.get('master_port', '')}"
        raise SettingsError(f"{at} is a replica of {primary}: name that one in frontier.url, or a Sentinel")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and info.get("maxmemory") != "0":
        raise SettingsError(
            f"{at} throws keys away when its memory is full (maxmemory-policy {policy}), and with them parts of the "
            "crawl: set maxmemory-policy noeviction"
        )


def _memory(info: dict[str, str], at: str) -> Iterator[str]:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield f"{at}: maxmemory-policy is {policy}: once a maxmemory is set, parts of the crawl will be thrown away"


def _persistence(facts: Facts, at: str) -> Iterator[str]:
    config = facts.config
    if facts.info.get("aof_enabled") == "1":
        if config.get("appendfsync") == "no":
            yield f"{at}: appendfsync is no: a power loss takes back up to half a minute of the crawl; see everysec"
    elif config and not config.get("save"):
        yield f"{at} keeps nothing on disk (appendonly no, no save): a restart loses the crawl; set appendonly yes"
    elif config:
        yield f"{at}: appendonly is no: a restart goes back to the last snapshot (save {config['save']})"
