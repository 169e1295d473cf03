"""JSON lines: the form of a record."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from crawler.model import Message, Record
from pipelines.jsonl import JsonLines


def written(path: Path, data: bytes, **fields: str) -> bytes:
    pipeline = JsonLines(path=str(path))
    about = {"kind": "quote", "url": "https://e.com/?a=1", "fetched_at": "2026-01-31T12:00:00.000Z", "spider": "s"}
    pipeline.store([Message(id="m", **{**about, **fields}, records=(Record("i", msgspec.Raw(data)),))])
    pipeline.close()
    return path.read_bytes()


def test_the_form_of_a_record_is_fixed(tmp_path: Path) -> None:
    assert written(tmp_path / "out", b'{"text":"a"}') == (
        b'{"id":"i","kind":"quote","url":"https://e.com/?a=1","fetched_at":"2026-01-31T12:00:00.000Z","spider":"s",'
        b'"data":{"text":"a"}}\n'
    )


@pytest.mark.parametrize(
    "data",
    [
        b'{"price":1.10,"big":123456789012345678901234567890,"e":1e400}',
        '{"żółw":"\u2028\u0085 😀"}'.encode(),
        rb'{"escaped":"\u00e9\n\/"}',
        b"{}",
    ],
)
def test_data_goes_in_byte_by_byte(tmp_path: Path, data: bytes) -> None:
    assert written(tmp_path / "out", data).endswith(b'"data":' + data + b"}\n")


def test_line_breaks_of_a_foreign_publisher_do_not_break_lines(tmp_path: Path) -> None:
    text = written(tmp_path / "out", b'{\r\n  "a": [1,\n 2],\r "b": "x\\ny"\n}')
    assert text.count(b"\n") == 1
    assert b"\r" not in text
    assert json.loads(text)["data"] == {"a": [1, 2], "b": "x\ny"}


def test_what_surrounds_the_data_is_escaped(tmp_path: Path) -> None:
    text = written(tmp_path / "out", b"{}", kind='a"b\n', spider="\\")
    assert (json.loads(text)["kind"], json.loads(text)["spider"]) == ('a"b\n', "\\")
