"""One SQLite file under frontier and exchange: shared by several processes, and by both adapters within one process.

Writing. SQLite has one writer at a time. Callers hand in operations (`write`); the thread that finds nobody at work
becomes the leader and runs every operation that waits, its own and the other threads', in one transaction: one commit
for all of them (`crawler.combine`). There is no background thread, so a file may be opened, used and closed before a
fork. Among processes a flock on `<file>-lock` is taken before BEGIN IMMEDIATE: the kernel's queue is fairer than
SQLite's busy handler, which sleeps and guesses. WAL with synchronous=NORMAL: a killed process loses nothing, a power
loss at most the last commits (with `fsync` none), never the file's consistency.

Reading goes through a second connection and never takes the write lock.

Liveness. `hold(worker)` takes an OS lock in `<file>-workers/` for as long as the process lives; a free lock means that
the worker is dead (`crawler.workerlock`).

Never keep a SqliteFile open across a fork: the child would share its locks and connections. Using one there is refused.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from crawler.combine import Combiner, Operation
from crawler.error import BackendError, SettingsError
from crawler.workerlock import WorkerLocks

T = TypeVar("T")
Write = Operation[sqlite3.Connection, Any]

BUSY_MS = 10_000
"""How long SQLite itself waits for a writer that does not use the side lock (another program looking into the file)."""

CACHE_KIB = 16_384
"""Page cache of the writing connection; the reading one has a quarter."""

CHECKPOINT_PAGES = 16_000
"""The write-ahead log is copied back when it has grown to so many pages (4 KiB each)."""

MAGIC = b"SQLite format 3\0"
"""How each of its files starts (https://sqlite.org/fileformat2.html)."""

SIDES = ("", "-wal", "-shm", "-journal", "-lock")
"""Endings of the files that a state file consists of; the folder `-workers` comes on top."""


class Schema(msgspec.Struct, frozen=True):
    """The tables of one part of a file: the frontier's or the exchange's. Each part has its own version."""

    part: str
    version: int
    statements: tuple[str, ...]
    """Run once, in order, in the transaction that creates the part."""


class SqliteFile:
    """An open file. Made by `open_file`; thread-safe. Not to be used in a forked child."""

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        """Raises SettingsError when the path cannot be a state file, BackendError when the disk says no."""
        self.path = path
        self._synchronous = "FULL" if fsync else "NORMAL"
        self._pid = os.getpid()
        self._users = 1
        self._combiner: Combiner[sqlite3.Connection] = Combiner(self._serve)
        self._reading = threading.Lock()
        self._locks = WorkerLocks(f"{path}-workers")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_fd = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT, 0o666)
            _check_magic(path)
        except OSError as error:
            raise _refusal(path, error) from error
        try:
            self._writer, self._reader = self._connect()
        except BaseException:
            os.close(self._lock_fd)
            raise

    def _connect(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            writer = _connection(self.path, CACHE_KIB, self._synchronous)
            _adopt(writer, self.path)
            reader = _connection(self.path, CACHE_KIB // 4, self._synchronous)
            reader.execute("PRAGMA query_only = 1")
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF in (
                sqlite3.SQLITE_NOTADB,
                sqlite3.SQLITE_CANTOPEN,
                sqlite3.SQLITE_READONLY,
            ):
                raise SettingsError(
                    f"{self.path} cannot be a state file ({error}): give another --state, or remove it"
                ) from error
            raise _failure(self.path, error) from error
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        return writer, reader

    def ensure(self, schema: Schema) -> None:
        """Create the part's tables if the file has none. Raises SettingsError when it has those of another version."""

        def found(db: sqlite3.Connection) -> int | None:
            row = db.execute("SELECT version FROM part WHERE name = ?", (schema.part,)).fetchone()
            return None if row is None else int(row[0])

        def create(db: sqlite3.Connection) -> int | None:
            version = found(db)
            if version is None:
                for statement in schema.statements:
                    db.execute(statement)
                db.execute("INSERT INTO part VALUES (?, ?)", (schema.part, schema.version))
            return version

        version = self.read(found) or self.write(create)
        if version not in (None, schema.version):
            raise SettingsError(
                f"{self.path}: its {schema.part} has schema version {version}, this program needs {schema.version}: "
                "finish the crawl with the version that began it, or start over with --fresh"
            )

    def write(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run `operation` in a write transaction, together with what other threads hand in at the same time, and
        return its result when that is committed. When it raises, its own changes are undone and nobody else's:
        sqlite3.Error and OSError come out as BackendError, all else as it is. It must not begin or commit, and must be
        repeatable. Cost: one commit, shared."""
        return self._combiner.run(operation)

    def _serve(self, batch: list[Write]) -> None:
        """What the leader of a batch does. No error of the database leaves it as its own."""
        try:
            self._commit(batch)
        except (sqlite3.Error, OSError) as error:
            raise _failure(self.path, error) from error
        except BaseException as error:
            if len(batch) > 1:  # an interrupt of the leader's thread is not the others' own
                for one in batch:
                    one.fail(_failure(self.path, error))
            raise

    def _commit(self, batch: list[Write]) -> None:
        """One transaction. An operation that fails is undone alone, unless SQLite had to undo everything."""
        self._check_process()
        db = self._writer
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            db.execute("BEGIN IMMEDIATE")
            if len(batch) == 1:
                batch[0].result = batch[0].call(db)
            else:
                for one in batch:
                    self._run_apart(one)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def _run_apart(self, one: Write) -> None:
        db = self._writer
        db.execute("SAVEPOINT apart")
        try:
            one.result = one.call(db)
        except Exception as error:
            if not db.in_transaction:
                raise
            db.execute("ROLLBACK TO apart")
            one.fail(_failure(self.path, error) if isinstance(error, sqlite3.Error | OSError) else error)
        db.execute("RELEASE apart")

    def read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run `operation` on one snapshot of what is committed. Never waits for a writer. Raises BackendError."""
        self._check_process()
        with self._reading:
            db = self._reader
            try:
                db.execute("BEGIN")
                try:
                    return operation(db)
                finally:
                    db.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise _failure(self.path, error) from error

    def hold(self, worker: str) -> bool:
        """Take the worker's OS lock until the file is closed or the process ends. True when this process did not hold
        it yet: leases of that name are a dead predecessor's. Raises BackendError when another process holds it."""
        self._check_process()
        try:
            return self._locks.hold(worker)
        except OSError as error:
            raise _failure(self.path, error) from error

    def let_go(self, worker: str) -> None:
        """Give the OS lock back before the end of the process."""
        try:
            self._locks.let_go(worker)
        except OSError as error:
            raise _failure(self.path, error) from error

    def dead_workers(self, names: Iterable[str]) -> tuple[str, ...]:
        """Which of these hold no lock. Call it inside `write`, and end their leases in the same operation: a successor
        of the same name takes its lock before its first write. Cost: three system calls a name."""
        try:
            return self._locks.dead(names)
        except OSError as error:
            raise _failure(self.path, error) from error

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise BackendError(f"{self.path}: opened before a fork and used after it")

    def close(self) -> None:
        """Each `open_file` needs one; the last ends connections and locks."""
        with _files_lock:
            self._users -= 1
            if self._users != 0:
                return
            _files.pop((self._pid, str(self.path)), None)
        self._reader.close()
        self._writer.close()
        self._locks.close()
        os.close(self._lock_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_files: dict[tuple[int, str], SqliteFile] = {}
_files_lock = threading.Lock()


def open_file(path: str | Path, schema: Schema, *, fsync: bool = False) -> SqliteFile:
    """The process's one SqliteFile of this path, with the schema's tables in it. Each call needs one `close`. `fsync`:
    a power loss takes back no commit either, for a disk flush each; the first call for a path decides.

    Raises SettingsError (not a database, another program's, another schema version, no such place), BackendError."""
    place = Path(os.path.realpath(path))
    with _files_lock:
        file = _files.get((os.getpid(), str(place)))
        if file is None:
            file = _files[os.getpid(), str(place)] = SqliteFile(place, fsync=fsync)
        else:
            file._users += 1
    try:
        file.ensure(schema)
    except BaseException:
        file.close()
        raise
    return file


def is_state(path: str | Path) -> bool:
    """Whether a file is one of ours, of whatever version: it may go when a crawl starts over."""
    if not Path(path).is_file():  # to look into it would make it
        return False
    try:
        db = sqlite3.connect(path)
        try:
            return bool(db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'part'").fetchone())
        finally:
            db.close()
    except sqlite3.Error:
        return False


def remove_file(path: str | Path) -> None:
    """Remove a state file with everything beside it; nobody may have it open. What is missing is fine."""
    try:
        for side in SIDES:
            Path(f"{path}{side}").unlink(missing_ok=True)
        shutil.rmtree(f"{path}-workers", ignore_errors=True)
    except OSError as error:
        raise _refusal(Path(path), error) from error


def _connection(path: Path, cache_kib: int, synchronous: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("PRAGMA secure_delete = 0")  # Debian's build zeroes what is deleted: a fifth of a queue's cost
    db.execute(f"PRAGMA cache_size = -{cache_kib}")
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    db.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_PAGES * 4096}")
    return db


def _check_magic(path: Path) -> None:
    """SQLite itself takes a very short file of another kind for an empty database, and overwrites it."""
    if not path.exists():
        return
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
    if start and start != MAGIC:
        raise SettingsError(
            f"{path} cannot be a state file (it is no SQLite database): give another --state, or remove it"
        )


def _adopt(db: sqlite3.Connection, path: Path) -> None:
    """An empty file becomes ours; another program's database is refused."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if tables and "part" not in tables:
        raise SettingsError(f"{path} is another program's SQLite database: give another --state")
    if not tables:
        db.execute("CREATE TABLE part(name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID")


def _failure(path: Path, error: BaseException) -> BackendError:
    failure = BackendError(f"{path}: {str(error) or type(error).__name__}")
    failure.__cause__ = error
    return failure


def _refusal(path: Path, error: OSError) -> SettingsError | BackendError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return _failure(path, error)
    return SettingsError(f"{path} cannot be a state file ({error.strerror}): give another --state")
