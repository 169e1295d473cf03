"""Messages as a worker makes them: one page's item, of a given size."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec

from crawler.model import LOG_KIND, Message, Record
from crawler.view import LogEntry

SENTENCE = "the crawler keeps a shared polite queue of pages that several workers take from at once "


def pages(count: int, size_bytes: int, begin: int = 0) -> Iterator[Message]:
    """`page` messages with one record of about `size_bytes` each, all different."""
    filler = (SENTENCE * (size_bytes // len(SENTENCE) + 1))[:size_bytes]
    for number in range(begin, begin + count):
        data = {"title": f"Page {number}", "h1": "A heading", "status": 200, "text": filler}
        yield Message(
            id=f"{number:032x}",
            kind="page",
            url=f"http://h{number % 100}.example/shop/product/{number}",
            fetched_at="2026-01-02T03:04:05.678Z",
            spider="pages",
            records=(Record(f"{number:032x}-0", msgspec.Raw(json.dumps(data).encode())),),
        )


def logs(count: int, begin: int = 0) -> Iterator[Message]:
    """`log` messages, one a page."""
    for number in range(begin, begin + count):
        entry = LogEntry(fingerprint=number, outcome="done", status=200, seconds=0.01, bytes=37_000, items=1, links=94)
        yield Message(
            id=f"log{number:029x}",
            kind=LOG_KIND,
            url=f"http://h{number % 100}.example/shop/product/{number}",
            fetched_at="2026-01-02T03:04:05.678Z",
            spider="pages",
            records=(Record(f"log{number:029x}-0", msgspec.Raw(msgspec.json.encode(entry))),),
        )
