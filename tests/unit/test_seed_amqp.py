"""What a message of the seeds' queue says."""

from __future__ import annotations

from typing import Any

import pytest

from crawler.model import Request
from crawler.seed_amqp import read
from crawler.seed_file import LINE_BYTES_MAX


@pytest.mark.parametrize(
    ("body", "requests"),
    [
        (b"https://Example.org/a b#c", [Request(url="https://example.org/a%20b")]),
        (b" https://example.org/\n", [Request(url="https://example.org/")]),
        (b'"https://example.org/"', [Request(url="https://example.org/")]),
        (
            b'{"url": "https://example.org", "priority": 5, "depth": 2, "to": "detail", "meta": {"id": 7}}',
            [Request(url="https://example.org/", priority=5, depth=2, to="detail", meta={"id": 7})],
        ),
        (
            b'{"url": "https://example.org/", "method": "POST", "headers": {"A": "b"}, "body": "x=1"}',
            [Request(url="https://example.org/", method="POST", headers=(("A", "b"),), body=b"x=1")],
        ),
        (
            b'["https://example.org/a", {"url": "https://example.org/b"}]',
            [Request(url="https://example.org/a"), Request(url="https://example.org/b")],
        ),
        (b"[]", []),
    ],
)
def test_seeds(body: bytes, requests: list[Request]) -> None:
    assert read(body, chars_max=2_000) == (requests, [])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_a_url"),
        (b"no url", "not_a_url"),
        (b"ftp://example.org/", "scheme"),
        (b"https://me:secret@example.org/", "credentials"),
        (b"https://example.org/" + b"x" * 3_000, "too_long"),
        (b"\xff\xfe\x00", "not_a_url"),
        (b"{", "json"),
        (b'{"url": "\xff"}', "json"),
        (b"[1", "json"),
        (b"{}", "field"),
        (b'{"url": 1}', "field"),
        (b'{"url": "https://example.org/", "prio": 1}', "field"),
        (b'{"url": "https://example.org/", "priority": 10}', "field"),
        (b'{"url": "https://example.org/", "to": "__init__"}', "field"),
        (b"[" * 100_000, "json"),
        (b'"' + b"x" * LINE_BYTES_MAX + b'"', "line_max"),
    ],
)
def test_what_is_no_seed(body: bytes, reason: str) -> None:
    requests, (bad,) = read(body, chars_max=2_000)
    assert requests == []
    assert bad.reason == reason
    assert bad.body == body[:LINE_BYTES_MAX]
    assert "secret" not in bad.detail


def test_of_an_array_the_good_go_in_and_the_bad_are_told_apart() -> None:
    body = b'["https://a.example/", "x", {"url": "https://b.example/"}, {"url": 1}, {"url": 2}, 3, "y"]'
    requests, bad = read(body, chars_max=2_000)
    assert [request.url for request in requests] == ["https://a.example/", "https://b.example/"]
    found: dict[str, list[Any]] = {}
    for one in bad:
        found.setdefault(one.reason, []).append(one.body)
    assert found["field"] == [b'[{"url":1},{"url":2}]', b"[3]"]
    assert b"".join(found["not_a_url"]) in (b'["x"]["y"]', b'["x","y"]')
