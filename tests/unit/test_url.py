"""URLs: the WHATWG URL standard, and that remembering never changes an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.error import BadUrl
from crawler.model import Request
from crawler.url import URL_CHARS_MAX, Joiner, base_of, canonical, fingerprint, host, join, origin


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTP://EXAMPLE.com/A", "http://example.com/A"),
        ("  https://example.com/\t\n", "https://example.com/"),
        ("http://exam\nple.com/a\tb", "http://example.com/ab"),
        ("http://example.com:80/", "http://example.com/"),
        ("https://example.com:443/", "https://example.com/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("http://example.com:/", "http://example.com/"),
        ("http://example.com/a/./b/../c", "http://example.com/a/c"),
        ("http://example.com/a/%2e%2E/b", "http://example.com/b"),
        ("http://example.com/../../a", "http://example.com/a"),
        ("http://example.com\\a\\b", "http://example.com/a/b"),
        ("http:example.com/a", "http://example.com/a"),
        ("http:///example.com/a", "http://example.com/a"),
        ("http://example.com/a b?c d#e f", "http://example.com/a%20b?c%20d"),
        ("http://example.com/?", "http://example.com/?"),
        ("http://example.com/#", "http://example.com/"),
        ("http://example.com/?q=é", "http://example.com/?q=%C3%A9"),
        ("http://example.com/é/%c3%a9", "http://example.com/%C3%A9/%c3%a9"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://faß.example/", "http://xn--fa-hia.example/"),
        ("http://EXAMPLE。com/", "http://example.com/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://[0:0::0:1]:8080/", "http://[::1]:8080/"),
        ("http://example.com/a?b=1&a=2", "http://example.com/a?b=1&a=2"),
        ("http://example.com/a'b?c'd", "http://example.com/a'b?c%27d"),
        ("http://example.com/@user", "http://example.com/@user"),
        ("http://example.com?q@x", "http://example.com/?q@x"),
    ],
)
def test_canonical(text: str, expected: str) -> None:
    assert canonical(text) == expected
    assert canonical(expected) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not_a_url"),
        ("example.com/a", "not_a_url"),
        ("//example.com/", "not_a_url"),
        ("http://", "not_a_url"),
        ("http://a b/", "not_a_url"),
        ("http://example.com:99999/", "not_a_url"),
        ("http://256.256.256.256/", "not_a_url"),
        ("http://[::1/", "not_a_url"),
        ("http://exa%00mple.com/", "not_a_url"),
        ("http://\ud800/", "not_a_url"),
        ("mailto:a@example.com", "scheme"),
        ("javascript:void(0)", "scheme"),
        ("ftp://example.com/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("httpx://example.com/", "scheme"),
        ("http://user@example.com/", "credentials"),
        ("http://user:secret@example.com/", "credentials"),
        ("http://example.com/" + "a" * URL_CHARS_MAX, "too_long"),
        ("http://example.com/" + "é" * (URL_CHARS_MAX // 4), "too_long"),
        ("x" * 1_000_000, "too_long"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(BadUrl) as raised:
        canonical(text)
    assert raised.value.reason == reason
    assert len(str(raised.value)) < 300


def test_a_shorter_limit_may_be_given() -> None:
    assert canonical("http://example.com/abc", chars_max=22) == "http://example.com/abc"
    with pytest.raises(BadUrl, match="too_long"):
        canonical("http://example.com/abc", chars_max=21)


BASE = "http://h.example/a/b/c?q=1/2"

JOINS = [
    ("d", "http://h.example/a/b/d"),
    ("./d", "http://h.example/a/b/d"),
    ("../d", "http://h.example/a/d"),
    ("../../../d", "http://h.example/d"),
    ("/d", "http://h.example/d"),
    ("//other.example/d", "http://other.example/d"),
    ("https://other.example", "https://other.example/"),
    ("?x=1", "http://h.example/a/b/c?x=1"),
    ("?", "http://h.example/a/b/c?"),
    ("#part", "http://h.example/a/b/c?q=1/2"),
    ("#", "http://h.example/a/b/c?q=1/2"),
    ("", "http://h.example/a/b/c?q=1/2"),
    (" \n ", "http://h.example/a/b/c?q=1/2"),
    (" ?x", "http://h.example/a/b/c?x"),
    ("\t#x", "http://h.example/a/b/c?q=1/2"),
    (" d ", "http://h.example/a/b/d"),
    ("d#part", "http://h.example/a/b/d"),
    ("d #part", "http://h.example/a/b/d%20"),
    ("d?e#f?g#h", "http://h.example/a/b/d?e"),
    (".", "http://h.example/a/b/"),
    ("..", "http://h.example/a/"),
    ("http:d", "http://h.example/a/b/d"),
    ("http:?x", "http://h.example/a/b/c?x"),
    ("HTTP:", "http://h.example/a/b/c?q=1/2"),
    ("ht\ntp:?y", "http://h.example/a/b/c?y"),
    ("http:/d", "http://h.example/d"),
    ("\\d", "http://h.example/d"),
    ("d:e", None),
    ("./d:e", "http://h.example/a/b/d:e"),
    ("mailto:a@h.example", None),
    ("javascript:go('#')", None),
    ("http://[", None),
    ("http://u:p@h.example/", None),
    ("x" * 100_000, None),
]


@pytest.mark.parametrize(("href", "expected"), JOINS)
def test_join(href: str, expected: str | None) -> None:
    assert join(BASE, href) == expected


def test_a_joiner_gives_the_same_and_each_once() -> None:
    joiner = Joiner()
    expected = list(dict.fromkeys(url for _, url in JOINS if url is not None))
    for _ in range(3):
        assert joiner.join_all(BASE, [href for href, _ in JOINS]) == expected


HREFS = st.lists(
    st.one_of(
        st.sampled_from([href for href, _ in JOINS]),
        st.text(alphabet="ab/.?#:\\ \t\n@hH%tp", max_size=8),
        st.text(max_size=6),
    ),
    max_size=12,
)
BASES = st.sampled_from(
    [
        "http://h.example/",
        "http://h.example/a/b/c",
        "http://h.example/a/b/d",
        "http://h.example/a/b/c?x/y",
        "http://h.example/a/b/",
        "https://h.example/a/b/c",
        "ftp://h.example/a/b",
        "mailto:x/y",
    ]
)


@given(st.lists(st.tuples(BASES, HREFS), max_size=6), st.integers(0, 5))
def test_remembering_changes_no_answer(pages: list[tuple[str, list[str]]], entries_max: int) -> None:
    small, large = Joiner(entries_max), Joiner()
    for base, hrefs in pages:
        plain = [url for href in hrefs if (url := join(base, href)) is not None]
        expected = list(dict.fromkeys(plain))
        assert small.join_all(base, hrefs) == expected
        assert large.join_all(base, hrefs) == expected


@given(st.text(alphabet="htp:/\\.@#?%é aA0[]", max_size=30))
def test_canonical_is_idempotent(rest: str) -> None:
    try:
        once = canonical("http://" + rest)
    except BadUrl:
        return
    assert canonical(once) == once
    assert "#" not in once
    assert join(once, "") == once
    assert host(once)
    assert once.startswith(origin(once) + "/")


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        (None, "http://h.example/a/b"),
        ("", "http://h.example/a/b"),
        ("/x/", "http://h.example/x/"),
        ("http://other.example/y#z", "http://other.example/y"),
        ("http://[", "http://h.example/a/b"),
        ("data:text/plain,x", "http://h.example/a/b"),
        ("javascript:x", "http://h.example/a/b"),
    ],
)
def test_base(href: str | None, expected: str) -> None:
    assert base_of("http://h.example/a/b", href) == expected


@pytest.mark.parametrize(
    ("url", "name", "of"),
    [
        ("http://h.example/a", "h.example", "http://h.example"),
        ("https://h.example/a:b", "h.example", "https://h.example"),
        ("http://h.example:443/", "h.example", "http://h.example:443"),
        ("https://h.example:80/", "h.example", "https://h.example:80"),
        ("http://h.example:8080/?//", "h.example:8080", "http://h.example:8080"),
        ("http://h.example:4430/", "h.example:4430", "http://h.example:4430"),
        ("http://[::80]/", "[::80]", "http://[::80]"),
        ("http://[::1]:8000/", "[::1]:8000", "http://[::1]:8000"),
        ("http://x/", "x", "http://x"),
    ],
)
def test_host_and_origin(url: str, name: str, of: str) -> None:
    assert host(url) == name
    assert origin(url) == of


def test_a_fingerprint_is_method_url_and_body() -> None:
    get = Request(url="http://h.example/")
    same = Request(
        url="http://h.example/", to="other", depth=3, priority=9, meta={"a": 1}, headers=(("X", "y"),), visit=4
    )
    others = [
        Request(url="http://h.example/?"),
        Request(url="https://h.example/"),
        Request(url="http://h.example/", method="POST"),
        Request(url="http://h.example/", method="HEAD"),
        Request(url="http://h.example/", body=b"x"),
        Request(url="http://h.example/", method="POST", body=b"x"),
    ]
    assert fingerprint(same) == fingerprint(get)
    assert len({fingerprint(request) for request in (get, *others)}) == len(others) + 1


def test_fingerprints_are_the_same_in_every_process() -> None:
    """The numbers are those of `printf 'GET http://example.com/' | b2sum -l 64`, as signed integers."""
    assert fingerprint(Request(url="http://example.com/")) == -3572560413629663374
    assert fingerprint(Request(url="http://example.com/", method="POST", body=b"a=1")) == 7897687752032128836


@given(st.text(alphabet="abc/", max_size=10))
def test_fingerprints_fit_64_signed_bits(path: str) -> None:
    assert -(1 << 63) <= fingerprint(Request(url="http://h.example/" + path)) < 1 << 63
