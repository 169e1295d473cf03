"""What the web says of itself, obeyed by the real command: robots.txt, sitemaps, canonical URLs; and `explain`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.sites.stamp import StampServer

ROOT = Path(__file__).parents[2]
HTML = {"Content-Type": "text/html"}
ROBOTS = """User-agent: *
Disallow: /private
Allow: /private/door$
Crawl-delay: 0.05

User-agent: other
Disallow: /
Sitemap: {}/map-of-all
"""
PAGES = {
    "/": '<a href="/private/x">no</a><a href="/private/door">yes</a><a href="/open?utm_source=x">open</a>'
    '<a href="/old">old</a><a href="/quiet">quiet</a><a rel=nofollow href="/unfollowed">no</a>',
    "/private/door": '<a href="/%70rivate/y">no</a><a href="/private/door?x">no</a>',
    "/open": '<a href="/open?utm_medium=y&amp;utm_source=z">again</a>',
    "/quiet": '<meta name=robots content="noindex"><a href="/behind">behind</a>',
    "/behind": '<link rel=canonical href="/canonical">',
    "/canonical": '<link rel=canonical href="/canonical"><a href="/behind">alias</a>',
    "/listed": "listed",
}


@pytest.fixture
def site() -> Iterator[StampServer]:
    def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
        base = f"http://127.0.0.1:{server.port}"
        if path == "/robots.txt":
            return 200, {"Content-Type": "text/plain"}, ROBOTS.format(base).encode()
        if path == "/map-of-all":
            urls = "".join(f"<url><loc>{base}{one}</loc></url>" for one in ("/listed", "/private/listed"))
            return 200, {"Content-Type": "text/html"}, f"<urlset>{urls}</urlset>".encode()
        if path == "/old":
            return 301, {"Location": "/private/new"}, b""
        body = PAGES.get(path)
        return (404, {}, b"") if body is None else (200, HTML, f"<title>{path}</title>{body}".encode())

    with StampServer(answer) as server:
        yield server


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "crawler", *arguments]
    return subprocess.run(command, cwd=home, env=environ, capture_output=True, text=True, timeout=120)


def explained(home: Path, url: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(home, "explain", url, "--json", "--set", "url.drop_tracking=true").stdout)
    return found


def test_a_site_with_rules(site: StampServer, tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{site.port}"
    form = ["--set", "url.drop_tracking=true", "--set", "crawl.name=rules"]
    seeded = run(tmp_path, "seed", "--sitemap", base, *form)
    assert "2 new" in seeded.stdout, seeded.stderr
    done = run(tmp_path, "run", f"{base}/", "-o", "out.jsonl", "--delay", "0", "--json", *form)
    assert done.returncode == 0, done.stderr

    asked = Counter(stamp.path for stamp in site.stamps)
    assert [path for path in asked if "rivate" in path] == ["/private/door"]
    assert "/unfollowed" not in asked
    assert asked["/open"] == 1
    assert not [path for path in asked if "utm_" in path]
    assert asked["/robots.txt"] <= 2  # the seeder's and, for the whole fleet, the crawl's

    items = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    stored = Counter(item["url"].removeprefix(base) for item in items)
    assert stored == Counter(["/", "/private/door", "/open", "/canonical", "/listed"])

    reasons = json.loads(run(tmp_path, "status", "--json").stdout)["counts"]["reasons"]
    assert reasons["done:robots"] == 5
    assert reasons["done:noindex"] == 1
    refused = explained(tmp_path, f"{base}/private/x")
    assert refused["robots"] == "forbidden by line 2: Disallow: /private"
    assert refused["history"][-1]["entry"]["detail"] == "line 2: Disallow: /private"
    assert explained(tmp_path, f"{base}/private/door")["robots"] == "allowed by line 3: Allow: /private/door$"
    assert explained(tmp_path, f"{base}/a/b/a/b/a/b/a/b")["trap"].startswith("refused: repeats")

    other = run(tmp_path, "run", f"{base}/", "-o", "out.jsonl", "--set", "crawl.name=rules")
    assert other.returncode == 2
    assert "put [url] back as it was" in other.stderr


def test_lists_on_the_web_keep_the_rules(tmp_path: Path) -> None:
    """What robots.txt forbids is not asked for because a sitemap names it or is redirected to it, one list follows the
    other after the host's delay, and none while the host wants to be left alone."""
    names = ("1", "private/2", "moved", "3", "busy", "4")

    def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
        base = f"http://127.0.0.1:{server.port}"
        if path == "/robots.txt":
            rules = f"User-agent: *\nDisallow: /private\nCrawl-delay: 0.3\nSitemap: {base}/index.xml\n"
            return 200, {"Content-Type": "text/plain"}, rules.encode()
        if path == "/index.xml":
            lists = "".join(f"<sitemap><loc>{base}/{name}.xml</loc></sitemap>" for name in names)
            return 200, {}, f"<sitemapindex>{lists}</sitemapindex>".encode()
        if path == "/moved.xml":
            return 302, {"Location": "/private/moved.xml"}, b""
        if path == "/busy.xml":
            return 429, {"Retry-After": "4711"}, b""
        return 200, {}, f"<urlset><url><loc>{base}/page{path}</loc></url></urlset>".encode()

    with StampServer(answer) as server:
        done = run(tmp_path, "seed", "--sitemap", f"http://127.0.0.1:{server.port}", "--set", "politeness.delay_s=0.1")
        stamps = list(server.stamps)
    assert [stamp.path for stamp in stamps] == [
        "/robots.txt",
        *(f"/{name}.xml" for name in ("index", "1", "moved", "3", "busy")),
    ]
    starts = [stamp.came for stamp in stamps]
    assert all(later - one >= 0.3 for one, later in pairwise(starts[1:])), starts
    assert done.stdout.startswith("2 new"), done.stdout
    assert done.stderr.count(": robots ") == 2, done.stderr
    assert "/4.xml: retry_after" in done.stderr
