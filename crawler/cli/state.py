"""Which crawl a command means: a state file by its path, a crawl by its name, or the only one in the folder; with a
server in `frontier.url`, a crawl of that server by its name, or the only one there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crawler.error import SettingsError

if TYPE_CHECKING:
    from crawler.model import CrawlRecord
    from crawler.settings import Settings
    from crawler.urlform import Form


def states() -> list[Path]:
    """The crawls of the folder, by name."""
    from crawler import home

    return sorted(home.FOLDER.glob("*.db"))


def resolve(settings: Settings, given: str | None) -> str:
    """The state of an existing crawl: `given` as a path or as a name in `.crawler` or on the server, else the settings'
    frontier, else the only crawl there. Raises SettingsError when there is none, or more than one to choose from."""
    from crawler import home

    if home.is_redis(settings.frontier.url):
        place = home.state_of(settings, "", given)
        if home.on_server(place):
            return _on_server(settings, home.named(place))
    if given or settings.frontier.url:
        place = home.state_of(settings, "", given)
        if place == home.MEMORY:
            raise SettingsError("a memory: crawl lives only inside the process that runs it: nothing to look at here")
        return _existing(place)
    found = states()
    if not found:
        raise SettingsError(
            f"no crawl in {home.FOLDER}/ here; name its state file with --state FILE, or start one: crawler run URL"
        )
    if len(found) > 1:
        names = ", ".join(path.stem for path in found)
        raise SettingsError(f"which crawl? There are {len(found)} in {home.FOLDER}/: {names}. Say --state NAME")
    return str(found[0])


def form(settings: Settings, record: CrawlRecord) -> Form:
    """The form that the crawl gives its URLs: what a person gives is looked for in it. Raises SettingsError when only
    the crawl's own settings know it."""
    found = settings.form_of(record.canonical)
    if found is None:
        raise SettingsError(
            f"crawl {record.name!r} was begun with URL rules {record.canonical}, which these settings do not have: "
            "give its own with --settings FILE, for the names in [url] tracking and default_index"
        )
    return found


def _on_server(settings: Settings, name: str) -> str:
    from crawler import home

    found = home.server_crawls(settings)
    if not found:
        raise SettingsError("no crawl on the server of frontier.url; start one: crawler run URL")
    if not name and len(found) > 1:
        raise SettingsError(f"which crawl? There are {len(found)} on the server: {', '.join(found)}. Say --state NAME")
    if name and name not in found:
        raise SettingsError(f"no such crawl on the server of frontier.url: {name} (there: {', '.join(found)})")
    return f"{home.SERVER}{name or found[0]}"


def _existing(given: str) -> str:
    from crawler import home

    for path in (Path(given), home.FOLDER / f"{given}.db"):
        if path.is_file():
            return str(path)
    names = ", ".join(path.stem for path in states()) or "none"
    raise SettingsError(f"no such crawl: {given} (in {home.FOLDER}/: {names})")
