"""Encodings: byte order mark, header, meta, valid UTF-8, detection, windows-1252, in this order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.charset import decode, encoding_of, prescan

META = b'<meta charset="iso-8859-2">'


@pytest.mark.parametrize(
    ("body", "header", "name", "source"),
    [
        (b"", None, "windows-1252", "default"),
        (b"plain", None, "windows-1252", "default"),
        (b"\xef\xbb\xbf" + META, "koi8-r", "utf-8", "bom"),
        (b"\xff\xfea\0", "utf-8", "utf-16le", "bom"),
        (b"\xfe\xff\0a", None, "utf-16be", "bom"),
        (META, "koi8-r", "koi8-r", "header"),
        (META, "nonsense", "iso-8859-2", "meta"),
        (META, "", "iso-8859-2", "meta"),
        (b"x", "latin1", "windows-1252", "header"),
        (b"x", " UTF8 ", "utf-8", "header"),
        (b"x", "gb2312", "gbk", "header"),
        ("é".encode(), None, "utf-8", "utf8"),
        ("é".encode(), "iso-8859-1", "windows-1252", "header"),
    ],
)
def test_what_is_surest_wins(body: bytes, header: str | None, name: str, source: str) -> None:
    encoding = encoding_of(body, header)
    assert (encoding.name, encoding.source) == (name, source)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"<meta charset=utf-8>", "utf-8"),
        (b"<META CHARSET = 'UTF-8' >", "utf-8"),
        (b"<meta/charset=utf-8>", "utf-8"),
        (b"<meta a=b charset=utf-8/>", None),  # the slash is part of the value
        (b'<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">', "koi8-r"),
        (b"<meta content=\"text/html; charset = 'koi8-r'\" http-equiv=content-type>", "koi8-r"),
        (b'<meta content="text/html; charset=koi8-r">', None),
        (b'<meta http-equiv="refresh" content="text/html; charset=koi8-r">', None),
        (b'<meta name=charset content="koi8-r">', None),
        (b"<metacharset=utf-8>", None),
        (b"<meta charset=nonsense><meta charset=utf-8>", "utf-8"),
        (b"<meta charset=koi8-r charset=utf-8>", "koi8-r"),
        (b"<meta charset=utf-16>", "utf-8"),
        (b"<meta charset=utf-16be>", "utf-8"),
        (b"<meta charset=x-user-defined>", "windows-1252"),
        (b"<!-- <meta charset=utf-8> -->", None),
        (b"<!--><meta charset=utf-8>", "utf-8"),
        (b"<!-- never closed <meta charset=utf-8>", None),
        (b"<p title='<meta charset=utf-8>'>", None),
        (b"<p title=<meta charset=utf-8>", None),
        (b"</p title='<meta charset=utf-8>'><meta charset=koi8-r>", "koi8-r"),
        (b"<!doctype html><meta charset=koi8-r>", "koi8-r"),
        (b"<? x='<meta charset=utf-8'>", None),
        (b"1 < 2 <meta charset=koi8-r>", "koi8-r"),
        (b"<meta charset=koi8-r", None),
        (b"<meta charset='koi8-r>", None),
        (b"<meta ===charset=koi8-r>", None),
        (b'<?xml version="1.0" encoding="koi8-r"?><html>', "koi8-r"),
        (b'<?xml version="1.0" encoding="koi8-r"?><meta charset=iso-8859-2>', "iso-8859-2"),
        (b'<?xml version="1.0"?><a encoding="koi8-r"/>', None),
        (b"charset=utf-8", None),
    ],
)
def test_prescan(head: bytes, expected: str | None) -> None:
    assert prescan(head) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        # "Prescan a byte stream", step 3: an XML declaration in UTF-16
        (b"<\0?\0x\0m\0l\0", "utf-16le"),
        (b"\0<\0?\0x\0m\0l", "utf-16be"),
        # "Get an XML encoding"
        (b"<?xml encoding='koi8-r'?>", "koi8-r"),
        (b'<?xml version="1.0" encoding  =\n "koi8-r" standalone="yes"?>', "koi8-r"),
        (b"<?xml encoding='utf-16'?>", "utf-8"),
        (b"<?xml encoding=' koi8-r'?>", None),  # a space within is no label there
        (b"<?xml encoding=koi8-r?>", None),  # quotes are needed
        (b"<?xml encoding='koi8-r'", None),  # never closed
        (b"<?xml encoding=\"koi8-r'?>", None),
        (b" <?xml encoding='koi8-r'?>", None),  # not at the start
        (b"<?XML encoding='koi8-r'?>", None),
        # "Extracting a character encoding from a meta element"
        (b"<meta http-equiv=content-type content='charset charset=koi8-r'>", "koi8-r"),
        (b"<meta http-equiv=content-type content='text/html;charset=koi8-r;x'>", "koi8-r"),
        (b"<meta http-equiv=content-type content='charset = \"koi8-r'>", None),  # the quote is never closed
        (b"<meta http-equiv=content-type content=charset=koi8-r>", "koi8-r"),
        (b"<meta http-equiv=content-type content='charset=utf-16le'>", "utf-8"),
    ],
)
def test_prescan_of_declarations(head: bytes, expected: str | None) -> None:
    assert prescan(head) == expected


@pytest.mark.parametrize(
    ("label", "name"),
    [
        # Encoding standard §4.2: labels in any case, without the whitespace around them
        ("\t ISO-8859-1\r\n", "windows-1252"),
        ("us-ascii", "windows-1252"),
        ("latin5", "windows-1254"),
        ("tis-620", "windows-874"),
        ("ks_c_5601-1987", "euc-kr"),
        ("x-sjis", "shift_jis"),
        ("chinese", "gbk"),
        ("big5-hkscs", "big5"),
        ("logical", "iso-8859-8-i"),
        ("unicode-1-1-utf-8", "utf-8"),
        ("unicodefffe", "utf-16be"),
        ("ucs-2", "utf-16le"),
        ("iso-2022-kr", "replacement"),
        ("hz-gb-2312", "replacement"),
        ("x-user-defined", "x-user-defined"),
    ],
)
def test_labels(label: str, name: str) -> None:
    assert encoding_of(b"x", label).name == name


@pytest.mark.parametrize("label", ["utf-7", "utf-32", "cp1252x", "", "\x0butf-8", "unknown"])
def test_what_is_no_label(label: str) -> None:
    assert encoding_of(b"x", label).source == "default"


@pytest.mark.parametrize(
    ("body", "label", "text"),
    [
        # Encoding standard §9: bytes that stand for nothing in windows-125x are control characters below A0
        (b"a\x81\x8d\x80", "windows-1252", "a\x81\x8d\u20ac"),
        (b"\x98", "windows-1251", "\x98"),
        (b"\xaa\x81", "windows-1253", "\ufffd\x81"),
        (b"\xfc\x80\xdb", "windows-874", "\ufffd\u20ac\ufffd"),
        # §10: gbk is decoded as gb18030, with the euro at 80
        (b"\x80\xd6\xd0\x81\x30\x81\x30", "gb2312", "\u20ac\u4e2d\x80"),
        # §14.1 and §14.5
        (b"anything", "iso-2022-cn", "\ufffd"),
        (b"", "iso-2022-cn", ""),
        (b"a\x80\xff", "x-user-defined", "a\uf780\uf7ff"),
        # §8.1.1: as many U+FFFD as there are maximal subparts
        (b"a\xf0\x9f\x92b\xed\xa0\x80", "utf-8", "a\ufffdb\ufffd\ufffd\ufffd"),
    ],
)
def test_decoders(body: bytes, label: str, text: str) -> None:
    assert decode(body, label)[0] == text


def test_a_late_meta_counts() -> None:
    assert encoding_of(b"<!--" + b"x" * 5_000 + b"-->" + META).name == "iso-8859-2"


@pytest.mark.parametrize(
    ("text", "codec", "header"),
    [
        ("Привет, как дела?", "koi8-r", "koi8-r"),
        ("日本語のページ", "shift_jis", "sjis"),
        ("日本語のページ", "euc_jp", "x-euc-jp"),
        ("“quotes” \u2013 and €", "cp1252", "iso-8859-1"),
        ("中文", "gb18030", "gb2312"),
        ("한국어", "cp949", "ks_c_5601-1987"),
        ("text", "utf-16le", "utf-16"),
    ],
)
def test_decoding_by_label(text: str, codec: str, header: str) -> None:
    assert decode(text.encode(codec), header)[0] == text


def test_undeclared_text_is_detected() -> None:
    text = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 20
    found, encoding = decode(text.encode("cp1251"))
    assert (encoding.name, encoding.source) == ("windows-1251", "detected")
    assert found == text


def test_a_mark_is_no_text_and_broken_bytes_are_replaced() -> None:
    assert decode(b"\xef\xbb\xbfab\xffc")[0] == "ab\ufffdc"
    assert decode("\ufeffab".encode("utf-16-le"))[0] == "ab"
    assert decode(b"a\xffb", "utf-8")[0] == "a\ufffdb"


@given(st.binary(max_size=200), st.none() | st.text(max_size=10))
def test_nothing_raises(body: bytes, header: str | None) -> None:
    text, encoding = decode(body, header)
    assert isinstance(text, str)
    assert encoding.name


@given(st.text(alphabet="<!-metachrs=\"' />utf8?x", max_size=60))
def test_prescan_ends(head: str) -> None:
    assert prescan(head.encode() + b"charset=") in (None, "utf-8")


def test_a_header_of_bytes_that_are_no_text_names_nothing() -> None:
    """They come as lone surrogates."""
    assert encoding_of(b'<meta charset="koi8-r">', "\udce9\udcfc").name == "koi8-r"
