"""What the stores cost: items a second by store and size, in batches as the consumer gives them.

python -m tests.bench.stores [--items 20000] [--store jsonl] [--write]
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow

from crawler.model import Message
from pipelines import Pipeline
from pipelines.console import Console
from pipelines.csv import Csv
from pipelines.history import History
from pipelines.jsonl import JsonLines
from pipelines.parquet import Parquet
from pipelines.postgres import Postgres
from pipelines.sqlite import Sqlite
from tests.bench.contestants import CHECKOUT
from tests.bench.messages import logs, pages
from tests.bench.table import insert, machine
from tests.servers.postgres import PostgresServer

BATCH = 200
SIZES = 1_000, 10_000


@dataclass(frozen=True)
class Place:
    home: Path
    server: PostgresServer | None = None

    def postgres(self, **options: object) -> Pipeline:
        assert self.server is not None
        return Postgres(dsn=self.server.database("bench"), **options)  # type: ignore[arg-type]


COLUMNS = {"title": "text", "h1": "text", "status": "integer", "text": "text"}

STORES: dict[str, Callable[[Place], Pipeline]] = {
    "jsonl": lambda place: JsonLines(path=str(place.home / "out.jsonl")),
    "jsonl.gz": lambda place: JsonLines(path=str(place.home / "out.jsonl.gz")),
    "jsonl.zst": lambda place: JsonLines(path=str(place.home / "out.jsonl.zst")),
    "csv": lambda place: Csv(path=str(place.home / "out.csv")),
    "sqlite": lambda place: Sqlite(path=str(place.home / "out.db")),
    "postgres": lambda place: place.postgres(),
    "postgres, 4 columns": lambda place: place.postgres(columns=COLUMNS),
    "parquet": lambda place: Parquet(path=str(place.home / "out.parquet")),
    "history": lambda place: History(path=str(place.home / "history.db")),
    "console": lambda place: Console(),
}


@dataclass(frozen=True)
class Cost:
    name: str
    size: int
    """Of an item, in bytes; 0: a log entry."""
    items: int
    wall_s: float
    cpu_s: float
    server_s: float
    """CPU time of a database server."""
    known_s: float
    """CPU time, here and there, when all is delivered a second time."""

    def __str__(self) -> str:
        cpu = self.cpu_s + self.server_s
        what = f"{self.size:,} B" if self.size else "log"
        own, server, known = (f"{one * 1e6 / self.items:.2f}" for one in (self.cpu_s, self.server_s, self.known_s))
        return (
            f"| {self.name} | {what} | {self.items / cpu:,.0f} | {self.items / self.wall_s:,.0f} | {own} "
            f"| {server if self.server_s else ''} | {known if self.known_s else ''} |"
        )


HEAD = """| store | item | items per CPU-second | items/s | \N{MICRO SIGN}s CPU each | server | known already |
|---|--:|--:|--:|--:|--:|--:|"""


def messages_of(name: str, items: int, size: int) -> list[Message]:
    return list(logs(items)) if name == "history" else list(pages(items, size))


def fill(name: str, place: Place, items: int, size: int) -> Cost:
    """Everything once, with closing the store, then once more."""
    messages = messages_of(name, items, size)
    batches = [messages[begin : begin + BATCH] for begin in range(0, items, BATCH)]
    server_s = place.server.cpu_s if name.startswith("postgres") and place.server else lambda: 0.0
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        store = STORES[name](place)
        wall, cpu, server = time.perf_counter(), time.process_time(), server_s()
        for batch in batches:
            store.store(batch)
        if name == "parquet":
            close(store)
        wall, cpu, server = time.perf_counter() - wall, time.process_time() - cpu, server_s() - server
        if name == "parquet":
            store = STORES[name](place)
        again = time.process_time() + server_s()
        if name != "console":
            for batch in batches:
                store.store(batch)
        again = time.process_time() + server_s() - again if name != "console" else 0.0
        close(store)
    return Cost(name, 0 if name == "history" else size, items, wall, cpu, server, again)


def close(store: Pipeline) -> None:
    if end := getattr(store, "close", None):
        end()


@contextlib.contextmanager
def opened(names: list[str]) -> Iterator[Place]:
    """A folder, and a server when a store needs one; as it would be in production, but for its size."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server = None
        if any(name.startswith("postgres") for name in names):
            options = {"fsync": "on", "shared_buffers": "128MB", "max_wal_size": "2GB"}
            server = stack.enter_context(PostgresServer(options))
        yield Place(home, server)


def caption() -> str:
    """When and on what."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return (
        f"Measured by `python -m tests.bench.stores` on {date}: one message an item, {BATCH} messages a batch, ids in "
        "each store's index; *parquet* with writing the file at the end, *known already* when all is delivered a "
        f"second time. {machine()}; Python {platform.python_version()}, psycopg {psycopg.__version__}, pyarrow "
        f"{pyarrow.__version__}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stores", description="Items a second of the stores.")
    parser.add_argument("--items", type=int, default=20_000, help="of each size (default %(default)s)")
    parser.add_argument("--store", choices=STORES, action="append", help="only this one; may be repeated")
    parser.add_argument("--write", action="store_true", help="write the table into README.md")
    given = parser.parse_args()
    names = given.store or list(STORES)
    lines = [HEAD]
    print(HEAD, flush=True)
    with opened(names) as place:
        for name in names:
            for size in SIZES[:1] if name == "history" else SIZES:
                with tempfile.TemporaryDirectory(dir=place.home) as home:
                    cost = fill(name, Place(Path(home), place.server), given.items, size)
                lines.append(str(cost))
                print(cost, flush=True)
    text = "\n".join([*lines, "", caption()])
    print(f"\n{caption()}")
    if given.write:
        readme = CHECKOUT / "README.md"
        readme.write_text(insert(readme.read_text(encoding="utf-8"), text, "stores"), encoding="utf-8")


if __name__ == "__main__":
    main()
