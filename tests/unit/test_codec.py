"""Values survive their bytes; bytes that are no values are refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.codec import decode_message, decode_request, encode_message, encode_request
from crawler.error import BadRecord
from crawler.model import Message, Record, Request

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
COUNT = st.integers(0, 2**53)
REQUESTS = st.builds(
    Request,
    url=TEXT.map(lambda text: "http://h.example/" + text),
    method=st.sampled_from(["GET", "POST", "HEAD"]),
    headers=st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
    body=st.binary(max_size=50),
    to=TEXT,
    depth=COUNT,
    redirected_from=st.lists(TEXT, max_size=3).map(tuple),
    priority=st.integers(0, 9),
    not_before_ms=COUNT,
    visit=COUNT,
    meta=st.dictionaries(TEXT, JSON, max_size=3),
)
RECORDS = st.builds(
    Record, id=TEXT, data=st.dictionaries(TEXT, JSON, max_size=3).map(lambda d: msgspec.Raw(msgspec.json.encode(d)))
)
MESSAGES = st.builds(
    Message,
    id=TEXT,
    kind=TEXT,
    url=TEXT,
    fetched_at=TEXT,
    spider=TEXT,
    visit=COUNT,
    records=st.lists(RECORDS, max_size=4).map(tuple),
)


@given(REQUESTS)
def test_requests_survive(request: Request) -> None:
    assert decode_request(encode_request(request)) == request


@given(MESSAGES)
def test_messages_survive(message: Message) -> None:
    decoded = decode_message(encode_message(message))
    assert decoded == message
    assert [record.fields() for record in decoded.records] == [record.fields() for record in message.records]


def test_bytes_are_small_and_stable() -> None:
    assert encode_request(Request(url="http://h.example/", depth=2)) == b'{"v":1,"url":"http://h.example/","depth":2}'


def test_fields_of_a_newer_writer_are_ignored() -> None:
    assert decode_request(b'{"v":1,"url":"http://h.example/","colour":"red"}') == Request(url="http://h.example/")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04\x95",
        b"{}",
        b'{"v":2,"url":"http://h.example/"}',
        b'{"url":"http://h.example/"}',
        b'{"v":1,}',
        b'{"v":1,"depth":1}',
        b'{"v":1,"url":1}',
        b'{"v":1,"url":"http://h.example/","depth":"1"}',
        b'{"v":1,"url":"http://h.example/","depth":-1}',
        b'{"v":1,"url":"http://h.example/","priority":10}',
        b'{"v":1,"url":"http://h.example/","visit":-1}',
        b'{"v":1,"url":"file:///etc/passwd"}',
        b'{"v":1,"url":"http://h.example"}',
        b'{"v":1,"url":"http://h.example/","body":"not base64!"}',
        b'{"v":1,"url":"http://h.example/\xff"}',
        b'{"v":1,"url":"http://h.example/","meta":' + b"[" * 100_000,
        b'{"v":1,"url":"http://h.example/"} {}',
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadRecord):
        decode_request(data)
    with pytest.raises(BadRecord):
        decode_message(data)


@pytest.mark.parametrize("meta", [{"a": object()}, {"a": {("b",): 1}}, {"a": "\ud800"}])
def test_what_json_cannot_hold_is_not_written(meta: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode_request(Request(url="http://h.example/", meta=meta))


def test_a_raw_page_keeps_its_bytes_behind_the_json() -> None:
    head = msgspec.json.encode({"fingerprint": 1})
    page = Message(
        id="1", kind="raw.page", url="https://x.org/", fetched_at="", spider="s",
        records=(Record("1", msgspec.Raw(head)),), blob=bytes(range(256)) * 9,
    )  # fmt: skip
    data = encode_message(page)
    assert decode_message(data) == page
    assert data.endswith(page.blob)
    for cut in (b"\x01", data[:5], data[:40]):
        with pytest.raises(BadRecord):
            decode_message(cut)
