"""What a run shows: lines, the live view, the summary, the report."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty

import msgspec
import pytest

from crawler.cli import summary, text
from crawler.cli.gauge import Speed, errors, line
from crawler.cli.live import Live
from crawler.cli.progress import Lines, Quiet
from crawler.report import Report, Snapshot
from crawler.seed import SeedReport
from crawler.view import Counts, Finish, QueueCounts, WorkerRow

SNAPSHOT = Snapshot(
    counts=Counts(
        ready=1234,
        leased=64,
        delayed=5,
        dead=3,
        pages=740,
        items=700,
        hosts=2,
        reasons={"bury:http_404": 3, "retry:http_503": 7, "retry:http_404": 1, "done:redirect": 9},
    ),
    queues={"out": QueueCounts(ready=10, leased=2, suspects=1, done=600), "history": QueueCounts(done=5, delayed=1)},
    workers=(
        *(WorkerRow(name=f"w{number}-cafe", leased=32) for number in range(1, 31)),
        WorkerRow(name="gone", pages=5),
    ),
    seconds=10.0,
)

REPORT = Report(
    finish=Finish.FINISHED,
    interrupted=False,
    pages=1200,
    items=1150,
    failed=3,
    dead=3,
    seconds=12.3,
    cpu_seconds=1.5,
    pages_per_second=97.6,
    pages_per_cpu_second=800.0,
    peak_rss_mb=96.4,
    bytes=44_000_000,
    restarts=0,
    pages_total=1200,
    items_total=1150,
    pending=0,
    unstored=0,
    dead_items=0,
    errors={"bury:http_404": 2, "bury:timeout_total": 1, "retry:http_503": 9},
    outputs={"out": "pages.jsonl"},
    state=".crawler/shop.db",
)


def at(seconds: float, pages: int = 0, state: str = "crawling") -> Snapshot:
    return Snapshot(counts=Counts(pages=pages), seconds=seconds, state=state)


def test_a_line_has_what_matters() -> None:
    shown = line(SNAPSHOT, 74.0)
    assert shown.startswith(
        "10.0 s crawling: 740 pages (74.0/s), ready 1,234, leased 64, delayed 5, dead 3, to store 14,"
    )
    assert ", workers 30; " in shown
    assert shown.endswith("errors: http_503 7, http_404 4")


def test_errors_are_failures_by_kind_most_frequent_first() -> None:
    assert errors({"bury:a": 1, "retry:b": 2, "retry:a": 1, "done:redirect": 5, "retry:c": 0}) == [("a", 2), ("b", 2)]


def test_lines_come_every_so_often_and_at_the_end() -> None:
    stream = io.StringIO()
    lines = Lines(stream, every_s=5.0)
    for tick in range(0, 48):
        lines.tick(at(tick * 0.25, pages=tick))
    lines.close()
    lines.close()
    shown = stream.getvalue().splitlines()
    assert [one.split(" crawling")[0] for one in shown] == ["5.0 s", "10.0 s", "11.8 s"]
    assert "\x1b" not in stream.getvalue()


def test_nothing_ticked_nothing_shown() -> None:
    stream = io.StringIO()
    Lines(stream).close()
    assert stream.getvalue() == ""


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Quiet(io.StringIO())
    quiet.tick(SNAPSHOT)
    quiet.close()
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_leaves_ends_the_lines_and_not_the_crawl() -> None:
    read, write = os.pipe()
    os.close(read)
    went_on = False
    with contextlib.suppress(BrokenPipeError), open(write, "w") as stream:
        lines = Lines(stream, every_s=0.1)
        for tick in range(1, 10):
            lines.tick(at(tick))
        lines.close()
        went_on = True
    assert went_on


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ([], 0.0),
        ([(0.0, 0)], 0.0),
        ([(1.0, 5), (1.0, 9)], 0.0),
        ([(0.0, 0), (2.0, 30)], 15.0),
        ([(0.0, 0), (100.0, 1000), (105.0, 1010), (110.0, 1020)], 2.0),
        ([(0.0, 50), (1.0, 0)], 0.0),
    ],
)
def test_speed_is_the_mean_of_the_last_ten_seconds(notes: list[tuple[float, int]], expected: float) -> None:
    speed = Speed(10.0)
    for note in notes:
        speed.note(*note)
    assert speed.per_second() == expected


def live_output(snapshots: list[Snapshot], monkeypatch: pytest.MonkeyPatch, *, columns: int, **environ: str) -> str:
    for name, value in {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "24", **environ}.items():
        monkeypatch.setenv(name, value)
    master, slave = pty.openpty()
    with open(slave, "w", buffering=1 << 20) as terminal:
        live = Live("shop.example [bold]\x1b]0;owned", terminal)
        for snapshot in snapshots:
            live.tick(snapshot)
        live.close()
        live.close()
        terminal.flush()
        shown = os.read(master, 1 << 20).decode()
    os.close(master)
    return shown


@pytest.mark.parametrize("columns", [80, 120])
def test_live_shows_counts_queues_and_workers(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seeded = msgspec.structs.replace(
        SNAPSHOT, seeded=SeedReport(new=5, known=1, refused=2), restarts=4, state="draining"
    )
    shown = live_output([seeded], monkeypatch, columns=columns)
    for words in (
        "740",
        "1,234",
        "http_503 7",
        "w1-cafe",
        "and 20 more",
        "history",
        "draining",
        "5 new, 1 known, 2 refused",
    ):
        assert words in shown
    assert "[bold]\\x1b]0;owned" in shown, "a title is text, neither markup nor control characters"
    assert "\x1b]0" not in shown


def test_live_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = live_output([SNAPSHOT], monkeypatch, columns=80, NO_COLOR="1")
    assert not any(f"\x1b[{code}m" in shown for code in (31, 32, 33))
    assert "\x1b[31m" in live_output([SNAPSHOT], monkeypatch, columns=80, NO_COLOR="")


def change(**fields: object) -> Report:
    return msgspec.structs.replace(REPORT, **fields)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (REPORT, "finished: 1,200 pages, 1,150 items, 44.0 MB in 12.3 s\n"),
        (REPORT, "  results   pages.jsonl\n"),
        (REPORT, "  dead      3 pages: http_404 2, timeout_total 1\n"),
        (REPORT, "see crawler dead ls --state .crawler/shop.db"),
        (change(pages_total=5000, items_total=4900), "; with earlier runs 5,000 pages, 4,900 items"),
        (change(pages=0, items=0, failed=0, errors={}), "already finished: 1,200 pages, 1,150 items; nothing was left"),
        (change(pages=1, items=1, bytes=10), "finished: 1 page, 1 item, 10 B in"),
        (change(finish=Finish.RUNNING, interrupted=True, pending=7), "interrupted: 1,200 pages"),
        (
            change(finish=Finish.RUNNING, interrupted=True, pending=7),
            "  left      7 pages waiting, 0 messages to store\n",
        ),
        (change(finish=Finish.RUNNING, interrupted=True, pending=7), "  go on     crawler run http://shop -w 4"),
        (change(finish=Finish.INCOMPLETE), "incomplete, since a seeder died"),
        (change(finish=Finish.LIMIT, pending=9), "stopped at its limit: 1,200 pages"),
        (change(finish=Finish.RUNNING, lost_to="limit: 60 s", pending=9), "stopped: limit: 60 s: 1,200 pages"),
        (change(restarts=2), "  restarts  2 (processes that died"),
        (change(dead_items=1), "  dead      1 item message: see crawler dead ls --items --state"),
        (change(state="memory:"), "http_404 2, timeout_total 1"),
        (change(state="memory:", pending=1), "  go on     not possible"),
        (change(seeded=SeedReport(refused=4)), "  seeds     4 lines refused"),
        (change(outputs={"out": "a\x1b[2Jb.jsonl"}), "a\\x1b[2Jb.jsonl"),
    ],
)
def test_summary(report: Report, said: str) -> None:
    assert said in summary.text(report, again=summary.repeat(["run", "http://shop", "-w", "4", "--fresh"]))


def test_a_finished_crawl_needs_no_way_on() -> None:
    assert "go on" not in summary.text(REPORT, again="again")


def test_what_was_in_memory_cannot_be_looked_at_later() -> None:
    assert "crawler dead" not in summary.text(change(state="memory:", dead_items=1), again="again")


def test_the_way_on_is_quoted_for_a_shell_and_never_fresh() -> None:
    assert summary.repeat(["run", "http://x/?a=1&b", "--fresh"]) == "crawler run 'http://x/?a=1&b'"
    secret = [
        'session.proxies=["http://u:hush@p", "http://v:hush@q"]',
        "redis.password=hush",
        'session.hosts={"h"={token="hush"}}',
    ]
    shown = summary.repeat(["run", "http://x/@y", *secret, "frontier.url=redis://:hush@h/0"])
    assert "hush" not in shown
    assert shown.startswith("crawler run http://x/@y ")
    assert summary.repeat(["run", "crawl.hosts=x"]) == "crawler run crawl.hosts=x"
    assert "http://***@p" in shown


def test_the_report_as_json_has_every_field_and_the_exit_code() -> None:
    report = json.loads(summary.encode(REPORT))
    assert set(report) == {*Report.__struct_fields__, "exit_code"}
    assert (report["finish"], report["pages"], report["exit_code"]) == ("finished", 1200, 0)
    needed = "pages items failed dead seconds cpu_seconds pages_per_second pages_per_cpu_second peak_rss_mb"
    assert set(needed.split()) <= set(report)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (text.seconds(0.04), "0.0 s"),
        (text.seconds(59.94), "59.9 s"),
        (text.seconds(65), "1:05"),
        (text.seconds(7445), "2:04:05"),
        (text.seconds(266645), "3 d 2:04:05"),
        (text.size(999), "999 B"),
        (text.size(1_000), "1.0 kB"),
        (text.size(999_999), "1.0 MB"),
        (text.size(5e15), "5,000.0 TB"),
        (text.rate(1234.5), "1,234"),
        (text.rate(12.34), "12.3"),
        (text.rate(0.123), "0.12"),
        (text.plural(1, "retry"), "1 retry"),
        (text.plural(1200, "retry"), "1,200 retries"),
        (text.plural(0, "page"), "0 pages"),
        (text.shorten("http://example.org/a/long/path", 15), "http://ex…/path"),
        (text.shorten("short", 15), "short"),
        (text.shorten("anything", 3), "any"),
        (text.printable("a\x1b[31mb\x00\u202e\n"), "a\\x1b[31mb\\x00\\u202e\n"),
    ],
)
def test_text(shown: str, expected: str) -> None:
    assert shown == expected


def test_tables_align_numbers_to_the_right() -> None:
    assert text.table(("name", "pages"), [("a", 5), ("long", 12345)]) == "name   pages\na          5\nlong  12,345"
    assert text.table(("name",), []) == "name"
