"""Which character encoding a body is in: what is surest first.

    byte order mark > HTTP header > <meta> > valid UTF-8 > detection by a library > windows-1252

The first three, the labels and the last are the HTML standard's (§13.2.3.2 and the Encoding standard); between them
browsers guess by the reader's language, which a crawler has not got.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from typing import Final

import msgspec
import webencodings

PRESCAN_BYTES: Final = 1024
HEAD_BYTES: Final = 1 << 16
"""So much is looked at when the first 1,024 bytes declare nothing: the standard changes its mind at a later `<meta>`.
Detection costs 10 to 100 ms, the rest some microseconds."""
FALLBACK: Final = "windows-1252"

_SPACE: Final = b"\t\n\x0c\r "
_OPENING: Final = re.compile(
    rb"(?P<comment><!--)|(?P<meta><meta(?=[\t\n\x0c\r /]))|(?P<tag></?(?=[a-z]))|(?P<other><[!/?])", re.IGNORECASE
)
_TAG_NAME: Final = re.compile(rb"[^\t\n\x0c\r >]*")
_CONTENT_CHARSET: Final = re.compile(
    rb"charset[\t\n\x0c\r ]*=[\t\n\x0c\r ]*"
    rb"(?:\"([^\"]*)\"|'([^']*)'|([^\t\n\x0c\r ;\"'][^\t\n\x0c\r ;]*))",
    re.IGNORECASE,
)


class Encoding(msgspec.Struct, frozen=True):
    """An encoding and where it was found."""

    name: str
    """As in the Encoding standard: `utf-8`, `windows-1252`, `shift_jis`."""
    source: str
    """`bom`, `header`, `meta`, `utf8` (the bytes are valid), `detected` or `default`."""


def encoding_of(body: bytes, header: str | None = None) -> Encoding:
    """The encoding of a body whose Content-Type names the charset `header`. Cost: 10 µs, or what detection costs."""
    return decode(body, header)[1]


def decode(body: bytes, header: str | None = None) -> tuple[str, Encoding]:
    """The text of a body, without byte order mark, and its encoding; what cannot be decoded becomes U+FFFD."""
    encoding = _declared(body, header)
    if encoding is None:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            encoding = _detected(body)
        else:
            # ASCII alone says nothing; then the name is the standard's default and the text the same.
            return text, Encoding(FALLBACK, "default") if text.isascii() else Encoding("utf-8", "utf8")
    return _decoded(body, encoding.name).removeprefix("\ufeff"), encoding


def _decoded(body: bytes, name: str) -> str:
    """By the Encoding standard's decoders, where Python's of that name differ from them."""
    if name == "replacement":  # §14.1: what such a label stands for is dangerous to decode
        return "\ufffd" if body else ""
    if name == "gbk":  # §10.1.1: its decoder is gb18030's
        name = "gb18030"
    text: str = webencodings.lookup(name).codec_info.decode(body, _ERRORS.get(name, "replace"))[0]
    return text


def _as_c1(error: UnicodeError) -> tuple[str, int]:
    """§9: in windows-125x and windows-874 the bytes 80 to 9F that stand for nothing are the control characters."""
    assert isinstance(error, UnicodeDecodeError)
    byte = error.object[error.start]
    return chr(byte) if byte < 0xA0 else "\ufffd", error.start + 1


def _euro(error: UnicodeError) -> tuple[str, int]:
    """§10.2.1: gb18030's decoder reads a byte 80 as the euro sign."""
    assert isinstance(error, UnicodeDecodeError)
    euro = error.object[error.start] == 0x80
    return ("\u20ac", error.start + 1) if euro else ("\ufffd", error.end)


codecs.register_error("crawler.c1", _as_c1)
codecs.register_error("crawler.euro", _euro)
_ERRORS: Final = {
    **{f"windows-{page}": "crawler.c1" for page in (874, *range(1250, 1259))},
    "gb18030": "crawler.euro",
}


def query_in(href: str, name: str) -> str:
    """An address whose query is percent-encoded in the encoding `name` of the document that it stands in; the rest is
    left to the URL parser, which takes UTF-8 (URL standard 4.4, query state, and 1.3, percent-encode after encoding).
    What the encoding does not have becomes `&#N;`, percent-encoded. Cost: 3 µs."""
    if name in _UTF_8_OUT:
        return href
    href = href.translate(_UNSEEN).strip(_AROUND)
    before, sharp, fragment = href.partition("#")
    path, mark, query = before.partition("?")
    if query.isascii():
        return href
    encoded = webencodings.lookup(name).codec_info.encode(query, _REFERENCES)[0]
    return f"{path}{mark}{encoded.decode('latin-1').translate(_IN_QUERY)}{sharp}{fragment}"


_UTF_8_OUT: Final = frozenset({"utf-8", "utf-16le", "utf-16be", "replacement"})
"""Encoding standard 4.3, get an output encoding."""
_UNSEEN: Final = {ord(char): None for char in "\t\n\r"}
_AROUND: Final = "".join(map(chr, range(0x21)))
"""The URL parser takes both away before it looks at anything."""
_IN_QUERY: Final = {code: f"%{code:02X}" for code in (*range(0x21), *b"\"#'<>", *range(0x7F, 0x100))}
"""The special-query percent-encode set."""
_REFERENCES: Final = "crawler.references"
_MISSING: Final = {
    ("gbk", "\u20ac"): b"\x80",
    ("big5hkscs", "\u20ac"): b"\xa3\xe1",
    ("cp932", "\xa5"): b"\\",
    ("cp932", "\u203e"): b"~",
}
"""What encoders of the standard have, and Python's codecs of these names do not."""


def _reference(error: UnicodeError) -> tuple[str | bytes, int]:
    """For one character that an encoder does not have. A lone surrogate is none: U+FFFD."""
    assert isinstance(error, UnicodeEncodeError)
    char, end = error.object[error.start], error.start + 1
    if (known := _MISSING.get((error.encoding, char))) is not None:
        return known, end
    return f"%26%23{0xFFFD if 0xD800 <= ord(char) <= 0xDFFF else ord(char)}%3B", end


codecs.register_error(_REFERENCES, _reference)


def _declared(body: bytes, header: str | None) -> Encoding | None:
    if body.startswith(b"\xef\xbb\xbf"):
        return Encoding("utf-8", "bom")
    if body.startswith(b"\xfe\xff"):
        return Encoding("utf-16be", "bom")
    if body.startswith(b"\xff\xfe"):
        return Encoding("utf-16le", "bom")
    if header and (name := _label(header)):
        return Encoding(name, "header")
    if name := prescan(body[:PRESCAN_BYTES]) or prescan(body[:HEAD_BYTES]):
        return Encoding(name, "meta")
    return None


@lru_cache(256)
def _label(label: str) -> str | None:
    """Name of the encoding that a label means; None when it means none."""
    found = webencodings.lookup(label) if label.isascii() else None  # it cannot take lone surrogates
    return found.name if found else None


def prescan(head: bytes) -> str | None:
    """The encoding that a `<meta>` among these bytes declares, or else an XML declaration at their start (HTML
    standard, "prescan a byte stream to determine its encoding")."""
    if head.startswith(_UTF_16_XML):
        return "utf-16le" if head[0] else "utf-16be"
    if b"charset" not in head.lower():
        return _xml_declaration(head)
    position = 0
    while found := _OPENING.search(head, position):
        position = found.end()
        match found.lastgroup:
            case "comment":
                # `<!-->` and `<!--->` are whole comments: the two dashes of the start may be those of the end.
                end = head.find(b"-->", position - 2)
                position = end + 3 if end >= 0 else len(head)
            case "meta":
                position, name = _meta(head, position)
                if name:
                    return name
            case "tag":
                position = _TAG_NAME.match(head, position).end()  # type: ignore[union-attr]
                while attribute := _attribute(head, position):
                    position = attribute[2]
            case _:
                end = head.find(b">", position)
                position = end + 1 if end >= 0 else len(head)
    return _xml_declaration(head)


def _meta(head: bytes, position: int) -> tuple[int, str | None]:
    """Where a meta tag's attributes end, and the encoding that they declare."""
    seen: set[bytes] = set()
    pragma, need_pragma, charset = False, None, None
    while attribute := _attribute(head, position):
        name, value, position = attribute
        if name in seen:
            continue
        seen.add(name)
        if name == b"http-equiv":
            pragma = value == b"content-type"
        elif name == b"content" and charset is None:
            if (found := _from_content(value)) is not None:
                charset, need_pragma = found, True
        elif name == b"charset":
            charset, need_pragma = value, False
    if charset is None or need_pragma is None or (need_pragma and not pragma):
        return position, None
    return position, _declared_name(charset)


def _from_content(value: bytes) -> bytes | None:
    found = _CONTENT_CHARSET.search(value)
    return next((group for group in found.groups() if group is not None), None) if found else None


def _declared_name(label: bytes) -> str | None:
    """A page that could be prescanned is not in UTF-16, whatever it says."""
    name = _label(label.decode("latin-1"))
    if name in ("utf-16le", "utf-16be"):
        return "utf-8"
    return FALLBACK if name == "x-user-defined" else name


def _attribute(head: bytes, position: int) -> tuple[bytes, bytes, int] | None:
    """Name and value in lower case and the position after them; None at the end of the tag ("get an attribute")."""
    size = len(head)
    while position < size and head[position] in b"\t\n\x0c\r /":
        position += 1
    if position >= size or head[position] == 0x3E:
        return None
    start = position
    # An equals sign at the start belongs to the name.
    while position < size and (head[position] not in b"\t\n\x0c\r />=" or (position == start and head[start] == 0x3D)):
        position += 1
    name = head[start:position].lower()
    while position < size and head[position] in _SPACE:
        position += 1
    if position >= size or head[position] != 0x3D:
        return (name, b"", position) if position < size else None
    position += 1
    while position < size and head[position] in _SPACE:
        position += 1
    if position >= size:
        return None
    if head[position] in b"\"'":
        end = head.find(head[position : position + 1], position + 1)
        return None if end < 0 else (name, head[position + 1 : end].lower(), end + 1)
    start = position
    while position < size and head[position] not in b"\t\n\x0c\r >":
        position += 1
    return (name, head[start:position].lower(), position) if position < size else None


_UTF_16_XML: Final = (b"<\0?\0x\0", b"\0<\0?\0x")
_XML: Final = re.compile(rb"<\?xml[^>]*?encoding[\0-\x20]*=[\0-\x20]*(?:\"([^\">]*)\"|'([^'>]*)')[^>]*>")


def _xml_declaration(head: bytes) -> str | None:
    """`<?xml encoding="…"?>` at the very start ("get an XML encoding"): for XML, and for HTML as browsers do."""
    found = _XML.match(head)
    if found is None:
        return None
    label = found[1] if found[1] is not None else found[2]
    if any(byte <= 0x20 for byte in label):
        return None
    name = _label(label.decode("latin-1"))
    return "utf-8" if name in ("utf-16le", "utf-16be") else name


def _detected(body: bytes) -> Encoding:
    """By charset-normalizer, if it finds an encoding that the Encoding standard has."""
    from charset_normalizer import from_bytes  # tables of a megabyte, for bodies that declare nothing

    best = from_bytes(body[:HEAD_BYTES]).best()
    name = _label(best.encoding.replace("_", "-")) or _label(best.encoding) if best else None
    return Encoding(name, "detected") if name and name != "utf-8" else Encoding(FALLBACK, "default")
