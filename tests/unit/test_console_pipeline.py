"""The console: plain lines into a pipe, colours and cut lines on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from crawler.model import Message, Record
from pipelines.console import Console

ROOT = Path(__file__).parents[2]

PRINT = """
import msgspec
from crawler.model import Message, Record
from pipelines.console import Console
data = msgspec.Raw(msgspec.json.encode({"text": "x" * 500}))
records = (Record("i", data),) * 20
message = Message(id="m", kind="page", url="https://e.com/", fetched_at="", spider="s", records=records)
console = Console()
for _ in range(200):
    console.store([message])
"""


def show(data: bytes, kind: str = "quote") -> None:
    records = (Record("i", msgspec.Raw(data)),)
    Console().store([Message(id="m", kind=kind, url="https://e.com/", fetched_at="", spider="s", records=records)])


def test_a_line_an_item(capsys: pytest.CaptureFixture[str]) -> None:
    show('{"text":"ż 1","tags":["a","b"],"n":null}'.encode())
    assert capsys.readouterr().out == 'quote https://e.com/ text="ż 1" tags=["a","b"] n=null\n'


def test_the_web_does_not_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show('{"a\x7f":"\\u001b[31m \\n \u009b2J"}'.encode(), kind="x\x1b[0m")
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in line[:-1])


def on_a_terminal(**environ: str) -> bytes:
    """What a real pseudo-terminal, 80 columns wide, receives."""
    ours, theirs = pty.openpty()
    env = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "80", **environ}
    process = subprocess.Popen([sys.executable, "-c", PRINT], cwd=ROOT, env=env, stdout=theirs)
    os.close(theirs)
    got = b""
    while True:
        try:
            chunk = os.read(ours, 65_536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not chunk:
            break
        got += chunk
    os.close(ours)
    assert process.wait(30) == 0
    return got


def test_a_terminal_gets_colours_and_lines_that_fit() -> None:
    lines = on_a_terminal().decode().split("\r\n")
    assert lines[0].startswith("\x1b[36mpage\x1b[0m https://e.com/ text=")
    assert len(lines[0]) - len("\x1b[36m\x1b[0m") == 80


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_where_they_are_not_wanted(environ: dict[str, str]) -> None:
    assert b"\x1b" not in on_a_terminal(**environ)


def test_the_reader_of_a_pipe_may_leave() -> None:
    process = subprocess.Popen([sys.executable, "-c", PRINT], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"page https://e.com/")
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 0
