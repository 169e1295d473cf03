"""Sitemaps and feeds: what the standards have, and what the web has instead."""

from __future__ import annotations

import gzip
import io
from time import process_time
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.error import SiteError
from crawler.model import Request
from crawler.scope import Scope
from crawler.seed_sitemap import Refusal, Taking, marked
from crawler.seed_sources import is_list, requests
from crawler.sitemap import Location, Locations
from crawler.tables_web import SitemapsTable

A, B = "<url><loc>http://a/</loc></url>", "<url><loc>http://b/</loc></url>"
INDEX = "<sitemapindex><sitemap><loc>{}</loc></sitemap></sitemapindex>"
NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:i="http://www.google.com/schemas/sitemap-image/1.1"'


def read(text: str | bytes, size: int = 10_000) -> list[Location]:
    data = text.encode() if isinstance(text, str) else text
    return list(Locations().read(data[at : at + size] for at in range(0, len(data), size)))


def places(text: str | bytes) -> list[tuple[str, str]]:
    return [(one.url, one.lastmod) for one in read(text) if not one.problem]


def problems(text: str | bytes) -> list[str]:
    return [one.problem for one in read(text) if one.problem]


GOOD: dict[str, list[str]] = {
    # sitemaps.org 0.9; what comes after a blank is the time
    f"<urlset {NS}><url><loc> http://a/ </loc><lastmod>2026-01-02</lastmod></url></urlset>": ["http://a/ 2026-01-02"],
    "<urlset><url><lastmod>x</lastmod><loc>http://a/?b&amp;c&#38;d&#x26;e</loc></url></urlset>": [
        "http://a/?b&c&d&e x"
    ],
    "<urlset><url><loc><![CDATA[http://a/?b&c&amp;d]]></loc></url></urlset>": ["http://a/?b&c&amp;d"],
    '<s:urlset xmlns:s="x"><s:url><s:loc>http://a/</s:loc></s:url></s:urlset>': ["http://a/"],
    f"<urlset {NS}><url><i:image><i:loc>http://i/</i:loc></i:image><loc>http://a/</loc></url></urlset>": ["http://a/"],
    f"<urlset {NS}><url><loc>http://a/</loc><video:loc>http://v/</video:loc></url></urlset>": ["http://a/"],
    "<URLSET><URL><LOC>http://a/</LOC></URL></URLSET>": ["http://a/"],
    f"<urlset><!-- {B} -->{A}</urlset>": ["http://a/"],
    f"<urlset><url><loc></loc></url><url/>{A}</urlset>": ["http://a/"],
    # RSS 2.0, RSS 1.0, Atom (RFC 4287)
    "<rss><channel><link>http://a/</link><item><guid>g</guid><link>http://a/1</link><pubDate>Sat</pubDate></item>"
    "</channel></rss>": ["http://a/1 Sat"],
    '<rdf:RDF xmlns="r"><item><link>http://a/1</link><dc:date>2026</dc:date></item></rdf:RDF>': ["http://a/1 2026"],
    '<feed><link href="http://a/"/><entry><link rel="self" href="s"/><link rel="alternate" href=\'http://a/1\'/>'
    "<updated>2026</updated></entry><entry><link href='http://a/2?x&amp;y'/></entry></feed>": [
        "http://a/1 2026",
        "http://a/2?x&y",
    ],
    # broken ones, as far as they go
    "<urlset><url><loc>http://a/?b&c=1</loc></url></urlset>": ["http://a/?b&c=1"],
    "<urlset><url><loc>http://a/</loc><url><loc>http://b/</loc>": ["http://a/", "http://b/"],
    f"<urlset><url><loc>http://a/</loc></x></urlset>{B}": ["http://a/", "http://b/"],
    f"\n \n<?xml version='1.0'?><urlset>{A}</urlset>": ["http://a/"],
    f"junk <urlset>{A}</urlset>": ["http://a/"],
    "<urlset><url><loc>http://a/&nbsp;&unknown;</loc></url></urlset>": ["http://a/\xa0&unknown;"],
    # no entity is declared, none read from elsewhere
    '<!DOCTYPE u [<!ENTITY e "http://e/"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
    "<urlset><url><loc>&e;&f;</loc></url></urlset>": ["&e;&f;"],
}


@pytest.mark.parametrize("text", GOOD)
def test_places(text: str) -> None:
    assert [f"{url} {lastmod}".rstrip(" ") for url, lastmod in places(text)] == GOOD[text]
    assert [one for one in read(text, 1) if not one.problem] == [one for one in read(text) if not one.problem]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_encodings(encoding: str) -> None:
    text = f"<?xml version='1.0' encoding='{encoding}'?><urlset><url><loc>http://a/\xe9</loc></url></urlset>"
    assert places(text.encode(encoding)) == [("http://a/\xe9", "")]


def test_an_encoding_that_is_none_is_utf_8() -> None:
    for name in ("base64", "klingon", "undefined", "idna"):
        assert places(f"<?xml encoding='{name}'?><urlset><url><loc>http://a/é</loc></url></urlset>") == [
            ("http://a/é", "")
        ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no element"),
        ("http://a/\n", "no element"),
        ("<html><body>404</body></html>", "expected a sitemap or a feed, found <html>"),
        ("<urlset><url>", "cut off: <urlset> has no end"),
        ("<urlset><!-- no end", "cut off: <urlset> has no end"),
    ],
)
def test_problems(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_an_index_leads_to_lists_and_lines_are_told() -> None:
    text = "<sitemapindex>\n<sitemap>\n<loc>http://a/1.xml</loc></sitemap>\n<sitemap><loc>http://a/2.xml</loc></sitemap></sitemapindex>"
    assert read(text) == [Location(2, True, "http://a/1.xml"), Location(4, True, "http://a/2.xml")]


@given(st.text(alphabet="<>/!-[]CDATA&;?' \nurlsetloc=:#x1", max_size=300), st.integers(1, 50))
def test_any_text_is_read_in_any_pieces(text: str, size: int) -> None:
    for start in ("", "<urlset>", "<feed><entry>"):
        assert read(start + text, size) == read(start + text)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    assert all(one.url or one.problem for one in read(data) + read(b"<urlset><url><loc>" + data))


@pytest.mark.parametrize(
    "data",
    [
        b"<" * 3_000_000,
        b"<!--" + b"-" * 5_000_000,
        b"<a " * 1_000_000,
        b"<url><loc>" + b"x" * 20_000_000,
        b"<url><loc>" + b"&a" * 3_000_000,
        b"<![CDATA[" * 300_000,
        (b"<" + b"a" * 99_000) * 30,
        b"<url>" * 1_000_000,
    ],
    ids=lambda data: data[:12].decode(),
)
def test_nothing_takes_long(data: bytes) -> None:
    before = process_time()
    found = read(b"<urlset>" + data, 1 << 18)
    assert len(found) == 1
    assert process_time() - before < 20


PAGES: dict[str, str | bytes] = {
    "http://a.com/robots.txt": "User-agent: *\nSitemap: http://a.com/one\nSitemap: http://b.com/two.gz\n",
    "http://a.com/one": f"<sitemapindex {NS}><sitemap><loc>http://a.com/three</loc></sitemap></sitemapindex>",
    "http://a.com/three": "http://a.com/t1\n\nhttp://a.com/t2\n",
    "http://b.com/two.gz": gzip.compress(
        b"<urlset><url><loc>http://a.com/1</loc><lastmod>2026-01-01</lastmod></url><url><loc>http://b.com/2</loc></url>"
        b"<url><loc>http://c.com/3</loc></url></urlset>"
    ),
    "http://d.com/sitemap.xml": "<urlset><url><loc>http://d.com/1</loc></url></urlset>",
    "http://e.com/robots.txt": "Sitemap: http://e.com/0",
    **{f"http://e.com/{one}": INDEX.format(f"http://e.com/{one + 1}") for one in range(9)},
}


def fetch(url: str) -> BinaryIO:
    url = url.partition("#")[0]
    if url not in PAGES:
        raise SiteError("http_404", status=404)
    page = PAGES[url]
    return io.BytesIO(page.encode() if isinstance(page, str) else page)


def seeds(source: str, **table: int | bool) -> tuple[list[str], list[tuple[str, str]]]:
    taking = Taking(
        chars_max=2_000, sitemaps=SitemapsTable(**table), scope=Scope(hosts=["*.com", "a.com"], exclude=["t2"])
    )
    both = [one for one in requests(marked(source), chars_max=0, fetch=fetch, taking=taking) if one is not None]
    return (
        [one.url for one in both if isinstance(one, Request)],
        [(one.source, one.reason) for one in both if isinstance(one, Refusal)],
    )


def test_a_hosts_robots_txt_names_its_sitemaps() -> None:
    good, bad = seeds("http://a.com")
    assert good == ["http://a.com/t1", "http://a.com/1", "http://b.com/2", "http://c.com/3"]
    assert bad == [("http://a.com/three", "scope")]


def test_without_a_line_there_it_is_where_sitemaps_are() -> None:
    assert seeds("http://d.com/") == (["http://d.com/1"], [])
    assert seeds("http://nobody.com/") == ([], [("http://nobody.com/sitemap.xml", "http_404")])


def test_other_hosts_only_where_robots_txt_vouches_for_them() -> None:
    """sitemaps.org, cross submits: b.com's sitemap may list a.com, whose robots.txt names it, and not c.com."""
    good, bad = seeds("http://a.com", other_hosts=False)
    assert good == ["http://a.com/t1", "http://a.com/1", "http://b.com/2"]
    assert ("http://b.com/two.gz", "other_host") in bad
    assert seeds("http://b.com/two.gz", other_hosts=False)[0] == ["http://b.com/2"]


@pytest.mark.parametrize(
    ("table", "good", "bad"),
    [
        ({"depth_max": 3}, [], [("http://e.com/3", "sitemap")]),
        ({"depth_max": 9, "files_max": 4}, [], [("http://e.com/3", "sitemaps_max")]),
    ],
)
def test_limits_of_indexes(table: dict[str, int], good: list[str], bad: list[tuple[str, str]]) -> None:
    assert seeds("http://e.com", **table) == (good, bad)


def test_limits_of_lists() -> None:
    assert seeds("http://a.com", urls_max=2)[0] == ["http://a.com/t1", "http://a.com/1"]
    assert seeds("http://d.com/sitemap.xml", bytes_max=10) == ([], [("http://d.com/sitemap.xml#sitemap", "too_large")])


def test_lastmod_is_kept() -> None:
    taking = Taking(chars_max=2_000)
    found = list(requests(marked("http://b.com/two.gz"), chars_max=0, fetch=fetch, taking=taking))
    assert [one.meta for one in found if isinstance(one, Request)] == [{"lastmod": "2026-01-01"}, {}, {}]


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("a.com", "https://a.com/robots.txt#sitemap"),
        ("http://a.com:81/", "http://a.com:81/robots.txt#sitemap"),
        ("http://a.com/feed?x#y", "http://a.com/feed?x#sitemap"),
    ],
)
def test_marked(given: str, source: str) -> None:
    assert marked(given) == source
    assert is_list(source)
