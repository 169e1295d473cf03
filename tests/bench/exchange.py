"""What the exchange adapters cost: publish, lease and settle of a message, by batch and size.

python -m tests.bench.exchange [--messages 20000] [--adapter sqlite]
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path

from crawler.exchange import HISTORY, Exchange
from crawler.exchange.memory import MemoryExchange
from crawler.exchange.sqlite import SqliteExchange
from crawler.model import Done, Message, Queue, Settlement
from tests.bench.messages import logs, pages
from tests.bench.stopwatch import Stopwatch

ADAPTERS = ("memory", "sqlite")
BATCHES = (1, 64, 200)


def open_exchange(adapter: str, home: Path) -> Exchange:
    return MemoryExchange() if adapter == "memory" else SqliteExchange(home / "state.db")


def through(exchange: Exchange, queue: str, messages: Sequence[Message], batch: int, what: str) -> None:
    """Publish all, then take all from one queue to their end; the other queues are drained unmeasured."""
    with Stopwatch(f"publish {what}, batch {batch}", len(messages)) as publish:
        for begin in range(0, len(messages), batch):
            exchange.publish(messages[begin : begin + batch])
    lease = Stopwatch(f"lease {what}, batch {batch}", len(messages))
    settle = Stopwatch(f"settle {what}, batch {batch}", len(messages))
    ended = 0
    while ended < len(messages):
        lease.start()
        deliveries = exchange.lease(queue, batch, consumer="bench/1", request_id=secrets.token_hex(16))
        lease.stop()
        if not deliveries:
            raise RuntimeError(f"{queue} gave nothing with {len(messages) - ended} messages to go: {exchange.counts()}")
        settle.start()
        stale = exchange.settle([Settlement(each.token, Done()) for each in deliveries])
        settle.stop()
        if stale:
            raise RuntimeError(f"stale: {stale}")
        ended += len(deliveries)
    cpu_us = (publish.cpu_s + lease.cpu_s + settle.cpu_s) * 1e6 / len(messages)
    print(lease, settle, f"  {'all three':<34} {'':>15} {cpu_us:>9.2f} us CPU each", sep="\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.exchange", description="Cost of the exchange adapters."
    )
    parser.add_argument("--messages", type=int, default=20_000, help="of each kind and batch (default %(default)s)")
    parser.add_argument("--adapter", choices=ADAPTERS, action="append", help="only this one")
    given = parser.parse_args()
    for adapter in given.adapter or ADAPTERS:
        print(adapter)
        with tempfile.TemporaryDirectory(prefix="bench-") as home, open_exchange(adapter, Path(home)) as exchange:
            exchange.declare([Queue("store"), Queue(HISTORY)])
            begin = 0
            for batch in BATCHES:
                count = given.messages // (10 if batch == 1 else 1)
                for size in (1_000, 10_000):
                    through(exchange, "store", list(pages(count, size, begin)), batch, f"{size // 1000} KB")
                    begin += count
                through(exchange, HISTORY, list(logs(count, begin)), batch, "log")
                begin += count


if __name__ == "__main__":
    main()
