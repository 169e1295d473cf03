"""How the scripts' values look on the wire and in the keys: MessagePack arrays, requests as the codec's JSON."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from crawler.codec import DAMAGED, decode_request
from crawler.error import BadRecord
from crawler.frontier.policy import ms
from crawler.model import DeadLetter, Request, Rules
from crawler.url import visit_print

SCHEMA: Final = "3"
"""Version of keys and scripts."""

TOTALS: Final = (
    *("ready", "delayed", "leased", "suspects", "dead", "done", "pages", "items", "bytes", "added", "dropped"),
    *("retries", "crashes", "hosts", "open", "closed", "lost", "serial", "number", "opened", "died", "seen", "buckets"),
    *("asked_ms", "grace_ms", "forgetting", "drain_request", "drain_ms", "drain_worker", "drain_host"),
    *("revisits", "scan", "counted"),
)
"""The fields of a shard's totals, as in shard.lua."""

HOST: Final = (
    *("id", "due_ms", "placed", "ready", "mask", "done", "in_flight", "next_ms", "latency_ms"),
    *("expires_0", "stamp_0", "expires_1", "stamp_1", "expires_2", "stamp_2", "expires_3", "stamp_3"),
    *("back", "paused_ms", "failures", "steps", "down", "asking", "own_delay", "suspects", "delayed", "dead", "doomed"),
    *("crawl_delay_ms", "own_width", "slow", "well", "domain"),
)
"""The fields of a host as in shard.lua; zeros at the end of a record are left out."""

LOW_BITS: Final = 0xFFFFFF
"""Of a fingerprint: they say which bucket of the seen set it is in."""

EMPTY: Final = (b"\x80", b"\x90")
"""How the server's Lua packs a table without elements."""

pack = msgspec.msgpack.Encoder().encode
"""Bytes are not understood by the server's Lua: give it text."""

_Entry = tuple[int, int, int, int, int, str, msgspec.Raw]
_Lease = tuple[str, str, int, int, int, int, int, int, int, int, int]
_LEASE_HEAD: Final = b"\x9b"
"""An array of eleven: a lease's fields are packed one by one."""
_leases: Final = msgspec.msgpack.Decoder(_Lease)
_letters: Final = msgspec.msgpack.Decoder(tuple[_Entry, str, str, int])
_entries: Final = msgspec.msgpack.Decoder(_Entry)
_hosts: Final = msgspec.msgpack.Decoder(list[int | str])
_totals: Final = msgspec.msgpack.Decoder(list[int | str])
_workers: Final = msgspec.msgpack.Decoder(tuple[int, int, int, int, int])


UNREADABLE: Final = (msgspec.MsgspecError, ValueError)
"""What decoding raises for bytes that are not ours: text that is no UTF-8 is a ValueError."""


class Entry(NamedTuple):
    """A request that is not finished."""

    number: int
    origin: int
    priority: int
    attempts: int
    crashes: int
    host: str
    payload: bytes

    def request(self) -> Request:
        """Of a damaged record only the host is known."""
        try:
            return decode_request(self.payload)
        except BadRecord:
            return Request(url=f"http://{self.host or 'damaged.invalid'}/")


def pack_rules(rules: Rules) -> bytes:
    """In the order of the constants in shard.lua."""
    return pack(
        (
            ms(rules.lease_s),
            ms(rules.suspect_wait_s),
            rules.crashes_max,
            rules.pending_max,
            ms(rules.delay_s),
            rules.per_host,
            int(rules.robots),
            rules.host_failures_max,
            rules.host_backoff_s,
            rules.host_backoff_max_s,
            rules.pages_max,
            rules.bytes_max,
            int(rules.order == "lifo"),
            rules.per_domain,
            rules.latency_factor,
            ms(rules.delay_max_s),
        )
    )


def origin_number(url: str) -> int:
    """Which of a host's four origins a canonical URL belongs to: 0 http, 1 https, 2 http on 443, 3 https on 80."""
    secure = url.startswith("https:")
    place = url[8 if secure else 7 : url.index("/", 8)]
    if place.endswith(":80" if secure else ":443"):
        return 3 if secure else 2
    return int(secure)


def origins(host: str) -> tuple[str, ...]:
    """The four of a host, by number."""
    return f"http://{host}", f"https://{host}", f"http://{host}:443", f"https://{host}:80"


def unpack_totals(packed: bytes) -> dict[str, Any]:
    """Totals by name. Raises BadRecord."""
    try:
        return dict.fromkeys(TOTALS, 0) | dict(zip(TOTALS, _totals.decode(packed), strict=False))
    except UNREADABLE as error:
        raise BadRecord(f"damaged totals of a shard: {error}") from None


def unpack_host(packed: bytes) -> dict[str, Any]:
    """A host's fields by name. Raises BadRecord."""
    try:
        values = _hosts.decode(packed)
    except UNREADABLE as error:
        raise BadRecord(f"damaged host record: {error}") from None
    if any(isinstance(value, str) for value in values[: len(HOST) - 1]):  # the last is a name
        raise BadRecord("damaged host record: text where numbers stand")
    return dict.fromkeys(HOST, 0) | dict(zip(HOST, values, strict=False))


def unpack_entry(packed: bytes) -> Entry:
    """What cannot be read becomes an entry without a host, as in moves.lua."""
    try:
        return _entry(_entries.decode(packed))
    except UNREADABLE:
        return Entry(0, 0, 0, 0, 0, "", packed)


def unpack_queued(raw: bytes, host: str, priority: int) -> Entry:
    """An element of a host's queue: origin and number in six bytes, then the payload."""
    if len(raw) < 6:
        return Entry(0, 0, priority, 0, 0, host, raw)
    return Entry(int.from_bytes(raw[1:6]), raw[0], priority, 0, 0, host, raw[6:])


def unpack_lease(packed: bytes, raw: bytes | None) -> tuple[Entry, str] | None:
    """The entry and the worker of a leased page, `raw` as it was in its queue; None for a robots.txt, and for a damaged
    record."""
    try:
        worker, host, _, _, _, _, _, page, priority, attempts, crashes = _leases.decode(_LEASE_HEAD + packed)
    except UNREADABLE:
        return None
    if not page or raw is None:
        return None
    return unpack_queued(raw, host, priority)._replace(attempts=attempts, crashes=crashes), worker


def unpack_letter(member: bytes) -> DeadLetter:
    """A letter, without the number of its death in front."""
    try:
        entry, reason, detail, died_ms = _letters.decode(member[6:])
        return _letter(_entry(entry), reason, detail, died_ms)
    except UNREADABLE as error:
        lost = Entry(0, 0, 0, 0, 0, "", b"")
        return _letter(lost, DAMAGED, f"the dead letter itself: {error}", 0)


def unpack_worker(packed: bytes) -> tuple[int, int, int]:
    """Pages, last sign of life (ms), leases of a worker; zeros when its record is damaged."""
    try:
        pages, seen_ms, _, _, leased = _workers.decode(packed)
    except UNREADABLE:
        return 0, 0, 0
    return pages, seen_ms, leased


def whole_number(text: bytes | None, what: str) -> int:
    """0 when there is none. Raises BadRecord."""
    try:
        return int(text or 0)
    except ValueError:
        raise BadRecord(f"{what}: {text[:40]!r} is no number; put it back, or crawler rm" if text else what) from None


def _letter(entry: Entry, reason: str, detail: str, died_ms: int) -> DeadLetter:
    request = entry.request()
    return DeadLetter(
        request=request,
        fingerprint=visit_print(request),
        host=entry.host,
        reason=reason,
        detail=detail,
        attempts=entry.attempts,
        crashes=entry.crashes,
        died_ms=died_ms,
    )


def _entry(packed: _Entry) -> Entry:
    number, origin, priority, attempts, crashes, host, payload = packed
    return Entry(number, origin, priority, attempts, crashes, host, _text(payload))


def _text(raw: msgspec.Raw) -> bytes:
    """The bytes of a MessagePack string, which a hand may have made no UTF-8 (https://msgpack.org, str format)."""
    data = bytes(raw)
    head = {0xD9: 2, 0xDA: 3, 0xDB: 5}.get(data[0], 1)
    return data[head:]
