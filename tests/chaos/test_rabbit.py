"""The RabbitMQ exchange while its broker is killed, blocked and cut off, and its consumers die.

Throughout: every message whose publishing returned is stored, poison is buried after four deaths, nothing else is."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from crawler.error import BackendError
from crawler.exchange.rabbit import RabbitExchange
from crawler.exchange.rabbit.address import parse
from crawler.model import Done, Queue, Settlement
from crawler.tables import RabbitTable
from tests.contract.exchanges import message, request_id
from tests.servers.rabbit import RabbitServer

ROOT = Path(__file__).parents[2]
HANG_S = 240.0
SEED = 20260131

CONSUMER = """
import os, sys, time
from crawler.error import BackendError
from crawler.exchange.rabbit import RabbitExchange
from crawler.exchange.rabbit.address import parse
from crawler.model import Done, Settlement
from crawler.tables import RabbitTable
url, crawl, queues, out = sys.argv[1:]
table = RabbitTable(queues=queues)
sink = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
with RabbitExchange(parse(url, table), table, name=crawl) as exchange:
    while True:
        try:
            leased = exchange.lease("store", 20, consumer="c", request_id=os.urandom(16).hex())
            if any(one.message.id.startswith("poison") for one in leased):
                os._exit(66)
            os.write(sink, "".join(f"{one.message.id}\\n" for one in leased).encode())
            exchange.settle([Settlement(one.token, Done()) for one in leased])
        except BackendError:
            time.sleep(0.1)
        if not leased:
            time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitServer]:
    with RabbitServer() as server:
        yield server


@pytest.fixture(params=["quorum", "classic"])
def queues(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_one(broker: RabbitServer, queues: str, request: pytest.FixtureRequest) -> Callable[..., RabbitExchange]:
    def make(**given: Any) -> RabbitExchange:
        table = RabbitTable(queues=queues, **given)  # type: ignore[arg-type]
        return RabbitExchange(parse(broker.url, table), table, name=request.node.name)

    return make


class Consumers:
    """Processes that store into one file, started again when they die."""

    def __init__(self, command: list[str], out: Path, count: int) -> None:
        self.deaths = 0
        self._command = [*command, str(out)]
        self._out = out
        self._processes = [self._start() for _ in range(count)]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", CONSUMER, *self._command], cwd=ROOT)

    def revive(self) -> None:
        for at, process in enumerate(self._processes):
            if process.poll() is not None:
                self.deaths += process.returncode == 66
                self._processes[at] = self._start()

    def kill_one(self, dice: random.Random) -> None:
        self._processes[dice.randrange(len(self._processes))].send_signal(signal.SIGKILL)

    def stored(self) -> list[str]:
        return self._out.read_text().split() if self._out.exists() else []

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def consumers(
    broker: RabbitServer, queues: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[int], Consumers]]:
    started: list[Consumers] = []

    def start(count: int) -> Consumers:
        started.append(Consumers([broker.url, request.node.name, queues], tmp_path / "stored", count))
        return started[-1]

    yield start
    for one in started:
        one.close()


class Producer(threading.Thread):
    """Publishes numbers until told to stop; what failed is given again, as workers do."""

    def __init__(self, exchange: RabbitExchange, batch: int = 10) -> None:
        super().__init__(daemon=True)
        self.confirmed = 0
        self.failures = 0
        self._exchange = exchange
        self._batch = batch
        self._stop_it = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stop_it.is_set():
            some = [message(f"m{self.confirmed + number}") for number in range(self._batch)]
            while True:
                try:
                    self._exchange.publish(some)
                    break
                except BackendError:
                    self.failures += 1
                    time.sleep(0.1)
            self.confirmed += self._batch
            time.sleep(0.002)

    def stop(self) -> int:
        self._stop_it.set()
        self.join(HANG_S)
        assert not self.is_alive()
        return self.confirmed


def wait_for(true: Callable[[], bool], each: Callable[[], object] = lambda: None) -> None:
    until = time.monotonic() + HANG_S
    while not true():
        assert time.monotonic() < until
        each()
        time.sleep(0.1)


def take_all(exchange: RabbitExchange, count: int) -> list[str]:
    """Ids, in order; a redelivered message may come twice."""
    got: list[str] = []
    until = time.monotonic() + HANG_S
    while len(set(got)) < count:
        assert time.monotonic() < until, (len(set(got)), count, exchange.counts())
        with suppress(BackendError):
            leased = exchange.lease("store", 200, consumer="c", request_id=request_id())
            exchange.settle([Settlement(one.token, Done()) for one in leased])
            got += [one.message.id for one in leased]
            if leased:
                continue
        time.sleep(0.02)
    return got


def test_a_broker_killed_and_started_again_has_what_it_confirmed(
    broker: RabbitServer, open_one: Callable[..., RabbitExchange]
) -> None:
    with open_one() as exchange, open_one() as consumer:
        exchange.declare([Queue("store")])
        producer = Producer(exchange)
        got = set(take_all(consumer, 50))
        broker.process.kill()
        time.sleep(1)
        broker.process.restart()
        confirmed = producer.confirmed
        wait_for(lambda: producer.confirmed > confirmed + 100)
        total = producer.stop()
        while len(got) < total:  # what was acknowledged at the last moment comes again
            got |= set(take_all(consumer, 1))
        assert got == {f"m{number}" for number in range(total)}
        assert exchange.counts()["store"].dead == 0


def test_closed_connections_lose_nothing_and_bury_nothing(
    broker: RabbitServer, open_one: Callable[..., RabbitExchange]
) -> None:
    with open_one() as exchange, open_one() as consumer:
        exchange.declare([Queue("store")])
        producer = Producer(exchange)
        got: set[str] = set()
        for _ in range(5):
            cut = threading.Thread(target=broker.ctl, args=("close_all_connections", "test"), daemon=True)
            cut.start()
            while cut.is_alive():
                got |= set(take_all(consumer, 1))
            cut.join()
        total = producer.stop()
        wait_for(lambda: _ready(exchange))
        while len(got) < total:
            got |= set(take_all(consumer, 1))
        assert exchange.counts()["store"].dead == 0


def _ready(exchange: RabbitExchange) -> bool:
    try:
        exchange.counts()
    except BackendError:
        return False
    return True


def test_an_alarm_makes_publishing_wait_and_consuming_go_on(
    broker: RabbitServer, open_one: Callable[..., RabbitExchange]
) -> None:
    with open_one(timeout_s=2.0) as exchange, open_one() as consumer:
        exchange.declare([Queue("store")])
        exchange.publish([message(f"m{number}") for number in range(20)])
        assert len(consumer.lease("store", 1, consumer="c", request_id=request_id())) == 1
        broker.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            wait_for(lambda: not _published(exchange, [message("more")]))
            with pytest.raises(BackendError, match="alarm"):
                exchange.publish([message("more")])
            held = consumer.lease("store", 100, consumer="c", request_id=request_id())
            assert len(held) >= 19
        finally:
            broker.ctl("set_vm_memory_high_watermark", "0.6")
        wait_for(lambda: _published(exchange, [message("last")]))
        seen: list[str] = []  # what was refused may have been given before the alarm was known everywhere
        wait_for(lambda: "last" in seen, lambda: seen.extend(take_all(consumer, 1)))


def _published(exchange: RabbitExchange, messages: list[Any]) -> bool:
    try:
        exchange.publish(messages)
    except BackendError:
        return False
    return True


def test_poison_is_buried_after_four_deaths_and_nothing_else_is(
    open_one: Callable[..., RabbitExchange], consumers: Callable[[int], Consumers]
) -> None:
    ids = {f"m{number}" for number in range(300)}
    with open_one() as exchange:
        exchange.declare([Queue("store")])
        exchange.publish([message(id) for id in sorted(ids)[:150]])
        exchange.publish([message("poison")])
        exchange.publish([message(id) for id in sorted(ids)[150:]])
        some = consumers(2)
        wait_for(lambda: set(some.stored()) == ids and bool(exchange.dead()), some.revive)
        (letter,) = exchange.dead()
        assert (letter.message.id, letter.reason, letter.crashes) == ("poison", "crashed", 3)
        some.revive()
        assert some.deaths <= 4


def test_random_kills_of_consumers_lose_nothing_and_bury_nothing(
    open_one: Callable[..., RabbitExchange], consumers: Callable[[int], Consumers]
) -> None:
    dice = random.Random(SEED)
    with open_one() as exchange:
        exchange.declare([Queue("store")])
        some = consumers(3)
        total = 0
        for _ in range(20):
            exchange.publish([message(f"m{total + number}") for number in range(100)])
            total += 100
            time.sleep(dice.uniform(0.1, 0.4))
            some.kill_one(dice)
            some.revive()
        wait_for(lambda: len(set(some.stored())) == total, some.revive)
        wait_for(lambda: _drained(exchange))
        assert exchange.dead() == ()


def _drained(exchange: RabbitExchange) -> bool:
    counts = exchange.counts()["store"]
    return not counts.ready + counts.leased + counts.delayed + counts.suspects


def test_a_process_that_publishes_is_killed_and_what_returned_is_there(
    broker: RabbitServer, open_one: Callable[..., RabbitExchange], queues: str, request: pytest.FixtureRequest
) -> None:
    code = (
        "import os, sys; from crawler.exchange.rabbit import RabbitExchange\n"
        "from crawler.exchange.rabbit.address import parse; from crawler.tables import RabbitTable\n"
        "from tests.contract.exchanges import message\n"
        "table = RabbitTable()\n"
        "exchange = RabbitExchange(parse(sys.argv[1], table), table, name=sys.argv[2])\n"
        "exchange.publish([message(str(number)) for number in range(500)])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    with open_one() as exchange:
        exchange.declare([Queue("store")])
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code, broker.url, request.node.name]
        assert subprocess.run(command, cwd=ROOT, env=env, check=False).returncode == -signal.SIGKILL
        assert len(take_all(exchange, 500)) == 500


def test_tls_with_a_client_certificate() -> None:
    with RabbitServer(tls=True) as server:
        names = {"ca_file": "ca.crt", "cert_file": "client.crt", "key_file": "client.key"}
        files = {setting: str(server.home / name) for setting, name in names.items()}
        table = RabbitTable(**files)
        with RabbitExchange(parse(server.url, table), table, name="tls") as exchange:
            exchange.declare([Queue("store")])
            exchange.publish([message("1", text="x" * 300_000)])
            assert take_all(exchange, 1) == ["1"]
        for wrong, told in (({}, "certificate is not trusted"), ({"ca_file": files["ca_file"]}, "cert_file")):
            table = RabbitTable(**wrong)
            with (
                RabbitExchange(parse(server.url, table), table, name="tls") as exchange,
                pytest.raises(Exception, match=told),
            ):
                exchange.counts()
