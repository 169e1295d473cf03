"""Which rule decides about a path: RFC 9309 §2.2.2 and §2.2.3, case by case, and against a plain reading of them."""

from __future__ import annotations

import re
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.robots import Rule, rules, token_of
from crawler.robots_match import Matcher, path_of


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        # §2.2.3, the table: octets outside US-ASCII are encoded, in rule and URL alike
        ("/foo/bar?baz=quz", "/foo/bar?baz=quz", True),
        ("/foo/bar?baz=https://foo.bar", "/foo/bar?baz=https%3A%2F%2Ffoo.bar", False),  # reserved: not the same
        ("/foo/bar?baz=https%3A%2F%2Ffoo.bar", "/foo/bar?baz=https%3A%2F%2Ffoo.bar", True),
        ("/foo/bar/\u30c4", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%E3%83%84", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%e3%83%84", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%62%61%7A", "/foo/bar/baz", True),  # unreserved: decoded
        ("/foo/bar/baz", "/foo/bar/%62%61%7A", True),
        ("/a%2Fb", "/a/b", False),
        ("/a%2fb", "/a%2Fb", True),
        # §2.2.3, special characters and how they are meant literally
        ("/path/file-with-a-%2A.html", "/path/file-with-a-*.html", True),
        ("/path/file-with-a-%2A.html", "/path/file-with-a-x.html", False),
        ("/path/foo-%24", "/path/foo-$", True),
        ("/path/foo-%24", "/path/foo-$x", True),
        ("/path/foo-$", "/path/foo-x", False),
        ("/this/path/exactly$", "/this/path/exactly", True),
        ("/this/path/exactly$", "/this/path/exactly/", False),
        ("/this/*/exactly", "/this/or/that/exactly", True),
        ("/a$b", "/a$b", True),  # only at the end it is an end
        ("*", "/anything", True),
        ("/*", "/", True),
        ("/**a", "/xa", True),
        ("/a*", "/a", True),
        ("/*a*$", "/xay", True),
        ("/*.php$", "/a.php?x", False),
        ("/*.php", "/a.php?x", True),
        ("/ab*ba$", "/aba", False),  # pieces do not overlap
        ("/ab*ba$", "/abba", True),
        ("/A", "/a", False),
        ("x", "/x", False),  # a rule begins with a slash or a star
        ("$", "/", False),
        ("/100%", "/100%25", True),
        ("/a|b", "/a%7Cb", True),
        ("/a b", "/a%20b", True),
    ],
)
def test_a_pattern(pattern: str, path: str, matches: bool) -> None:
    assert (Matcher([Rule(False, pattern, 1)]).judge(path) is not None) is matches


@pytest.mark.parametrize(
    ("lines", "path", "line"),
    [
        # §2.2.2: the most octets decide; allow wins where they are equal
        (["Disallow: /a", "Allow: /ab"], "/abc", 3),
        (["Allow: /a", "Disallow: /ab"], "/abc", 3),
        (["Disallow: /a", "Allow: /a"], "/a", 3),
        (["Allow: /a", "Disallow: /a"], "/a", 2),
        (["Disallow: /*b", "Allow: /ab"], "/ab", 3),
        (["Disallow: /a*", "Allow: /ab"], "/abc", 3),
        (["Disallow: /a**", "Allow: /ab"], "/abc", 2),
        (["Disallow: /ab$", "Allow: /ab"], "/ab", 2),
        (["Disallow: /x", "Disallow: /x", ""], "/x", 2),
        (["Disallow: /*.gif$", "Disallow: /i"], "/i.gif", 2),
        (["Disallow: /b"], "/a", 0),
        (["Disallow:"], "/a", 0),
        (["Disallow: /"], "/robots.txt", 0),
        (["Disallow: /"], "/robots.txt?x", 2),
    ],
)
def test_the_rule_that_decides_and_its_line(lines: list[str], path: str, line: int) -> None:
    found = rules("\r\n".join(["User-agent: *", *lines])).judge("bot", f"http://h.example{path}")
    assert found.line == line
    if line:
        assert str(found) == f"line {line}: {lines[line - 2]}"


def test_lines_count_in_every_way_they_end() -> None:
    assert rules("\ufeff# why\rUser-agent: *\n\r\nDisallow: /x").judge("bot", "http://h.example/x").line == 4


@pytest.mark.parametrize(
    ("agent", "token"),
    [
        ("Foo_Bot-x/1.0 (+http://h.example/)", "foo_bot-x"),
        ("Mozilla/5.0 (compatible; FooBot/2.1; +http://h.example)", "foobot"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "mozilla"),
        ("4711", "*"),
        ("", "*"),
    ],
)
def test_product_tokens(agent: str, token: str) -> None:
    assert token_of(agent) == token


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h.example", "/"),
        ("http://h.example?q", "/?q"),
        ("http://h.example/a?b#c", "/a?b"),
        ("//h.example/a", "/a"),
        ("/a//b", "/a//b"),
        ("http://h.example/?u=http://x/", "/?u=http://x/"),
        ("", "/"),
    ],
)
def test_what_is_matched_of_a_url(url: str, path: str) -> None:
    assert path_of(url) == path


def plain_reading(patterns: list[tuple[bool, str]], path: str) -> bool:
    """Each pattern as a regular expression; the longest that matches, allow first."""
    best = (0, True)
    for allow, pattern in patterns:
        body = pattern.removesuffix("$")
        expression = ".*".join(map(re.escape, body.split("*"))) + ("$" if body != pattern else "")
        if re.match(expression, path, re.DOTALL):
            best = max(best, (len(pattern), allow))
    return best[1]


PATTERNS = st.lists(st.tuples(st.booleans(), st.text("ab/*$", min_size=1, max_size=6).map("/".__add__)), max_size=6)


@given(PATTERNS, st.text("ab/", max_size=8))
def test_as_a_plain_reading_has_it(patterns: list[tuple[bool, str]], path: str) -> None:
    matcher = Matcher(Rule(allow, pattern, number) for number, (allow, pattern) in enumerate(patterns, 1))
    found = matcher.judge(f"/{path}")
    assert (found is None or found.allow) is plain_reading(patterns, f"/{path}")


@given(st.text(max_size=300), st.text(max_size=60))
def test_no_text_raises(text: str, url: str) -> None:
    read = rules(f"user-agent: *\ndisallow: {text}")
    assert isinstance(read.allowed("bot", url), bool)
    assert isinstance(rules(text).allowed(text, text), bool)


@pytest.mark.parametrize(
    "text",
    [
        "Disallow: /" + "a*" * 250_000 + "b",
        "Disallow: /" + "*" * 500_000 + "b",
        "".join(f"Disallow: /*{number}*x*\n" for number in range(25_000)),
        "Allow: /a\n" * 50_000,
        "User-agent: x\n" * 35_000,
        "a" * 500_000,
        ":" * 500_000,
    ],
    ids=lambda text: text[:20],
)
def test_nothing_takes_long(text: str) -> None:
    """The work is in proportion to the file and to the path: no pattern makes it try again and again."""
    before = process_time()
    read = rules(f"User-agent: *\n{text}")
    for number in range(3):
        read.allowed("bot", f"http://h.example/{'a' * 2_000}{number}")
    assert process_time() - before < 20
