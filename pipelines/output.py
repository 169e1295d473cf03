"""What stores that write to a path have in common: which files belong to an output, and what a refusal means."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from crawler.error import SettingsError, Unavailable

SIDES: Final = (
    *(f"{part}{ending}" for part in ("", ".index", ".digests") for ending in ("", "-wal", "-shm", "-journal")),
    ".lock",
    ".spool",
    ".part",
)
"""Endings of the files that an output may consist of, whatever the store."""

OUR_TABLES: Final = frozenset({"part", "item", "message"})
"""Tables of a database that a store writes (`pipelines.sqlite`)."""

_AWAY: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors that may pass: waiting can help."""


def files(path: str | Path) -> tuple[Path, ...]:
    """The files that an output consists of and that exist, those that were put away first."""
    place = Path(os.path.realpath(path))
    found = [place.parent / name for name in listed(path)] + [Path(f"{place}{ending}") for ending in SIDES]
    return tuple(side for side in dict.fromkeys(found) if side.exists())


def listed(path: str | Path) -> tuple[str, ...]:
    """Names of the files that an index beside the path tells of (`pipelines.shelf`); none without an index."""
    index = f"{os.path.realpath(path)}.index"
    if not os.path.exists(index):
        return ()
    try:
        with closing(sqlite3.connect(f"file:{quote(index)}?mode=ro", uri=True)) as db:
            names = [name for (name,) in db.execute("SELECT name FROM whole UNION SELECT name FROM file")]
    except sqlite3.Error:
        return ()
    return tuple(name for name in names if os.path.basename(name) == name)


def exists(path: str | Path) -> bool:
    """Whether an output is there. Of one in several files any may have been taken away."""
    return os.path.exists(path) or bool({*listed(path)} - {os.path.basename(os.path.realpath(path))})


def shown(path: str) -> str:
    """Where people find an output: the path, or the first and the last of its files if there is none of that name."""
    if os.path.exists(path):
        return path
    folder, spool = os.path.dirname(path), f"{os.path.basename(path)}.spool"
    found = [file for name in sorted({*listed(path)} - {spool}) if os.path.exists(file := os.path.join(folder, name))]
    return " … ".join(dict.fromkeys((found[0], found[-1]))) if found else path


def remove(path: str | Path) -> None:
    """Remove an output with everything beside it; nobody may be writing it. Raises SettingsError."""
    for side in files(path):
        try:
            side.unlink()
        except OSError as error:
            raise refusal(side, error) from error


def is_ours(path: str | Path) -> bool:
    """Whether what is at `path` was written by a store of this project: it has its index beside it, or it is a
    database of our tables alone."""
    place = os.path.realpath(path)
    if os.path.exists(f"{place}.index"):
        return True
    try:
        db = sqlite3.connect(f"file:{quote(place)}?mode=ro", uri=True)
        try:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        finally:
            db.close()
    except sqlite3.Error:
        return False
    return bool(tables) and tables <= OUR_TABLES


def check_whole(path: str | Path) -> None:
    """Raises SettingsError for a text file that is shorter than the index beside it says. Cost: one look-up."""
    place = os.path.realpath(path)
    try:
        size = os.path.getsize(place)
        db = sqlite3.connect(f"file:{quote(place)}.index?mode=ro", uri=True)
        try:
            row = db.execute("SELECT length FROM file WHERE name = ?", (os.path.basename(place),)).fetchone()
        finally:
            db.close()
    except (OSError, sqlite3.Error):
        return  # another kind of output, or its store will say what is wrong
    if row is not None and size < row[0]:
        raise SettingsError(
            f"{path} has {size} bytes, but its index says {row[0]} are stored: it was cut or replaced. Bring it back, "
            "or start over with --fresh"
        )


def check(path: str | Path) -> None:
    """Whether an output can be written there, found out without changing one. Raises SettingsError."""
    place = Path(os.path.realpath(path))
    if place.exists():
        if not place.is_file():
            raise SettingsError(f"{path} is not a regular file: give another path")
        parent_ok = os.access(place, os.W_OK) and os.access(place.parent, os.W_OK | os.X_OK)
    else:
        parent = next(folder for folder in place.parents if folder.exists())
        parent_ok = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
    if not parent_ok:
        raise SettingsError(f"{path} cannot be written: give another path, or make its folder writable")


def refusal(path: str | Path, error: OSError) -> SettingsError | Unavailable:
    """An operating-system error at opening, as one of ours."""
    if error.errno in _AWAY:
        return Unavailable(f"{path}: {error.strerror}")
    return SettingsError(f"{path} cannot be written ({error.strerror}): give another path, or make its folder writable")
