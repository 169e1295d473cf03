"""Content sniffing by the WHATWG MIME Sniffing standard; the section of each rule stands beside its cases."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.response import Response
from crawler.sniff import HEAD_BYTES, Mode, seen_as, sniffed, unknown, worth_reading

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
HTML = b"<!DOCTYPE html><title>x</title>"


@pytest.mark.parametrize(
    ("body", "supplied", "found"),
    [
        # §7 step 1: no type that says anything
        (HTML, "", "text/html"),
        (HTML, "unknown/unknown", "text/html"),
        (HTML, "application/unknown", "text/html"),
        (HTML, "*/*", "text/html"),
        (HTML, "html", "text/html"),  # no MIME type at all (§4.4)
        # §7 step 8: what the server says
        (HTML, "application/json", "application/json"),
        (HTML, "application/octet-stream", "application/octet-stream"),
        (PNG, "Text/CSS; charset=utf-8", "text/css"),
        # §5.1 and §7.2: what old Apaches send for whatever they do not know
        (b"text", "text/plain", "text/plain"),
        (HTML, "text/plain", "text/plain"),
        (PNG, "text/plain", "application/octet-stream"),
        (PNG, "text/plain; charset=ISO-8859-1", "application/octet-stream"),
        (PNG, "text/plain; charset=iso-8859-1", "application/octet-stream"),
        (PNG, "text/plain; charset=UTF-8", "application/octet-stream"),
        (PNG, "text/plain; charset=utf-8", "text/plain"),
        (PNG, "text/plain;charset=UTF-8", "text/plain"),
        (b"\xff\xfe\0\x01", "text/plain", "text/plain"),
        (b"\xfe\xff\0\x01", "text/plain", "text/plain"),
        (b"\xef\xbb\xbf\x01", "text/plain", "text/plain"),
        (b"a\x1bb\x0c\x09", "text/plain", "text/plain"),
        (b"a\x1a", "text/plain", "application/octet-stream"),
        # §7 step 4: XML stays what it is
        (HTML, "application/xml", "application/xml"),
        (b"<rss>", "image/svg+xml", "image/svg+xml"),
        # §7.3: a feed or HTML
        (b'<?xml version="1.0"?>\n<rss version="2.0">', "text/html", "application/rss+xml"),
        (b"\xef\xbb\xbf <!-- a --> <!DOCTYPE x>\n<feed xmlns='a'>", "text/html", "application/atom+xml"),
        (b"<!-- <rss> --><html>", "text/html", "text/html"),
        (b"<!-- never closed <rss>", "text/html", "text/html"),
        (b"text <rss>", "text/html", "text/html"),
        (
            b'<rdf:RDF xmlns="http://purl.org/rss/1.0/" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">',
            "text/html",
            "application/rss+xml",
        ),
        (b'<rdf:RDF xmlns="http://purl.org/rss/1.0/">', "text/html", "text/html"),
        (b"<?xml version='1.0'?><html>", "text/html; charset=x", "text/html"),
    ],
)
def test_the_standard(body: bytes, supplied: str, found: str) -> None:
    assert sniffed(body, supplied) == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        # §7.1: what a scripting browser would run
        *((b"\n\t <" + tag + b">", "text/html") for tag in (b"html", b"HEAD", b"sCript", b"iframe", b"h1", b"div")),
        *((b"<" + tag + b" a=b>", "text/html") for tag in (b"font", b"table", b"a", b"style", b"title", b"b", b"p")),
        *((b"<" + tag + b">", "text/html") for tag in (b"body", b"br", b"!--")),
        (b"<!doctype HTML SYSTEM>", "text/html"),
        (b"<htmlx>", "text/plain"),
        (b"<article>", "text/plain"),
        (b"<p", "text/plain"),
        (b" \r\n<?xml version='1.0'?>", "text/xml"),
        (b"%PDF-1.4", "application/pdf"),
        (b" %PDF-1.4", "text/plain"),
        # §7.1 and §6: text by its mark, and magic numbers
        (b"%!PS-Adobe-3", "application/postscript"),
        (b"\xfe\xff\0a", "text/plain"),
        (b"\xff\xfea\0", "text/plain"),
        (b"\xef\xbb\xbf\x01", "text/plain"),
        (PNG, "image/png"),
        (b"GIF87a\0", "image/gif"),
        (b"GIF89a\0", "image/gif"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\1\2\3\4WEBPVP8 ", "image/webp"),
        (b"BM\0", "image/bmp"),
        (b"\0\0\1\0", "image/x-icon"),
        (b"\0\0\2\0", "image/x-icon"),
        (b"FORM\1\2\3\4AIFF", "audio/aiff"),
        (b"ID3\3", "audio/mpeg"),
        (b"OggS\0", "application/ogg"),
        (b"MThd\0\0\0\6", "audio/midi"),
        (b"RIFF\1\2\3\4AVI ", "video/avi"),
        (b"RIFF\1\2\3\4WAVE", "audio/wave"),
        (b"\0\0\0\x18ftypmp42", "video/mp4"),
        (b"\x1a\x45\xdf\xa3\x01\x42\x82\x84webm", "video/webm"),
        (b"\x1f\x8b\x08\0", "application/x-gzip"),
        (b"PK\3\4\x14", "application/zip"),
        (b"Rar \x1a\7\0", "application/x-rar-compressed"),
        (b"", "text/plain"),
        (b"only words", "text/plain"),
        (b"words \x00", "application/octet-stream"),
    ],
)
def test_what_the_server_does_not_say(body: bytes, found: str) -> None:
    assert unknown(body, scriptable=True) == found
    assert sniffed(body, "") == found


@pytest.mark.parametrize(
    ("body", "supplied", "found"),
    [
        (HTML, "", "text/plain"),  # §7 step 1: nothing that could be run
        (b"%PDF-1.4", "", "text/plain"),
        (PNG, "", "image/png"),
        (PNG, "text/plain", "text/plain"),  # §7 step 2
        (b"<rss>", "text/html", "text/html"),
    ],
)
def test_nosniff(body: bytes, supplied: str, found: str) -> None:
    assert sniffed(body, supplied, nosniff=True) == found
    assert sniffed(body, supplied, nosniff=True, mode="loose") == found


@pytest.mark.parametrize(
    ("supplied", "found"),
    [
        ("text/plain", "text/html"),
        ("text/plain; charset=utf-8", "text/html"),
        ("application/octet-stream", "text/html"),
        ("binary/octet-stream", "text/html"),
        ("application/json", "application/json"),
    ],
)
def test_loosely_html_is_html_whatever_is_said(supplied: str, found: str) -> None:
    assert sniffed(HTML, supplied, mode="loose") == found


def test_loosely_text_stays_what_it_was_called() -> None:
    assert sniffed(b"words", "application/octet-stream", mode="loose") == "application/octet-stream"
    assert sniffed(PNG, "text/plain", mode="loose") == "image/png"


@pytest.mark.parametrize(
    ("supplied", "options", "mode", "worth"),
    [
        ("application/octet-stream", None, "loose", True),
        ("application/octet-stream", None, "standard", False),
        ("application/octet-stream", " NoSniff", "loose", False),
        ("image/png", None, "loose", False),
        ("*/*", None, "standard", True),
        ("html", "nosniff", "standard", True),
        ("*/*", None, "off", False),
    ],
)
def test_what_is_worth_reading(supplied: str, options: str | None, mode: Mode, worth: bool) -> None:
    assert worth_reading(supplied, options, mode) is worth


WANTED = frozenset({"text/html"})


@pytest.mark.parametrize(
    ("headers", "body", "mode", "kind", "skipped"),
    [
        ({"Content-Type": "text/html"}, HTML, "standard", "", ""),
        ({}, HTML, "standard", "text/html", ""),
        ({}, PNG, "standard", "image/png", "content_type"),
        ({}, HTML, "off", "", ""),
        ({"X-Content-Type-Options": "nosniff"}, HTML, "standard", "text/plain", "content_type"),
        ({"Content-Type": "text/plain"}, PNG, "standard", "application/octet-stream", "content_type"),
        ({"Content-Type": "text/html"}, b"<rss>", "standard", "application/rss+xml", ""),
    ],
)
def test_what_becomes_of_a_response(headers: dict[str, str], body: bytes, mode: Mode, kind: str, skipped: str) -> None:
    seen = seen_as(Response(url="http://a/", status=200, headers=headers, body=body), mode, WANTED)
    assert (seen.media_type, seen.skipped) == (kind, skipped)
    assert seen.body == (b"" if skipped else body)


@given(st.binary(max_size=400), st.text(max_size=40), st.booleans(), st.sampled_from(["off", "standard", "loose"]))
def test_nothing_raises(body: bytes, supplied: str, nosniff: bool, mode: Mode) -> None:
    assert isinstance(sniffed(body, supplied, nosniff=nosniff, mode=mode), str)


@pytest.mark.parametrize("piece", [b"<!---->", b"<!--", b"<?", b"<?x?>", b"<!x>", b" <", b"\x1a\x45\xdf\xa3\x42\x82"])
def test_no_body_takes_long(piece: bytes) -> None:
    began = time.process_time()
    for supplied in ("", "text/html", "text/plain"):
        sniffed(piece * HEAD_BYTES, supplied)
    assert time.process_time() - began < 2.0
