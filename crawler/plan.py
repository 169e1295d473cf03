"""What one command is going to run: `prepare`, `work` and `store` turn settings and arguments into a Plan, and check
everything that can be checked before a process starts."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from crawler import app, home
from crawler.error import BadRecord, BadUrl, SettingsError
from crawler.model import CrawlRecord, Request
from crawler.seed_file import open_list
from crawler.seed_sources import is_url, requests
from crawler.settings import PipelineTable, Settings
from crawler.spider import Spider
from crawler.sqlitefile import is_state, remove_file
from crawler.url import URL_CHARS_MAX, canonical, host
from pipelines import output

log = logging.getLogger("crawler.plan")

OUT = "out"
"""Name of the pipeline that `-o` makes."""
STORES = {
    **dict.fromkeys((".jsonl", ".jsonl.gz", ".jsonl.zst"), "pipelines.jsonl:JsonLines"),
    **dict.fromkeys((".csv", ".csv.gz", ".csv.zst"), "pipelines.csv:Csv"),
    ".db": "pipelines.sqlite:Sqlite",
    ".parquet": "pipelines.parquet:Parquet",
    ".warc.gz": "pipelines.warc:Warc",
}
"""Ending of `-o FILE` -> its pipeline."""
HOSTS_MAX = 10_000
"""Seeds of more hosts than this do not make a list of hosts: each page then stays on its own host."""
SEEDS_MAX = 20_000
"""Seeds that are looked through for hosts; with more of them, as with `HOSTS_MAX`."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one command is going to run."""

    name: str
    settings: Settings
    state: str
    """Path of the state file, or `memory:`."""
    made: tuple[str, ...] = ()
    """What of it was not there before: see `home.start`."""
    spider: type[Spider] | None = None
    hosts: tuple[str, ...] = ()
    """Host patterns of the scope; empty: each page's own host."""
    sources: tuple[str, ...] = ()
    """Seeds: URLs, files, `-`."""
    workers: int = 0
    pipelines: dict[str, PipelineTable] = {}
    """All that the crawl has: every one's queue is declared."""
    chosen: tuple[str, ...] | None = None
    """The pipelines to run here; None: all."""
    copies: int = 1
    """Processes per pipeline."""
    outputs: dict[str, str] = {}
    until_finished: bool = True
    revisit: bool = False
    """Pages that were done before are visited again too, as [revisit] says."""


def name_of(settings: Settings, sources: Sequence[str]) -> str:
    """The crawl's name: the setting, or the first seed's host, or the first file's stem."""
    if settings.crawl.name:
        return settings.crawl.name
    for source in sources:
        try:
            return re.sub(r"[\[\]]", "", host(canonical(source))).replace(":", "_")
        except BadUrl:
            continue
    for source in sources:
        return "stdin" if source == "-" else Path(source).name.partition(".")[0]
    return "crawl"


def prepare(
    settings: Settings,
    *,
    urls: Sequence[str],
    seed_files: Sequence[str],
    out: str | None,
    state: str | None,
    fresh: bool,
    spider: type[Spider] | None = None,
    revisit: bool = False,
) -> Plan:
    """The plan of `crawler run`. Creates the state, and with `fresh` removes the crawl and its outputs first. `spider`:
    a class at hand, else the settings name it. `revisit`: go on with later visits until stopped. Raises SettingsError
    for whatever the user must put right, BackendError when the disk says no."""
    settings = settings.revisiting() if revisit else settings
    spider = spider or app.load_spider(settings)
    app.make_spider(spider, settings.spider)
    _check_web(settings)
    sources = (*urls, *seed_files) or tuple(spider.seeds)
    name = name_of(settings, sources)
    path = home.state_of(settings, name, state)
    if not sources and (fresh or not home.exists(settings, path)):
        raise SettingsError("nothing to crawl: give a URL or --seeds FILE (crawler run --help shows examples)")
    _check_pipelines({**settings.pipelines, **({OUT: _out(out)} if out else {})})
    _check_sources(sources)
    if out and os.path.realpath(out) == os.path.realpath(home.local(path)):
        raise SettingsError(f"-o {out}: that is the crawl's state file; give another")
    if fresh:
        _start_over(
            settings, path, _outputs(_pipelines(settings, out, CrawlRecord(name=name), default=f"{name}.jsonl"))
        )
    _check_server(settings, path)
    with home.start(settings, path) as made, app.open_frontier(settings, path, name=name, begin=True) as frontier:
        record = frontier.record()
        _check_form(settings, record)
        pipelines = _pipelines(settings, out, record, default=f"{name}.jsonl")
        if not out:
            _check_pipelines(pipelines)
        outputs = _outputs(pipelines)
        if frontier.counts().items:
            _check_output(settings, path, outputs, record)
        hosts = _hosts(settings, spider, record, sources)
        frontier.update_record(spider=settings.crawl.spider, hosts=hosts, outputs=outputs)
    return Plan(
        name=record.name,
        settings=settings,
        state=path,
        made=made,
        spider=spider,
        hosts=hosts,
        sources=sources,
        workers=1 if path == home.MEMORY else settings.worker.processes,
        pipelines=app.with_history(settings, path, pipelines),
        outputs={name: _shown(place) for name, place in outputs.items()},
        revisit=revisit,
        until_finished=not revisit or settings.revisit.mode == "lastmod",
    )


def seeding(settings: Settings, sources: Sequence[str], state: str | None, *, more: bool = False) -> Plan:
    """The plan of `crawler seed`: creates the state, and leaves outputs to who will store. `more`: seeds will come that
    nobody can look through for hosts, so each page stays on its own host."""
    spider, name = app.load_spider(settings), name_of(settings, sources)
    path = home.state_of(settings, name, state)
    _check_web(settings)
    _check_sources(sources)
    _check_server(settings, path)
    with home.start(settings, path) as made, app.open_frontier(settings, path, name=name, begin=True) as frontier:
        record = frontier.record()
        _check_form(settings, record)
        hosts = _named(settings, spider) if more else _hosts(settings, spider, record, sources)
        frontier.update_record(spider=settings.crawl.spider, hosts=hosts)
    return Plan(name=record.name, settings=settings, state=path, sources=tuple(sources), hosts=hosts, made=made)


def work(settings: Settings, state: str, *, until_finished: bool) -> Plan:
    """The plan of `crawler work`: workers alone, on a crawl that exists."""
    _check_web(settings)
    _check_server(settings, state)
    with app.open_frontier(settings, state) as frontier:
        record = frontier.record()
    _check_form(settings, record)
    settings = _with_spider(settings, record)
    spider = app.load_spider(settings)
    app.make_spider(spider, settings.spider)
    return Plan(
        name=record.name,
        settings=settings,
        state=state,
        spider=spider,
        hosts=_hosts(settings, spider, record, ()),
        workers=settings.worker.processes,
        pipelines=app.with_history(settings, state, _pipelines(settings, None, record, default="")),
        chosen=(),
        until_finished=until_finished,
    )


def store(settings: Settings, state: str, names: Sequence[str], *, copies: int, until_finished: bool) -> Plan:
    """The plan of `crawler store`: pipelines alone, those named or all."""
    with app.open_frontier(settings, state) as frontier:
        record = frontier.record()
    pipelines = app.with_history(settings, state, _pipelines(settings, None, record, default=""))
    for name in names:
        if name not in pipelines:
            known = ", ".join(pipelines) or "none"
            raise SettingsError(f"no pipeline {name!r}; this crawl has: {known}")
    return Plan(
        name=record.name,
        settings=settings,
        state=state,
        pipelines=pipelines,
        chosen=tuple(names) or tuple(pipelines),
        copies=copies,
        outputs={name: _shown(place) for name, place in _outputs(pipelines).items()},
        until_finished=until_finished,
    )


def remove_outputs(outputs: Mapping[str, str]) -> None:
    """Delete output files and what lies beside them. Raises SettingsError."""
    for path in outputs.values():
        output.remove(path)


def _check_pipelines(pipelines: Mapping[str, PipelineTable]) -> None:
    """Raises SettingsError when one does not import, does not take its arguments, or cannot write its path."""
    for name, table in pipelines.items():
        app.check_pipeline(name, table)
        if isinstance(table.arguments.get("path"), str):
            output.check(table.arguments["path"])


def _check_server(settings: Settings, path: str) -> None:
    """Raises SettingsError for a server that cannot keep a crawl; warns of one that is unwise."""
    for warning in home.check_server(settings, path):
        log.warning("%s", warning)


def _check_form(settings: Settings, record: CrawlRecord) -> None:
    """Raises SettingsError when the crawl was begun with another canonical form: what it has seen has other
    fingerprints."""
    form = settings.form()
    if record.canonical != form.version:
        raise SettingsError(
            f"crawl {record.name!r} was begun with URL rules {record.canonical}, the settings now say {form.version}: "
            "put [url] back as it was (sort_query, drop_tracking, tracking, lower_path, default_index, "
            "trailing_slash), or start over with --fresh, or give another --state"
        )


def _check_web(settings: Settings) -> None:
    """Raises SettingsError for a guard, session or TLS setting that is wrong; warns of one that is unwise."""
    for warning in app.check_web(settings):
        log.warning("%s", warning)


def _check_sources(sources: Iterable[str]) -> None:
    for source in sources:
        if source != "-" and not is_url(source) and not Path(source).exists():
            open_list(source)  # says what is wrong


def _check_output(settings: Settings, path: str, outputs: Mapping[str, str], record: CrawlRecord) -> None:
    """The output of a crawl that has found items: it must be the one that they went to, and be there."""
    before, now = record.outputs.get(OUT), outputs.get(OUT)
    if now is not None and now != before:
        shown = _shown(before) if before else "no -o"
        raise SettingsError(
            f"{path}: this crawl writes to {shown}; {_shown(now)} would miss what is stored there already. "
            f"Use -o {shown}, or --fresh to start over, or another --state FILE for a second crawl"
        )
    if now is None:
        return
    output.check_whole(now)
    if path != home.MEMORY and not output.exists(now):
        with app.open_exchange(settings, path) as exchange:
            counts = exchange.counts().get(OUT)
        if counts is not None and counts.done:
            shown = f"{_shown(now)} is gone, though {counts.done} pages' items are in it"
            raise SettingsError(f"{shown}: put it back, or use --fresh")


def _start_over(settings: Settings, path: str, wanted: Mapping[str, str]) -> None:
    """Remove the crawl at `path` with its outputs, and what a crawl left at those that are wanted now. Refuses while
    somebody works on it, and to remove what no crawl has written."""
    recorded: Mapping[str, str] = {}
    if home.exists(settings, path):
        if home.is_running(settings, path):
            raise SettingsError(f"{path}: a process works on this crawl; stop it first, then --fresh")
        try:
            with app.open_frontier(settings, path) as frontier:
                recorded = frontier.record().outputs
        except (SettingsError, BadRecord):
            if not home.on_server(path) and not is_state(path):
                raise
    for place in set(wanted.values()) - set(recorded.values()):
        if output.exists(place) and not output.is_ours(place):
            raise SettingsError(f"{_shown(place)} was not written by a crawl: move it away, or give another -o")
    if path != home.MEMORY:
        home.remove(settings, path)
        if (place := app.exchange_state(settings, path)) != path and place != home.MEMORY and is_state(place):
            remove_file(place)
    remove_outputs({**wanted, **{f"{name} before": place for name, place in recorded.items()}})


def _shown(place: str) -> str:
    """As a person here would write it."""
    short = os.path.relpath(place)
    return place if short.startswith("..") else short


def _with_spider(settings: Settings, record: CrawlRecord) -> Settings:
    """The spider that the crawl was started with, unless the settings name another than the default."""
    if record.spider and settings.crawl.spider == Settings().crawl.spider:
        return msgspec.structs.replace(settings, crawl=msgspec.structs.replace(settings.crawl, spider=record.spider))
    return settings


def _pipelines(settings: Settings, out: str | None, record: CrawlRecord, *, default: str) -> dict[str, PipelineTable]:
    """The settings' pipelines, and the one of `-o`: as given, or as recorded, or the default where there is no
    other."""
    path = out or record.outputs.get(OUT) or ("" if settings.pipelines else default)
    if not path:
        return dict(settings.pipelines)
    return {**settings.pipelines, OUT: _out(path)}


def _out(path: str) -> PipelineTable:
    ending = next((ending for ending in STORES if path.lower().endswith(ending)), None)
    if ending is None:
        raise SettingsError(f"-o {path}: the ending says how to write it: {', '.join(STORES)}")
    return PipelineTable(use=STORES[ending], arguments={"path": os.path.abspath(path)})


def _outputs(pipelines: Mapping[str, PipelineTable]) -> dict[str, str]:
    return {
        name: os.path.abspath(str(table.arguments["path"]))
        for name, table in pipelines.items()
        if "path" in table.arguments
    }


def _named(settings: Settings, spider: type[Spider]) -> tuple[str, ...]:
    return settings.crawl.hosts or tuple(sorted(spider.hosts))


def _hosts(settings: Settings, spider: type[Spider], record: CrawlRecord, sources: Iterable[str]) -> tuple[str, ...]:
    """The scope's hosts: the settings', else the spider's, else those of all seeds so far."""
    if named := _named(settings, spider):
        return named
    found = set(record.hosts)
    for number, url in enumerate(_seed_urls(sources)):
        found.add(host(url))
        if number >= SEEDS_MAX or len(found) > HOSTS_MAX:
            return ()
    return tuple(sorted(found))


def _seed_urls(sources: Iterable[str]) -> Iterator[str]:
    """The URLs of all sources that can be read twice: standard input and sitemaps elsewhere give none."""
    for source in sources:
        if not is_url(source) and not Path(source).is_file():
            continue  # standard input, a pipe
        for found in requests(source, chars_max=URL_CHARS_MAX):
            if isinstance(found, Request):
                yield found.url
