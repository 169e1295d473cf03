"""What pages ask of crawlers: robots directives, rel=nofollow, rel=canonical; and which elements are links."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from crawler.harvest import Harvest, Limits, harvest
from crawler.links import Link, LinkRules, header_link, refresh_target, srcset_urls
from crawler.manners import Manners, of_header
from crawler.model import Request
from crawler.page import Page
from crawler.response import Response
from crawler.scope import Scope
from crawler.spider import Spider
from crawler.spiders.pages import Pages

NOW = datetime(2026, 6, 1, tzinfo=UTC)
URL = "http://h.example/a/b"


class ByTree(Pages):
    """Looks at the lxml tree and never at the outline."""

    def parse(self, page: Page):  # type: ignore[no-untyped-def]
        yield page.item("page", title=page.css("title::text").get(""))
        yield from page.follow_all()


class ByHand(Pages):
    """Parses nothing."""

    def parse(self, page: Page):  # type: ignore[no-untyped-def]
        yield page.item("page", size=len(page.body))
        for path in ("1", "2", "3"):
            yield page.follow(f"/{path}")


SPIDERS = [Pages, ByTree, ByHand]
LINKS = '<a href="/1">1</a><a rel="NoFollow x" href="/2">2</a><a href="/3" rel=ugc>3</a><a href="/3">again</a>'


def looked(
    spider: type[Spider], html: str, *headers: tuple[str, str], url: str = URL, manners: Manners | None = None
) -> Harvest:
    response = Response(
        url=url, status=200, headers=CIMultiDict([("Content-Type", "text/html"), *headers]), body=html.encode()
    )
    manners = manners or Manners(agent="crawler")
    return harvest(spider(), Page(Request(url=url), response, manners.links), Scope(), Limits(), manners)


def links(found: Harvest) -> list[str]:
    return [request.url.removeprefix("http://h.example") for request in found.found]


@pytest.mark.parametrize("spider", SPIDERS)
@pytest.mark.parametrize(
    ("head", "headers", "items", "paths"),
    [
        ("", [], 1, ["/1", "/3"]),
        ("<meta name=robots content=all>", [], 1, ["/1", "/3"]),
        ("<meta name=ROBOTS content='NOINDEX, max-snippet:3'>", [], 0, ["/1", "/3"]),
        ("<meta name=robots content=nofollow>", [], 1, []),
        ("<meta content='none' name='crawler'>", [], 0, []),
        ("<meta name=otherbot content=none>", [], 1, ["/1", "/3"]),
        ("</head><body><meta name=robots content=noindex>", [], 0, ["/1", "/3"]),
        ("", ["noindex"], 0, ["/1", "/3"]),
        ("", ["otherbot: none", "Crawler: nofollow"], 1, []),
        ("", ["otherbot: noindex, nofollow"], 1, ["/1", "/3"]),
        ("", ["otherbot: noindex, crawler: nofollow"], 1, []),
        ("", ["unavailable_after: 25 Jun 2010 15:00:00 GMT"], 0, ["/1", "/3"]),
        ("", ["unavailable_after: 2099-01-01"], 1, ["/1", "/3"]),
        ("<meta name=robots content='nofollow'>", ["noindex"], 0, []),
    ],
)
def test_directives(spider: type[Spider], head: str, headers: list[str], items: int, paths: list[str]) -> None:
    html = f"<html><head><title>t</title>{head}</head><body>{LINKS}</body></html>"
    found = looked(spider, html, *[("X-Robots-Tag", value) for value in headers])
    assert (found.items, len(found.messages), found.noindex) == (items, items, items == 0)
    assert links(found) == paths
    assert found.skipped.get("noindex", 0) == 1 - items
    assert found.skipped.get("nofollow", 0) == 3 - len(paths)


@pytest.mark.parametrize("spider", SPIDERS)
def test_nothing_is_honoured_that_is_switched_off(spider: type[Spider]) -> None:
    off = Manners(noindex=False, nofollow=False, links=LinkRules(unfollowed=()))
    found = looked(spider, f"<meta name=robots content=none>{LINKS}", ("X-Robots-Tag", "none"), manners=off)
    assert (found.items, links(found)) == (1, ["/1", "/2", "/3"])


@pytest.mark.parametrize(
    ("value", "directives"),
    [
        ("unavailable_after: Friday, 25-Jun-10 15:00:00 GMT, nofollow", {"noindex", "nofollow"}),
        ("unavailable_after: never", set()),
        ("bot: max-snippet:5, noindex", {"noindex"}),
        ("x: none, bot: all, x: none", set()),
        ("NONE", {"noindex", "nofollow"}),
        (",,:,", set()),
        ("noindexed", set()),
    ],
)
def test_header(value: str, directives: set[str]) -> None:
    assert of_header(value, "bot", NOW) == directives


@given(st.text(max_size=200))
def test_any_header_can_be_read(value: str) -> None:
    assert of_header(value, "bot", NOW) <= {"noindex", "nofollow"}
    assert of_header(f"unavailable_after: {value}", "bot", NOW) <= {"noindex", "nofollow"}
    assert header_link(value, "canonical") is None or "<" in value
    assert isinstance(refresh_target(value), str)
    assert isinstance(srcset_urls(value), list)


@pytest.mark.parametrize("spider", SPIDERS)
@pytest.mark.parametrize("by_header", [True, False])
def test_a_page_and_the_one_that_it_says_to_be_are_one(spider: type[Spider], by_header: bool) -> None:
    link = [("Link", '</x>; rel="next", </a/c>; rel="canonical"')] if by_header else []
    html = "<title>t</title>" if by_header else "<title>t</title><link rel=canonical href=/a/c>"
    alias = looked(spider, html, *link, url="http://h.example/a/c?from=mail")
    itself = looked(spider, html, *link, url="http://h.example/a/c")
    assert alias.same_as == "http://h.example/a/c"
    assert "/a/c" in links(alias)
    assert itself.same_as == ""
    assert [message.id for message in alias.messages] == [message.id for message in itself.messages]
    assert [message.url for message in alias.messages] == ["http://h.example/a/c"]
    told = looked(spider, html, *link, url="http://h.example/a/c?x", manners=Manners(canonical="report"))
    assert told.same_as == "http://h.example/a/c"
    assert told.messages[0].id != itself.messages[0].id
    silent = looked(spider, html, *link, url="http://h.example/a/c?x", manners=Manners(canonical="ignore"))
    assert (silent.same_as, "/a/c" in links(silent)) == ("", False)


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("http://h.example/a", "http://other.example/a"),
        ("http://h.example/a", "/"),
        ("http://h.example/list?page=2", "/list"),
        ("http://h.example/list/page/2", "/list"),
        ("http://h.example/a", "mailto:a@h.example"),
        ("http://h.example/a", ""),
        ("http://h.example/a", "#top"),
    ],
)
def test_what_is_not_believed(url: str, canonical: str) -> None:
    found = looked(Pages, f'<link rel=canonical href="{canonical}">', url=url)
    assert found.same_as == ""


PAGE = """<head><link rel=next href=n1><link rel="alternate prev" href=p1><link rel=stylesheet href=s.css>
<meta http-equiv=Refresh content="5; URL='r1'"><noscript><link rel=next href=n2></noscript></head><body>
<!-- <a href=comment> --><script>"<a href=script>"</script>
<template><a href=template>t</a><iframe src=no></iframe></template>
<a href=a1>One <b>link</b></a><noscript><a href=a2>two</a></noscript><iframe src=f1></iframe>
<map><area href=a3 alt=three></map>
<a href=a4><img src=i1 srcset="i2 1x, i3 2x" alt=four></a><video src=v1 poster=v2></video></body>"""


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (LinkRules(), "n1 p1 r1 n2 a1 a2 f1 a3 a4"),
        (LinkRules(frames=False, refresh=False, rels=()), "a1 a2 a3 a4"),
        (LinkRules(rels=("alternate",), refresh=False), "p1 a1 a2 f1 a3 a4"),
        (LinkRules(media=True, rels=(), refresh=False), "a1 a2 f1 a3 a4 i1 i2 i3 v1 v2"),
    ],
)
def test_elements_that_are_links(rules: LinkRules, expected: str) -> None:
    response = Response(url=URL, status=200, headers={"Content-Type": "text/html"}, body=PAGE.encode())
    by_tree, by_outline = Page(Request(url=URL), response, rules), Page(Request(url=URL), response, rules)
    assert by_outline.outline.text is not None
    urls = [f"http://h.example/a/{name}" for name in expected.split()]
    assert list(by_outline.links()) == urls
    assert list(by_tree.links()) == urls


def test_anchors_tell_text_and_rel() -> None:
    html = '<a href="x" rel="Next  nofollow"> to <i>x</i></a><a href=mailto:a@b>m</a>'
    html += "<a href=y><img alt=pic></a><a href=x>x</a>"
    response = Response(url=URL, status=200, headers={"Content-Type": "text/html"}, body=html.encode())
    assert list(Page(Request(url=URL), response).anchors()) == [
        Link(url="http://h.example/a/x", text="to x", rel=("next", "nofollow")),
        Link(url="http://h.example/a/y", text="pic"),
        Link(url="http://h.example/a/x", text="x"),
    ]


def test_frames() -> None:
    html = "<frameset><frame src=one><frame src=two></frameset>"
    response = Response(url=URL, status=200, headers={"Content-Type": "text/html"}, body=html.encode())
    page, other = Page(Request(url=URL), response), Page(Request(url=URL), response)
    assert page.outline.hrefs == ("one", "two")
    assert page.links() == other.links() == ("http://h.example/a/one", "http://h.example/a/two")


@pytest.mark.parametrize(
    ("content", "target"),
    [
        ("5; url=x", "x"),
        ("0;URL='a b'", "a b"),
        ('0; url="x', "x"),
        ("0, x", "x"),
        ("0.5 url = x", "x"),
        ("5", ""),
        ("url=x", ""),
        ("", ""),
    ],
)
def test_refresh(content: str, target: str) -> None:
    assert refresh_target(content) == target


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("a 1x, b 2x", ["a", "b"]),
        ("a, b 2x,c", ["a", "b", "c"]),
        ("a 100w 50h , b", ["a", "b"]),
        ("a calc(1, 2), b", ["a", "b"]),
        ("data:,x 1x", ["data:,x"]),
        (" ,, ", []),
    ],
)
def test_srcset(text: str, urls: list[str]) -> None:
    assert srcset_urls(text) == urls
