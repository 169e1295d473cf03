"""The command line: what is accepted, what it turns into, how it fails."""

from __future__ import annotations

import argparse
import io
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.cli import build_parser, guarded, main, option
from crawler.error import BackendError, LeaseLost, SettingsError
from crawler.settings import Settings
from crawler.version import VERSION

COMMANDS = (
    *("run", "seed", "work", "store", "status", "monitor", "explain", "peek", "purge", "dead", "items"),
    *("check", "fetch", "ls", "pause", "resume", "rm"),
)
VERBS = ("ls", "show", "kick", "drop")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices) if actions else {}


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for name, parser in subparsers(build_parser()).items():
        yield name, parser
        yield from ((f"{name} {verb}", below) for verb, below in subparsers(parser).items())


def test_the_commands_are_exactly_these() -> None:
    commands = subparsers(build_parser())
    assert tuple(commands) == COMMANDS
    assert tuple(subparsers(commands["dead"])) == VERBS


@pytest.mark.parametrize(("name", "parser"), [pytest.param(*pair, id=pair[0]) for pair in parsers()])
def test_each_command_has_a_purpose_examples_and_explained_options(name: str, parser: argparse.ArgumentParser) -> None:
    assert parser.description
    assert "\n" not in parser.description
    assert parser.epilog
    assert parser.epilog.startswith("examples:\n  ")
    assert f"crawler {name}" in parser.epilog
    options = [action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    for action in options:
        assert action.help or action.dest == "url", f"{name} {action.dest}"


@pytest.mark.parametrize("command", [name for name, _ in parsers()])
def test_examples_in_help_parse(command: str) -> None:
    parser = dict(parsers())[command]
    for line in (parser.epilog or "").splitlines():
        if line.startswith("  crawler "):
            words = shlex.split(line[2:].partition("   ")[0].partition(" | ")[0].partition(" > ")[0])
            assert build_parser().parse_args(words[1:]).run


@pytest.mark.parametrize("command", [name for name, _ in parsers()])
def test_help_of_each_command_ends_with_0(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    assert "examples:" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from crawler.cli import main; main(['run', '--help']);"
        "print([n for n in ('aiohttp', 'asyncio', 'rich', 'parsel', 'sqlite3', 'uvloop') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=_environ())
    assert done.stdout.splitlines()[-1] == "[]"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"crawler {VERSION}\n"


def test_no_command_shows_the_help_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("crawl http://x", "invalid choice: 'crawl'"),
        ("run --delay fast http://x", "not a number: 'fast'"),
        ("run --delay -1 http://x", "must be 0 or more"),
        ("run --delay nan http://x", "must be 0 or more"),
        ("run -w 0 http://x", "must be at least 1"),
        ("run -w two http://x", "not a whole number"),
        ("run --per-host -1 http://x", "must be at least 0"),
        ("run --max-p 5 http://x", "unrecognized arguments"),
        ("run --colour http://x", "unrecognized arguments: --colour"),
        ("dead", "arguments are required: ls|show|kick|drop"),
        ("dead ls", "no crawl in .crawler"),
        ("dead bury", "invalid choice: 'bury'"),
        ("rm", "the following arguments are required"),
        ("fetch", "the following arguments are required: URL"),
        ("run http://x --set worker.procesess=3", "processes"),
        ("run http://x --set nonsense", "nonsense"),
        ("run http://x --settings missing.toml", "missing.toml"),
        ("run http://x --spider nowhere.py:Shop", "nowhere.py"),
        ("run", "nothing to crawl"),
        ("run nonsense://x", "not a URL to start from: scheme: 'nonsense://x'"),
        ("run quotes.example", "did you mean https://quotes.example?"),
        ("run http://x http://me:pw@y/", "credentials"),
        ("run .", "say --seeds ."),
        ("run http://x -o out.xls", ".jsonl"),
        ("status", "no crawl in .crawler"),
        ("status --state other.db", "no such crawl: other.db"),
        ("status --state memory:", "memory:"),
        ("dead drop", "drop what?"),
        ("fetch notaurl", "notaurl"),
        ("fetch ftp://x/", "scheme"),
        ("pause nothing", "no such crawl: nothing"),
        ("rm nothing --yes", "no such crawl: nothing"),
    ],
)
def test_a_wrong_command_line_says_what_and_ends_with_2(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out


@pytest.mark.parametrize(
    ("words", "table", "key", "value"),
    [
        ("-w 5", "worker", "processes", 5),
        ("--workers 5", "worker", "processes", 5),
        ("--delay 0", "politeness", "delay_s", 0.0),
        ("--delay 1e-3", "politeness", "delay_s", 0.001),
        ("--per-host 0", "politeness", "per_host", 0),
        ("--depth 3", "crawl", "depth_max", 3),
        ("--max-pages 500", "crawl", "pages_max", 500),
        ("--max-time 2.5", "crawl", "time_max_s", 2.5),
        ("--max-bytes 1000000", "crawl", "bytes_max", 1_000_000),
        ("--spider shop.py:Shop", "crawl", "spider", "shop.py:Shop"),
        ("--set crawl.spider=a:B --spider c:D", "crawl", "spider", "c:D"),
        ("--spider c:D --set crawl.spider=a:B", "crawl", "spider", "a:B"),
        ("--delay 3 --set politeness.robots=false", "politeness", "robots", False),
    ],
)
def test_flags_are_settings_and_the_last_one_wins(words: str, table: str, key: str, value: object) -> None:
    arguments = build_parser().parse_args(["run", "http://x", *words.split()])
    assert getattr(getattr(option.load(arguments), table), key) == value


def test_odd_letters_in_a_flag_stay_what_they_are() -> None:
    for text in ('a"b\\c.py:D', "ümläut.py:S", "tab\there.py:S", "del\x7f.py:S", "12", "true"):
        arguments = build_parser().parse_args(["run", "--spider", text])
        assert option.load(arguments).crawl.spider == text


def test_no_flag_changes_no_setting() -> None:
    assert option.load(build_parser().parse_args(["run", "http://x"])) == Settings()


def test_one_parse_does_not_leak_into_the_next() -> None:
    parser = build_parser()
    parser.parse_args(["run", "--delay", "9"])
    assert parser.parse_args(["run"]).overrides == []


def fail(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (SettingsError("shop.toml: [worker] x"), 2, "crawler: settings: shop.toml: [worker] x\n"),
        (BackendError("q.db: disk full"), 3, "crawler: backend: q.db: disk full\n"),
        (LeaseLost("gone"), 1, "crawler: gone\n"),
        (KeyboardInterrupt(), 130, "crawler: interrupted\n"),
        (BackendError("red \x1b[31m alert"), 3, "crawler: backend: red \\x1b[31m alert\n"),
    ],
)
def test_errors_are_plain_lines_with_their_exit_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(lambda: fail(error)) == code
    assert capsys.readouterr().err == said


def test_a_bug_shows_its_traceback_and_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: fail(ZeroDivisionError("oops"))) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "ZeroDivisionError: oops" in said
    assert f"bug in crawler {VERSION}" in said


def _environ(**more: str) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root, **more}


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["check"], ["--version"]])
def test_a_reader_that_leaves_is_no_error(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "crawler", *words], stdout=write, stderr=subprocess.PIPE, env=_environ(), timeout=60
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_without_unicode_is_no_error() -> None:
    environ = _environ(PYTHONIOENCODING="ascii", LC_ALL="C")
    words = ["check", "--set", 'crawl.hosts=["bücher.example"]']
    done = subprocess.run([sys.executable, "-m", "crawler", *words], capture_output=True, env=environ, timeout=60)
    assert done.returncode == 0
    assert b"b\\xfccher.example" in done.stdout


def test_check_says_a_line_each(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(
        '[pipelines.prices]\nuse = "pipelines.jsonl:JsonLines"\npath = "missing/dir/prices.jsonl"\n'
        '[pipelines.broken]\nuse = "pipelines.jsonl:JsonLine"\n'
    )
    assert main(["check", "--settings", "shop.toml"]) == 2
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [["ok", "settings"], ["ok", "spider"], ["ok", "pipeline"], ["FAIL", "pipeline"], ["ok", "state"]]
    assert main(["check"]) == 0
    assert main(["check", "--set", "wrong.key=1"]) == 2
    capsys.readouterr()
    session = ["--set", 'session.proxies=["http://u:hush@p.example"]', "--set", 'guard.allow=["10.0.0.0/8"]']
    assert main(["check", *session, "--set", "fetch.verify=false"]) == 0
    out, err = capsys.readouterr()
    assert "guard on, open: 10.0.0.0/8, cookies off, proxy http://***@p.example:80" in out
    assert "hush" not in out + err
    assert "warning: fetch.verify = false" in err
    assert main(["check", "--set", 'guard.allow=["no host"]']) == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "shop.toml"], "a check creates nothing"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.parent.joinpath("file").write_text(""), "not a writable folder"),
    ],
)
def test_check_sees_an_output_that_cannot_be_written(
    make: object, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(make)
    make(tmp_path / "out")
    path = "out" if (tmp_path / "out").exists() else "file/out"
    sets = ["--set", "pipelines.p.use=pipelines.jsonl:JsonLines", "--set", f"pipelines.p.path={path}"]
    assert main(["check", *sets]) == 2
    assert said in capsys.readouterr().out


def test_check_refuses_a_state_file_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.db").write_text("no database " * 1000)
    assert main(["check", "--state", "text.db"]) == 2
    assert "text.db" in capsys.readouterr().out


def test_progress_lines_on_a_terminal_that_cannot_move_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    from crawler.cli import progress
    from crawler.cli.live import Live

    master, slave = pty.openpty()
    with open(slave, "w") as terminal:
        for term, kind in (("dumb", progress.Lines), ("xterm", Live)):
            monkeypatch.setenv("TERM", term)
            assert type(progress.choose(title="x", quiet=False, stream=terminal)) is kind
        assert type(progress.choose(title="x", quiet=True, stream=terminal)) is progress.Quiet
    assert type(progress.choose(title="x", quiet=False, stream=io.StringIO())) is progress.Lines
    os.close(master)
