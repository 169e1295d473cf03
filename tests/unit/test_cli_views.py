"""peek, purge, explain, monitor, and the text of status: on a small crawl's state, and on values alone."""

from __future__ import annotations

import itertools
import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crawler import app
from crawler.cli import main
from crawler.cli.monitor import line
from crawler.cli.overview import text
from crawler.cli.status import Watch, mean, unconsumed
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import LOG_KIND, Bury, Done, Message, Outcome, Record, Request, Retry, Rules, Settlement
from crawler.settings import Settings
from crawler.url import fingerprint
from crawler.view import Counts, Finish, Host, LogEntry, QueueCounts, Shard, Transition, WorkerRow
from pipelines.history import History

STATE = ".crawler/shop.db"
RULES = Rules(robots=False, per_host=0)
HOUR_S = 3_600.0
ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture(autouse=True)
def _crawl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a.example: /done, /dead, /leased, /retried, /next, /after, /later; on b.example: /x; their outcomes logged."""
    monkeypatch.chdir(tmp_path)
    with SqliteFrontier(STATE, RULES, name="shop") as frontier:
        for name in ("done", "dead", "leased", "retried"):
            frontier.add([page(name)])
        leases = frontier.lease(4, worker="w1", request_id=os.urandom(16).hex()).leases
        outcomes: dict[str, Outcome] = {
            "done": Done(),
            "dead": Bury("http_404", "Not Found"),
            "retried": Retry(HOUR_S, "http_500"),
        }
        tokens = {lease.request.url.rpartition("/")[2]: lease.token for lease in leases}
        frontier.settle([Settlement(tokens[name], outcome) for name, outcome in outcomes.items()])
        frontier.add([page("next", priority=5), page("after", depth=2), page("x", host="b.example")])
        frontier.update_record(hosts=("*.example", "a.example"))
    log("done", outcome="done", status=200, items=2, links=7)
    log("retried", outcome="retry", reason="http_500", status=500)
    log("dead", outcome="bury", reason="http_404", detail="Not\x1b[31m Found", status=404)


def page(name: str, host: str = "a.example", **fields: Any) -> Request:
    return Request(url=f"http://{host}/{name}", **fields)


def log(name: str, **fields: Any) -> None:
    url = page(name).url
    entry = LogEntry(fingerprint=fingerprint(page(name)), worker="w1", seconds=0.25, bytes=1500, **fields)
    history = History(path=app.history_path(STATE))
    record = Record(name, msgspec.Raw(msgspec.json.encode(entry)))
    at = "2026-01-31T12:00:00.000Z"
    history.store([Message(id=name, kind=LOG_KIND, url=url, fetched_at=at, spider="s", records=(record,))])
    history.close()


def run(*words: str) -> int:
    return main(list(words))


def pending() -> tuple[int, int, int]:
    with app.open_frontier(Settings(), STATE) as frontier:
        counts = frontier.counts()
        return counts.ready, counts.delayed, counts.dropped


class TestPeek:
    @pytest.mark.parametrize(
        ("words", "urls"),
        [
            ("", ["a.example/next", "b.example/x", "a.example/after", "a.example/retried"]),
            ("--limit 2", ["a.example/next", "b.example/x"]),
            ("a.example", ["a.example/next", "a.example/after", "a.example/retried"]),
            ("HTTP://B.Example/some/page", ["b.example/x"]),
        ],
    )
    def test_what_waits_in_order(self, words: str, urls: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert run("peek", *words.split()) == 0
        rows = capsys.readouterr().out.splitlines()
        assert [row.split()[-1].removeprefix("http://") for row in rows[1:] if "…" not in row] == urls
        assert rows[0].split() == ["state", "due", "prio", "depth", "failed", "url"]
        assert ("… 2 more; --limit N shows more" in rows) is ("--limit" in words)

    def test_a_row(self, capsys: pytest.CaptureFixture[str]) -> None:
        run("peek")
        rows = capsys.readouterr().out.splitlines()
        assert rows[1].split()[:5] == ["ready", "-", "5", "0", "0"]
        assert rows[-1].split()[0] == "delayed"
        assert rows[-1].split()[-2] == "1"
        assert rows[-1].split()[1].startswith("59:5")

    def test_for_scripts(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("peek", "--json", "a.example") == 0
        rows = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
        assert [row["state"] for row in rows] == ["ready", "ready", "delayed"]
        assert rows[1]["request"]["depth"] == 2
        assert rows[1]["ahead"] == 1

    @pytest.mark.parametrize("words", [(), ("--json",)])
    def test_nothing(self, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        assert run("peek", "nowhere.example", *words) == 0
        assert capsys.readouterr().out == ("" if words else "nothing waits on nowhere.example\n")


class TestPurge:
    def test_one_host(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("purge", "--host", "a.example", "-y") == 0
        assert capsys.readouterr().out == "3 requests purged on a.example; their URLs stay known\n"
        assert pending() == (1, 0, 3)
        assert run("purge", "--host", "a.example") == 0
        assert capsys.readouterr().out == "nothing waits on a.example\n"

    def test_all(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("purge", "--all", "--yes") == 0
        assert capsys.readouterr().out == "4 requests purged; their URLs stay known\n"
        assert pending() == (0, 0, 4)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("", "purge what?"),
            ("--yes", "purge what?"),
            ("--all --host a.example --yes", "not allowed with"),
            ("--host a/b --yes", "not a host"),
        ],
    )
    def test_it_must_be_meant(self, words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("purge", *words.split()) == 2
        assert said in capsys.readouterr().err
        assert pending() == (3, 1, 0)

    def test_it_asks_and_without_a_terminal_does_nothing(self) -> None:
        command = [sys.executable, "-m", "crawler", "purge", "--host", "a.example"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRON, timeout=60)
        assert done.returncode == 2
        assert b"--yes" in done.stderr
        for answer, left in ((b"n\n", (3, 1, 0)), (b"y\n", (1, 0, 3))):
            master, slave = pty.openpty()
            os.write(master, answer)
            done = subprocess.run(command, stdin=slave, capture_output=True, env=ENVIRON, timeout=60)
            os.close(slave)
            os.close(master)
            assert b"Forget 3 requests waiting on a.example? [y/N]" in done.stdout
            assert (done.returncode, pending()) == (0, left)


class TestExplain:
    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("http://a.example/new", ["seen         no", "in scope     yes", "history      none"]),
            (
                "http://a.example/next",
                ["state        ready, first of its host", "priority 5, depth 0, failed attempts 0"],
            ),
            ("http://a.example/after", ["state        ready, 1 request of its host before it", "depth 2"]),
            (
                "http://a.example/retried",
                ["state        delayed, ready in 59:5", "failed attempts 1", "retry http_500"],
            ),
            ("http://a.example/leased", ["state        leased to w1, for another "]),
            ("http://a.example/dead", ["state        dead since ", ": http_404", "detail       Not Found", "HTTP 404"]),
            (
                "http://a.example/done",
                ["state        done, dropped or purged", "done; HTTP 200 in 0.2 s, 1.5 kB; 2 items"],
            ),
            ("HTTP://A.example:80/x/../done#f", ["url          http://a.example/done\n", "given as     HTTP://A.ex"]),
            ("http://c.test/", ["in scope     no; only as a seed", "host: c.test is none of *.example, a.example"]),
        ],
    )
    def test_where_a_page_is(self, url: str, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert run("explain", url) == 0
        shown = capsys.readouterr().out
        assert [words for words in said if words not in shown] == []
        assert "\x1b" not in shown
        if "c.test" not in url:
            assert "host         a.example, ready 2, in flight 1, delayed 1, dead 1, done 1\n" in shown

    @pytest.mark.parametrize(
        ("words", "url", "rule"),
        [
            ('--set crawl.exclude=["/d"]', "http://a.example/dead", "exclude: /d"),
            ('--set crawl.include=["^/s","x"]', "http://a.example/dead", "include: matches none of ^/s, x"),
            ("--set crawl.depth_max=1", "http://a.example/after", "depth: 2, at most 1"),
            ("--set worker.url_chars_max=20", "http://a.example/after", "worker.url_chars_max: 22 characters"),
            ("--set crawl.hosts=[]", "http://c.test/", "host: c.test is none of"),
        ],
    )
    def test_the_rule_that_refuses(self, words: str, url: str, rule: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("explain", url, *words.split()) == 0
        shown = capsys.readouterr().out
        assert "in scope     no" in shown
        assert f"             {rule}" in shown

    def test_a_depth_that_is_not_known_yet(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("explain", "http://a.example/new", "--set", "crawl.depth_max=3") == 0
        shown = capsys.readouterr().out
        assert "in scope     yes" in shown
        assert "depth: at most 3; not known before" in shown

    def test_the_crawls_own_spider_judges(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("shop.py").write_text(
            "from crawler import Spider\nclass Shop(Spider):\n    name = 's'\n    exclude = ('/d',)\n"
        )
        with app.open_frontier(Settings(), STATE) as frontier:
            frontier.update_record(spider="shop.py:Shop")
        assert run("explain", "http://a.example/dead") == 0
        assert "exclude: /d" in capsys.readouterr().out
        Path("shop.py").unlink()
        assert run("explain", "http://a.example/next") == 0
        assert "spider: its rules are not known: " in capsys.readouterr().out

    def test_a_host_in_trouble(self, capsys: pytest.CaptureFixture[str]) -> None:
        with app.open_frontier(Settings(), STATE) as frontier:
            frontier.set_host("a.example", delay_s=7.0, pause_s=900.0)
        run("explain", "http://a.example/next")
        said = "a.example, not asked for another 15:00, delay 7.0 s (its own in the settings), ready 2"
        assert said in capsys.readouterr().out.replace("14:59", "15:00")

    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            ("delay 6.0 s (it answers in 3.0 s)", ""),
            ("delay 2.0 s (slowed down 1 step because it answered 429 or 503)", "http_429"),
            ("delay 9.0 s (Crawl-delay in its robots.txt)", "crawl delay"),
        ],
    )
    def test_what_decides_on_a_hosts_delay(self, said: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
        from crawler.model import Retry, Robots, Settlement

        with app.open_frontier(Settings(), STATE) as frontier:
            frontier.add([Request(url="http://c.example/")])
            asked_s = 9.0 if reason == "crawl delay" else 0.0
            frontier.set_host("c.example", robots=Robots(origin="http://c.example"), crawl_delay_s=asked_s)
            leases = frontier.lease(9, worker="w", request_id="f" * 32).leases
            token = next(lease.token for lease in leases if lease.host == "c.example")
            if reason == "http_429":
                frontier.settle([Settlement(token, Retry(0.0, reason, "host"))])
            elif not reason:
                frontier.fetched([token], [3.0])
        run("explain", "http://c.example/")
        assert said in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("text", "allowed"),
        [("User-agent: *\nDisallow: /n", "forbidden by line 2: Disallow: /n"), ("", "allowed"), (None, "unknown")],
    )
    def test_robots(self, text: str | None, allowed: str, capsys: pytest.CaptureFixture[str]) -> None:
        from crawler.model import Robots

        if text is not None:
            with app.open_frontier(Settings(), STATE) as frontier:
                frontier.set_host("a.example", robots=Robots(origin="http://a.example", text=text))
        run("explain", "http://a.example/next")
        assert f"robots.txt   {allowed}\n" in capsys.readouterr().out
        run("explain", "http://a.example/next", "--set", "politeness.robots=false")
        assert "robots.txt   off\n" in capsys.readouterr().out

    def test_for_scripts(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("explain", "http://a.example/dead#x", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["canonical"] == "http://a.example/dead"
        assert found["fingerprint"] == f"{fingerprint(page('dead')) % 2**64:016x}"
        assert (found["in_scope"], found["scope"], found["robots"]) == (True, [], "unknown")
        assert (found["trace"]["state"], found["trace"]["reason"]) == ("dead", "http_404")
        assert found["host"]["dead"] == 1
        assert [event["entry"]["outcome"] for event in found["history"]] == ["bury"]

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("nonsense", "not_a_url"),
            ("mailto:me@a.example", "scheme"),
            ("http://me:pw@a.example/", "credentials"),
            (f"http://a.example/{'x' * 9000}", "too_long"),
        ],
    )
    def test_what_is_no_page(self, url: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("explain", url) == 2
        assert f"no page      {reason}: " in capsys.readouterr().out
        assert run("explain", url, "--json") == 2
        assert json.loads(capsys.readouterr().out)["refused"] == reason

    def test_a_crawl_without_history(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path(app.history_path(STATE)).unlink()
        assert run("explain", "http://a.example/done") == 0
        assert "history      none" in capsys.readouterr().out


class TestMonitor:
    def monitored(self, *words: str) -> list[str]:
        """Its lines while three outcomes come in."""
        command = [sys.executable, "-m", "crawler", "monitor", "--seconds", "60", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRON) as one:
            assert one.stdout is not None
            markers = itertools.count()
            while not select.select([one.stdout], [], [], 0.1)[0]:  # what was logged before it watches is not told
                log(f"marker{next(markers)}", outcome="bury")
            for outcome in ("done", "retry", "bury"):
                log(f"new-{outcome}", outcome=outcome)
            lines = [one.stdout.readline()]
            while "new-bury" not in lines[-1]:
                lines.append(one.stdout.readline())
            one.send_signal(2)
            assert one.wait(20) == 0
            assert one.stderr is not None
            assert one.stderr.read() == ""
        return [line for line in lines if "marker" not in line]

    def test_a_line_for_each_outcome(self) -> None:
        assert [line.split()[1:] for line in self.monitored()] == [
            [outcome, "w1", f"http://a.example/new-{outcome}"] for outcome in ("done", "retry", "bury")
        ]

    def test_only_some_and_for_scripts(self) -> None:
        rows = [json.loads(line) for line in self.monitored("--what", "retry,bury", "--host", "a.example", "--json")]
        assert [(row["what"], row["host"]) for row in rows] == [("retry", "a.example"), ("bury", "a.example")]

    def test_it_ends_after_some_seconds(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("monitor", "--seconds", "0.1") == 0
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("--what don", "don: no step; there are added, leased, done"),
            ("--what ,", "no step"),
            ("--seconds -1", "must be 0 or more"),
            ("--set exchange.history=false", "exchange.history is false"),
            ("--host a/b", "not a host"),
        ],
    )
    def test_what_it_refuses(self, words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("monitor", *words.split()) == 2
        assert said in capsys.readouterr().err

    def test_a_line_fits_a_terminal(self) -> None:
        step = Transition(
            at_ms=1_769_860_800_250,
            what="bury",
            url=f"http://e.com/{'x' * 90}/end",
            worker="w1-77-ab",
            reason="gone\x1b",
        )
        shown = line(step, 80)
        assert len(shown) == 80
        assert shown.startswith("12:00:00.250 bury     w1  http://e.com/xx")
        assert shown.endswith("xx/end  gone\\x1b")
        assert step.url in line(step)


def view(**fields: Any) -> dict[str, Any]:
    counts = Counts(ready=123_456, delayed=7, leased=64, done=9_876, pages=9_000, items=20_000, bytes=10**9, hosts=400)
    base = {
        "name": "shop",
        "state": ".crawler/shop.db",
        "phase": "running",
        "finish": Finish.RUNNING,
        "counts": counts,
        "pages_per_second": None,
        "shards": (Shard(number=0, counts=counts, oldest_s=1.5, next_due_s=0.0),),
        "queues": {},
        "workers": (),
        "hosts": (),
        "rates": {},
    }
    return {**base, **fields}


class TestOverview:
    @pytest.mark.parametrize("width", [80, 100, 120])
    def test_it_fits_the_terminal(self, width: int) -> None:
        counts = Counts(ready=12_345, leased=32, done=1_234_567, dead=10, suspects=1, delayed=5_000)
        shown = text(
            view(
                counts=msgspec.structs.replace(
                    Counts(dead=3), reasons={f"bury:http_4{number:02}": number * 1000 for number in range(1, 30)}
                ),
                queues={"history": QueueCounts(ready=12_345, done=1_234_567, oldest_ready_s=9_999)},
                workers=tuple(WorkerRow(name=f"w{number}-12345-cafecafe", leased=64, pages=9) for number in range(3)),
                hosts=tuple(
                    Host(
                        name=f"{'very.' * 12}long{number}.example:8080",
                        ready=99_999,
                        in_flight=1,
                        delayed=3,
                        done=12_345,
                    )
                    for number in range(3)
                ),
                rates={},
            ),
            width,
        )
        assert max(map(len, shown.splitlines())) <= width
        assert "very." in shown
        assert "bury:http_429" in shown
        many = tuple(
            Shard(number=number, counts=counts, place=f"redis-{number}.internal.example:6379", next_due_s=0.0)
            for number in range(16)
        )
        assert max(map(len, text(view(shards=many), width).splitlines())) <= max(width, 92)

    def test_one_shard_is_told_in_the_lines_above(self) -> None:
        shown = text(view(), 80)
        assert "waiting   ready 123,456, delayed 7, leased 64, suspects 0; oldest ready 1.5 s" in shown
        assert "shard" not in shown
        idle = Shard(number=0, counts=Counts(), next_due_s=2.5, place="10.0.0.1:6379", memory_bytes=5 * 10**6)
        shown = text(view(shards=(idle,)), 120)
        assert "; next due in 2.5 s" in shown
        assert "server    10.0.0.1:6379, 5.0 MB in use" in shown

    def test_a_row_for_each_shard(self) -> None:
        shards = tuple(
            Shard(
                number=number,
                counts=Counts(ready=number * 10, done=5, dead=number),
                oldest_s=float(number),
                next_due_s=0.0 if number else None,
                place="10.0.0.1:6379",
            )
            for number in range(3)
        )
        rows = [line.split() for line in text(view(shards=shards), 120).splitlines()]
        head = rows.index(["shard", "server", "ready", "leased", "dead", "done", "oldest", "next", "due"])
        assert rows[head + 1 : head + 4] == [
            ["0", "10.0.0.1:6379", "0", "0", "0", "5", "-", "-"],
            ["1", "10.0.0.1:6379", "10", "0", "1", "5", "1.0", "s", "now"],
            ["2", "10.0.0.1:6379", "20", "0", "2", "5", "2.0", "s", "now"],
        ]

    def test_hosts_with_what_they_say(self) -> None:
        hosts = (
            Host(name="10.0.0.7", ready=5, in_flight=1, delayed=2, dead=1, done=40, paused_s=1.5),
            Host(name="b.example", ready=3, down=True, failures=6, delay_s=2.0, pace_s=2.0, pacer="own"),
            Host(name="c.example", slow=3, pace_s=8.0, pacer="slow"),
            Host(name="\x1b[31m.example", done=1),
        )
        shown = text(view(hosts=hosts, rates={"10.0.0.7": 12.34}), 120)
        rows = [line.split("  ") for line in shown.splitlines()]
        cells = [[cell.strip() for cell in row if cell.strip()] for row in rows][-5:]
        assert cells == [
            ["host", "ready", "in flight", "delayed", "dead", "done", "next due", "done/s", "delay", "failures"],
            ["10.0.0.7", "5", "1", "2", "1", "40", "in 1.5 s", "12.3", "-", "0"],
            ["b.example", "3", "0", "0", "0", "0", "down", "-", "2.0 s own", "6"],
            ["c.example", "0", "0", "0", "0", "0", "-", "-", "8.0 s slow x3", "0"],
            ["\\x1b[31m.example", "0", "0", "0", "0", "1", "-", "-", "-", "0"],
        ]

    def test_rates_are_those_since_the_last_look(self) -> None:
        watch = Watch()
        watch.note(10.0, Counts(pages=100), [Host(name="a", done=50)], {"out": QueueCounts(done=7)})
        assert (watch.pages_per_second(), watch.rates(), watch.stored_per_second()) == (None, {}, {})
        later = {"out": QueueCounts(done=27), "new": QueueCounts(done=3)}
        watch.note(12.0, Counts(pages=110), [Host(name="a", done=56), Host(name="b", done=9)], later)
        assert (watch.pages_per_second(), watch.rates()) == (5.0, {"a": 3.0})
        assert watch.stored_per_second() == {"out": 10.0}
        watch.note(14.0, Counts(pages=110), [Host(name="b", done=13)], later)
        assert (watch.pages_per_second(), watch.rates()) == (0.0, {"b": 2.0})
        assert watch.stored_per_second() == {"out": 0.0, "new": 0.0}

    def test_a_row_for_each_pipeline(self) -> None:
        queues = {
            "out": QueueCounts(ready=1_200, leased=200, delayed=3, dead=2, done=90_000, oldest_ready_s=2.5),
            "prices": QueueCounts(done=5),
        }
        shown = text(view(queues=queues, stored_per_second={"out": 812.4}, unconsumed=["prices"]), 120)
        rows = [line.split() for line in shown.splitlines()]
        head = rows.index(["queue", "ready", "leased", "delayed", "dead", "stored", "stored/s", "oldest"])
        assert rows[head + 1] == ["out", "1,200", "200", "3", "2", "90,000", "812", "2.5", "s"]
        assert rows[head + 2] == ["prices", "0", "0", "0", "0", "5", "-", "-"]
        assert "nobody takes from queue prices: crawler store prices --state .crawler/shop.db" in shown
        assert "why messages are dead: crawler dead ls --items --state .crawler/shop.db" in shown

    @pytest.mark.parametrize(
        ("counts", "alone"),
        [
            (QueueCounts(ready=1, oldest_ready_s=11), True),
            (QueueCounts(ready=1, oldest_ready_s=9), False),
            (QueueCounts(ready=1, leased=1, oldest_ready_s=99), False),
            (QueueCounts(done=5), False),
        ],
    )
    def test_a_queue_that_nobody_consumes(self, counts: QueueCounts, alone: bool) -> None:
        assert unconsumed({"out": counts}) == (["out"] if alone else [])

    def test_the_mean_since_the_crawl_began(self) -> None:
        assert mean({"out": QueueCounts(done=50)}, 10.0) == {"out": 5.0}
        assert mean({"out": QueueCounts(done=50)}, 0.0) == {}


def test_status_has_it_all_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shards"][0]["counts"] == found["counts"]
    assert found["shards"][0]["next_due_s"] == 0.0
    hosts = {host["name"]: host for host in found["hosts"]}
    fields = ("ready", "in_flight", "delayed", "dead", "done")
    assert [hosts["a.example"][field] for field in fields] == [2, 1, 1, 1, 1]
    assert found["workers"][0]["name"] == "w1"
    assert found["pages_per_second"] is None
    assert found["rates"] == {}


def test_watch_on_a_terminal_replaces_its_frame() -> None:
    master, slave = pty.openpty()
    environ = {**ENVIRON, "TERM": "xterm", "COLUMNS": "80", "LINES": "12"}
    command = [sys.executable, "-m", "crawler", "status", "--watch", "0.1"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environ) as process:
        os.close(slave)
        shown = b""
        while shown.count(b"\x1b[J") < 3:
            shown += os.read(master, 1 << 16)
        process.send_signal(2)
        assert process.wait(20) == 0
    os.close(master)
    frame = shown.decode().split("\x1b[J")[1].replace("\x1b[H", "").replace("\x1b[K", "").splitlines()
    assert len(frame) <= 12
    assert frame[0].startswith("crawl     shop")
    assert "pages/s" in frame[1]
    assert frame[-1].startswith("… ")
    assert max(map(len, frame)) <= 80


class TestDeadFilters:
    """They combine, and a host may be given as people have it."""

    @pytest.fixture(autouse=True)
    def _more(self) -> None:
        with SqliteFrontier(STATE, RULES) as frontier:
            frontier.purge()
            frontier.add([page(name, host="b.example") for name in ("1", "2", "3")])
            leases = frontier.lease(3, worker="w2", request_id=os.urandom(16).hex()).leases
            reasons = ("http_404", "http_404", "spider")
            frontier.settle([Settlement(one.token, Bury(why)) for one, why in zip(leases, reasons, strict=True)])

    @pytest.mark.parametrize(
        ("words", "count"),
        [
            ("", 4),
            ("--reason http_404", 3),
            ("--host b.example", 3),
            ("--host http://B.example:80/x", 3),
            ("--reason http_404 --host b.example", 2),
            ("--reason http_404 --host b.example --limit 1", 1),
            ("--reason http_404 --host b.example http://b.example/2", 1),
            ("--reason spider --host a.example", 0),
        ],
    )
    def test_ls_kick(self, words: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("dead", "ls", "--json", *words.split()) == 0
        assert len(capsys.readouterr().out.splitlines()) == count
        assert run("dead", "kick", *words.split()) == 0
        assert pending()[0] == count
