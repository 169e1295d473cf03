"""CSV: columns, cells and what has no column."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crawler.error import SettingsError
from crawler.model import Message, Record
from pipelines.csv import Csv


def message(id: str, *items: dict[str, Any]) -> Message:
    return Message(
        id=id,
        kind="product",
        url="https://e.com/",
        fetched_at="2026-01-31T12:00:00.000Z",
        spider="s",
        records=tuple(Record(f"{id}{n}", msgspec.Raw(msgspec.json.encode(item))) for n, item in enumerate(items)),
    )


def rows(path: Path, *batches: list[Message], **options: Any) -> list[dict[str, str]]:
    pipeline = Csv(path=str(path), **options)
    for batch in batches:
        pipeline.store(batch)
    pipeline.close()
    with path.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text, strict=True))


def test_columns_come_from_the_first_batch_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    got = rows(
        path,
        [message("a", {"name": "x", "price": 1.5}), message("b", {"price": 2, "size": "L"})],
        [message("c", {"colour": "red", "name": "y", "sizes": ["S", "M"]})],
    )
    assert path.read_text(encoding="utf-8").partition("\n")[0] == (
        "id,kind,url,fetched_at,spider,name,price,size,extra"
    )
    assert [(row["name"], row["price"], row["size"], row["extra"]) for row in got] == [
        ("x", "1.5", "", ""),
        ("", "2", "L", ""),
        ("y", "", "", '{"colour":"red","sizes":["S","M"]}'),
    ]


def test_columns_are_kept_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    rows(path, [message("a", {"name": "x"})])
    got = rows(path, [message("b", {"price": 1, "name": "y"})])
    assert [(row["name"], row["extra"]) for row in got] == [("x", ""), ("y", '{"price":1}')]


def test_columns_given(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    (row,) = rows(path, [message("a", {"name": "x", "price": 1})], columns=["price", "stock"])
    assert (row["price"], row["stock"], row["extra"]) == ("1", "", '{"name":"x"}')
    rows(path, columns=["price", "stock"])
    with pytest.raises(SettingsError, match=r"price, stock.*now says name"):
        Csv(path=str(path), columns=["name"])
    rows(path)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("", ""),
        (None, ""),
        (True, "true"),
        (0, "0"),
        (1.5, "1.5"),
        ('say "hi", ok', 'say "hi", ok'),
        ("two\r\nlines", "two\r\nlines"),
        ({"a": ["ż"]}, '{"a":["ż"]}'),
        ([], "[]"),
        ("=1+1", "=1+1"),
    ],
)
def test_cells(tmp_path: Path, value: Any, cell: str) -> None:
    (row,) = rows(tmp_path / "out.csv", [message("a", {"v": value})])
    assert row["v"] == cell


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@x", "\tx", "\rx"])
def test_formulas_are_escaped_on_request(tmp_path: Path, text: str) -> None:
    (row,) = rows(tmp_path / "out.csv", [message("a", {"v": text, "n": -1})], escape_formulas=True)
    assert (row["v"], row["n"]) == (f"'{text}", "-1")


def test_fields_called_like_a_fixed_column(tmp_path: Path) -> None:
    (row,) = rows(tmp_path / "out.csv", [message("a", {"url": "u", "extra": "e", "id": 7})])
    assert (row["url"], row["data.url"], row["data.extra"], row["data.id"]) == ("https://e.com/", "u", "e", "7")
    assert (row["id"], row["extra"]) == ("a0", "")


def test_the_header_waits_for_the_first_item(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    got = rows(path, [message("a")], [message("b", {})], [message("c", {"x": 1})])
    assert [(row["id"], row["extra"]) for row in got] == [("b0", ""), ("c0", '{"x":1}')]


def test_lines_end_as_rfc_4180_says(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    rows(path, [message("a", {"x": 1})])
    assert path.read_bytes().count(b"\r\n") == path.read_bytes().count(b"\n") == 2
