"""Every store keeps the port's promises: whole messages, once, in full, whatever is killed and when."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pyarrow.parquet as pq
import pytest

from crawler.error import SettingsError, Unavailable
from crawler.model import LOG_KIND, Message, Record
from crawler.view import LogEntry
from pipelines import output
from pipelines.csv import Csv
from pipelines.history import History, entries
from pipelines.jsonl import JsonLines
from pipelines.parquet import Parquet
from pipelines.postgres import Postgres
from pipelines.sqlite import Sqlite
from tests.servers.postgres import PostgresServer

ROOT = Path(__file__).parents[2]


def ids_jsonl(path: Path) -> list[str]:
    data = path.read_bytes()
    assert data.endswith(b"\n") or not data
    return [json.loads(line)["id"] for line in data.decode().split("\n")[:-1]]


def ids_csv(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as text:
        rows = list(csv.reader(text, strict=True))
    assert {len(row) for row in rows} <= {len(rows[0])} if rows else True
    return [row[0] for row in rows[1:]]


def ids_sqlite(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [id for (id,) in db.execute("SELECT id FROM item ORDER BY rowid")]


def ids_history(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [id for (id,) in db.execute("SELECT id FROM log ORDER BY number")]


def ids_parquet(path: Path) -> list[str]:
    """Of the whole files, and of the lines that wait for the next one."""
    files = sorted(path.parent.glob(f"{path.name}-*"))
    spool = path.with_name(f"{path.name}.spool")
    return [
        *(id for file in files for id in pq.read_table(file, columns=["id"])["id"].to_pylist()),
        *(ids_jsonl(spool) if spool.exists() else ()),
    ]


DSN = "CRAWLER_TEST_DSN"
"""Variable with the private server's dsn: processes that a test starts need it too."""


def table(path: str | Path) -> str:
    return f"t{blake2b(str(path).encode(), digest_size=8).hexdigest()}"


def make_postgres(*, path: str) -> Postgres:
    return Postgres(dsn=os.environ[DSN], table=table(path))


def ids_postgres(path: Path) -> list[str]:
    with closing(psycopg.connect(os.environ[DSN], autocommit=True)) as db:
        return [id for (id,) in db.execute(f"SELECT id FROM {table(path)} ORDER BY ctid").fetchall()]


STORES: dict[str, tuple[Any, Callable[[Path], list[str]]]] = {
    "jsonl": (JsonLines, ids_jsonl),
    "csv": (Csv, ids_csv),
    "sqlite": (Sqlite, ids_sqlite),
    "history": (History, ids_history),
    "parquet": (partial(Parquet, rows_max=1_500, fsync=False), ids_parquet),
}


ANY = {**STORES, "postgres": (make_postgres, ids_postgres)}
"""Also those that write no file of their own."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[None]:
    # No autovacuum: it would free space for later rows before earlier ones.
    with PostgresServer({"autovacuum": "off"}) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv(DSN, server.dsn)
        yield


@pytest.fixture(params=list(ANY))
def any_store(request: pytest.FixtureRequest) -> tuple[Any, Callable[[Path], list[str]]]:
    if request.param == "postgres":
        request.getfixturevalue("postgres")
    return ANY[request.param]


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest) -> tuple[Any, Callable[[Path], list[str]]]:
    return STORES[request.param]


def message(number: int, items: int = 2) -> Message:
    """Fits every store: its data is that of a log entry."""
    data = msgspec.Raw(
        msgspec.json.encode(LogEntry(fingerprint=number, outcome="done", reason=f'a,b "c"\r\nd {number} ż', status=200))
    )
    return Message(
        id=f"m{number}",
        kind=LOG_KIND,
        url=f"https://example.com/{number}?a=1,2",
        fetched_at="2026-01-31T12:00:00.000Z",
        spider="test",
        records=tuple(Record(f"m{number}-{index}", data) for index in range(items)),
    )


def expected(numbers: Sequence[int], items: int = 2) -> list[str]:
    return [f"m{number}-{index}" for number in numbers for index in range(items)]


def test_what_is_stored_is_there_and_in_order(any_store: Any, tmp_path: Path) -> None:
    make, read = any_store
    pipeline = make(path=str(tmp_path / "new" / "out"))
    pipeline.store([message(1), message(2)])
    pipeline.store([message(3)])
    pipeline.close()
    assert read(tmp_path / "new" / "out") == expected([1, 2, 3])


def test_a_message_is_stored_once(any_store: Any, tmp_path: Path) -> None:
    make, read = any_store
    pipeline = make(path=str(tmp_path / "out"))
    pipeline.store([message(1), message(1)])
    pipeline.store([message(1), message(2)])
    pipeline.close()
    again = make(path=str(tmp_path / "out"))
    again.store([message(2), message(1)])
    again.store([message(3), message(1)])
    again.close()
    assert read(tmp_path / "out") == expected([1, 2, 3])


def test_messages_without_items_and_empty_batches(any_store: Any, tmp_path: Path) -> None:
    make, read = any_store
    pipeline = make(path=str(tmp_path / "out"))
    pipeline.store([])
    pipeline.store([message(1, items=0)])
    pipeline.store([message(2)])
    pipeline.close()
    assert read(tmp_path / "out") == expected([2])


def test_readers_see_whole_batches_while_it_is_written(any_store: Any, tmp_path: Path) -> None:
    make, read = any_store
    pipeline = make(path=str(tmp_path / "out"))
    for number in range(5):
        pipeline.store([message(number)])
        assert read(tmp_path / "out") == expected(range(number + 1))
    pipeline.close()


def test_a_place_that_cannot_be_written_is_refused_with_what_to_do(store: Any, tmp_path: Path) -> None:
    make, _ = store
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "out", tmp_path / "folder"):
        with pytest.raises(SettingsError, match=r"(?s)(file|folder).*give another path"):
            make(path=str(path))
        with pytest.raises(SettingsError, match="give another path"):
            output.check(path)
    output.check(tmp_path / "fine" / "out")


def test_a_file_that_is_not_ours_is_refused_and_left_alone(store: Any, tmp_path: Path) -> None:
    make, _ = store
    path = tmp_path / "out"
    path.write_bytes(b"precious data of somebody else, long enough to be no database header at all\n" * 20)
    before = path.read_bytes()
    with pytest.raises(SettingsError, match=r"out.*give another path|Give another path"):
        make(path=str(path))
    assert path.read_bytes() == before


def test_removing_an_output_lets_it_start_over(store: Any, tmp_path: Path) -> None:
    make, read = store
    for _ in range(2):
        pipeline = make(path=str(tmp_path / "out"))
        pipeline.store([message(1)])
        pipeline.close()
        assert read(tmp_path / "out") == expected([1])
        output.remove(tmp_path / "out")
        assert list(tmp_path.iterdir()) == []


KILLED = """
import sys
from tests.contract.test_pipelines import ANY, message
kind, path, batches, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
pipeline = ANY[kind][0](path=path)
print("ready", flush=True)
for batch in range(batches):
    pipeline.store([message(number) for number in range(batch * size, (batch + 1) * size)])
pipeline.close()
print("done", flush=True)
"""


@pytest.mark.parametrize("kind", list(ANY))
def test_killed_at_any_instant_and_everything_delivered_again(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A real process stores everything from the first message on and is killed, again and again, at random instants."""
    if kind == "postgres":
        request.getfixturevalue("postgres")
    batches, size, kills, dice = 400, 10, 0, random.Random(kind)
    path = tmp_path / "out"
    deadline = time.monotonic() + 100
    while True:
        assert time.monotonic() < deadline
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, kind, str(path), str(batches), str(size)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        if kills >= 12:
            assert process.communicate()[0] == b"done\n"
            break
        time.sleep(dice.random() * 0.04)
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert ANY[kind][1](path) == expected(range(batches * size))


FULL = """
import resource, sys
from crawler.error import Unavailable
from pathlib import Path
from tests.contract.test_pipelines import STORES, expected, message
make, read = STORES[sys.argv[1]]
pipeline = make(path=sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
batch, refused = 0, []
while batch < 60:
    try:
        pipeline.store([message(number) for number in range(batch * 50, (batch + 1) * 50)])
        batch += 1
    except Unavailable as error:
        assert sys.argv[2] in str(error), error
        refused.append(batch)
        assert read(Path(sys.argv[2])) == expected(range(batch * 50))  # readers see no torn line meanwhile
        if len(refused) == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
pipeline.close()
assert len(refused) == 3 and refused[0] == refused[2] > 0, refused
"""


@pytest.mark.parametrize("kind", list(STORES))
def test_a_full_disk_is_waited_for_and_nothing_is_lost(kind: str, tmp_path: Path) -> None:
    """The kernel refuses to let files grow, for a while: real write errors (RLIMIT_FSIZE), in a process of its own."""
    path = tmp_path / "out"
    ended = subprocess.run([sys.executable, "-c", FULL, kind, str(path)], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    assert STORES[kind][1](path) == expected(range(3_000))


class TestSegments:
    """The text files' own index."""

    @pytest.fixture(params=[JsonLines, Csv])
    def make(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    def stored(self, make: Any, path: Path, *numbers: int) -> bytes:
        pipeline = make(path=str(path))
        pipeline.store([message(number) for number in numbers])
        pipeline.close()
        return path.read_bytes()

    def test_a_torn_tail_is_cut_off(self, make: Any, tmp_path: Path) -> None:
        path = tmp_path / "out"
        whole = self.stored(make, path, 1)
        with path.open("ab") as file:
            file.write(b'{"id":"m2-0","kind":"pa')
        make(path=str(path)).close()
        assert path.read_bytes() == whole

    @pytest.mark.parametrize("damage", ["cut", "removed", "replaced"])
    def test_a_file_that_is_shorter_than_its_index_is_refused(self, make: Any, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "out"
        whole = self.stored(make, path, 1, 2)
        if damage == "removed":
            path.unlink()
        else:
            path.write_bytes(whole[:-1] if damage == "cut" else b"")
        left = path.read_bytes() if path.exists() else None
        with pytest.raises(SettingsError, match=rf"{len(whole)} are stored.*--fresh"):
            make(path=str(path))
        assert (path.read_bytes() if path.exists() else None) == left

    def test_a_file_without_its_index_is_refused(self, make: Any, tmp_path: Path) -> None:
        path = tmp_path / "out"
        self.stored(make, path, 1)
        Path(f"{path}.index").unlink()
        with pytest.raises(SettingsError, match="not written by this crawl"):
            make(path=str(path))

    def test_an_empty_file_is_taken_over(self, make: Any, tmp_path: Path) -> None:
        path = tmp_path / "out"
        path.touch()
        assert self.stored(make, path, 1)

    @pytest.mark.parametrize("content", [b"no database " * 400, b"SQLite format 3\0" + b"\xff" * 4_000])
    def test_a_spoilt_index_is_refused(self, make: Any, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "out"
        self.stored(make, path, 1)
        Path(f"{path}.index").write_bytes(content)
        with pytest.raises(SettingsError, match="index"):
            make(path=str(path))

    def test_an_index_of_another_version_is_refused(self, make: Any, tmp_path: Path) -> None:
        path = tmp_path / "out"
        self.stored(make, path, 1)
        with closing(sqlite3.connect(f"{path}.index", isolation_level=None)) as db:
            db.execute("UPDATE part SET version = 99")
        with pytest.raises(SettingsError, match="99"):
            make(path=str(path))

    def test_a_second_writer_waits_its_turn(self, make: Any, tmp_path: Path) -> None:
        first = make(path=str(tmp_path / "out"))
        with pytest.raises(Unavailable, match="another process"):
            make(path=str(tmp_path / "out"))
        first.close()
        make(path=str(tmp_path / "out")).close()

    def test_fsync(self, make: Any, tmp_path: Path) -> None:
        pipeline = make(path=str(tmp_path / "out"), fsync=True)
        pipeline.store([message(1)])
        pipeline.close()
        assert (tmp_path / "out").read_bytes() == self.stored(make, tmp_path / "other", 1)

    def test_a_device_or_a_folder_is_no_file(self, make: Any, tmp_path: Path) -> None:
        for path in ("/dev/null", str(tmp_path)):
            with pytest.raises(SettingsError, match="not a regular file"):
                make(path=path)


def test_a_message_that_cannot_be_stored_spoils_no_other(tmp_path: Path) -> None:
    """The data's fault is no reason to wait: it comes out as it is, and the batch is undone whole."""
    bad = Message(**{**msgspec.structs.asdict(message(2)), "records": (Record("x", msgspec.Raw(b'{"a":1}')),)})
    pipeline = History(path=str(tmp_path / "out"))
    with pytest.raises(msgspec.ValidationError):
        pipeline.store([message(1), bad])
    pipeline.store([message(1)])
    pipeline.close()
    assert [event.entry.fingerprint for event in entries(tmp_path / "out")] == [1, 1]
