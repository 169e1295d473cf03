"""When a page comes back, what it carries along, and what counts as a change."""

from __future__ import annotations

import msgspec
import pytest

from crawler.codec import decode_request, encode_request
from crawler.model import Before, Message, Record, Request
from crawler.revisit import (
    VALIDATOR_CHARS_MAX,
    body_hash,
    conditional,
    is_conditional,
    items_hash,
    next_visit,
    validators,
    wait_s,
    with_validators,
)
from crawler.tables_visit import RevisitTable

INTERVAL = RevisitTable(mode="interval", interval_s=100.0, min_s=200.0)
ADAPTIVE = RevisitTable(mode="adaptive", interval_s=100.0, min_s=10.0, max_s=1000.0)
PAGE = Request(url="http://a.test/", to="detail", depth=3, priority=2, meta={"x": 1}, headers=(("A", "b"),))
NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("table", "waited_s", "visit", "changed", "expected"),
    [
        (INTERVAL, 0.0, 0, True, 100.0),
        (INTERVAL, 7.0, 5, False, 100.0),
        (ADAPTIVE, 0.0, 0, True, 100.0),
        (ADAPTIVE, 100.0, 1, True, 50.0),
        (ADAPTIVE, 100.0, 1, False, 150.0),
        (ADAPTIVE, 12.0, 2, True, 10.0),
        (ADAPTIVE, 900.0, 2, False, 1000.0),
        (ADAPTIVE, 0.0, 2, True, 50.0),
        (RevisitTable(mode="adaptive", interval_s=5.0, min_s=10.0), 0.0, 0, True, 10.0),
    ],
)
def test_the_wait(table: RevisitTable, waited_s: float, visit: int, changed: bool, expected: float) -> None:
    assert wait_s(table, waited_s, visit=visit, changed=changed) == expected


def test_the_next_visit_is_the_same_request() -> None:
    first = msgspec.structs.replace(PAGE, redirected_from=("http://a.test/old",))
    again = next_visit(ADAPTIVE, first, "", Before(etag='"1"', body=7), changed=True, now_ms=NOW)
    assert again is not None
    before = Before(etag='"1"', body=7, wait_s=100.0)
    assert again == msgspec.structs.replace(PAGE, visit=1, not_before_ms=NOW + 100_000, before=before)
    assert decode_request(encode_request(again)) == again
    third = next_visit(ADAPTIVE, again, "unchanged", Before(), changed=False, now_ms=NOW)
    assert third is not None
    assert third.before is not None
    assert (third.visit, third.before.wait_s) == (2, 150.0)


@pytest.mark.parametrize(
    ("request_", "reason", "mode", "comes"),
    [
        (PAGE, "", "off", False),
        (PAGE, "", "lastmod", False),
        *((PAGE, reason, "interval", True) for reason in ("", "noindex", "redirect", "similar")),
        *((PAGE, reason, "interval", False) for reason in ("robots", "content_type", "redirect_out_of_scope")),
        (msgspec.structs.replace(PAGE, visit=1), "robots", "interval", True),
        (msgspec.structs.replace(PAGE, visit=1), "not_modified", "interval", True),
        (msgspec.structs.replace(PAGE, method="HEAD"), "", "interval", True),
        (msgspec.structs.replace(PAGE, method="POST"), "", "interval", False),
        (msgspec.structs.replace(PAGE, body=b"x"), "", "interval", False),
    ],
)
def test_which_pages_come_back(request_: Request, reason: str, mode: str, comes: bool) -> None:
    table = msgspec.structs.replace(INTERVAL, mode=mode)
    assert (next_visit(table, request_, reason, Before(), changed=True, now_ms=NOW) is not None) is comes


@pytest.mark.parametrize(
    ("before", "headers", "sent"),
    [
        (None, (), ()),
        (Before(body=3), (), ()),
        (Before(etag='W/"1"'), (), (("If-None-Match", 'W/"1"'),)),
        (Before(modified="Sat"), (("A", "b"),), (("A", "b"), ("If-Modified-Since", "Sat"))),
        (Before(etag='"1"', modified="Sat"), (), (("If-None-Match", '"1"'), ("If-Modified-Since", "Sat"))),
        (Before(etag='"1"'), (("if-none-match", '"mine"'),), (("if-none-match", '"mine"'),)),
        (Before(etag='"1"'), (("Range", "bytes=0-9"),), (("Range", "bytes=0-9"),)),
    ],
)
def test_conditions(
    before: Before | None, headers: tuple[tuple[str, str], ...], sent: tuple[tuple[str, str], ...]
) -> None:
    request = Request(url="http://a.test/", before=before, headers=headers)
    assert conditional(request, INTERVAL).headers == sent
    assert is_conditional(sent) is any(name.lower().startswith("if-") for name, _ in sent)
    whole = msgspec.structs.replace(INTERVAL, unchanged_items=True)
    assert conditional(request, whole) is request


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, ("", "")),
        ({"ETag": '"a"', "Last-Modified": "Sat"}, ('"a"', "Sat")),
        ({"ETag": "x" * (VALIDATOR_CHARS_MAX + 1)}, ("", "")),
        ({"ETag": '"\udcff"', "Last-Modified": "caf\xe9"}, ("", "")),
        ({"ETag": '"a\tb"'}, ("", "")),
    ],
)
def test_validators_that_can_be_sent_back(headers: dict[str, str], found: tuple[str, str]) -> None:
    assert validators(headers) == found


def test_a_304_need_not_repeat_them() -> None:
    known = Before(etag='"1"', modified="Sat", body=4)
    assert with_validators(known, {}, 304) is known
    assert with_validators(known, {"ETag": '"2"'}, 304) == Before(etag='"2"', modified="Sat", body=4)
    assert with_validators(known, {}, 200) == Before(body=4)


def message(kind: str, *data: bytes, visit: int = 0) -> Message:
    records = tuple(Record(str(at), msgspec.Raw(one)) for at, one in enumerate(data))
    return Message(id=f"{kind}{visit}", kind=kind, url="u", fetched_at="", spider="s", visit=visit, records=records)


def test_hashes_of_items() -> None:
    some = items_hash([message("a", b"{}", b"[1]")])
    assert some == items_hash([message("a", b"{}", b"[1]", visit=9)])
    others = [
        *([], [message("b", b"{}", b"[1]")], [message("a", b"{}[1]")], [message("a", b"[1]", b"{}")]),
        [message("a", b"{}"), message("a", b"[1]")],
    ]
    assert len({some, *map(items_hash, others)}) == 6


def test_hashes_of_bodies() -> None:
    assert body_hash(b"") != body_hash(b"a") != 0
    assert -(1 << 63) <= body_hash(b"x") < 1 << 63
