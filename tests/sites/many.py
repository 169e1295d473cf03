"""A site of many hosts, 127.x.y.1, each with a home page that links to pages of its own."""

from __future__ import annotations

from pathlib import Path

from tests.sites.stamp import Answer

HTML = {"Content-Type": "text/html"}
ROBOTS = b"User-agent: *\nAllow: /"
PAGE = b"<title>page</title>"


def addresses(count: int, second: int = 1) -> list[str]:
    """127.`second`.0.1, 127.`second`.1.1 … At most 250."""
    return [f"127.{second + number // 250}.{number % 250}.1" for number in range(count)]


def home_page(pages: int) -> bytes:
    return PAGE + "".join(f"<a href='/page/{number}.html'>x</a>" for number in range(pages)).encode()


def answering(pages: int) -> Answer:
    """For a `StampServer`: robots.txt, a home page, and so many pages that it links to."""
    first = home_page(pages)

    def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
        if path == "/robots.txt":
            return 200, {"Content-Type": "text/plain"}, ROBOTS
        return 200, HTML, first if path == "/" else PAGE

    return answer


def export(folder: Path, pages: int, *, heavy: bool = False) -> None:
    """The same as files. `heavy`: each page has some 20 KB of text and links to all others."""
    text = home_page(pages)
    page = text + b"<p>Some words to read, <b>and</b> some more of them.</p>" * 300 if heavy else PAGE
    (folder / "page").mkdir(parents=True)
    (folder / "robots.txt").write_bytes(ROBOTS)
    (folder / "index.html").write_bytes(text)
    for number in range(pages):
        (folder / "page" / f"{number}.html").write_bytes(page)
