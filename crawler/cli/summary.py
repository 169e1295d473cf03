"""The end of a run: its report as text for people, or as JSON for scripts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crawler.cli.text import number, plural, printable, rate, seconds, size
from pipelines import output

if TYPE_CHECKING:
    from crawler.report import Report


_SECRET = re.compile(r"(?<=//)[^/@\s]*(?=@)|(?<=password=).+|(?<=token=).+|(?<=session\.hosts=).+")
"""Credentials in URLs, and values of settings that are or hold some."""


def repeat(argv: Sequence[str]) -> str:
    """The command line that goes on with a crawl: the same one, without what would start it over, and with *** for each
    password: summaries end up in logs."""
    return shlex.join(["crawler", *(_SECRET.sub("***", argument) for argument in argv if argument != "--fresh")])


def encode(report: Report) -> str:
    """One JSON object on one line: the report's fields and its exit code."""
    import msgspec

    fields: dict[str, Any] = {name: getattr(report, name) for name in report.__struct_fields__}
    return msgspec.json.encode({**fields, "exit_code": report.exit_code}).decode()


def text(report: Report, *, again: str) -> str:
    """What happened, where the results are, what failed and how to see it, and how to go on. `again`: the command line
    that goes on."""
    kept = report.state != "memory:"  # what was in memory only is gone: nothing to look at, nothing to go on with
    rows = [("speed", _speed(report))] if report.pages else []
    rows += [("results", output.shown(path)) for path in report.outputs.values()]
    if report.seeded is not None and report.seeded.refused:
        rows.append(("seeds", f"{plural(report.seeded.refused, 'line')} refused"))
    if report.dead:
        rows.append(("dead", f"{plural(report.dead, 'page')}{_reasons(report)}"))
        if kept:
            rows.append(("", f"see {_command('dead ls', report)}"))
    if report.dead_items:
        see = f": see {_command('dead ls --items', report)}" if kept else ""
        rows.append(("dead", f"{plural(report.dead_items, 'item message')}{see}"))
    if report.restarts:
        rows.append(("restarts", f"{number(report.restarts)} (processes that died and were started again)"))
    if report.revisits:
        rows.append(("later", f"{plural(report.revisits, 'page')} to be visited again (crawler run --revisit)"))
    if report.pending or report.unstored or report.exit_code:
        left = f"{plural(report.pending, 'page')} waiting, {plural(report.unstored, 'message')} to store"
        rows += [("left", left), ("go on", again if kept else "not possible: the state was in memory only")]
    return "\n".join([_verdict(report), *(f"  {label:<9} {printable(value)}" for label, value in rows)])


def _verdict(report: Report) -> str:
    from crawler.view import Finish

    whole = f"{plural(report.pages_total, 'page')}, {plural(report.items_total, 'item')}"
    if report.finish is Finish.FINISHED and not (
        report.pages or report.failed or report.interrupted or report.unstored
    ):
        return f"already finished: {whole}; nothing was left to do (--fresh starts over)"
    head = {
        Finish.FINISHED: "finished",
        Finish.INCOMPLETE: "incomplete, since a seeder died before its end",
        Finish.LIMIT: "stopped at its limit",
        Finish.RUNNING: "stopped before its end",
    }[report.finish]
    if report.interrupted:
        head = "interrupted"
    elif report.lost_to:
        head = f"stopped: {report.lost_to}"
    done = f"{plural(report.pages, 'page')}, {plural(report.items, 'item')}, {size(report.bytes)}"
    earlier = f"; with earlier runs {whole}" if report.pages_total > report.pages else ""
    return f"{head}: {done} in {seconds(report.seconds)}{earlier}"


def _speed(report: Report) -> str:
    return (
        f"{rate(report.pages_per_second)} pages/s; {rate(report.pages_per_cpu_second)} pages per CPU-second "
        f"({seconds(report.cpu_seconds)}); peak memory {number(report.peak_rss_mb)} MB"
    )


def _reasons(report: Report) -> str:
    """Those buried in this run, by reason."""
    buried = [(times, reason[5:]) for reason, times in report.errors.items() if reason.startswith("bury:")]
    return (
        ": " + ", ".join(f"{reason} {number(times)}" for times, reason in sorted(buried, reverse=True))
        if buried
        else ""
    )


def _command(verb: str, report: Report) -> str:
    return f"crawler {verb}" + (f" --state {shlex.quote(report.state)}" if report.state else "")
