"""The spiders that ship: every field of `page`, and sitemaps."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from crawler.harvest import Harvest, Limits, harvest
from crawler.model import Request
from crawler.page import Page
from crawler.response import Response, charset_of
from crawler.scope import Scope
from crawler.spider import Spider
from crawler.spiders.pages import Pages
from crawler.spiders.sitemap import Sitemap

URL = "http://h.example/a/b"


def harvested(spider: Spider, body: bytes | str, content_type: str = "text/html", url: str = URL) -> Harvest:
    data = body.encode() if isinstance(body, str) else body
    response = Response(
        url=url, status=200, headers={"Content-Type": content_type}, body=data, charset=charset_of(content_type)
    )
    return harvest(spider, Page(Request(url=url, depth=1), response), Scope(), Limits())


def item(body: bytes | str, content_type: str = "text/html") -> dict[str, Any]:
    (message,) = harvested(Pages(), body, content_type).messages
    (record,) = message.records
    assert message.kind == "page"
    return record.fields()


ARTICLE = """<!DOCTYPE html><html lang="en-GB"><head><meta charset=utf-8>
<title>
  An article &amp; more </title><meta name="Description" content=" What  it is about ">
<link rel="stylesheet" href="s.css"><link rel="Canonical" href="/canonical#x">
<style>p { color: red }</style><script>var x = "<p>not text</p>";</script></head>
<body><svg><title>icon</title></svg><h1>The <em>first</em>
heading</h1>
<p>Some&nbsp;text with <b>bo</b>ld<i>.</i></p>
<p>More
   text</p>
<script>more()</script><noscript>switch it on</noscript><style>b {}</style><template><p>later</p></template>
<h1>The second</h1> <a href="c">See</a> <a href="c#d">also</a> <a href="//other.example/">there</a>
</body></html>"""


def test_every_field() -> None:
    assert item(ARTICLE) == {
        "title": "An article & more",
        "h1": "The first heading",
        "description": "What it is about",
        "language": "en-GB",
        "canonical": "http://h.example/canonical",
        "text": "The first heading Some text with bold. More text The second See also there",
        "status": 200,
        "depth": 1,
        "bytes": len(ARTICLE.encode()),
        "links": 2,
    }


def test_links_in_scope_are_followed() -> None:
    found = harvested(Pages(), ARTICLE)
    assert [(request.url, request.depth, request.to) for request in found.found] == [
        ("http://h.example/a/c", 2, "parse"),
        ("http://h.example/canonical", 2, "parse"),
    ]
    assert found.skipped == {"scope": 1}


def test_blocks_without_white_space_do_not_run_together() -> None:
    text = item(
        "<table><tr><td>one</td><td>two</td></tr></table><ul><li>three</li><li>four</li></ul><p>five</p><p>six</p>"
    )["text"]
    assert text == "one two three four five six"


@pytest.mark.parametrize("body", [b"", b"  ", b"<!-- -->", b"\0", b"<html>", b"<frameset>"])
def test_a_page_with_nothing_has_empty_fields(body: bytes) -> None:
    fields = item(body)
    assert {fields[name] for name in ("title", "h1", "description", "language", "canonical")} == {""}
    assert (fields["status"], fields["bytes"], fields["links"]) == (200, len(body), 0)


def test_other_encodings() -> None:
    assert item("<title>Привет</title>".encode("koi8-r"), "text/html; charset=koi8-r")["title"] == "Привет"


def test_plain_text_and_xml_are_pages_without_links() -> None:
    assert item("a\n  <a href=x>b", "text/plain")["text"] == "a <a href=x>b"
    assert item("<feed><title>x</title></feed>", "application/xml")["links"] == 0


INDEX = """<?xml version="1.0" encoding="UTF-8"?><sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
<sitemap><loc>http://h.example/s1.xml</loc><lastmod>2026-01-01</lastmod></sitemap>
<sitemap><loc> http://h.example/s2.xml.gz
</loc></sitemap></sitemapindex>"""

URLSET = """<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"
xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
<url><loc>http://h.example/1?a=1&amp;b=2</loc><image:image><image:loc>http://h.example/i.png</image:loc></image:image></url>
<url><loc>http://other.example/</loc></url><url><loc></loc></url><url/></urlset>"""


def test_a_sitemap_index_leads_to_sitemaps() -> None:
    found = harvested(Sitemap(), INDEX, "application/xml")
    assert [request.url for request in found.found] == ["http://h.example/s1.xml", "http://h.example/s2.xml.gz"]
    assert found.items == 0


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (URLSET.encode(), "text/xml"),
        (URLSET.replace(' xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"', "").encode(), "text/xml"),
        (gzip.compress(URLSET.encode(), mtime=0), "application/gzip"),
        (gzip.compress(URLSET.encode(), mtime=0), "application/xml"),
        (b"http://h.example/1?a=1&b=2\nhttp://other.example/\n", "text/plain"),
    ],
)
def test_a_sitemap_leads_to_its_pages(body: bytes, content_type: str) -> None:
    found = harvested(Sitemap(), body, content_type)
    assert [request.url for request in found.found] == ["http://h.example/1?a=1&b=2"]
    assert found.skipped == {"scope": 1}
    assert found.items == 0


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<title>x</title><a href=y>y</a>", "text/html"),
        (b"<feed/>", "application/xml"),
        (b"", "text/plain"),
        (b"words", "text/plain"),
        (b"\x1f\x8b broken", "application/gzip"),
        (gzip.compress(b"<urlset>", mtime=0), "application/gzip"),
    ],
)
def test_anything_else_is_a_page_whose_links_are_not_followed(body: bytes, content_type: str) -> None:
    found = harvested(Sitemap(), body, content_type)
    assert found.found == ()
    assert found.items <= 1
