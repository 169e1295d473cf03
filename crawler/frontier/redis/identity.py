"""A crawl's identity and notes: its record, which shard 0 keeps, and how a crawl begins and is cleared."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from crawler.error import SettingsError
from crawler.frontier.redis.record import SCHEMA
from crawler.frontier.redis.scripts import script
from crawler.frontier.redis.shards import CRAWLS, SCAN_COUNT, Shards, glob
from crawler.model import CrawlRecord
from crawler.url import CANONICAL_VERSION

_RECORD_SCHEMA: Final = CrawlRecord(name="").schema
CLUSTER_SHARDS: Final = 16
"""Shards of a new crawl on a Redis Cluster when the settings do not say."""


def begin(shards: Shards, wanted: int, now: int) -> None:
    """Begin the crawl with `wanted` shards (0: as many as fit the server), or join it. Three or four trips. Raises
    SettingsError when it cannot be this crawl."""
    usual = CLUSTER_SHARDS if shards.wire.address.kind == "cluster" else 1
    fresh = CrawlRecord(name=shards.name, canonical=CANONICAL_VERSION, shards=wanted or usual, created_ms=now)
    text = msgspec.json.encode(fresh)
    schema, packed = shards.wire.run(script("begin"), shards.key(0), SCHEMA, text.decode())
    _check_schema(shards, 0, schema)
    if packed == text and fresh.shards > 1:
        shards.wire.runs(script("begin"), [(shards.key(shard), (SCHEMA, "")) for shard in range(1, fresh.shards)])
    shards.wire.call(CRAWLS, "HSET", CRAWLS, shards.name, fresh.created_ms)
    join(shards, wanted)


def join(shards: Shards, wanted: int = 0) -> None:
    """Join a crawl that has begun. One or two trips. Raises SettingsError when it cannot be this one, or is gone."""
    packed = _packed(shards)
    try:
        found = msgspec.json.decode(packed, type=CrawlRecord)
    except msgspec.MsgspecError as error:
        raise SettingsError(
            f"{shards.key(0)}: the crawl's record is damaged ({error}); crawler rm removes the crawl"
        ) from None
    if (found.schema, found.canonical) != (_RECORD_SCHEMA, CANONICAL_VERSION):
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
            raise SettingsError(f"{shards.key(shard)} is gone, a part of the crawl: start over with --fresh")
        _check_schema(shards, shard, schema)


def _check_schema(shards: Shards, shard: int, schema: bytes) -> None:
    text = schema.decode(errors="replace")
    if text != SCHEMA:
        raise SettingsError(
            f"{shards.key(shard)} has schema {text!r}, this program {SCHEMA!r}: finish the crawl with the version "
            "that began it, or give this one another name"
        )


def record(shards: Shards) -> CrawlRecord:
    """As it is now. One trip."""
    return msgspec.json.decode(_packed(shards), type=CrawlRecord)


def _packed(shards: Shards) -> bytes:
    packed = shards.wire.call(shards.key(0), "HGET", shards.key(0), "record")
    if packed is None:
        raise SettingsError(f"{shards.key(0)}: the crawl is gone: removed, or lost by a server that keeps nothing")
    return bytes(packed)


def change(shards: Shards, notes: dict[str, Any]) -> CrawlRecord:
    """Replace some of its fields; what others change meanwhile stays."""
    while True:
        before = _packed(shards)
        changed = msgspec.structs.replace(msgspec.json.decode(before, type=CrawlRecord), **notes)
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
