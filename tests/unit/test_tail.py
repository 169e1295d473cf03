"""The history file as it grows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from crawler.error import SettingsError
from crawler.model import LOG_KIND, Message, Record
from crawler.view import LogEntry, Transition
from pipelines.history import History
from pipelines.tail import POLL_S, transitions


def message(id: str, **fields: object) -> Message:
    entry = LogEntry(fingerprint=1, outcome="done", worker="w1", **fields)  # type: ignore[arg-type]
    return Message(
        id=id,
        kind=LOG_KIND,
        url=f"https://e.com:8080/{id}",
        fetched_at="2026-01-31T12:00:00.250Z",
        spider="s",
        records=(Record(id, msgspec.Raw(msgspec.json.encode(entry))),),
    )


def store(path: Path, *ids: str) -> None:
    history = History(path=str(path))
    history.store([message(id) for id in ids])
    history.close()


def tail(path: Path) -> Iterator[Transition | None]:
    """Started: what comes from now on is told."""
    waits: list[float] = []
    steps = transitions(path, sleep=waits.append)
    assert next(steps) is None
    assert waits == []
    return steps


def told(steps: Iterator[Transition | None]) -> list[str]:
    """Until nothing more comes."""
    found = []
    while (step := next(steps)) is not None:
        found.append(step.url.rpartition("/")[2])
    return found


def test_only_what_comes_after_the_start_and_each_once(tmp_path: Path) -> None:
    path = tmp_path / "h"
    store(path, "old")
    steps = tail(path)
    store(path, "1", "2")
    assert told(steps) == ["1", "2"]
    assert told(steps) == []
    store(path, "2", "3")
    assert told(steps) == ["3"]


def test_every_field(tmp_path: Path) -> None:
    path = tmp_path / "h"
    steps = tail(path)
    history = History(path=str(path))
    history.store([message("1", reason="redirect")])
    assert next(steps) == Transition(
        at_ms=1_769_860_800_250,
        what="done",
        url="https://e.com:8080/1",
        host="e.com:8080",
        worker="w1",
        reason="redirect",
    )
    history.close()


def test_a_file_that_comes_later_or_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "h"
    steps = tail(path)
    assert next(steps) is None
    store(path, "1", "2", "3")
    assert told(steps) == ["1", "2", "3"]
    for side in ("", "-wal", "-shm"):
        Path(f"{path}{side}").unlink(missing_ok=True)
    assert told(steps) == []
    store(path, "4")
    assert told(steps) == ["4"]


def test_a_file_without_tables_yet(tmp_path: Path) -> None:
    path = tmp_path / "h"
    path.touch()
    steps = tail(path)
    store(path, "1")
    assert told(steps) == ["1"]


def test_more_than_one_piece(tmp_path: Path) -> None:
    path = tmp_path / "h"
    steps = tail(path)
    store(path, *map(str, range(2_500)))
    assert told(steps) == [*map(str, range(2_500))]


def test_it_waits_between_looks(tmp_path: Path) -> None:
    waits: list[float] = []
    steps = transitions(tmp_path / "h", sleep=waits.append)
    assert [next(steps) for _ in range(4)] == [None] * 4
    assert waits == [POLL_S] * 3


def test_what_is_no_history(tmp_path: Path) -> None:
    path = tmp_path / "h"
    path.write_text("no database " * 100)
    with pytest.raises(SettingsError, match="history file"):
        next(transitions(path))
