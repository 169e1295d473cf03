"""Later visits that the history asks for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from crawler.frontier.memory import MemoryFrontier
from crawler.model import LOG_KIND, Before, Message, Record, Request, Rules
from crawler.seed_history import BATCH, changed_since, schedule, time_ms
from crawler.tables_visit import RevisitTable
from crawler.url import fingerprint
from crawler.view import LogEntry
from pipelines.history import History

TABLE = RevisitTable(mode="interval", interval_s=10.0)
DAY_MS = 86_400_000
NEW_YEAR_MS = 1_735_689_600_000
"""2025-01-01T00:00:00Z"""


def outcome(url: str, outcome: str = "done", visit: int = 0, method: str = "GET", **fields: object) -> Message:
    print_ = fingerprint(Request(url=url, method=method))
    entry = LogEntry(fingerprint=print_, outcome=outcome, **fields)  # type: ignore[arg-type]
    record = Record(f"{url}{outcome}{visit}{method}", msgspec.Raw(msgspec.json.encode(entry)))
    at = f"2025-01-01T00:00:0{visit}.000Z"
    return Message(id=record.id, kind=LOG_KIND, url=url, fetched_at=at, spider="s", visit=visit, records=(record,))


def history(folder: Path, *messages: Message) -> Path:
    store = History(path=str(folder / "h"))
    store.store(messages)
    store.close()
    return folder / "h"


def test_pages_that_are_done_get_their_next_visit_once(tmp_path: Path) -> None:
    path = history(
        tmp_path,
        outcome("http://a.test/plain", method="GET", depth=2, etag='"1"', body=5),
        outcome("http://a.test/twice"),
        outcome("http://a.test/twice", visit=1, reason="not_modified", modified="Sat"),
        outcome("http://a.test/dead"),
        outcome("http://a.test/dead", "bury", visit=1),
        outcome("http://a.test/tried", "retry"),
        outcome("http://a.test/robots", reason="robots"),
        outcome("http://a.test/post", method="POST"),
    )
    with MemoryFrontier(Rules(robots=False), clock=lambda: NEW_YEAR_MS) as frontier:
        assert schedule(frontier, path, TABLE) == 2
        assert schedule(frontier, path, TABLE) == 0
        waiting = {trace.request.url[14:]: trace.request for trace in frontier.peek() if trace.request is not None}
    assert waiting == {
        "plain": Request(
            url="http://a.test/plain",
            depth=2,
            visit=1,
            not_before_ms=NEW_YEAR_MS + 10_000,
            before=Before(etag='"1"', body=5, wait_s=10.0),
        ),
        "twice": Request(
            url="http://a.test/twice",
            visit=2,
            not_before_ms=NEW_YEAR_MS + 11_000,
            before=Before(modified="Sat", wait_s=10.0),
        ),
    }


def test_all_pieces_are_read(tmp_path: Path) -> None:
    path = history(tmp_path, *(outcome(f"http://a.test/{number}") for number in range(2 * BATCH + 7)))
    with MemoryFrontier(Rules(robots=False)) as frontier:
        assert schedule(frontier, path, TABLE) == 2 * BATCH + 7
        assert schedule(frontier, tmp_path / "none", TABLE) == 0


@pytest.mark.parametrize(
    ("lastmod", "visits"),
    [
        ("2025-01-01T00:00:02Z", [2]),
        ("2025-01-01T00:00:01Z", []),
        ("2024-12-31", []),
        ("2025-01-01", [2]),  # its end
        ("Thu, 02 Jan 2025 00:00:00 GMT", [2]),
        ("2025-01-01T00:00:02+02:00", []),
        ("yesterday", []),
        ("", []),
    ],
)
def test_what_has_changed_since_its_last_visit(tmp_path: Path, lastmod: str, visits: list[int]) -> None:
    path = history(tmp_path, outcome("http://a.test/1", method="GET"), outcome("http://a.test/1", visit=1, etag='"1"'))
    seeds = [
        Request(url="http://a.test/1", meta={"lastmod": lastmod}),
        Request(url="http://a.test/new", meta={"lastmod": lastmod}),
        Request(url="http://a.test/1"),
    ]
    found = changed_since(path, seeds)
    assert [request.visit for request in found] == visits
    assert all(request.before == Before(etag='"1"') and request.not_before_ms == 0 for request in found)
    assert changed_since(tmp_path / "none", seeds) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-01-01T00:00:00Z", NEW_YEAR_MS),
        ("2025-01-01T01:00+01:00", NEW_YEAR_MS),
        ("2025-01-01T00:00:00", NEW_YEAR_MS),
        ("2025-01-01", NEW_YEAR_MS + DAY_MS - 1000),
        ("Wed, 01 Jan 2025 00:00:00 +0000", NEW_YEAR_MS),
        *((text, None) for text in ("", "2025", "25-1-1", "x" * 65, "9999999999", "Wed, 99 Jan 2025 00:00:00 GMT")),
        (5, None),
        (None, None),
    ],
)
def test_times(text: object, expected: int | None) -> None:
    assert time_ms(text) == expected
