"""`crawler explain`: all that is known of one URL - its canonical form, whether it belongs to the crawl, where it is,
how its host is, what happened to it."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from crawler.cli import option
from crawler.cli.text import number, plural, printable, seconds, size
from crawler.error import BadUrl

if TYPE_CHECKING:
    from crawler.frontier import Frontier
    from crawler.settings import Settings
    from crawler.view import Host, Trace
    from pipelines.history import Event

EXAMPLES = """\
  crawler explain https://example.org/page            in the only crawl in .crawler
  crawler explain https://example.org/ --state big    in a crawl by its name or state file
  crawler explain URL --settings shop.toml            judged by the scope of these settings
  crawler explain URL --json | jq .trace.state

Exit code 0 also when the crawl does not know the URL; 2 when it is no URL of a page.
"""

WHY_NO_PAGE = {
    "not_a_url": "it cannot be parsed as a URL; does it begin with https://?",
    "scheme": "only http and https are crawled",
    "credentials": "a user name or password stands in it",
    "too_long": "no server must understand a URL as long as this",
}
"""BadUrl's reasons in words."""

HISTORY_MAX = 1_000
"""Outcomes told at most, the newest."""


def add(commands: option.Commands) -> None:
    text = "say all that is known of a URL: in scope? seen? where is it, and why?"
    parser = option.command(commands, "explain", run, text, EXAMPLES)
    parser.add_argument("url", metavar="URL", help="as it stands on a page; it is made canonical")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    option.add_spider(parser)
    option.add_state(parser)
    option.add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    from crawler import app
    from crawler.cli import state
    from crawler.url import canonical

    settings = option.load(arguments)
    try:
        url = canonical(arguments.url)
    except BadUrl as error:
        _show({"url": arguments.url, "refused": error.reason}, as_json=arguments.json)
        return 2
    place = state.resolve(settings, arguments.state)
    with app.open_frontier(settings, place) as frontier:
        url = _known(frontier, state.form(settings, frontier.record()).of(url), url)
        view = look(settings, frontier, arguments.url, url, app.history_path(place))
    _show(view, as_json=arguments.json)
    return 0


def _known(frontier: Frontier, formed: str, given: str) -> str:
    """A URL in the crawl's form, or as given where the crawl has it so: a server may redirect to no other form."""
    from crawler.model import Request
    from crawler.url import fingerprint, host

    for url in (formed, given) if formed != given else ():
        if frontier.trace(fingerprint(Request(url=url)), host(url)).state != "unseen":
            return url
    return formed


def look(settings: Settings, frontier: Frontier, given: str, url: str, history: str) -> dict[str, Any]:
    """What is known of a canonical URL, with values of the model. Cost: that of `Frontier.trace`."""
    from crawler.cli import judged
    from crawler.hours import HostHours
    from crawler.model import Request
    from crawler.url import fingerprint, host
    from pipelines.history import entries

    key, name = fingerprint(Request(url=url)), host(url)
    trace, events = frontier.trace(key, name), entries(history, fingerprint=key, limit=HISTORY_MAX)
    known = [trace.request.depth] if trace.request is not None else [events[-1].entry.depth] if events else []
    refusals, remarks = judged.scope(settings, frontier.record(), url, depth=known[0] if known else None)
    state = frontier.host(name)
    return {
        "url": given,
        "canonical": url,
        "fingerprint": f"{key & 0xFFFF_FFFF_FFFF_FFFF:016x}",
        "in_scope": not refusals,
        "scope": [*refusals, *remarks],
        "trace": trace,
        "later": _later(frontier, url, name, events),
        "host": state,
        "opens": HostHours(settings.politeness).opens(name, int(time.time() * 1000)),
        "trap": judged.trap(settings, url),
        "guard": judged.guard(settings, frontier.record(), url),
        "robots": judged.robots(settings, state, url),
        "history": events,
    }


def _later(frontier: Frontier, url: str, name: str, events: tuple[Event, ...]) -> Trace | None:
    """Where the page's next visit is, or one that is still under way; None: there is none to come."""
    from crawler.model import Request
    from crawler.url import visit_print

    last = max((event.visit for event in events), default=0)
    for visit in (last + 1, last) if last else (1,):
        trace = frontier.trace(visit_print(Request(url=url, visit=visit)), name)
        if trace.state not in ("unseen", "done"):
            return trace
    return None


def _show(view: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        import msgspec

        print(msgspec.json.encode(view).decode())
    else:
        print("\n".join(f"{label:<12} {printable(text)}".rstrip() for label, text in lines(view)))


def lines(view: dict[str, Any]) -> list[tuple[str, str]]:
    """The view for people: labels and texts."""
    if "refused" in view:
        return [("url", view["url"]), ("no page", f"{view['refused']}: {WHY_NO_PAGE[view['refused']]}")]
    trace: Trace = view["trace"]
    rows = [("url", view["canonical"])]
    if view["canonical"] != view["url"]:
        rows.append(("given as", view["url"]))
    rows += [("fingerprint", view["fingerprint"]), ("in scope", "yes" if view["in_scope"] else "no; only as a seed")]
    rows += [("", reason) for reason in view["scope"]]
    if view["trap"]:
        rows.append(("trap", view["trap"]))
    if view["guard"]:
        rows.append(("guard", view["guard"]))
    rows.append(("seen", "no" if trace.state == "unseen" else "yes"))
    if trace.state != "unseen":
        rows.append(("state", _state(trace)))
    if trace.request is not None:
        request = trace.request
        failed = f"failed attempts {number(trace.attempts)}, crashes {number(trace.crashes)}"
        rows.append(("", f"priority {request.priority}, depth {request.depth}, {failed}"))
        rows += [("redirected", f"from {source}") for source in request.redirected_from]
    rows += [("detail", one) for one in trace.detail.splitlines()]
    later: Trace | None = view["later"]
    if later is not None:
        visit = later.request.visit if later.request is not None else 0
        rows.append(("next visit", f"{visit}: {_state(later)}"))
    rows.append(("host", _host(view["host"])))
    if view["opens"]:
        rows.append(("", f"outside its hours, opens at {view['opens']}"))
    rows.append(("robots.txt", view["robots"]))
    events: tuple[Event, ...] = view["history"]
    rows += [("history" if not at else "", _event(event)) for at, event in enumerate(events)]
    return rows if events else [*rows, ("history", "none")]


def _state(trace: Trace) -> str:
    if trace.state == "ready":
        return (
            f"ready, {plural(trace.ahead, 'request')} of its host before it"
            if trace.ahead
            else "ready, first of its host"
        )
    if trace.state == "delayed":
        return f"delayed, ready in {seconds(trace.due_s or 0)}"
    if trace.state == "leased":
        return f"leased to {trace.worker}, for another {seconds(trace.due_s or 0)} unless renewed"
    if trace.state == "suspect":
        return "suspect: its worker died; it will be tried alone"
    if trace.state == "dead":
        died = datetime.fromtimestamp(trace.died_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return f"dead since {died}: {trace.reason}"
    return "done, dropped or purged"


def _host(host: Host) -> str:
    parts = [host.name]
    if host.down:
        parts.append("down: its pages are buried until crawler dead kick --host")
    if host.failures:
        parts.append(f"{plural(host.failures, 'failure')} in a row")
    if host.paused_s:
        parts.append(f"not asked for another {seconds(host.paused_s)}")
    if host.pacer not in ("", "crawl"):
        parts.append(_pace(host))
    names = ("ready", "in_flight", "delayed", "dead", "done")
    parts += [f"{name.replace('_', ' ')} {number(getattr(host, name))}" for name in names if getattr(host, name)]
    return ", ".join(parts)


def _pace(host: Host) -> str:
    """Its delay now, and why it is that."""
    why = {
        "own": "its own in the settings",
        "robots": "Crawl-delay in its robots.txt",
        "latency": f"it answers in {seconds(host.latency_s)}",
        "slow": f"slowed down {plural(host.slow, 'step')} because it answered 429 or 503",
    }
    return f"delay {seconds(host.pace_s)} ({why[host.pacer]})"


def _event(event: Event) -> str:
    entry = event.entry
    parts = [f"{entry.outcome} {entry.reason}".rstrip()]
    if entry.status:
        parts.append(f"HTTP {entry.status} in {seconds(entry.seconds)}, {size(entry.bytes)}")
    if entry.outcome == "done":
        parts.append(f"{plural(entry.items, 'item')}, {plural(entry.links, 'link')}")
    parts.append(f"attempt {entry.attempt}, by {entry.worker}")
    if entry.detail:
        parts.append(entry.detail.strip().splitlines()[-1])
    return f"{event.at}  {'; '.join(parts)}"
