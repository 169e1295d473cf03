"""Pages: every kind of body can be looked at, and links mean what a browser would make of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.model import Item, Request
from crawler.page import Page
from crawler.response import Response, charset_of

URL = "http://h.example/a/b"


def page(body: bytes | str = b"", content_type: str = "text/html", *, url: str = URL, depth: int = 0) -> Page:
    data = body.encode() if isinstance(body, str) else body
    headers = {"Content-Type": content_type} if content_type else {}
    response = Response(url=url, status=200, headers=headers, body=data, charset=charset_of(content_type))
    return Page(Request(url=url, depth=depth), response)


SHOP = """<!doctype html><html lang=en><head><title> A  shop </title></head><body>
<h1>All</h1><nav><a href="/">Home</a> <a href="?page=2#top">next</a></nav>
<ul><li class=p><a href="x">X</a><a href="./x#reviews">reviews</a><li class=p><a href="../y?q=1">Y</a></ul>
<map><area href="z"></map><a name=top>no link</a><a href="mailto:a@h.example">mail</a><a href="http://[">bad</a>
<a href="">self</a><a href="#x">self</a><a href="//other.example/ä">other</a><img src="i.png"></body></html>"""


def test_links_are_distinct_and_in_order() -> None:
    assert page(SHOP).links() == (
        "http://h.example/",
        "http://h.example/a/b?page=2",
        "http://h.example/a/x",
        "http://h.example/y?q=1",
        "http://h.example/a/z",
        "http://h.example/a/b",
        "http://other.example/%C3%A4",
    )


def test_links_are_the_same_after_either_parse() -> None:
    by_tree, by_outline = page(SHOP), page(SHOP)
    assert by_tree.root is not None
    assert by_outline.outline.title == "A shop"
    assert by_tree.links() == by_outline.links()
    assert len(by_tree.links()) == 7


@pytest.mark.parametrize(
    ("css", "urls"),
    [
        ("li.p a", ("http://h.example/a/x", "http://h.example/y?q=1")),
        ("li.p", ("http://h.example/a/x", "http://h.example/y?q=1")),
        ("nav a::attr(href)", ("http://h.example/", "http://h.example/a/b?page=2")),
        ("img", ("http://h.example/a/i.png",)),
        ("h1", ()),
        ("video", ()),
    ],
)
def test_links_by_selector(css: str, urls: tuple[str, ...]) -> None:
    assert page(SHOP).links(css) == urls
    assert tuple(request.url for request in page(SHOP).follow_all(css)) == urls


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ('<base href="/deep/er/">', "http://h.example/deep/er/x"),
        ('<base target=_top><base href="http://other.example/d/f">', "http://other.example/d/x"),
        ('<base href="/one/"><base href="/two/">', "http://h.example/one/x"),
        ('<base href="javascript:void(0)">', "http://h.example/a/x"),
        ('<base href="http://[">', "http://h.example/a/x"),
        ("", "http://h.example/a/x"),
    ],
)
def test_base(head: str, expected: str) -> None:
    html = f"<html><head>{head}</head><body><a href=x>x</a></body></html>"
    assert page(html).links() == (expected,)
    with_outline = page(html)
    assert with_outline.outline.hrefs == ("x",)
    assert with_outline.links() == (expected,)


def test_follow() -> None:
    shop = page(SHOP, depth=3)
    assert shop.follow("../up") == Request(url="http://h.example/up", depth=4)
    assert shop.follow(shop.css("nav a")).url == "http://h.example/"
    assert shop.follow(shop.css("nav a")[1]).url == "http://h.example/a/b?page=2"
    assert shop.follow(shop.xpath("//li/a/@href")[1]).url == "http://h.example/a/x"
    post = shop.follow("x", "detail", priority=2, meta={"a": 1}, method="POST", body=b"q", headers=[("X", "y")])
    assert post == Request(
        url="http://h.example/a/x",
        to="detail",
        depth=4,
        priority=2,
        meta={"a": 1},
        method="POST",
        body=b"q",
        headers=(("X", "y"),),
    )
    assert shop.follow("mailto:a@h.example").url == "mailto:a@h.example"


@pytest.mark.parametrize("css", ["video", "h1"])
def test_following_nothing_says_so(css: str) -> None:
    shop = page(SHOP)
    with pytest.raises(TypeError, match="no link was selected"):
        shop.follow(shop.css(css))


def test_an_item_may_have_any_field() -> None:
    assert page().item("x", kind="y", key="z", self=1) == Item("x", {"kind": "y", "key": "z", "self": 1})
    assert page().item("x", "4711", name="n") == Item("x", {"name": "n"}, "4711")


def test_selecting() -> None:
    shop = page(SHOP)
    assert shop.css("title::text").get() == " A  shop "
    assert shop.xpath("count(//li[@class=$kind])", kind="p").get() == "2.0"
    assert shop.css("li.p a::attr(href)").getall() == ["x", "./x#reviews", "../y?q=1"]
    assert shop.selector is shop.selector
    assert shop.root is shop.root


FEED = '<?xml version="1.0" encoding="iso-8859-1"?><feed xmlns="urn:x"><entry>caf\xe9</entry></feed>'


@pytest.mark.parametrize(
    "content_type", ["application/xml", "text/xml; charset=iso-8859-1", "application/atom+xml", ""]
)
def test_xml(content_type: str) -> None:
    feed = page(FEED.encode("latin-1"), content_type)
    assert feed.kind == "xml"
    assert feed.xpath("//*[local-name()='entry']/text()").get() == "café"


def test_entities_do_not_blow_up_and_no_file_is_read() -> None:
    levels = "".join(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, 12))
    bomb = f'<!DOCTYPE x [<!ENTITY e0 "ha">{levels}<!ENTITY f SYSTEM "file:///etc/passwd">]><x>&e11;&f;</x>'
    text = page(bomb, "text/xml").xpath("string(/)").get() or ""
    assert len(text) < 1_000_000
    assert "root:" not in text


@pytest.mark.parametrize(
    ("body", "content_type", "kind"),
    [
        (b"<p>x", "", "html"),
        (b"  <!doctype html>", "", "html"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><html/>", "", "html"),
        (b"hello", "", "text"),
        (b"", "", "text"),
        (b"<p>x", "text/plain", "text"),
        (b"{}", "application/json", "text"),
        (b"<p>x", "application/xhtml+xml; charset=utf-8", "html"),
        (b"<p>x", "TEXT/HTML", "html"),
    ],
)
def test_kind(body: bytes, content_type: str, kind: str) -> None:
    assert page(body, content_type).kind == kind


def test_json() -> None:
    assert page('{"a":[1,"é"]}', "application/json").json() == {"a": [1, "é"]}
    with pytest.raises(ValueError, match="not JSON"):
        page("<p>", "application/json").json()


@pytest.mark.parametrize(
    ("body", "header"),
    [
        ("<p>Ж</p>".encode("koi8-r"), "text/html; charset=koi8-r"),
        ('<meta charset="windows-1251"><p>Ж</p>'.encode("cp1251"), "text/html"),
        ("<p>Ж</p>".encode("utf-16"), "text/html"),
        ("<p>Ж</p>".encode("utf-16-be"), "text/html; charset=utf-16be"),
        ("<p>Ж</p>".encode("utf-8-sig"), "text/html"),
        ("<p>Ж</p>".encode(), "text/html"),
        (b"<p>\xd0\x96</p><i>\xff</i>", "text/html; charset=utf-8"),
    ],
)
def test_both_parsers_see_the_decoded_text(body: bytes, header: str) -> None:
    assert page(body, header).css("p::text").get() == "Ж"
    assert page(body, header).outline.text.startswith("Ж")


@pytest.mark.parametrize(
    ("html", "hrefs"),
    [
        ("<svg><a xlink:href=x><text>t</text></a></svg><a href=y>", ("y",)),
        ("<svg><a xlink:href=x rel=nofollow>t</a></svg><a href=y rel=nofollow>", ("y",)),
        ("<svg><a href=x xlink:href=z>t</a></svg><a href=y>", ("x", "y")),
        ("<svg><a xlink:href=x>t</a></svg><iframe src=w></iframe><a href=y>", ("w", "y")),
    ],
)
def test_links_within_drawings(html: str, hrefs: tuple[str, ...]) -> None:
    """`xlink:href` is another attribute than `href`, for either parse."""
    by_tree, by_outline = page(html), page(html)
    assert by_outline.outline.hrefs == hrefs
    assert by_tree.root is not None
    assert by_tree.links() == by_outline.links()
    assert by_tree.unfollowed() == by_outline.unfollowed()


@pytest.mark.parametrize("more", ["", "<iframe src=z></iframe>"])
def test_a_rel_counts_in_maps_too(more: str) -> None:
    html = f"<map><area href=x><area href=x rel=nofollow><area href=y rel=nofollow><area href=w rel=me>{more}</map>"
    by_tree, by_outline = page(html), page(html)
    assert by_outline.outline.hrefs[:4] == ("x", "x", "y", "w")
    assert by_outline.outline.unfollowed == ("y",)
    assert by_tree.root is not None
    assert by_tree.unfollowed() == by_outline.unfollowed()


NASTY = {
    "empty": b"",
    "white space": b" \n ",
    "a comment": b"<!-- x -->",
    "NUL bytes": b"<p>a\0b<a href='x\0y'>c</a>\0",
    "every byte": bytes(range(256)) * 40,
    "a huge attribute": b"<a title='" + b"x" * 12_000_000 + b"' href=end>t</a>",
    "a huge text": b"<p>" + b"y" * 12_000_000 + b"<a href=end>",
    "deep nesting": b"<div>" * 5_000 + b"<a href=end>",
    "many elements": b"<a href=end>x</a>" * 50_000,
    "many attributes": b"<a " + b" ".join(b"a%d=1" % number for number in range(20_000)) + b" href=end>x",
    "an open tag": b"<a href='",
    "an XML declaration": b"<?xml version='1.0' encoding='utf-16'?><html><a href=end>x</a>",
    "frames": b"<frameset><frame src=end></frameset>",
    "a processing instruction": b"<?php echo 1 ?><a href=end>",
    "surrogates": "<a href=end>\ud800</a>".encode("utf-16-le", "surrogatepass"),
}


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("content_type", ["text/html", "text/xml", "text/plain", "text/html; charset=utf-16le"])
def test_no_body_makes_looking_raise(name: str, content_type: str) -> None:
    looked = page(NASTY[name], content_type)
    assert isinstance(looked.links(), tuple)
    assert isinstance(looked.css("a::text").getall(), list)
    assert isinstance(looked.links("p"), tuple)
    assert isinstance(looked.text, str)
    assert isinstance(page(NASTY[name], content_type).outline.text, str)


@pytest.mark.parametrize("name", ["a huge attribute", "a huge text", "many elements", "many attributes"])
def test_what_is_large_is_still_read(name: str) -> None:
    assert page(NASTY[name]).links() == ("http://h.example/a/end",)


@given(st.text(alphabet="<>/='\"&;!-a hrefbs\0\n", max_size=80))
def test_markup_of_any_kind(html: str) -> None:
    looked = page(html)
    assert all(url.startswith("http") for url in looked.links())
    assert isinstance(page(html).outline.text, str)
