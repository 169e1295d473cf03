"""What the stores cost: items a second by store and size, in batches as the consumer gives them.

python -m tests.bench.stores [--items 50000] [--store jsonl]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from crawler.model import Message
from pipelines import Pipeline
from pipelines.console import Console
from pipelines.csv import Csv
from pipelines.history import History
from pipelines.jsonl import JsonLines
from pipelines.sqlite import Sqlite
from tests.bench.messages import logs, pages
from tests.bench.stopwatch import Stopwatch

BATCH = 200

STORES: dict[str, Callable[[Path], Pipeline]] = {
    "jsonl": lambda home: JsonLines(path=str(home / "out.jsonl")),
    "csv": lambda home: Csv(path=str(home / "out.csv")),
    "sqlite": lambda home: Sqlite(path=str(home / "out.db")),
    "history": lambda home: History(path=str(home / "history.db")),
    "console": lambda home: Console(),
}


def fill(name: str, home: Path, items: int, size: int) -> None:
    messages = list(logs(items)) if name == "history" else list(pages(items, size))
    batches: list[list[Message]] = [messages[begin : begin + BATCH] for begin in range(0, items, BATCH)]
    what = "log" if name == "history" else f"{size // 1000} KB"
    store, new, known = (
        STORES[name](home),
        Stopwatch(f"{name} {what}", items),
        Stopwatch(f"{name} {what}, known", items),
    )
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        for watch in (new,) if name == "console" else (new, known):
            watch.start()
            for batch in batches:
                store.store(batch)
            watch.stop()
        if close := getattr(store, "close", None):
            close()
    print(new, *(() if name == "console" else (known,)), sep="\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stores", description="Items a second of the stores.")
    parser.add_argument("--items", type=int, default=20_000, help="of each size (default %(default)s)")
    parser.add_argument("--store", choices=STORES, action="append", help="only this one")
    given = parser.parse_args()
    for name in given.store or STORES:
        for size in (1_000,) if name == "history" else (1_000, 10_000):
            with tempfile.TemporaryDirectory(prefix="bench-") as home:
                fill(name, Path(home), given.items, size)


if __name__ == "__main__":
    main()
