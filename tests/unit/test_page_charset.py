"""Queries of links in the encoding of their page, as browsers send them (URL standard 1.3 and 4.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.charset import decode, query_in
from crawler.model import Request
from crawler.page import Page
from crawler.response import Response, charset_of
from crawler.spiders.pages import page_item

URL = "http://h.example/a/b"


def page(body: str, codec: str, content_type: str) -> Page:
    headers = {"Content-Type": content_type}
    response = Response(url=URL, status=200, headers=headers, body=body.encode(codec), charset=charset_of(content_type))
    return Page(Request(url=URL), response)


@pytest.mark.parametrize(
    ("encoding", "href", "written"),
    [
        ("windows-1252", "/café?q=café", "/café?q=caf%E9"),
        ("windows-1252", "?q=€", "?q=%80"),
        # the query ends at the fragment, and begins at the first question mark
        ("windows-1252", "é?é?é#é", "é?%E9?%E9#é"),
        ("windows-1252", "é#?é", "é#?é"),
        ("windows-1252", "/café", "/café"),
        ("windows-1252", "?q=a b%20'c'", "?q=a b%20'c'"),
        # what cannot be encoded is a character reference, percent-encoded
        ("windows-1252", "?q=日&x=‽", "?q=%26%2326085%3B&x=%26%238253%3B"),
        ("shift_jis", "?‽", "?%26%238253%3B"),
        # an ASCII byte of a character stays as it is, unless a query may not have it
        ("shift_jis", "?≡", "?%81%DF"),
        ("shift_jis", "?表", "?%95\\"),
        ("shift_jis", "?¥‾", "?\\~"),
        ("shift_jis", "?①\uff5e", "?%87@%81`"),
        ("iso-2022-jp", "?¥", "?%1B(J\\%1B(B"),
        ("iso-2022-jp", "?あ", "?%1B$B$%22%1B(B"),
        ("iso-2022-jp", "?あ‽い", "?%1B$B$%22%1B(B%26%238253%3B%1B$B$$%1B(B"),
        ("gbk", "?中€", "?%D6%D0%80"),
        ("gbk", "?😀", "?%26%23128512%3B"),
        ("gb18030", "?中€😀", "?%D6%D0%A2%E3%949%FC6"),
        ("big5", "?中€", "?%A4%A4%A3%E1"),
        ("euc-jp", "?日", "?%C6%FC"),
        ("euc-kr", "?똠", "?%8Cc"),
        ("koi8-r", "?я", "?%D1"),
        ("x-user-defined", "?\uf780é", "?%80%26%23233%3B"),
        # "get an output encoding": these are for reading only
        ("utf-8", "?é", "?é"),
        ("utf-16le", "?é", "?é"),
        ("utf-16be", "?é", "?é"),
        ("replacement", "?é", "?é"),
        # tabs, line breaks and spaces around go before anything is encoded
        ("windows-1252", " \n?q=é\t=\r\nb ", "?q=%E9=b"),
        ("windows-1252", "?é #x", "?%E9%20#x"),
        ("windows-1252", "?\ud800é", "?%26%2365533%3B%E9"),
    ],
)
def test_what_stands_in_a_query(encoding: str, href: str, written: str) -> None:
    assert query_in(href, encoding) == written


LEGACY = st.sampled_from(
    ["windows-1252", "windows-1251", "shift_jis", "euc-jp", "gbk", "big5", "euc-kr", "iso-2022-jp"]
)


@given(LEGACY, st.text(max_size=20), st.text(max_size=20))
def test_only_the_query_changes_and_it_becomes_ascii(encoding: str, path: str, query: str) -> None:
    path = "".join(char for char in path if char > " " and char not in "?#")
    before, mark, after = query_in(f"x{path}?{query}é#ä", encoding).partition("?")
    assert (before, mark) == (f"x{path}", "?")
    assert after.partition("#")[0].isascii()


@pytest.mark.parametrize(
    "encoding", ["windows-1250", "windows-1251", "windows-1252", "windows-1257", "koi8-r", "macintosh"]
)
def test_every_byte_comes_back_as_itself(encoding: str) -> None:
    for byte in range(0x80, 0x100):
        text = decode(bytes([byte]), encoding)[0]
        assert text == "\ufffd" or text < "\xa0" or query_in(f"?{text}", encoding) == f"?%{byte:02X}"


RUSSIAN = "http://h.example/%D1%8F?q=%FF"


@pytest.mark.parametrize("content_type", ["text/html; charset=windows-1251", "application/xhtml+xml; charset=cp1251"])
@pytest.mark.parametrize("looked", ["root", "outline"])
def test_all_addresses_of_a_page_are_joined_so(content_type: str, looked: str) -> None:
    html = (
        "<html><head><base href='/?Я'/><link rel='canonical' href='/я?q=я'/>"
        "<meta http-equiv='refresh' content='5; url=/refresh?я'/><link rel='next' href='/next?я'/></head>"
        "<body><a href='/я?q=я'>я</a><a href='' rel='nofollow'>self</a></body></html>"
    )
    russian = page(html, "cp1251", content_type)
    assert getattr(russian, looked) is not None
    assert set(russian.links()) == {
        "http://h.example/refresh?%FF",
        "http://h.example/next?%FF",
        RUSSIAN,
        "http://h.example/?%DF",
    }
    assert russian.base == "http://h.example/?%DF"
    assert russian.unfollowed() == {"http://h.example/?%DF"}
    assert russian.canonical() == RUSSIAN
    assert next(link.url for link in russian.anchors() if link.text == "я") == RUSSIAN
    assert russian.links("a")[0] == RUSSIAN
    assert russian.follow(russian.css("a")).url == RUSSIAN
    assert russian.follow("/я?q=я").url == RUSSIAN
    assert russian.join("/я?q=я") == RUSSIAN
    assert russian.join("mailto:я") is None
    if looked == "outline":
        assert page_item(russian).data["canonical"] == RUSSIAN


def test_what_one_page_means_is_not_remembered_for_another() -> None:
    html = "<a href='/x?я'>x</a>"
    links = [page(html, codec, f"text/html; charset={codec}").links() for codec in ("cp1251", "utf-8", "koi8-r")]
    assert links == [("http://h.example/x?%FF",), ("http://h.example/x?%D1%8F",), ("http://h.example/x?%D1",)]


@pytest.mark.parametrize(
    ("body", "content_type", "query"),
    [
        # A page that declares nothing and is all ASCII is in windows-1252, for browsers too.
        ("<a href='?&eacute;'>", "text/html", "%E9"),
        ("<a href='?&eacute;'>", "text/html; charset=us-ascii", "%E9"),
        ("<a href='?é'>", "text/html", "%C3%A9"),
        # Feeds and sitemaps have IRIs (RFC 3987), and what a program makes of other texts is its own.
        ("<x><a href='?&#233;'/></x>", "text/xml", "%C3%A9"),
        ("<?xml version='1.0' encoding='iso-8859-1'?><x><a href='?&#233;'/></x>", "text/xml", "%C3%A9"),
        ('{"x": "?\\u00e9"}', "application/json", "%C3%A9"),
    ],
)
def test_which_encoding_it_is(body: str, content_type: str, query: str) -> None:
    looked = page(body, "utf-8", content_type)
    expected = f"http://h.example/a/b?{query}"
    assert looked.follow("?é").url == expected
    assert looked.links() == ((expected,) if looked.kind != "text" else ())
