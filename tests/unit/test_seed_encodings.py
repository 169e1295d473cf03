"""Lists of seeds in the encodings that programs write: byte order marks, UTF-16, declarations that are wrong."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import BinaryIO

import pytest

from crawler.model import Request
from crawler.page import Page
from crawler.response import Response
from crawler.seed_sitemap import marked
from crawler.seed_sources import requests
from crawler.spiders.sitemap import Sitemap

MARKED = ("utf-8-sig", "utf-16", "utf-16-be-sig")
"""Each with a byte order mark."""
EXPECTED = ["http://a.com/%C3%A9", "http://a.com/2"]
TEXT = "\r\nhttp://a.com/é\r\nhttp://a.com/2\r\n"
URLSET = (
    '\n<?xml version="1.0" encoding="utf-16"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
    "<url><loc>http://a.com/é</loc></url><url><loc>http://a.com/2</loc></url></urlset>"
)


def encoded(text: str, encoding: str) -> bytes:
    if encoding == "utf-16-be-sig":
        return b"\xfe\xff" + text.encode("utf-16-be")
    return text.encode(encoding)


def urls(source: str, data: bytes = b"") -> list[str]:
    """What is asked for, and how lines were refused."""

    def fetch(url: str) -> BinaryIO:
        return io.BytesIO(data)

    both = [one for one in requests(source, chars_max=2_000, fetch=fetch) if one is not None]
    return [one.url if isinstance(one, Request) else f"{one.line} {one.reason}" for one in both]


class Dripping(io.RawIOBase):
    """A pipe into which bytes come one by one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        piece = self._data[self._at : self._at + 1]
        buffer[: len(piece)] = piece
        self._at += 1
        return len(piece)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", *MARKED])
class TestMarks:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.txt", TEXT),
            ("a", TEXT),
            ("a.xml", URLSET),
            ("a", URLSET),
            ("a.csv", "name,url\nx,http://a.com/é\ny,http://a.com/2\n"),
            ("a.jsonl", '{"url":"http://a.com/é"}\n{"url":"http://a.com/2"}\n'),
            ("a", '{"url":"http://a.com/é"}\n{"url":"http://a.com/2"}\n'),
        ],
    )
    def test_files(self, tmp_path: Path, encoding: str, packed: bool, name: str, text: str) -> None:
        data = encoded(text, encoding)
        (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
        assert urls(str(tmp_path / name)) == EXPECTED

    @pytest.mark.parametrize("text", [TEXT, URLSET])
    def test_lists_on_the_web(self, encoding: str, packed: bool, text: str) -> None:
        data = encoded(text, encoding)
        assert urls(marked("http://a.com/list"), gzip.compress(data) if packed else data) == EXPECTED

    @pytest.mark.parametrize("text", [TEXT, URLSET])
    def test_lists_that_others_name(self, encoding: str, packed: bool, text: str) -> None:
        data = encoded(text, encoding)
        inner = gzip.compress(data) if packed else data

        def fetch(url: str) -> BinaryIO:
            index = b"<sitemapindex><sitemap><loc>http://a.com/inner</loc></sitemap></sitemapindex>"
            return io.BytesIO(inner if url.endswith("/inner") else index)

        both = requests("http://a.com/sitemap.xml", chars_max=2_000, fetch=fetch)
        assert [one.url if isinstance(one, Request) else one for one in both if one is not None] == EXPECTED

    @pytest.mark.parametrize("text", [TEXT, URLSET])
    def test_the_spider(self, encoding: str, packed: bool, text: str) -> None:
        data = encoded(text, encoding)
        response = Response(
            url="http://a.com/list",
            status=200,
            headers={"Content-Type": "text/plain"},
            body=gzip.compress(data) if packed and text is URLSET else data,
        )
        found = Sitemap().parse(Page(Request(url=response.url), response))
        assert [one.url if isinstance(one, Request) else one for one in found] == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-8", *MARKED])
@pytest.mark.parametrize("text", [TEXT, URLSET])
def test_bytes_that_come_one_by_one(monkeypatch: pytest.MonkeyPatch, encoding: str, text: str) -> None:
    """From a pipe, whose reader cannot know how much it will get."""
    stdin = io.TextIOWrapper(io.BufferedReader(Dripping(encoded(text, encoding))))
    monkeypatch.setattr("sys.stdin", stdin)
    assert urls("-") == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_xml_without_a_mark_shows_its_encoding(tmp_path: Path, encoding: str) -> None:
    """XML 1.0, appendix F.1."""
    (tmp_path / "a").write_bytes(URLSET.strip().encode(encoding))
    assert urls(str(tmp_path / "a")) == EXPECTED


@pytest.mark.parametrize("name", ["utf-16", "UTF-16LE", "utf-32", "ISO-10646-UCS-2", "UCS-4"])
def test_a_declaration_that_could_not_be_read_if_it_were_true(tmp_path: Path, name: str) -> None:
    """Programs that write a text to a file in UTF-8 whose declaration says what it was in memory."""
    (tmp_path / "a.xml").write_text(URLSET.replace("utf-16", name), encoding="utf-8")
    assert urls(str(tmp_path / "a.xml")) == EXPECTED


@pytest.mark.parametrize("data", [b"\xff", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xff\xfe\n\0", b""])
def test_lists_with_nothing_in_them(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    assert urls(str(tmp_path / "a")) in ([], ["1 encoding"])


def test_half_a_character_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(encoded(TEXT + "http://a.com/3", "utf-16") + b"\xd8")
    assert urls(str(tmp_path / "a")) == [*EXPECTED, "http://a.com/3%EF%BF%BD"]
