"""Commands on a crawl's state: status, dead, ls, pause, resume, rm."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from crawler import app
from crawler.cli import main
from crawler.exchange.sqlite import SqliteExchange
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import Bury, Done, Message, Outcome, Queue, Record, Request, Rules, Settlement
from crawler.settings import Settings

STATE = ".crawler/shop.db"
RULES = Rules(robots=False, per_host=0)


@pytest.fixture(autouse=True)
def _crawl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished producer, 2 pages done, 3 dead, 1 leased, 2 ready; 1 item stored, 1 dead, 1 waiting."""
    monkeypatch.chdir(tmp_path)
    with SqliteFrontier(STATE, RULES, name="shop") as frontier:
        token = frontier.open_producer("seeds")
        frontier.add([Request(url=f"http://a.example/{number}") for number in range(6)], producer=token)
        frontier.add([Request(url=f"http://b.example/{number}", depth=1, meta={"n": number}) for number in range(2)])
        frontier.close_producer(token)
        leases: dict[str, str] = {}
        while len(leases) < 8:
            given = frontier.lease(8, worker="w1", request_id=os.urandom(16).hex()).leases
            leases |= {lease.request.url: lease.token for lease in given}
        outcomes: dict[str, Outcome] = {
            "http://a.example/0": Done(bytes=1000, items=2),
            "http://a.example/1": Done(bytes=500, items=1),
            "http://a.example/2": Bury("http_404", "Not Found"),
            "http://a.example/3": Bury("http_404", "Not Found"),
            "http://b.example/0": Bury("spider", "Traceback\n  line 7\nValueError: \x1b[31mno price"),
        }
        frontier.settle([Settlement(leases[url], outcome) for url, outcome in outcomes.items()])
        frontier.release([leases["http://a.example/4"], leases["http://b.example/1"]])
        frontier.update_record(outputs={"out": "shop.jsonl"})
    with SqliteExchange(STATE) as exchange:
        exchange.declare([Queue("out")])
        exchange.publish([message(number) for number in range(3)])
        deliveries = exchange.lease("out", 2, consumer="c1", request_id=os.urandom(16).hex())
        exchange.settle(
            [Settlement(deliveries[0].token, Done()), Settlement(deliveries[1].token, Bury("reject", "no room"))]
        )
    Path("shop.jsonl").write_text("{}\n")


def message(number: int) -> Message:
    return Message(
        id=f"{number:032x}",
        kind="page",
        url=f"http://a.example/{number}",
        fetched_at="2026-01-01T00:00:00.000Z",
        spider="pages",
        records=(Record(f"{number + 10:032x}", msgspec.Raw(b'{"title":"T"}')),),
    )


def run(*words: str) -> int:
    return main(list(words))


def counts(state: str = STATE) -> tuple[int, int]:
    with app.open_frontier(Settings(), state) as frontier:
        found = frontier.counts()
        return found.ready, found.dead


def test_status_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status") == 0
    shown = capsys.readouterr().out
    for words in (
        "crawl     shop",
        "2 pages, 3 items, 1.5 kB",
        "ready 2,",
        "dead 3,",
        "8 URLs on 2 hosts; producers: 0 open, 1 closed",
        "bury:http_404 2",
        "a.example",
        "crawler dead ls --state .crawler/shop.db",
    ):
        assert words in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("given", [["--state", "shop"], ["--state", STATE], ["--set", f"frontier.url=sqlite:{STATE}"]])
def test_status_for_scripts(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--json", "--hosts", "1", *given) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == "shop"
    assert found["state"] == STATE
    assert found["finish"] == "running"
    assert (found["counts"]["pages"], found["counts"]["dead"], found["counts"]["ready"]) == (2, 3, 2)
    assert found["queues"]["out"]["dead"] == 1
    assert len(found["hosts"]) == 1


def test_several_crawls_must_be_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    SqliteFrontier(".crawler/other.db", RULES, name="other").close()
    assert run("status") == 2
    assert "other, shop" in capsys.readouterr().err
    assert run("status", "--state", "other") == 0


def test_watch_goes_on_until_interrupted() -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "crawler", "status", "--json", "--watch", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(2)
        process.stdout.read()
        assert process.wait(20) == 0
    assert {line["counts"]["dead"] for line in lines} == {3}


@pytest.mark.parametrize(
    ("words", "urls"),
    [
        ("", ["a.example/2", "a.example/3", "b.example/0"]),
        ("--reason http_404", ["a.example/2", "a.example/3"]),
        ("--host b.example", ["b.example/0"]),
        ("--reason http_404 --host b.example", []),
        ("--limit 1", ["a.example/2"]),
        ("--limit 0", ["a.example/2", "a.example/3", "b.example/0"]),
        ("HTTP://A.EXAMPLE:80/3", ["a.example/3"]),
        ("http://a.example/0", []),
        ("--items", ["a.example/1"]),
        ("--items out", ["a.example/1"]),
        ("--items other", []),
        ("--items out --reason other", []),
        ("--items out --host a.example", ["a.example/1"]),
        ("--items out --host b.example", []),
        (f"{11:032x} --items", ["a.example/1"]),
    ],
)
def test_dead_ls_narrows(words: str, urls: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dead", "ls", "--json", *words.split()) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted((one.get("request") or one["message"])["url"][7:] for one in found) == urls
    assert run("dead", "ls", *words.split()) == 0
    shown = capsys.readouterr().out
    assert all(url in shown for url in urls)
    assert urls or shown.startswith("no dead ")


def test_dead_ls_says_when_there_is_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dead", "ls", "--limit", "2") == 0
    assert "--limit 0 shows all" in capsys.readouterr().out


def test_dead_show_has_everything_and_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dead", "show", "http://b.example/0") == 0
    shown = capsys.readouterr().out
    for words in ("depth        1", "meta         {'n': 0}", "reason       spider", "  ValueError: \\x1b[31mno price"):
        assert words in shown
    identity = shown.partition("fingerprint  ")[2][:16]
    assert run("dead", "show", identity) == 0
    assert capsys.readouterr().out == shown
    assert run("dead", "show", "--items") == 0
    assert '{"title":"T"}' in capsys.readouterr().out
    assert run("dead", "show", "http://nowhere.example/") == 1


@pytest.mark.parametrize(
    ("words", "moved"),
    [
        ("", 3),
        ("--reason http_404", 2),
        ("--limit 1", 1),
        ("http://a.example/2 http://b.example/0", 2),
        ("--reason x", 0),
    ],
)
@pytest.mark.parametrize("verb", ["kick", "drop"])
def test_kick_and_drop(verb: str, words: str, moved: int, capsys: pytest.CaptureFixture[str]) -> None:
    all_ = [] if words or verb == "kick" else ["--all"]
    assert run("dead", verb, *words.split(), *all_) == 0
    assert capsys.readouterr().out.startswith(f"{moved} page{'' if moved == 1 else 's'} ")
    assert counts() == (2 + (moved if verb == "kick" else 0), 3 - moved)


@pytest.mark.parametrize(("verb", "ready"), [("kick", 2), ("drop", 1)])
def test_kick_and_drop_of_items(verb: str, ready: int) -> None:
    assert run("dead", verb, "--items", "other") == 0
    assert run("dead", verb, "--items", "out", "--host", "a.example") == 0
    with app.open_exchange(Settings(), STATE) as exchange:
        assert (exchange.counts()["out"].ready, exchange.counts()["out"].dead) == (ready, 0)
    assert counts() == (2, 3)


def test_drop_of_everything_must_be_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dead", "drop") == 2
    assert "--all" in capsys.readouterr().err
    assert counts() == (2, 3)


def test_ls_shows_crawls_and_survives_those_it_cannot_read(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".crawler/text.db").write_text("no database " * 1000)
    assert run("ls") == 0
    printed = capsys.readouterr()
    assert [line.split()[:2] for line in printed.out.splitlines()[1:]] == [["shop", "stopped"], ["text", "unreadable"]]
    assert "text" in printed.err
    assert run("ls", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0]["dead"] == 3
    assert "error" in rows[1]


def test_ls_of_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert run("ls") == 0
    assert "no crawls" in capsys.readouterr().out
    assert list(Path().iterdir()) == []


def test_pause_gives_nothing_out_until_resume(capsys: pytest.CaptureFixture[str]) -> None:
    def given() -> int:
        with SqliteFrontier(STATE, RULES) as frontier:
            leases = frontier.lease(1, worker="w2", request_id=os.urandom(16).hex()).leases
            frontier.release([lease.token for lease in leases])
            return len(leases)

    assert given() == 1
    assert run("pause", "shop") == 0
    assert run("pause", STATE) == 0
    assert "already paused" in capsys.readouterr().out
    assert given() == 0
    assert run("status") == 0
    assert "  paused  " in capsys.readouterr().out
    assert run("resume", "shop") == 0
    assert given() == 1


def test_rm_keeps_results_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    Path(app.history_path(STATE)).write_text("")
    assert run("rm", "shop", "--yes") == 0
    assert "results kept: shop.jsonl" in capsys.readouterr().out
    assert list(Path(".crawler").iterdir()) == []
    assert Path("shop.jsonl").exists()


def test_rm_with_outputs() -> None:
    Path("shop.jsonl.index").write_text("")
    assert run("rm", "shop", "--yes", "--outputs") == 0
    assert list(Path().iterdir()) == [Path(".crawler")]


def test_rm_asks_and_without_a_terminal_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "crawler", "rm", "shop"]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environ).returncode == 2
    for answer, gone in ((b"n\n", False), (b"y\n", True)):
        master, slave = pty.openpty()
        os.write(master, answer)
        done = subprocess.run(command, stdin=slave, capture_output=True, env=environ, timeout=60)
        os.close(slave)
        os.close(master)
        assert (done.returncode, Path(STATE).exists()) == (0, not gone)


def test_rm_refuses_a_crawl_that_is_being_worked_on(capsys: pytest.CaptureFixture[str]) -> None:
    script = (
        f"from crawler.frontier.sqlite import SqliteFrontier; from crawler.model import Rules; import os\n"
        f"f = SqliteFrontier('{STATE}', Rules(robots=False))\n"
        f"f.lease(1, worker='w9', request_id=os.urandom(16).hex()); print('up', flush=True); input()"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"up\n"
        assert run("rm", "shop", "--yes") == 2
        assert "is running" in capsys.readouterr().err
        worker.kill()
    assert run("rm", "shop", "--yes") == 0
