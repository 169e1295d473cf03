"""WARC files as others read them: warcio's reader and its `check` command, on what any kill may leave."""

from __future__ import annotations

import gzip
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from warcio.archiveiterator import ArchiveIterator

from crawler import app
from crawler.error import Reject, SettingsError
from crawler.model import RAW_KIND, Message, RawHead, Record
from crawler.settings import PipelineTable
from pipelines import output
from pipelines.warc import Warc

ROOT = Path(__file__).parents[2]
BODY = b"<html>" + b"words and words " * 200 + b"</html>"


def page(number: int, body: bytes = BODY, *, id: str = "", **head: Any) -> Message:
    given: dict[str, Any] = {
        "fingerprint": number,
        "target": f"/{number}",
        "request_headers": (("Host", "h.example"), ("User-Agent", "crawler/1 (+me)")),
        "status": 200,
        "phrase": "OK",
        "headers": (("Content-Type", "text/html"), ("Content-Length", str(len(body)))),
        "address": "192.0.2.7",
        "seconds": 0.5,
        "robots": True,
    }
    id = id or f"{number:032x}"
    data = msgspec.json.encode(RawHead(**{**given, **head}))
    return Message(
        id=id,
        kind=RAW_KIND,
        url=f"http://h.example/{number}",
        fetched_at="2026-01-31T12:00:00.250Z",
        spider="pages",
        records=(Record(id, msgspec.Raw(data)),),
        blob=body,
    )


def store(path: Path, *batches: Sequence[Message], **options: Any) -> Path:
    pipeline = Warc(path=str(path), **options)
    for batch in batches:
        pipeline.store(batch)
    pipeline.close()
    return path


def records(path: Path) -> Iterator[tuple[dict[str, str], bytes]]:
    """Headers and block of each record, as they are: the reader is asked not to look into HTTP."""
    with path.open("rb") as file:
        for record in ArchiveIterator(file, no_record_parse=True):
            yield dict(record.rec_headers.headers), record.raw_stream.read()


def of(path: Path, kind: str) -> list[tuple[dict[str, str], bytes]]:
    return [(headers, block) for headers, block in records(path) if headers["WARC-Type"] == kind]


def files(folder: Path) -> list[Path]:
    """The one that grows last."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".warc", ".gz"))


def check(*paths: Path) -> None:
    """`warcio check`: lengths, digests of blocks and payloads, a gzip member for each record."""
    ended = subprocess.run(
        [sys.executable, "-m", "warcio.cli", "check", *map(str, paths)], capture_output=True, check=False, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def numbers(paths: Sequence[Path]) -> list[int]:
    return [
        int(headers["WARC-Target-URI"].rpartition("/")[2])
        for path in paths
        for headers, _ in records(path)
        if headers["WARC-Type"] in ("response", "revisit")
    ]


def test_a_page_is_a_response_a_request_and_what_is_known(tmp_path: Path) -> None:
    path = store(tmp_path / "p.warc.gz", [page(1, via="http://h.example/0", depth=2)])
    check(path)
    (_, info), (response, answer), (request, question), (metadata, known) = records(path)
    assert response["WARC-Type"] == "response"
    assert response["WARC-Target-URI"] == "http://h.example/1"
    assert response["WARC-Date"] == "2026-01-31T11:59:59.750Z"  # when the fetch began
    assert response["WARC-IP-Address"] == "192.0.2.7"
    assert response["Content-Type"] == "application/http; msgtype=response"
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    assert request["WARC-Concurrent-To"] == metadata["WARC-Concurrent-To"] == response["WARC-Record-ID"]
    assert question == b"GET /1 HTTP/1.1\r\nHost: h.example\r\nUser-Agent: crawler/1 (+me)\r\n\r\n"
    assert known.decode().splitlines() == [
        "via: http://h.example/0",
        "depth: 2",
        "fetchTimeMs: 500",
        "fingerprint: 0000000000000001",
        "visit: 0",
        "spider: pages",
    ]
    said = dict(line.split(": ", 1) for line in info.decode().splitlines())
    assert said["software"].startswith("crawler/")
    assert (said["format"], said["robots"]) == ("WARC File Format 1.1", "obey")
    assert said["http-header-user-agent"] == "crawler/1 (+me)"


def test_record_ids_come_from_the_message(tmp_path: Path) -> None:
    one = store(tmp_path / "a.warc.gz", [page(1), page(2)])
    other = store(tmp_path / "b.warc.gz", [page(1)], [page(2), page(1)])
    ids = [headers["WARC-Record-ID"] for headers, _ in records(one)]
    assert ids == [headers["WARC-Record-ID"] for headers, _ in records(other)]
    assert len(set(ids)) == 7
    assert one.read_bytes() == other.read_bytes()


def test_bytes_are_kept_as_they_were(tmp_path: Path) -> None:
    packed = gzip.compress(BODY)
    odd = page(
        1,
        packed,
        headers=(("X-Name", "caf\xe9 \xff"), ("Set-Cookie", "a=1"), ("Content-Encoding", "gzip"), ("set-cookie", "b")),
        method="POST",
        request_body=b"\x00\xff body",
        version="1.0",
        phrase="",
    )
    path = store(tmp_path / "p.warc.gz", [odd])
    check(path)
    head = (
        b"HTTP/1.0 200 \r\nX-Name: caf\xe9 \xff\r\nSet-Cookie: a=1\r\nContent-Encoding: gzip\r\nset-cookie: b\r\n\r\n"
    )
    assert of(path, "response")[0][1] == head + packed
    assert of(path, "request")[0][1].endswith(b"\r\n\r\n\x00\xff body")


def test_chunks_are_gone_and_it_says_so(tmp_path: Path) -> None:
    path = store(
        tmp_path / "p.warc.gz",
        [page(1, headers=(("Transfer-Encoding", "chunked"), ("Server", "x")))],
        [page(2, b"", headers=(("Transfer-Encoding", "chunked"),))],
    )
    check(path)
    first, second = (block for _, block in of(path, "response"))
    assert first == (
        b"HTTP/1.1 200 OK\r\nX-Crawler-Transfer-Encoding: chunked\r\nServer: x\r\nContent-Length: %d\r\n\r\n"
        % len(BODY)
        + BODY
    )
    assert second == b"HTTP/1.1 200 OK\r\nX-Crawler-Transfer-Encoding: chunked\r\n\r\n"


def test_a_body_that_was_cut_off_says_why(tmp_path: Path) -> None:
    path = store(tmp_path / "p.warc.gz", [page(1, b"half", truncated="length"), page(2)])
    check(path)
    assert [headers.get("WARC-Truncated") for headers, _ in of(path, "response")] == ["length", None]


def test_a_line_break_in_a_header_makes_no_second_one(tmp_path: Path) -> None:
    path = store(
        tmp_path / "p.warc.gz", [page(1, headers=(("X-A", "b\r\nX-C: d"),), phrase="O\nK")], info={"a": "b\r\nc: d"}
    )
    check(path)
    assert of(path, "response")[0][1].startswith(b"HTTP/1.1 200 O K\r\nX-A: b  X-C: d\r\n\r\n")
    assert b"\r\nc: d" not in of(path, "warcinfo")[0][1]


@pytest.mark.parametrize("name", ["p.warc", "p.warc.gz"])
def test_files_are_put_away_when_they_are_large(name: str, tmp_path: Path) -> None:
    pages = [page(number, random.Random(number).randbytes(3_000)) for number in range(40)]
    pipeline = Warc(path=str(tmp_path / name), rotate_bytes=10_000, info={"operator": "me"})
    for one in pages:
        pipeline.store([one])
    pipeline.close()
    found = files(tmp_path)
    assert len(found) > 5
    check(*found)
    assert sorted(numbers(found)) == list(range(40))
    for path in found:
        kinds = [headers["WARC-Type"] for headers, _ in records(path)]
        assert kinds[0] == "warcinfo"
        assert kinds.count("warcinfo") == 1
        assert b"operator: me\r\n" in next(records(path))[1]
    ids = [headers["WARC-Record-ID"] for path in found for headers, _ in records(path)]
    assert len(ids) == len(set(ids))
    output.remove(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_payload_that_is_there_already_is_referred_to(tmp_path: Path) -> None:
    path = tmp_path / "p.warc.gz"
    store(path, [page(1), page(2)], revisits=True)
    store(path, [page(3), page(4, b"another"), page(1)], [page(5, b""), page(6, b"")], revisits=True)
    check(path)
    originals = {headers["WARC-Target-URI"]: headers for headers, _ in of(path, "response")}
    assert [url.rpartition("/")[2] for url in originals] == ["1", "4", "5", "6"]  # an empty payload refers to nothing
    revisits = of(path, "revisit")
    assert [headers["WARC-Target-URI"].rpartition("/")[2] for headers, _ in revisits] == ["2", "3"]
    first = originals["http://h.example/1"]
    for headers, block in revisits:
        assert headers["WARC-Refers-To"] == first["WARC-Record-ID"]
        assert headers["WARC-Refers-To-Target-URI"] == first["WARC-Target-URI"]
        assert headers["WARC-Refers-To-Date"] == first["WARC-Date"]
        assert headers["WARC-Payload-Digest"] == first["WARC-Payload-Digest"]
        assert headers["WARC-Profile"].endswith("/1.1/revisit/identical-payload-digest")
        assert block.endswith(b"\r\n\r\n")
    output.remove(path)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_starts_over_refers_to_nothing_of_before(tmp_path: Path) -> None:
    path = store(tmp_path / "p.warc.gz", [page(1)], revisits=True)
    path.unlink()
    Path(f"{path}.index").unlink()
    store(path, [page(2)], revisits=True)
    assert len(of(path, "response")) == 1


def test_what_is_no_raw_page_is_refused_by_name(tmp_path: Path) -> None:
    pipeline = Warc(path=str(tmp_path / "p.warc.gz"))
    item = msgspec.structs.replace(page(2), kind="quote")
    torn = msgspec.structs.replace(page(3), records=(Record("x", msgspec.Raw(b'{"fingerprint":"?"}')),))
    bare = msgspec.structs.replace(page(4), records=())
    undated = msgspec.structs.replace(page(5), fetched_at="yesterday")
    with pytest.raises(Reject) as raised:
        pipeline.store([page(1), item, torn, bare, undated])
    assert raised.value.ids == {one.id for one in (item, torn, bare, undated)}
    pipeline.store([page(1)])
    pipeline.close()
    assert numbers([tmp_path / "p.warc.gz"]) == [1]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"level": 0}, "level"), ({"level": 10}, "level"), ({"info": {"a": 1}}, "info"), ({"info": {"a:b": "c"}}, "info")],
)
def test_wrong_options(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=said):
        Warc(path=str(tmp_path / "p.warc.gz"), **options)


def test_a_place_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "p.warc.gz", tmp_path):
        with pytest.raises(SettingsError, match="give another path"):
            Warc(path=str(path))


def test_without_warcio_it_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    table = PipelineTable(use="pipelines.warc:Warc", arguments={"path": "p.warc.gz"})
    assert app.pipeline_class("pages", table) is Warc
    monkeypatch.setitem(sys.modules, "warcio", None)
    with pytest.raises(SettingsError, match=r"pip install 'crawler-pipeline\[warc\]'"):
        app.pipeline_class("pages", table)
    (queue,) = app.queues({"pages": table})  # a worker's machine does without
    assert queue.bind == (RAW_KIND,)


KILLED = """
import sys
from pipelines.warc import Warc
from tests.unit.test_warc_pipeline import page
path, batches, size, revisits = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True"
pipeline = Warc(path=path, rotate_bytes=40_000, revisits=revisits)
print("ready", flush=True)
for batch in range(batches):
    pipeline.store([page(number, b"%d" % (number % 700) * 100) for number in range(batch * size, (batch + 1) * size)])
pipeline.close()
print("done", flush=True)
"""


@pytest.mark.parametrize("revisits", [False, True])
def test_killed_at_any_instant_and_everything_delivered_again(revisits: bool, tmp_path: Path) -> None:
    """A real process stores everything from the first page on and is killed, again and again, at random instants."""
    batches, size, kills, dice = 80, 10, 0, random.Random(revisits)
    deadline = time.monotonic() + 100
    while True:
        assert time.monotonic() < deadline
        arguments = [str(tmp_path / "p.warc.gz"), str(batches), str(size), str(revisits)]
        process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        if kills >= 6:
            assert process.communicate()[0] == b"done\n"
            break
        time.sleep(dice.random() * 0.05)
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if kills % 3 == 0 and (put_away := files(tmp_path)[:-1]):  # whole at every instant
            check(*put_away)
    found = files(tmp_path)
    assert len(found) > 3
    check(*found)
    assert sorted(numbers(found)) == list(range(batches * size))
    headers = [headers for path in found for headers, _ in records(path)]
    ids = {one["WARC-Record-ID"] for one in headers}
    assert len(ids) == len(headers)
    assert {one["WARC-Refers-To"] for one in headers if "WARC-Refers-To" in one} <= ids


FULL = """
import resource, sys
from crawler.error import Unavailable
from pathlib import Path
from pipelines.warc import Warc
from tests.unit.test_warc_pipeline import check, numbers, page
path = Path(sys.argv[1])
pipeline = Warc(path=str(path))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
batch, refused = 0, 0
while batch < 30:
    try:
        pipeline.store([page(number) for number in range(batch * 10, (batch + 1) * 10)])
        batch += 1
    except Unavailable as error:
        assert sys.argv[1] in str(error), error
        refused += 1
        assert numbers([path]) == list(range(batch * 10))
        if refused == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
pipeline.close()
assert refused == 3
check(path)
assert numbers([path]) == list(range(300))
"""


def test_a_full_disk_is_waited_for_and_nothing_is_lost(tmp_path: Path) -> None:
    """The kernel refuses to let files grow, for a while: real write errors (RLIMIT_FSIZE), in a process of its own."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "p.warc.gz")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
