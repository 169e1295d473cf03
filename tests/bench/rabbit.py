"""What the RabbitMQ exchange costs this side of the wire: CPU of publish with confirm, and of lease and settle.

python -m tests.bench.rabbit [--messages 20000] [--queues classic] [--url amqp://…] [--write]
"""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from crawler.codec import decode_message, encode_message
from crawler.exchange.rabbit import RabbitExchange
from crawler.exchange.rabbit.address import parse
from crawler.exchange.rabbit.names import names_of
from crawler.model import Done, Message, Queue, Settlement
from crawler.tables import RabbitTable
from tests.bench import rabbit_bare, table
from tests.bench.contestants import CHECKOUT
from tests.bench.messages import pages
from tests.servers.rabbit import RabbitServer

BATCHES = (1, 20, 200)
SIZES = (1_000, 10_000)
LOOKS = 20
HANG_S = 120.0


@dataclass(frozen=True)
class Row:
    what: str
    size: str
    batch: str
    per_s: float
    cpu_us: float

    def __str__(self) -> str:
        return f"| {self.what} | {self.size} | {self.batch} | {self.per_s:,.0f} | {self.cpu_us:,.1f} |"


@dataclass
class Bench:
    """CPU is that of this whole process, the exchange's thread included, and not the broker's."""

    rows: list[Row] = field(default_factory=list)

    @contextmanager
    def timed(self, what: str, size: int, batch: int, count: int) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        shown = f"{size // 1000} KB" if size else ""
        self.rows.append(Row(what, shown, str(batch or ""), count / wall, cpu / count * 1e6))
        print(self.rows[-1], flush=True)


def through(
    bench: Bench, open_one: Callable[[], RabbitExchange], messages: list[Message], size: int, batch: int
) -> None:
    """Publish all, then take all to their end."""
    with open_one() as exchange:
        exchange.counts()  # connected
        with bench.timed("publish and confirm", size, batch, len(messages)):
            for begin in range(0, len(messages), batch):
                exchange.publish(messages[begin : begin + batch])
    with open_one() as exchange:
        exchange.lease("store", 0, consumer="bench", request_id=secrets.token_hex(16))  # consuming
        ended, until_s = 0, time.monotonic() + HANG_S
        with bench.timed("lease and settle", size, batch, len(messages)):
            while ended < len(messages):
                took = exchange.lease("store", batch, consumer="bench", request_id=secrets.token_hex(16))
                exchange.settle([Settlement(one.token, Done()) for one in took])
                ended += len(took)
                if not took:
                    time.sleep(0.001)
                if time.monotonic() > until_s:
                    raise TimeoutError(f"{ended} of {len(messages)}: {exchange.counts()}")


def run(url: str, messages: int, queues: str) -> list[Row]:
    settings = RabbitTable(queues=queues)  # type: ignore[arg-type]
    name = f"bench-{secrets.token_hex(4)}"
    bench = Bench()

    def open_one() -> RabbitExchange:
        return RabbitExchange(parse(url, settings), settings, name=name)

    with open_one() as exchange:
        exchange.declare([Queue("store")])
        try:
            for size in SIZES:
                some = list(pages(messages, size, 0))
                body = encode_message(some[0])
                queue = names_of(name).line("store").main
                with bench.timed("pika alone: publish and confirm", size, 0, messages):
                    rabbit_bare.publish(url, queue, body, messages)
                with bench.timed("pika alone: consume and acknowledge", size, rabbit_bare.ACK_EVERY, messages):
                    rabbit_bare.consume(url, queue, messages)
                with bench.timed("encode and decode alone", size, 0, len(some)):
                    for one in some:
                        decode_message(encode_message(one))
                for batch in BATCHES:
                    count = messages // (20 if batch == 1 else 1)
                    through(bench, open_one, some[:count], size, batch)
            with bench.timed("a look of the supervisor: connect, count, close", 0, 0, LOOKS):
                for _ in range(LOOKS):
                    with open_one() as looking:
                        looking.counts()
        finally:
            exchange.remove()
    return bench.rows


def render(rows: list[Row], queues: str) -> str:
    return "\n".join(
        [
            "| one client process | message | batch | per second | client CPU µs each |",
            "|---|--:|--:|--:|--:|",
            *map(str, rows),
            "",
            f"Measured by `python -m tests.bench.rabbit`: {queues} queues of one node on the same machine, as "
            f"`deploy/rabbitmq.conf` has it. {table.machine()}.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rabbit", description="Cost of the RabbitMQ exchange.")
    parser.add_argument("--messages", type=int, default=20_000, help="of each size (default %(default)s)")
    parser.add_argument("--queues", choices=("quorum", "classic"), default="quorum")
    parser.add_argument("--url", default="", help="of a broker that runs; without: one of its own")
    parser.add_argument("--write", action="store_true", help="write the table into README.md")
    given = parser.parse_args()
    with nullcontext() if given.url else RabbitServer() as server:
        text = render(run(given.url or server.url, given.messages, given.queues), given.queues)
    if given.write:
        readme = CHECKOUT / "README.md"
        readme.write_text(table.insert(readme.read_text(encoding="utf-8"), text, "rabbit"), encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
