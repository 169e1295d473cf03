"""The command line: `crawler COMMAND …`. One file per group of commands; each imports what it needs when it runs, so
that `crawler --help` and `crawler status` answer at once.

Exit codes: 0 finished, 1 a bug or an incomplete crawl, 2 settings (also a wrong command line), 3 a server or file
underneath, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Callable, Sequence

from crawler.cli import check, crawls, dead, explain, fetch, items, monitor, option, parts, pending, run, status
from crawler.error import BackendError, CrawlError, SettingsError
from crawler.version import VERSION

REPORT_TO = "the project's issue tracker"

EXAMPLES = """\
examples:
  crawler run https://quotes.toscrape.com -o quotes.jsonl     crawl a site into a file
  crawler run https://example.org -w 4 --delay 0.5            4 workers, half a second between requests
  crawler status --watch                                      look at it from another terminal
  crawler dead ls                                             what failed, and why

The same `crawler run` again goes on where it stopped. `crawler COMMAND --help` shows a command's options and examples.

exit codes: 0 finished, 1 bug or incomplete, 2 settings or command line, 3 backend, 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line. Cost: some milliseconds, nothing heavy imported."""
    parser = argparse.ArgumentParser(
        prog="crawler",
        description="Crawl web sites with N competing workers: each page exactly once, whatever is killed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for group in (run, parts, status, monitor, explain, pending, dead, items, check, fetch, crawls):
        group.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Errors are plain lines on stderr; only a bug shows a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a title must not fail on a terminal that lacks a letter
            stream.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if argv is None else list(argv)
    return guarded(lambda: _run(words))


def _run(words: list[str]) -> int:
    parser = build_parser()
    try:
        arguments = parser.parse_args(words)
    except SystemExit as end:  # argparse: 0 after --help, 2 after a wrong command line
        return end.code if isinstance(end.code, int) else 2
    arguments.argv = words
    if arguments.version:
        print(f"crawler {VERSION}")
        return 0
    if arguments.run is None:
        parser.print_help(sys.stderr)
        return 2
    command: Callable[[argparse.Namespace], int] = arguments.run
    return command(arguments)


def guarded(command: Callable[[], int]) -> int:
    """The exit code of a command; what it raises becomes a message and a code."""
    try:
        code = command()
        sys.stdout.flush()
    except SettingsError as error:
        return _say(f"crawler: settings: {error}", 2)
    except BackendError as error:
        return _say(f"crawler: backend: {error}", 3)
    except CrawlError as error:
        return _say(f"crawler: {error}", 1)
    except KeyboardInterrupt:
        return _say("crawler: interrupted", 130)
    except BrokenPipeError:  # the reader, `head` for one, had enough
        option.mute(sys.stdout)
        return 0
    except Exception:
        return _say(_bug(), 1)
    return code


def _say(text: str, code: int) -> int:
    from crawler.cli.text import printable

    with contextlib.suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)
    return code


def _bug() -> str:
    import platform
    import traceback

    return (
        f"{traceback.format_exc()}"
        f"crawler: this is a bug in crawler {VERSION} (Python {platform.python_version()}, {platform.system()}).\n"
        f"Please report the lines above to {REPORT_TO}. What was collected so far is kept; the same command goes on."
    )
