"""Seeds from a queue, and items watched, on a real broker."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pika
import pytest

from crawler import app
from crawler.cli import main
from crawler.error import BackendError, SettingsError
from crawler.exchange.rabbit import RabbitExchange
from crawler.exchange.rabbit.address import parse
from crawler.exchange.rabbit.seeds import SeedQueue
from crawler.frontier.memory import MemoryFrontier
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import LOG_KIND, Message, Queue, Record, Rules
from crawler.seed import SeedReport
from crawler.seed_amqp import feed
from crawler.settings import PipelineTable, Settings
from crawler.tables import ExchangeTable, RabbitTable
from tests.contract.rabbit_exchange import shared_broker

ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
WAIT_S = 60.0


class Queues:
    """A pair of queues of its own for a test, as another program sees them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.connect()
        for queue in (name, f"{name}.dead"):
            self.channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})

    def connect(self) -> None:
        self.connection = pika.BlockingConnection(pika.URLParameters(shared_broker().url))
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()

    def publish(self, *bodies: str) -> None:
        for body in bodies:
            self.channel.basic_publish("", self.name, body.encode(), pika.BasicProperties(delivery_mode=2))

    def waiting(self, queue: str = "") -> int:
        count: int = self.channel.queue_declare(queue or self.name, passive=True).method.message_count
        return count

    def dead(self) -> list[tuple[bytes, str]]:
        found = []
        while (got := self.channel.basic_get(f"{self.name}.dead", auto_ack=True))[0] is not None:
            found.append((got[2], got[1].headers["reason"]))
        return found

    def close(self) -> None:
        for queue in (self.name, f"{self.name}.dead"):
            self.channel.queue_delete(queue)
        self.connection.close()


@pytest.fixture
def queues(request: pytest.FixtureRequest) -> Iterator[Queues]:
    made = Queues(f"crawler.seeds.{abs(hash(request.node.name))}-{os.getpid()}")
    yield made
    made.close()


def source(queues: Queues) -> SeedQueue:
    return SeedQueue(parse(shared_broker().url, RabbitTable()), RabbitTable(), queues.name)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Feeding:
    """`feed` in a thread."""

    def __init__(self, frontier: Any, queues: Queues, **options: Any) -> None:
        self.stop = threading.Event()
        self.reports: list[SeedReport] = []
        self.thread = threading.Thread(target=self._run, args=(frontier, source(queues), options))
        self.thread.start()

    def _run(self, frontier: Any, queue: SeedQueue, options: dict[str, Any]) -> None:
        self.reports.append(feed(frontier, queue, self.stop, **options))

    def end(self) -> SeedReport:
        self.stop.set()
        self.thread.join(WAIT_S)
        (report,) = self.reports
        return report


def test_until_empty_and_what_is_no_seed(queues: Queues) -> None:
    urls = [f"https://e.com/{number}" for number in range(2_500)]
    queues.publish(*urls[:300], json.dumps(urls[250:]), "rubbish", '{"url": "https://e.com/x", "priority": 99}')
    frontier = MemoryFrontier(Rules())
    report = feed(frontier, source(queues), threading.Event(), until_empty=True)
    assert (report.new, report.known, report.refused) == (2_500, 50, 2)
    assert sorted(queues.dead()) == [
        (b"rubbish", "not_a_url"),
        (b'{"url": "https://e.com/x", "priority": 99}', "field"),
    ]
    assert queues.waiting() == 0
    counts = frontier.counts()
    assert (counts.ready, counts.producers_open, counts.producers_closed) == (2_500, 0, 1)


def test_a_reason_longer_than_a_frame_does_not_stop_the_feeding(queues: Queues) -> None:
    long = json.dumps({"url": "https://e.com/x", "priority": 1, "k" * 300_000: 1})
    queues.publish(long, "https://e.com/good")
    frontier = MemoryFrontier(Rules())
    feeding = Feeding(frontier, queues)
    wait_for(lambda: frontier.counts().ready == 1 and queues.waiting(f"{queues.name}.dead") == 1)
    assert feeding.end().refused == 1
    assert queues.dead() == [(long.encode(), "field")]


def test_a_server_that_never_says_a_word_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        table = RabbitTable(connect_s=0.5)
        queue = SeedQueue(parse(f"amqp://127.0.0.1:{silent.getsockname()[1]}", table), table, "q")
        with pytest.raises(BackendError, match="does not answer in time"):
            queue.pump(0)


def test_it_waits_for_more_and_keeps_the_crawl_open(queues: Queues) -> None:
    frontier = MemoryFrontier(Rules())
    feeding = Feeding(frontier, queues)
    for number in range(3):
        queues.publish(f"https://e.com/{number}")
        wait_for(lambda number=number: frontier.counts().ready == number + 1)  # type: ignore[misc]
        assert frontier.counts().producers_open == 1
    assert feeding.end().new == 3
    assert frontier.counts().producers_closed == 1


def test_a_full_frontier_takes_nothing_more_and_loses_nothing(queues: Queues) -> None:
    frontier = MemoryFrontier(Rules(pending_max=10))
    frontier.add(_requests(20))
    queues.publish(*(f"https://other.example/{number}" for number in range(50)))
    feeding = Feeding(frontier, queues)
    time.sleep(0.6)
    assert frontier.counts().ready == 20
    assert feeding.end().new == 0
    wait_for(lambda: queues.waiting() == 50)
    again = Feeding(frontier, queues)

    def all_are_in() -> bool:
        frontier.purge()  # they need not come in one batch, and what came first fills it
        return frontier.counts().added == 20 + 50

    wait_for(all_are_in)
    assert again.end().new == 50


def _requests(count: int) -> list[Any]:
    from crawler.model import Request

    return [Request(url=f"https://e.com/{number}") for number in range(count)]


def test_a_lost_connection_is_made_again(queues: Queues) -> None:
    frontier = MemoryFrontier(Rules())
    feeding = Feeding(frontier, queues)
    queues.publish("https://e.com/1")
    wait_for(lambda: frontier.counts().ready == 1)
    shared_broker().ctl("close_all_connections", "--vhost", "crawler", "test")
    with pytest.raises(pika.exceptions.AMQPError):  # the tests' own connection is gone too
        queues.connection.sleep(WAIT_S)
    queues.connect()
    queues.publish("https://e.com/2")
    wait_for(lambda: frontier.counts().ready == 2)
    assert feeding.end().new == 2


@pytest.mark.parametrize("stopped_by", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_command_drains_and_after_a_kill_nothing_is_lost(
    queues: Queues, stopped_by: signal.Signals, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "crawler", "seed", "--from-amqp", queues.name, "--state", "shop.db", "--json"]
    environ = {**ENVIRON, "CRAWLER__EXCHANGE__URL": shared_broker().url}
    process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE)
    urls = [f"https://e.com/{number}" for number in range(1_000)]
    queues.publish(json.dumps(urls[:10]))

    def ready() -> int:
        with SqliteFrontier(tmp_path / "shop.db", Rules()) as frontier:
            return frontier.counts().ready

    wait_for(lambda: (tmp_path / "shop.db").exists() and ready() > 0)
    queues.publish(*(json.dumps(urls[at : at + 10]) for at in range(10, 1_000, 10)))
    process.send_signal(stopped_by)
    out = process.communicate(timeout=WAIT_S)[0]
    assert process.returncode == {signal.SIGTERM: 0, signal.SIGINT: 130, signal.SIGKILL: -9}[stopped_by]
    if stopped_by is not signal.SIGKILL:
        assert json.loads(out)["new"] == ready()
    done = subprocess.run([*command, "--until-empty"], cwd=tmp_path, env=environ, capture_output=True, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr.decode()
    assert ready() == 1_000
    assert queues.waiting() == 0


@pytest.mark.parametrize(
    ("words", "environ", "code", "said"),
    [
        ("--from-amqp q", {}, 2, "exchange.url must name the broker"),
        ("--from-amqp q https://e.com", {"CRAWLER__EXCHANGE__URL": "amqp://127.0.0.1:9"}, 2, "either a queue or lists"),
        ("--from-amqp q", {"CRAWLER__EXCHANGE__URL": "amqp://127.0.0.1:9"}, 3, "127.0.0.1:9 does not answer"),
        ("--from-amqp other.queue", {"CRAWLER__EXCHANGE__URL": "BROKER"}, 2, "lacks rights"),
        ("--from-amqp q", {"CRAWLER__EXCHANGE__URL": "WRONG"}, 2, "does not take the password"),
        ("", {}, 2, "seed what?"),
        ("https://e.com --until-empty", {}, 2, "seed what?"),
    ],
)
def test_a_command_that_is_refused(
    words: str,
    environ: dict[str, str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environ.items():
        url = shared_broker().url
        given = {"BROKER": url, "WRONG": url.replace("crawler-password", "wrong-one")}.get(value, value)
        monkeypatch.setenv(name, given)
    assert main(["seed", *words.split()]) == code
    told = capsys.readouterr().err
    assert said in told
    assert "wrong-one" not in told
    assert list(tmp_path.iterdir()) == []


def message(id: str, kind: str) -> Message:
    return Message(
        id=id,
        kind=kind,
        url=f"https://e.com/{id}",
        fetched_at="2026-01-31T12:00:00.000Z",
        spider="s",
        records=(Record(f"i{id}", msgspec.Raw(b"{}")),),
    )


PIPELINES = {
    "all": PipelineTable(use="pipelines.jsonl:JsonLines", bind=("#",), arguments={"path": "a.jsonl"}),
    "prices": PipelineTable(
        use="pipelines.jsonl:JsonLines", bind=("price", "shop.price"), arguments={"path": "b.jsonl"}
    ),
}
KINDS = ["quote", "price", "shop.price", LOG_KIND]


@pytest.mark.parametrize(
    ("type", "wanted", "shown"),
    [
        ("fanout", {}, ["quote", "price", "shop.price"]),
        ("fanout", {"kind": "price"}, ["price"]),
        ("fanout", {"pipeline": "all"}, ["quote", "price", "shop.price"]),
        ("fanout", {"pipeline": "history"}, [LOG_KIND]),
        ("topic", {}, ["quote", "price", "shop.price"]),
        ("topic", {"kind": "shop.*"}, ["shop.price"]),
        ("topic", {"pipeline": "prices"}, ["price", "shop.price"]),
        ("topic", {"pipeline": "prices", "kind": "price"}, ["price"]),
        ("direct", {"pipeline": "prices"}, ["price", "shop.price"]),
        ("direct", {"kind": LOG_KIND}, [LOG_KIND]),
    ],
)
def test_items_are_watched_and_not_taken(
    type: Any, wanted: dict[str, str], shown: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = f"tail{abs(hash(request.node.name))}"
    url = shared_broker().url
    settings = Settings(exchange=ExchangeTable(url=url, type=type), pipelines=PIPELINES)
    with RabbitExchange(parse(url, RabbitTable()), RabbitTable(), name=name, type=type) as exchange:
        try:
            exchange.declare([*app.queues(PIPELINES), Queue("history", (LOG_KIND,))])
            found = app.open_items(settings, str(tmp_path / f"{name}.db"), **wanted)
            assert next(found) is None
            exchange.publish([message(str(at), kind) for at, kind in enumerate(KINDS)])
            kinds: list[str] = []
            deadline = time.monotonic() + WAIT_S
            while len(kinds) < len(shown):
                assert time.monotonic() < deadline
                if (one := next(found)) is not None:
                    kinds.append(one.kind)
            assert next(found) is None
            assert kinds == shown
            assert exchange.counts()["history"].ready == 1
        finally:
            exchange.remove()


def test_a_crawl_or_pipeline_that_is_not_there(tmp_path: Path) -> None:
    settings = Settings(exchange=ExchangeTable(url=shared_broker().url))
    with pytest.raises(SettingsError, match="no pipeline no of crawl gone"):
        next(app.open_items(settings, str(tmp_path / "gone.db"), pipeline="no"))


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (("", ""), 0, "ok    exchange     RabbitMQ answers at 127.0.0.1:"),
        (("crawler-password", "wrong"), 2, "FAIL  exchange     RabbitMQ at 127.0.0.1:"),
        (("amqp:", "ampq:"), 2, "FAIL  exchange     exchange.url: ampq: is not known here"),
        (("@127.0.0.1:", "@nowhere.invalid:"), 3, "FAIL  exchange     RabbitMQ at nowhere.invalid:"),
    ],
)
def test_check_asks_the_broker(
    change: tuple[str, str], code: int, told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    url = shared_broker().url.replace(*change)
    (tmp_path / "shop.toml").write_text(f'[frontier]\nurl = "{tmp_path}/new.db"\n[exchange]\nurl = "{url}"\n')
    assert main(["check", "--settings", str(tmp_path / "shop.toml")]) == code
    said = capsys.readouterr()
    assert told in said.out
    assert "password@" not in said.out + said.err
