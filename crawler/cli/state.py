"""Which crawl a command means: a state file by its path, a crawl by its name, or the only one in the folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crawler.error import SettingsError

if TYPE_CHECKING:
    from crawler.settings import Settings


def states() -> list[Path]:
    """The crawls of the folder, by name."""
    return sorted(_folder().glob("*.db"))


def _folder() -> Path:
    from crawler import app

    return app.FOLDER


def resolve(settings: Settings, given: str | None) -> str:
    """The state of an existing crawl: `given` as a path or as a name in `.crawler`, else the settings'
    frontier, else the only crawl there. Raises SettingsError when there is none, or more than one to choose from."""
    from crawler import app

    if given or settings.frontier.url:
        place = app.state_of(settings, "", given)
        if place == app.MEMORY:
            raise SettingsError("a memory: crawl lives only inside the process that runs it: nothing to look at here")
        return _existing(place)
    found = states()
    if not found:
        raise SettingsError(
            f"no crawl in {_folder()}/ here; name its state file with --state FILE, or start one: crawler run URL"
        )
    if len(found) > 1:
        names = ", ".join(path.stem for path in found)
        raise SettingsError(f"which crawl? There are {len(found)} in {_folder()}/: {names}. Say --state NAME")
    return str(found[0])


def is_running(place: str) -> bool:
    """Whether a process works on this state file: workers and consumers hold an OS lock for as long as they live."""
    from crawler.workerlock import in_use

    return in_use(f"{place}-workers")


def _existing(given: str) -> str:
    for path in (Path(given), _folder() / f"{given}.db"):
        if path.is_file():
            return str(path)
    names = ", ".join(path.stem for path in states()) or "none"
    raise SettingsError(f"no such crawl: {given} (in {_folder()}/: {names})")
