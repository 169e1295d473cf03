"""The Parquet store: columns and their types, files by size and age, and a kill at every step of finishing one."""

from __future__ import annotations

import datetime
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from crawler.error import Reject, SettingsError, Unavailable
from crawler.model import Message, Record
from pipelines import output
from pipelines.parquet import COMPRESSIONS, Parquet
from pipelines.parquet_schema import COLUMNS_MAX, DEPTH_MAX, FIELDS_MAX, Misfit, Type, fitted, widened

ROOT = Path(__file__).parents[2]


def message(number: int | str, *data: bytes | dict[str, Any], at: str = "2026-01-31T12:00:00.123Z") -> Message:
    return Message(
        id=f"m{number}",
        kind="page",
        url=f"https://e.com/{number}",
        fetched_at=at,
        spider="s",
        records=tuple(
            Record(f"i{number}-{index}", msgspec.Raw(one if isinstance(one, bytes) else json.dumps(one).encode()))
            for index, one in enumerate(data)
        ),
    )


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("items-*.parquet"))


def read(folder: Path) -> list[dict[str, Any]]:
    """All rows, without the five first columns and nulls."""
    rows = [row for file in files(folder) for row in pq.read_table(file).to_pylist()]
    heads = ("id", "kind", "url", "fetched_at", "spider")
    return [{name: value for name, value in row.items() if name not in heads and value is not None} for row in rows]


def stored(folder: Path, *data: Any, **options: Any) -> list[dict[str, Any]]:
    pipeline = Parquet(path=str(folder / "items.parquet"), **options)
    pipeline.store([message(number, one) for number, one in enumerate(data)])
    pipeline.close()
    return read(folder)


def schema(file: Path) -> dict[str, str]:
    return {field.name: str(field.type) for field in pq.read_schema(file)}


class TestColumns:
    def test_the_form_of_a_row(self, tmp_path: Path) -> None:
        stored(tmp_path, {"title": "a", "id": 7, "extra": True})
        assert pq.read_table(files(tmp_path)[0]).to_pylist() == [
            {
                "id": "i0-0",
                "kind": "page",
                "url": "https://e.com/0",
                "fetched_at": datetime.datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=datetime.UTC),
                "spider": "s",
                "title": "a",
                "data.id": 7,
                "data.extra": True,
                "extra": None,
            }
        ]
        assert {path.name for path in tmp_path.iterdir()} == {"items-000001.parquet", "items.parquet.index"}

    def test_types_are_found_in_the_data(self, tmp_path: Path) -> None:
        one = {
            "n": 1,
            "x": 1.5,
            "b": True,
            "s": "ż\0",
            "l": ["a", None],
            "o": {"p": 1, "q": {"r": [1.5]}},
            "none": None,
        }
        more = {"n": None, "x": 2, "l": [], "o": {"p": None, "new": "y"}, "ll": [[1], []], "lo": [{"a": 1}, {"b": 2}]}
        assert stored(tmp_path, one, more) == [
            {**{name: one[name] for name in "nxbsl"}, "o": {"p": 1, "q": {"r": [1.5]}, "new": None}},
            {"x": 2.0, "l": [], "o": {"p": None, "q": None, "new": "y"}, "ll": [[1], []], "lo": [
                {"a": 1, "b": None}, {"a": None, "b": 2}]},
        ]  # fmt: skip
        assert schema(files(tmp_path)[0]) == {
            "id": "string",
            "kind": "string",
            "url": "string",
            "fetched_at": "timestamp[ms, tz=UTC]",
            "spider": "string",
            "n": "int64",
            "x": "double",
            "b": "bool",
            "s": "string",
            "l": "list<element: string>",
            "o": "struct<p: int64, q: struct<r: list<element: double>>, new: string>",
            "ll": "list<element: list<element: int64>>",
            "lo": "list<element: struct<a: int64, b: int64>>",
            "extra": "string",
        }

    def test_what_does_not_fit_stands_in_extra(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        data = [
            {"n": 1, "s": "a", "o": {"p": 1}},
            {"n": "many", "s": 2, "o": {"p": "x"}, "e": [], "ee": {}},
            {"n": 2**80, "s": ["a"], "o": [1]},
            {"n": True, "s": {"é": 2**70}},
        ]
        found = stored(tmp_path, *data)
        assert found[0] == data[0]
        assert [json.loads(row["extra"]) for row in found[1:]] == data[1:]
        told = [record.getMessage() for record in caplog.records]
        assert [line.partition(": ")[2] for line in told] == [
            "3 values of n are not int: they are in the column extra",
            "3 values of s are not string: they are in the column extra",
            "2 values of o are not object<p: int>: they are in the column extra",
        ]

    def test_columns_from_settings(self, tmp_path: Path) -> None:
        columns = {"price": "float", "tags": ["string"], "offer": {"by": "string", "n": "int"}}
        found = stored(
            tmp_path,
            {"price": 1, "tags": ["a"], "offer": {"by": "x"}, "more": [1], "none": None},
            {"price": "2", "tags": "a", "offer": {"by": "x", "else": 1}},
            columns=columns,
        )
        assert found == [
            {"price": 1.0, "tags": ["a"], "offer": {"by": "x", "n": None}, "extra": '{"more":[1]}'},
            {"extra": '{"price":"2","tags":"a","offer":{"by":"x","else":1}}'},
        ]

    @pytest.mark.parametrize(
        "columns", [{"a": "text"}, {"a": []}, {"a": ["int", "int"]}, {"a": {}}, {"a": {"b": 5}}, {"a": None}]
    )
    def test_columns_that_are_wrong(self, tmp_path: Path, columns: dict[str, Any]) -> None:
        with pytest.raises(SettingsError, match=r"columns: a: .* is no type: expected"):
            Parquet(path=str(tmp_path / "items.parquet"), columns=columns)

    @pytest.mark.parametrize("options", [{"compression": "zip"}, {"rows_max": 0}, {"bytes_max": -1}])
    def test_options_that_are_wrong(self, tmp_path: Path, options: dict[str, Any]) -> None:
        with pytest.raises(SettingsError, match="expected"):
            Parquet(path=str(tmp_path / "items.parquet"), **options)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("compression", COMPRESSIONS)
    def test_compression(self, tmp_path: Path, compression: str) -> None:
        assert stored(tmp_path, {"a": "x" * 1000}, compression=compression) == [{"a": "x" * 1000}]
        used = pq.ParquetFile(files(tmp_path)[0]).metadata.row_group(0).column(0).compression
        assert used == {"none": "UNCOMPRESSED"}.get(compression, compression.upper())


class TestFiles:
    def test_a_later_file_is_only_ever_wider(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)
        for number, data in enumerate([{"n": 1, "o": {"p": 1}}, {"n": 1.5, "m": [1]}, {"o": {"q": 1}}, {"n": 2}, {}]):
            pipeline = Parquet(path=str(tmp_path / "items.parquet"))
            pipeline.store([message(number, data)])
            pipeline.close()
        shapes = [{name: type for name, type in schema(file).items() if name in "nmo"} for file in files(tmp_path)]
        wide = {"n": "double", "o": "struct<p: int64, q: int64>", "m": "list<element: int64>"}
        assert shapes == [
            {"n": "int64", "o": "struct<p: int64>"},
            {"n": "double", "o": "struct<p: int64>", "m": "list<element: int64>"},
            wide,
            wide,
            wide,
        ]
        assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
            "from the next file on the column n is float, was int",
            "from the next file on the column m (list<int>) is new",
            "from the next file on the column o is object<p: int, q: int>, was object<p: int>",
        ]
        whole = pa.unify_schemas([pq.read_schema(file) for file in files(tmp_path)], promote_options="permissive")
        table = ds.dataset(files(tmp_path), schema=pa.schema([whole.field("id"), whole.field("n")])).to_table()
        assert table["n"].to_pylist() == [1.0, 1.5, None, 2.0, None]

    def test_a_file_is_full_by_rows_bytes_or_age(self, tmp_path: Path) -> None:
        now = [1_000.0]
        pipeline = Parquet(
            path=str(tmp_path / "items.parquet"), rows_max=3, bytes_max=1_000, age_s=10, clock=lambda: now[0]
        )
        pipeline.store([message(1, {}, {})])
        assert len(files(tmp_path)) == 0
        pipeline.store([message(2, {}, {})])
        assert len(files(tmp_path)) == 1
        pipeline.store([message(3, {"a": "x" * 1_000})])
        assert len(files(tmp_path)) == 2
        pipeline.store([message(4, {})])
        now[0] += 9.5
        pipeline.store([])
        assert len(files(tmp_path)) == 2
        now[0] += 1
        pipeline.store([message(4, {})])
        assert len(files(tmp_path)) == 3
        pipeline.close()
        assert [pq.read_metadata(file).num_rows for file in files(tmp_path)] == [4, 1, 1]
        assert len(files(tmp_path)) == 3

    def test_many_row_groups(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pipelines.spool.CHUNK_BYTES", 1_000)
        data = [{"n": n, "s": "x" * (n % 7 * 400), **({"late": n} if n > 90 else {})} for n in range(100)]
        assert [row["n"] for row in stored(tmp_path, *data)] == list(range(100))
        assert pq.read_metadata(files(tmp_path)[0]).num_row_groups > 10

    def test_files_of_others_are_stepped_over(self, tmp_path: Path) -> None:
        (tmp_path / "items-000001.parquet").write_bytes(b"mine")
        pipeline = Parquet(path=str(tmp_path / "items.parquet"))
        pipeline.store([message(1, {})])
        pipeline.close()
        assert (tmp_path / "items-000001.parquet").read_bytes() == b"mine"
        assert pq.read_metadata(tmp_path / "items-000002.parquet").num_rows == 1
        output.remove(tmp_path / "items.parquet")
        assert [path.name for path in tmp_path.iterdir()] == ["items-000001.parquet"]

    def test_whole_files_may_be_taken_away(self, tmp_path: Path) -> None:
        stored(tmp_path, {"a": 1})
        files(tmp_path)[0].unlink()
        pipeline = Parquet(path=str(tmp_path / "items.parquet"))
        pipeline.store([message(0, {"a": 1}), message(1, {"a": 2})])
        pipeline.close()
        assert [file.name for file in files(tmp_path)] == ["items-000002.parquet"]
        assert read(tmp_path) == [{"a": 2}]

    @pytest.mark.parametrize("damage", ["cut", "removed"])
    def test_a_spool_that_is_shorter_than_its_index_is_refused(self, tmp_path: Path, damage: str) -> None:
        folder = tmp_path / "new"
        pipeline = Parquet(path=str(folder / "items.parquet"))
        pipeline.store([message(1, {})])
        spool = folder / "items.parquet.spool"
        size = spool.stat().st_size
        pipeline._spool._close()
        if damage == "removed":
            spool.unlink()
        else:
            spool.write_bytes(b"")
        with pytest.raises(SettingsError, match=rf"{size} are stored.*--fresh"):
            Parquet(path=str(folder / "items.parquet"))

    def test_a_spool_without_an_index_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "items.parquet.spool").write_bytes(b"{}\n")
        with pytest.raises(SettingsError, match="no index beside it"):
            Parquet(path=str(tmp_path / "items.parquet"))

    def test_a_second_writer_waits_its_turn(self, tmp_path: Path) -> None:
        first = Parquet(path=str(tmp_path / "items.parquet"))
        with pytest.raises(Unavailable, match="another process"):
            Parquet(path=str(tmp_path / "items.parquet"))
        first.close()
        Parquet(path=str(tmp_path / "items.parquet")).close()

    def test_a_folder_that_cannot_be_written_when_a_file_is_due(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """In the way stands a folder where the file is to be made."""
        pipeline = Parquet(path=str(tmp_path / "items.parquet"), rows_max=2)
        (tmp_path / "items.parquet.part").mkdir()
        (tmp_path / "items.parquet.part" / "x").touch()
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"items\.parquet"):
                pipeline.store([message(1, {"a": 1}, {"a": 2})])
        pipeline.close()
        assert "2 items wait in" in caplog.text
        (tmp_path / "items.parquet.part" / "x").unlink()
        (tmp_path / "items.parquet.part").rmdir()
        again = Parquet(path=str(tmp_path / "items.parquet"))
        again.store([message(1, {"a": 1}, {"a": 2}), message(2, {"a": 3})])
        again.close()
        assert read(tmp_path) == [{"a": 1}, {"a": 2}, {"a": 3}]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (message("bad", b"[1]"), "no JSON object"),
        (message("bad", b'{"a":"\xff"}'), "no JSON object"),
        (message("bad", b'{"a":"\\ud800"}'), "no JSON object"),
        (message("bad", b'{"a":1e999}'), "no JSON object"),
        (message("bad", b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}"), "no JSON object"),
        (message("bad", b'{"a":1}{"b":2}'), "no JSON object"),
        (message("bad", b'{\n"a":1}\n{"b":2}'), "no JSON object"),
        (message("bad", {}, at="yesterday"), "no time"),
        (message("bad", {}, at="2026-01-31T12:00:00"), "no time"),
    ],
)
def test_exactly_the_bad_message_is_refused(tmp_path: Path, bad: Message, told: str) -> None:
    pipeline = Parquet(path=str(tmp_path / "items.parquet"))
    with pytest.raises(Reject, match=told) as refused:
        pipeline.store([message(1, {"a": 1}), bad, message(2, {"a": 2})])
    assert refused.value.ids == {"mbad"}
    pipeline.store([message(1, {"a": 1}), message(2, {"a": 2})])
    pipeline.close()
    assert read(tmp_path) == [{"a": 1}, {"a": 2}]


def test_line_breaks_of_a_foreign_publisher(tmp_path: Path) -> None:
    assert stored(tmp_path, b'{\r\n "a": 1,\n "b": "x\\ny"}', {"a": 2}) == [{"a": 1, "b": "x\ny"}, {"a": 2}]


@pytest.mark.parametrize("at", ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00.000999+01:00", "1969-12-31T23:59:59Z"])
def test_times_in_other_forms(tmp_path: Path, at: str) -> None:
    pipeline = Parquet(path=str(tmp_path / "items.parquet"))
    pipeline.store([message(1, {}, at=at)])
    pipeline.close()
    (found,) = pq.read_table(files(tmp_path)[0])["fetched_at"].to_pylist()
    assert abs(found - datetime.datetime.fromisoformat(at)) < datetime.timedelta(milliseconds=1)


STEPS = {"execute", "pwrite", "fsync", "fdatasync", "ftruncate", "rename", "unlink", "remove", "write_batch", "open"}

KILLED = """
import os, signal, sys
from pathlib import Path
import pyarrow.parquet as pq
from pipelines.parquet import Parquet
from tests.unit.test_parquet_pipeline import STEPS, files, message, pq

def work(home, batches):
    pipeline = Parquet(path=str(home / "items.parquet"), rows_max=6, fsync=False)
    for batch in range(batches):
        pipeline.store([message(batch * 2 + number, {"n": batch * 2 + number}, {}) for number in range(2)])
    pipeline.close()

def killed(home, step):
    # In a process of its own, which ends at the step, by SIGKILL: no clean-up.
    if (pid := os.fork()) == 0:
        left = [step]
        def watch(frame, event, what):
            if event == "c_return" and getattr(what, "__name__", "") in STEPS:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(watch)
        work(home, 4)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL

home, step = Path(sys.argv[1]), 0
while True:
    step += 1
    place = home / str(step)
    place.mkdir()
    ended = killed(place, step)
    if step % 3 == 0:
        killed(place, step * 2 % 23 + 1)
    work(place, 5)
    rows = [row for file in files(place) for row in pq.read_table(file).to_pylist()]
    assert [row["id"] for row in rows] == [f"i{n}-{i}" for n in range(10) for i in range(2)], (step, rows)
    assert [row["n"] for row in rows] == [n if i == 0 else None for n in range(10) for i in range(2)], step
    left = {path.name for path in place.iterdir()} - {file.name for file in files(place)}
    assert left == {"items.parquet.index"}, (step, left)
    if not ended:
        break
print(step)
"""


def test_killed_at_every_step(tmp_path: Path) -> None:
    """The process dies after each call that reaches a file, sometimes again while it recovers, and then everything is
    delivered again."""
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 60


@pytest.mark.parametrize(
    ("rows", "types"),
    [
        ([{"a": 1}, {"a": 1.5}, {"a": None}], {"a": "float"}),
        ([{"a": 1.5}, {"a": 1}], {"a": "float"}),
        ([{"a": True}, {"a": 1}], {"a": "bool"}),
        ([{"a": None}, {"a": []}, {"a": {}}, {"a": [[]]}, {"a": 2**63}], {}),
        ([{"a": []}, {"a": [{"b": None}]}, {"a": [{"b": 1}]}], {"a": [{"b": "int"}]}),
        ([{"a": [1, "x", 1.5]}], {"a": ["float"]}),
        ([{"a": {"b": 1}}, {"a": {"c": ["x"]}}, {"a": 1}], {"a": {"b": "int", "c": ["string"]}}),
        ([{"a": {str(n): n for n in range(FIELDS_MAX)}}], {"a": {str(n): "int" for n in range(FIELDS_MAX)}}),
        ([{"a": {str(n): n for n in range(FIELDS_MAX + 1)}}], {}),
    ],
)
def test_widened(rows: list[dict[str, Any]], types: dict[str, Type]) -> None:
    assert widened({}, rows) == types
    assert widened(types, rows) == types
    one_by_one: dict[str, Type] = {}
    for row in rows:
        one_by_one = widened(one_by_one, [row])
    assert one_by_one == types


def test_limits_of_what_is_found() -> None:
    assert len(widened({}, [{str(n): 1 for n in range(COLUMNS_MAX + 5)}])) == COLUMNS_MAX
    deep: Any = 1
    for _ in range(DEPTH_MAX):
        deep = [deep]
    assert widened({}, [{"a": deep}]) != {}
    assert widened({}, [{"a": [deep]}]) == {}


@pytest.mark.parametrize(
    ("value", "type", "fits"),
    [
        (1, "int", 1),
        (2**63 - 1, "int", 2**63 - 1),
        (2**63, "int", None),
        (1.0, "int", None),
        (True, "int", None),
        (2**53, "float", 2.0**53),
        (2**53 + 1, "float", None),
        (1, "bool", None),
        ("1", "float", None),
        ([1, None], ["int"], [1, None]),
        ([1, "x"], ["int"], None),
        ({"a": 1}, {"a": "int", "b": "string"}, {"a": 1, "b": None}),
        ({"c": 1}, {"a": "int"}, None),
        ({"c": None}, {"a": "int"}, {"a": None}),
        ([], {"a": "int"}, None),
    ],
)
def test_fitted(value: Any, type: Type, fits: Any) -> None:
    if fits is None:
        with pytest.raises(Misfit):
            fitted(value, type)
    else:
        found = fitted(value, type)
        assert found == fits
        assert found.__class__ is fits.__class__


def test_people_are_shown_the_files_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert output.shown("items.parquet") == "items.parquet"
    stored(tmp_path, {"a": 1})
    assert output.shown("items.parquet") == "items-000001.parquet"
    pipeline = Parquet(path="items.parquet", rows_max=1)
    for number in range(1, 4):
        pipeline.store([message(number, {"a": 1})])
    pipeline.close()
    assert output.shown("items.parquet") == "items-000001.parquet … items-000004.parquet"
