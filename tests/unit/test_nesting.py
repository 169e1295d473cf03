"""Pages whose elements stand too deep within each other, told before a parser is lost in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

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


@pytest.mark.parametrize(
    ("before", "again"),
    [
        # a block's end ends what is open in it, and styles alike begin again three times at most
        ("", "<p><font size=2>some text\n"),
        ("", "<p><b>some text</p>"),
        ("<ul>", "<li><b>some text"),
        ("<ul>", "<li><span>some text</li>"),
        ("", "<div><b><i>some text</div>"),
        ("", "<div><p><span class=x>some text</div>"),
        ("<dl>", "<dt><em>x<dd><font color=red>y"),
        ("", "<svg><path d=x></svg>"),
        # a cell's end too, and no style begins again behind it
        ("<table>", "<tr><td><font size=2>x<td><div>y"),
        ("<table>", "<tr><td><center><b>x</td></tr>"),
        ("<table><tr><td>", "<table><tr><td><span>x</table>"),
        # neither stands in itself
        ("<table>", "<table>"),
        ("", "<form><input name=x>"),
        ("", "<select><option>x"),
        # void, though no element of today
        ("", "<basefont size=2><bgsound src=x>text"),
    ],
)
def test_what_parsers_end_does_not_nest(before: str, again: str) -> None:
    body = "<!DOCTYPE html><body>" + before + again * 3 * NESTING_MAX
    assert not too_deep(body.encode())
    assert parsed_depth(body) < 20


@pytest.mark.parametrize(
    "again",
    [
        "<b><i>x</b>",
        "<span><div>x</span>",
        "<td><div>x</td>",
        "<ul><li><b>x</b>",
        "<table><tr><td><font>x",
        "<blockquote><p><b>x</p>",
    ],
)
def test_what_parsers_leave_open_nests(again: str) -> None:
    assert parsed_depth("<!DOCTYPE html><body>" + again * 100) > 100
    assert too_deep(b"<!DOCTYPE html><body>" + again.encode() * 2 * NESTING_MAX)


def test_styles_that_begin_again_without_end_are_too_many() -> None:
    assert too_deep("".join(f"<p><font size={n}>x" for n in range(2_000)).encode())


def parsed_depth(body: str) -> int:
    """Levels that the parser of the HTML standard makes."""
    node = LexborHTMLParser(body).root
    deepest = level = 1
    while node is not None and level:
        if node.first_child is not None:
            node, level = node.first_child, level + 1
            deepest = max(deepest, level)
            continue
        while level and node is not None and node.next is None:
            node, level = node.parent, level - 1
        node = node.next if node is not None and level else None
    return deepest


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
