"""A crawl's identity and notes: its record, which shard 0 keeps, and how a crawl begins and is cleared."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from crawler.error import SettingsError
from crawler.frontier.redis.record import SCHEMA
from crawler.frontier.redis.scripts import script
from crawler.frontier.redis.shards import CRAWLS, SCAN_COUNT, Shards, glob
from crawler.model import CrawlRecord
from crawler.tables import SHARDS_MAX
from crawler.url import CANONICAL_VERSION, base_version

_RECORD_SCHEMA: Final = CrawlRecord(name="").schema
CLUSTER_SHARDS: Final = 16
"""Shards of a new crawl on a Redis Cluster when the settings do not say."""


def begin(shards: Shards, wanted: int, now: int, canonical: str = CANONICAL_VERSION) -> None:
    """Begin the crawl with `wanted` shards (0: as many as fit the server), or join it. Three to five trips. Raises
    SettingsError when it cannot be this crawl.

    It is listed first, so that whatever was made of it can be found and removed. Shard 0 says when all are made: until
    then whoever comes makes those that are missing, after that a missing one is a loss."""
    listed = shards.wire.call(CRAWLS, "HSETNX", CRAWLS, shards.name, now)
    try:
        _make(shards, wanted, now, canonical)
    except SettingsError:
        if listed and not _is_crawl(shards):
            shards.wire.call(CRAWLS, "HDEL", CRAWLS, shards.name)
        raise


def _is_crawl(shards: Shards) -> bool:
    key = shards.key(0)
    return bool(shards.wire.call(key, "TYPE", key) == b"hash" and shards.wire.call(key, "HEXISTS", key, "schema"))


def _make(shards: Shards, wanted: int, now: int, canonical: str) -> None:
    usual = CLUSTER_SHARDS if shards.wire.address.kind == "cluster" else 1
    fresh = CrawlRecord(name=shards.name, canonical=canonical, shards=wanted or usual, created_ms=now)
    text = msgspec.json.encode(fresh).decode()
    schema, packed, whole = shards.wire.run(script("begin"), shards.key(0), SCHEMA, text)
    _check_schema(shards, 0, schema)
    if not whole:
        others = [shards.key(shard) for shard in range(1, _decoded(shards, packed).shards)]
        made = shards.wire.runs(script("begin"), [(key, (SCHEMA, "")) for key in others]) if others else []
        for shard, (schema, *_) in enumerate(made, 1):
            _check_schema(shards, shard, schema)
        shards.wire.call(shards.key(0), "HSET", shards.key(0), "whole", 1)
    join(shards, wanted)


def join(shards: Shards, wanted: int = 0) -> None:
    """Join a crawl that has begun. One or two trips. Raises SettingsError when it cannot be this one, or is gone."""
    found = record(shards)
    if (found.schema, base_version(found.canonical)) != (_RECORD_SCHEMA, CANONICAL_VERSION):
        raise SettingsError(
            f"crawl {shards.name!r} was begun with URL rules {found.canonical} (schema {found.schema}), this program "
            f"has {CANONICAL_VERSION} (schema {_RECORD_SCHEMA}): finish it with the version that began it, or start "
            "over with --fresh"
        )
    if wanted and wanted != found.shards:
        raise SettingsError(
            f"frontier.shards = {wanted}: crawl {shards.name!r} was begun with {found.shards}, and that cannot "
            "change; leave the setting out, or start over with --fresh"
        )
    shards.count = found.shards
    keys = [shards.key(shard) for shard in range(found.shards)]
    for shard, schema in enumerate(shards.wire.calls([(key, ("HGET", key, "schema")) for key in keys])):
        if schema is None:
            raise _gone(shards, shard)
        _check_schema(shards, shard, schema)


def _gone(shards: Shards, shard: int) -> SettingsError:
    if shards.wire.call(shards.key(0), "HGET", shards.key(0), "whole"):
        return SettingsError(f"{shards.key(shard)} is gone, a part of the crawl: start over with --fresh")
    return SettingsError(f"{shards.key(shard)} is not made yet: who began the crawl is at it, or died; begin it again")


def _check_schema(shards: Shards, shard: int, schema: bytes) -> None:
    text = schema.decode(errors="replace")
    if text != SCHEMA:
        raise SettingsError(
            f"{shards.key(shard)} has schema {text!r}, this program {SCHEMA!r}: finish the crawl with the version "
            "that began it, remove it with crawler rm, or give this one another name"
        )


def record(shards: Shards) -> CrawlRecord:
    """As it is now. One trip. Raises SettingsError when it is damaged or gone."""
    return _decoded(shards, _packed(shards))


def _decoded(shards: Shards, packed: bytes) -> CrawlRecord:
    why: object
    try:
        found = msgspec.json.decode(packed, type=CrawlRecord)
    except (msgspec.MsgspecError, ValueError) as error:
        why = error
    else:
        if 1 <= found.shards <= SHARDS_MAX and found.name == shards.name:
            return found
        why = f"name {found.name!r}, shards {found.shards}"
    raise SettingsError(f"{shards.key(0)}: the crawl's record is damaged ({why}); crawler rm removes the crawl")


def _packed(shards: Shards) -> bytes:
    packed = shards.wire.call(shards.key(0), "HGET", shards.key(0), "record")
    if packed is None:
        raise SettingsError(f"{shards.key(0)}: the crawl is gone: removed, or lost by a server that keeps nothing")
    return bytes(packed)


def change(shards: Shards, notes: dict[str, Any]) -> CrawlRecord:
    """Replace some of its fields; what others change meanwhile stays."""
    while True:
        before = _packed(shards)
        changed = msgspec.structs.replace(_decoded(shards, before), **notes)
        if shards.wire.run(script("note"), shards.key(0), before, msgspec.json.encode(changed)):
            break
    if "paused" in notes:
        keys = [shards.key(shard) for shard in range(shards.count)]
        shards.wire.calls([(key, ("HSET", key, "paused", int(notes["paused"]))) for key in keys])
    return changed


def clear(shards: Shards) -> None:
    """Forget everything but the record: at once, by a new generation; then the old keys are removed."""
    for shard, generation in enumerate(shards.each("clear")):
        _unlink(shards, shard, f"{shards.key(shard)}:{generation}:".encode())


def _unlink(shards: Shards, shard: int, kept: bytes) -> None:
    """Remove the shard's keys but those that start with `kept`."""
    key, cursor = shards.key(shard), b"0"
    while True:
        cursor, found = shards.wire.call(key, "SCAN", cursor, "MATCH", f"{glob(key)}:*", "COUNT", SCAN_COUNT)
        if going := [name for name in found if not name.startswith(kept)]:
            shards.wire.call(key, "UNLINK", *going)
        if cursor in (b"0", 0):
            return
