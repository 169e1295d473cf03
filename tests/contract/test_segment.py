"""Compressed, rotated and many files: whole after any kill, each message once, and none of another's touched."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from crawler.error import SettingsError, Unavailable
from crawler.model import Message, Record
from pipelines import output
from pipelines.csv import Csv
from pipelines.jsonl import JsonLines
from pipelines.segment import Segment
from pipelines.shelf import File

ROOT = Path(__file__).parents[2]
DAY_S = 86_400.0


def message(number: int, kind: str = "quote") -> Message:
    data = msgspec.Raw(msgspec.json.encode({"number": number, "text": f"one,\r\n{number}"}))
    return Message(
        id=f"m{number}",
        kind=kind,
        url=f"https://example.com/{number}",
        fetched_at="2026-01-31T12:00:00.000Z",
        spider="test",
        records=(Record(f"i{number}", data),),
    )


def unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
            return reader.read()
    return data


def ids(folder: Path) -> list[str]:
    """Of all lines in all files, in the files' order."""
    found = []
    for path in sorted(folder.iterdir()):
        if ".jsonl" in path.name and ".index" not in path.name:
            text = unpacked(path)
            assert text.endswith(b"\n") or not text
            found += [json.loads(line)["id"] for line in text.splitlines()]
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ".index" not in path.name)


class Clock:
    def __init__(self, now_s: float = 1_769_860_000.0) -> None:  # 2026-01-31 11:46:40 UTC
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def lines(messages: Any, file: File) -> bytes:
    return b"".join(b'{"id":"%b"}\n' % message.records[0].id.encode() for message in messages)


@pytest.mark.parametrize("make", [JsonLines, Csv])
@pytest.mark.parametrize(
    ("name", "options", "magic"),
    [
        ("out.gz", {}, b"\x1f\x8b"),
        ("out.zst", {}, b"\x28\xb5\x2f\xfd"),
        ("out.gz", {"compression": "none"}, b"i{"),
        ("out", {"compression": "gz"}, b"\x1f\x8b"),
        ("out", {"compression": "zst"}, b"\x28\xb5\x2f\xfd"),
    ],
)
def test_compression_by_ending_or_option(
    make: Any, name: str, options: dict[str, Any], magic: bytes, tmp_path: Path
) -> None:
    plain = make(path=str(tmp_path / "plain"))
    packed = make(path=str(tmp_path / name), **options)
    for number in range(3):
        plain.store([message(number)])
        packed.store([message(number)])
        part = tmp_path / f"part{Path(name).suffix or '.gz'}"
        part.write_bytes((tmp_path / name).read_bytes())
        if options.get("compression") == "none":
            assert part.read_bytes() == (tmp_path / "plain").read_bytes()
            continue
        assert part.read_bytes()[: len(magic)] == magic
        shown = part.rename(part.with_suffix(".zst" if magic[0] == 0x28 else ".gz"))
        assert unpacked(shown) == (tmp_path / "plain").read_bytes()
    plain.close()
    packed.close()


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r'compression = "bz2": expected "auto", "gz", "zst" or "none"'):
        JsonLines(path=str(tmp_path / "out"), compression="bz2")


def test_rotation_by_size(tmp_path: Path) -> None:
    pipeline = JsonLines(path=str(tmp_path / "items.jsonl"), rotate_bytes=300)
    for number in range(7):
        pipeline.store([message(number), message(0)])
    pipeline.close()
    assert names(tmp_path) == ["items-000001.jsonl", "items-000002.jsonl", "items-000003.jsonl", "items.jsonl"]
    assert ids(tmp_path) == [f"i{number}" for number in range(7)]
    sizes = [(tmp_path / name).stat().st_size for name in names(tmp_path)]
    assert all(300 <= size < 600 for size in sizes[:3])


def test_rotation_by_age_goes_on_over_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    for number in range(6):
        segment = Segment(tmp_path / "items.jsonl", rotate_s=100, clock=clock)
        segment.append([message(number)], lines)
        segment.close()
        clock.now_s += 50
    assert names(tmp_path) == ["items-000001.jsonl", "items-000002.jsonl", "items.jsonl"]
    assert ids(tmp_path) == [f"i{number}" for number in range(6)]


def test_a_number_that_is_taken_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "items-000001.jsonl").write_text("precious")
    pipeline = JsonLines(path=str(tmp_path / "items.jsonl"), rotate_bytes=1)
    for number in range(3):
        pipeline.store([message(number)])
    pipeline.close()
    assert (tmp_path / "items-000001.jsonl").read_text() == "precious"
    assert names(tmp_path)[1:] == ["items-000002.jsonl", "items-000003.jsonl", "items.jsonl"]


def test_numbers_go_on_when_files_were_taken_away(tmp_path: Path) -> None:
    for number in range(4):
        pipeline = JsonLines(path=str(tmp_path / "items.jsonl"), rotate_bytes=1)
        pipeline.store([message(number)])
        pipeline.close()
        for path in tmp_path.glob("items-*.jsonl"):
            path.unlink()
    pipeline = JsonLines(path=str(tmp_path / "items.jsonl"), rotate_bytes=1)
    pipeline.store([message(9), message(0)])
    pipeline.close()
    assert names(tmp_path) == ["items-000004.jsonl", "items.jsonl"]
    assert ids(tmp_path) == ["i3", "i9"]


def test_a_rotated_table_keeps_its_columns(tmp_path: Path) -> None:
    pipeline = Csv(path=str(tmp_path / "items.csv"), rotate_bytes=1)
    for number in range(3):
        pipeline.store([message(number)])
    pipeline.close()
    for name, number in zip(names(tmp_path), range(3), strict=True):
        with (tmp_path / name).open(newline="", encoding="utf-8") as text:
            (row,) = csv.DictReader(text, strict=True)
        assert (row["id"], row["number"], row["extra"]) == (f"i{number}", str(number), "")


def test_a_file_for_each_kind_with_columns_of_its_own(tmp_path: Path) -> None:
    pipeline = Csv(path=str(tmp_path / "{kind}.csv"))
    odd = msgspec.structs.replace(message(3, "../odd"), records=(Record("i3", msgspec.Raw(b'{"size":"L"}')),))
    pipeline.store([message(1), odd, message(2)])
    pipeline.store([message(1), odd, message(4)])
    pipeline.close()
    assert names(tmp_path) == ["%2E.%2Fodd.csv", "quote.csv"]
    assert (tmp_path / "%2E.%2Fodd.csv").read_text(encoding="utf-8").splitlines()[0].endswith("spider,size,extra")
    with (tmp_path / "quote.csv").open(newline="", encoding="utf-8") as text:
        assert [row["number"] for row in csv.DictReader(text)] == ["1", "2", "4"]


def test_more_files_than_may_be_open(tmp_path: Path) -> None:
    pipeline = JsonLines(path=str(tmp_path / "{kind}.jsonl"))
    for turn in range(2):
        pipeline.store([message(turn * 200 + number, f"kind{number:03}") for number in range(150)])
        assert len(list(Path("/proc/self/fd").iterdir())) < 120
    pipeline.close()
    assert ids(tmp_path) == [f"i{turn * 200 + number}" for number in range(150) for turn in range(2)]


def test_a_file_a_day(tmp_path: Path) -> None:
    clock = Clock()
    segment = Segment(tmp_path / "{kind}-{date}.jsonl.gz", clock=clock, compression="auto")
    segment.append([message(1), message(2, "price")], lines)
    clock.now_s += DAY_S
    segment.append([message(1), message(3)], lines)
    (tmp_path / "price-2026-01-31.jsonl.gz").unlink()  # a day that is over may be taken away
    segment.close()
    segment = Segment(tmp_path / "{kind}-{date}.jsonl.gz", clock=clock, compression="auto")
    segment.append([message(2, "price"), message(4)], lines)
    clock.now_s -= DAY_S  # the clock was set back: the day goes on
    segment.append([message(5), message(6, "price")], lines)
    segment.close()
    assert names(tmp_path) == [
        "price-2026-01-31.jsonl.gz",
        "quote-2026-01-31.jsonl.gz",
        "quote-2026-02-01.jsonl.gz",
    ]
    assert ids(tmp_path) == ["i6", "i1", "i5", "i3", "i4"]


def test_another_programs_file_in_a_patterns_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "quote.jsonl").write_text("precious")
    pipeline = JsonLines(path=str(tmp_path / "{kind}.jsonl"))
    with pytest.raises(Unavailable, match=r"quote\.jsonl exists and was not written by this store: move it away"):
        pipeline.store([message(1)])
    assert (tmp_path / "quote.jsonl").read_text() == "precious"
    (tmp_path / "quote.jsonl").unlink()
    pipeline.store([message(1)])
    pipeline.close()
    assert ids(tmp_path) == ["i1"]


@pytest.mark.parametrize("name", ["items.jsonl", "{kind}-{date}.jsonl.zst"])
def test_removing_an_output_takes_all_its_files_and_no_others(name: str, tmp_path: Path) -> None:
    other = tmp_path / "items-000099.jsonl"
    other.write_text("precious")
    pipeline = JsonLines(path=str(tmp_path / name), rotate_bytes=1)
    for number in range(3):
        pipeline.store([message(number), message(100 + number, "price")])
    pipeline.close()
    assert output.is_ours(tmp_path / name)
    assert output.exists(tmp_path / name)
    output.remove(tmp_path / name)
    assert list(tmp_path.iterdir()) == [other]
    assert not output.exists(tmp_path / name)


def test_a_file_cut_short_by_somebody_is_waited_for_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    pipeline = JsonLines(path=str(path), rotate_bytes=1)
    pipeline.store([message(1)])
    whole = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(Unavailable, match="are stored"):
        pipeline.store([message(2)])
    path.write_bytes(whole)
    pipeline.store([message(2)])
    pipeline.close()
    assert ids(tmp_path) == ["i1", "i2"]


KILLED = """
import sys
from tests.contract.test_segment import message
from pipelines.jsonl import JsonLines
pipeline = JsonLines(path=sys.argv[1], rotate_bytes=4_000)
print("ready", flush=True)
for batch in range(200):
    pipeline.store([message(number, f"kind{number % 3}") for number in range(batch * 5, batch * 5 + 5)])
pipeline.close()
print("done", flush=True)
"""


@pytest.mark.parametrize("name", ["items.jsonl", "items.jsonl.gz", "{kind}-{date}.jsonl.zst"])
def test_killed_at_any_instant_with_files_being_put_away(name: str, tmp_path: Path) -> None:
    kills, dice, deadline = 0, random.Random(name), time.monotonic() + 100
    while True:
        assert time.monotonic() < deadline
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / name)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        if kills >= 10:
            assert process.communicate()[0] == b"done\n"
            break
        time.sleep(dice.random() * 0.1)
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    found = ids(tmp_path)
    assert len(found) == len(set(found))
    assert set(found) == {f"i{number}" for number in range(1_000)}
    assert len(names(tmp_path)) > 5


@pytest.mark.parametrize("step", ["announced", "renamed"])
def test_a_kill_between_the_steps_of_putting_away(step: str, tmp_path: Path) -> None:
    """The states on disk that a kill leaves, made by hand."""
    import sqlite3
    from contextlib import closing

    path = tmp_path / "items.jsonl"
    pipeline = JsonLines(path=str(path), rotate_bytes=1)
    pipeline.store([message(1)])
    pipeline.close()
    with closing(sqlite3.connect(f"{path}.index")) as db, db:
        db.execute("UPDATE file SET moving = 1")
    if step == "renamed":
        path.rename(tmp_path / "items-000001.jsonl")
    pipeline = JsonLines(path=str(path), rotate_bytes=1)
    pipeline.store([message(1), message(2)])
    pipeline.close()
    assert names(tmp_path) == ["items-000001.jsonl", "items.jsonl"]
    assert ids(tmp_path) == ["i1", "i2"]
