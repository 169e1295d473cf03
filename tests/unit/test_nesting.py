"""Pages whose elements stand too deep within each other, told before a parser is lost in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.error import SiteError
from crawler.harvest import Limits, Scope, harvest
from crawler.model import Bury, Request
from crawler.nesting import NESTING_MAX, STRIDE_BYTES, too_deep
from crawler.page import Page
from crawler.response import Response
from crawler.retry import Policy, judge
from crawler.spiders.pages import Pages
from tests.sites.docs import docs_root

DEEP = 100_000
TEXT = b"<p>Some text, <a href=x>a link</a>, <b>bold</b>, <br>a break and <img src=y>.</p>\n" * 20_000


@pytest.mark.parametrize(
    "body",
    [
        b"<div>" * DEEP,
        b"<html><body>" + b"<DIV>" * DEEP + b"</DIV>" * DEEP,
        b"<ul><li>" * DEEP,
        b"<b>" * DEEP + b"text",
        b"<div class='a b' id=c>\n\t" * DEEP,
        b"<section><p>some more text, and a link: <a href=x>y</a></p>" * DEEP,
        b"<dl><dt>x<dd>" * DEEP,
        b"<x-y>" * DEEP,
        # ends without a beginning count nothing
        b"<div></x>" * DEEP + b"<i>" * 10 * DEEP,
        TEXT + b"<div>" * DEEP + TEXT,
        TEXT * 4 + b"<div><span>" * (DEEP // 2) + b"</span></div>" * (DEEP // 2) + TEXT * 4,
        b"<!-- <div> --><script>'<div>'</script><div>" * DEEP,
        # whole comments (HTML standard 13.2.5.43)
        b"<!--><!--->" + b"<div>" * DEEP,
        b"<div>" * (NESTING_MAX + 1),
    ],
    ids=lambda body: body[:20].decode(),
)
def test_too_deep(body: bytes) -> None:
    assert too_deep(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<div>" * NESTING_MAX,
        b"<div>" * 4_000 + b"</div>" * 4_000 + TEXT,
        b"<div>x</div>" * DEEP,
        TEXT * 10,
        # what ends by itself, or never begins, does not nest
        *(
            tag * DEEP
            for tag in (b"<br>", b"<img src=x>", b"<li>x", b"<P>x", b"<option>x", b"<tr><td>x<td>y", b"<a href=x>y")
        ),
        b"<dl>" + b"<dt>x<dd>y" * DEEP,
        b"<svg>" + b"<path d='M0 0'/>" * DEEP + b"</svg>",
        b"<script>" + b"s += '<div>';\n" * DEEP + b"</script>",
        b"<style>" + b"<div>" * DEEP + b"</style>",
        b"<!--" + b"<div>" * DEEP + b"-->",
        b"<textarea>" + b"<!-- <div>" * DEEP + b"</textarea>",
        b"if a < b and b << c: " * DEEP,
        b"\0" * 1_000_000,
    ],
    ids=lambda body: body[:20].decode(),
)
def test_deep_enough(body: bytes) -> None:
    assert not too_deep(body)


def test_real_pages_are_let_through() -> None:
    pages = sorted(docs_root().rglob("*.html"))
    assert len(pages) > 400
    assert [path for path in pages if too_deep(path.read_bytes())] == []


TAGS = st.sampled_from(
    [b"<div>", b"</div>", b"<b>", b"<!--", b"-->", b"<script>", b"</script>", b"<br/>", b"x", b"<", b"\xff"]
)


@given(st.lists(st.tuples(TAGS, st.integers(1, 4 * NESTING_MAX)), max_size=6), st.integers(0, STRIDE_BYTES))
def test_any_body_is_judged(runs: list[tuple[bytes, int]], before: int) -> None:
    assert too_deep(b" " * before + b"".join(tag * count for tag, count in runs)) in (False, True)


def seen(body: bytes, content_type: str) -> int:
    """Links found on a page."""
    response = Response(url="http://h.example/", status=200, headers={"Content-Type": content_type}, body=body)
    return len(harvest(Pages(), Page(Request(url=response.url), response), Scope(), Limits()).found)


def test_such_a_page_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(SiteError, match="nesting: elements more than 5,000 deep") as raised:
        seen(b"<div>" * DEEP + b"<a href=x>x</a>", "text/html")
    assert isinstance(judge(raised.value, 0, Policy(), 0.0), Bury)


def test_what_is_no_html_may_have_it() -> None:
    assert seen(b"<div>" * DEEP, "text/plain") == 0
    assert seen(b"<div>" * 4_900 + b"<a href=x>x</a>", "text/html") == 1
