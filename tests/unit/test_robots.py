"""robots.txt as RFC 9309 has it, and what an answer means."""

from __future__ import annotations

import pytest

from crawler.error import SiteError
from crawler.httpstatus import site_error
from crawler.response import Response
from crawler.robots import EXPIRES_S, ROBOTS_BYTES_MAX, robots_from, rules

AGENT = "crawler/0.1.0 (+https://h.example/bot)"


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", "/x", True),
        ("User-agent: *\nDisallow: /", "/x", False),
        ("User-agent: *\nDisallow:", "/x", True),
        ("User-agent: *\nDisallow: /x", "/xy", False),
        ("User-agent: *\nDisallow: /x/", "/x", True),
        ("User-agent: *\nDisallow: /\nAllow: /x", "/xy", True),
        ("User-agent: *\nAllow: /x\nDisallow: /x", "/x", True),
        ("User-agent: *\nAllow: /\nDisallow: /x", "/x", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/a/b.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/a/b.pdf?x", True),
        ("User-agent: *\nDisallow: /a*c", "/abbbc/d", False),
        ("User-agent: *\nDisallow: /?q=", "/?q=1", False),
        ("User-agent: *\nDisallow: /é", "/%C3%A9", False),
        ("User-agent: *\nDisallow: /", "/robots.txt", True),
        ("Disallow: /", "/x", True),
        ("User-agent: other\nDisallow: /", "/x", True),
        ("User-agent: crawl\nDisallow: /", "/x", True),
        ("User-agent: CRAWLER\nDisallow: /", "/x", False),
        ("User-agent: crawler/9.9 beta\nDisallow: /", "/x", False),
        ("User-agent: *\nDisallow: /\n\nUser-agent: crawler\nDisallow: /y", "/x", True),
        (
            "User-agent: crawler\nDisallow: /x\nUser-agent: *\nDisallow: /\nUser-agent: crawler\nDisallow: /y",
            "/y",
            False,
        ),
        ("User-agent: crawler\nUser-agent: b\nDisallow: /x", "/x", False),
        ("User-agent: crawler\nCrawl-delay: 1\nUser-agent: b\nDisallow: /x", "/x", False),
        ("User-agent: crawler\n\n\nDisallow: /x", "/x", False),
        ("User-agent: crawler\nSitemap: http://h.example/s\nDisallow: /x", "/x", False),
        ("User-agent: crawler\rDisallow: /x", "/x", False),
        ("\ufeffUser-agent: crawler\r\nDisallow: /x # why", "/x", False),
        ("  user-agent  :  crawler  \n  disallow  :  /x  ", "/x", False),
        ("user-agent crawler\ndisallow /x", "/x", False),
        ("User-agent: *\nDisallow: /a\u2028Disallow: /b", "/b", True),
        ("<html><body>404 User-agent: * Disallow: /</body></html>", "/x", True),
        ("User-agent: *\nDisallow: /x\n" + "\0\x01garbage: " * 1000, "/x", False),
    ],
)
def test_allowed(text: str, path: str, allowed: bool) -> None:
    assert rules(text).allowed(AGENT, f"http://h.example{path}") is allowed


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("User-agent: *\nCrawl-delay: 2.5", 2.5),
        ("User-agent: *\nCrawl-delay: 2\nUser-agent: crawler\nDisallow: /x\nCrawl-delay: 7", 7.0),
        ("User-agent: *\nCrawl-delay: 2\nDisallow:\nUser-agent: crawler\nDisallow: /x", None),
        ("User-agent: *\nCrawl-delay: -1", None),
        ("User-agent: *\nCrawl-delay: inf", None),
        ("User-agent: *\nCrawl-delay: 1e9", None),
        ("User-agent: *\nCrawl-delay: ten", None),
        ("", None),
    ],
)
def test_crawl_delay(text: str, delay: float | None) -> None:
    assert rules(text).crawl_delay(AGENT) == delay


def test_sitemaps_belong_to_nobody() -> None:
    text = "Sitemap: http://h.example/1\nUser-agent: b\nDisallow: /\nsitemap:http://h.example/2#x"
    assert rules(text).sitemaps == ("http://h.example/1", "http://h.example/2")


def test_an_agent_without_token_gets_the_rules_for_all() -> None:
    assert not rules("User-agent: *\nDisallow: /").allowed("", "http://h.example/x")
    assert not rules("User-agent: *\nDisallow: /").allowed("4711", "http://h.example/x")


def answer(body: bytes = b"", **fields: str) -> Response:
    return Response(url="http://h.example/robots.txt", status=200, headers={}, body=body, **fields)  # type: ignore[arg-type]


def test_an_answer_is_its_text() -> None:
    assert robots_from(answer(b"\xef\xbb\xbfUser-agent: *\xff")) == ("User-agent: *%FF", EXPIRES_S)


def test_octets_that_are_no_utf8_are_compared_as_they_are() -> None:
    """RFC 9309 §2.2.2: octets outside US-ASCII are percent-encoded before they are compared, whatever they mean."""
    found = robots_from(answer("User-agent: *\nDisallow: /priv\xe9/\nDisallow: /caf".encode("latin-1") + b"\xc3\xa9"))
    assert not isinstance(found, SiteError)
    parsed = rules(found[0])
    assert not parsed.allowed(AGENT, "http://h.example/priv%E9/x")
    assert not parsed.allowed(AGENT, "http://h.example/caf%C3%A9")
    assert parsed.allowed(AGENT, "http://h.example/priv%C3%A9/x")


def test_only_the_first_part_of_a_huge_one_counts() -> None:
    found = robots_from(answer(b"#" * (ROBOTS_BYTES_MAX + 10)))
    assert not isinstance(found, SiteError)
    assert len(found[0]) == ROBOTS_BYTES_MAX


@pytest.mark.parametrize("error", [site_error(404, "", None), site_error(403, "", None), site_error(410, "", None)])
def test_4xx_allows_everything(error: SiteError) -> None:
    assert robots_from(error) == ("", EXPIRES_S)


@pytest.mark.parametrize("reason", ["redirects_max", "bad_redirect"])
def test_endless_redirects_allow_everything(reason: str) -> None:
    assert robots_from(SiteError(reason, final=True)) == ("", EXPIRES_S)


@pytest.mark.parametrize(
    "error",
    [
        site_error(429, "", "30"),
        site_error(500, "", "30"),
        site_error(503, "", "30"),
        SiteError("dns", retry_after_s=30.0),
        SiteError("timeout_total", retry_after_s=30.0),
        SiteError("bad_encoding", final=True, retry_after_s=30.0),
    ],
)
def test_trouble_is_the_hosts_and_never_final(error: SiteError) -> None:
    found = robots_from(error)
    assert isinstance(found, SiteError)
    assert (found.reason, found.blame, found.final) == (f"robots_{error.reason}", "host", False)
    assert found.retry_after_s == 30.0
