"""One file, several threads and processes: group commit, refusals, worker locks."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import crawler
from crawler.error import BackendError, LeaseLost, SettingsError
from crawler.sqlitefile import Schema, SqliteFile, open_file, remove_file

SCHEMA = Schema("numbers", 1, ("CREATE TABLE number(value INTEGER PRIMARY KEY)",))
HANG_S = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def insert(value: int) -> Callable[[sqlite3.Connection], int | None]:
    return lambda db: db.execute("INSERT INTO number VALUES (?)", (value,)).lastrowid


def values(file: SqliteFile) -> list[int]:
    return [value for (value,) in file.read(lambda db: db.execute("SELECT value FROM number").fetchall())]


class TestWrite:
    def test_returns_the_result_when_it_is_committed(self, path: Path) -> None:
        with open_file(path, SCHEMA) as file:
            assert file.write(insert(3)) == 3
            other = sqlite3.connect(path)
            assert other.execute("SELECT value FROM number").fetchall() == [(3,)]
            other.close()

    def test_a_failed_one_is_undone(self, path: Path) -> None:
        def fail(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO number VALUES (1)")
            raise LeaseLost("x")

        with open_file(path, SCHEMA) as file:
            with pytest.raises(LeaseLost):
                file.write(fail)
            assert values(file) == []
            file.write(insert(2))
            assert values(file) == [2]

    def test_errors_of_the_database_name_the_file(self, path: Path) -> None:
        with open_file(path, SCHEMA) as file:
            file.write(insert(1))
            with pytest.raises(BackendError, match=r"state\.db: UNIQUE constraint failed"):
                file.write(insert(1))
            with pytest.raises(BackendError, match=r"state\.db: no such table: missing"):
                file.read(lambda db: db.execute("SELECT * FROM missing"))

    def test_reading_cannot_write(self, path: Path) -> None:
        with open_file(path, SCHEMA) as file, pytest.raises(BackendError, match="readonly"):
            file.read(lambda db: db.execute("INSERT INTO number VALUES (1)"))

    def test_what_waits_is_committed_together_and_fails_apart(self, path: Path) -> None:
        leading, go = threading.Event(), threading.Event()
        outcomes: dict[int, object] = {}
        transactions = []

        def slow(db: sqlite3.Connection) -> None:
            leading.set()
            assert go.wait(HANG_S)

        def run(number: int) -> None:
            def operation(db: sqlite3.Connection) -> int:
                transactions.append(db.total_changes)
                db.execute("INSERT INTO number VALUES (?)", (number,))
                if number % 3 == 0:
                    raise LeaseLost(str(number))
                return number

            try:
                outcomes[number] = file.write(operation)
            except LeaseLost as error:
                outcomes[number] = str(error)

        commits = []
        with open_file(path, SCHEMA) as file:
            file._writer.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
            threads = [threading.Thread(target=file.write, args=(slow,))]
            threads[0].start()
            assert leading.wait(HANG_S)
            threads += [threading.Thread(target=run, args=(number,)) for number in range(1, 10)]
            for thread in threads[1:]:
                thread.start()
            while len(file._combiner._waiting) < 9:
                threading.Event().wait(0.005)
            go.set()
            for thread in threads:
                thread.join(HANG_S)
            assert len(commits) == 2
            assert outcomes == {number: number if number % 3 else str(number) for number in range(1, 10)}
            assert values(file) == [1, 2, 4, 5, 7, 8]

    def test_many_threads(self, path: Path) -> None:
        with open_file(path, SCHEMA) as file:

            def run(start: int) -> None:
                for value in range(start, start + 50):
                    assert file.write(insert(value)) == value

            threads = [threading.Thread(target=run, args=(100 * number,)) for number in range(1, 9)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(HANG_S)
            assert len(values(file)) == 400

    def test_an_interrupted_leader_does_not_leave_the_others_waiting(self, path: Path) -> None:
        def interrupt(db: sqlite3.Connection) -> None:
            raise KeyboardInterrupt

        with open_file(path, SCHEMA) as file:
            with pytest.raises(KeyboardInterrupt):
                file.write(interrupt)
            assert file.write(insert(1)) == 1


class TestOpen:
    def test_one_object_per_path_and_process(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "link.db").symlink_to(path)
        first, second = open_file(path, SCHEMA), open_file(tmp_path / "link.db", SCHEMA)
        assert first is second
        first.close()
        assert second.write(insert(1)) == 1
        second.close()

    def test_parts_have_their_own_versions(self, path: Path) -> None:
        with open_file(path, SCHEMA), open_file(path, Schema("words", 4, ("CREATE TABLE word(text TEXT)",))) as file:
            assert dict(file.read(lambda db: db.execute("SELECT * FROM part").fetchall())) == {"numbers": 1, "words": 4}

    def test_another_version_is_refused(self, path: Path) -> None:
        open_file(path, SCHEMA).close()
        with pytest.raises(SettingsError, match=r"(?s)state\.db.*numbers has schema version 1.*needs 2.*--fresh"):
            open_file(path, Schema("numbers", 2, ()))
        open_file(path, SCHEMA).close()

    @pytest.mark.parametrize("content", [b"not a database, but a text file\n" * 100, b"\x00" * 4096])
    def test_a_file_that_is_no_database_is_refused_and_left_alone(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(SettingsError, match=r"state\.db cannot be a state file"):
            open_file(path, SCHEMA)
        assert path.read_bytes() == content

    def test_another_programs_database_is_refused(self, path: Path) -> None:
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE theirs(x)")
        db.close()
        with pytest.raises(SettingsError, match="another program's"):
            open_file(path, SCHEMA)

    def test_a_path_that_cannot_be_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for path in (tmp_path, tmp_path / "file" / "state.db"):
            with pytest.raises(SettingsError, match="cannot be a state file"):
                open_file(path, SCHEMA)

    def test_folders_are_made(self, tmp_path: Path) -> None:
        open_file(tmp_path / "a" / "b" / "state.db", SCHEMA).close()
        assert (tmp_path / "a" / "b" / "state.db").exists()

    def test_remove_takes_everything_with_it(self, path: Path, tmp_path: Path) -> None:
        with open_file(path, SCHEMA) as file:
            file.hold("w1")
        remove_file(path)
        remove_file(path)
        assert list(tmp_path.iterdir()) == []

    def test_use_after_a_fork_is_refused(self, path: Path) -> None:
        with open_file(path, SCHEMA) as file:
            child = os.fork()
            if child == 0:
                try:
                    file.write(insert(1))
                except BackendError:
                    os._exit(7)
                os._exit(1)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 7
            assert values(file) == []

    def test_open_use_and_close_before_a_fork_is_fine(self, path: Path) -> None:
        with open_file(path, SCHEMA) as file:
            file.write(insert(1))
        child = os.fork()
        if child == 0:
            with open_file(path, SCHEMA) as file:
                file.write(insert(2))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        with open_file(path, SCHEMA) as file:
            assert values(file) == [1, 2]


HOLDER = """
import sys, time
from crawler.sqlitefile import Schema, open_file
file = open_file(sys.argv[1], Schema("numbers", 1, ()))
print(file.hold("w/1"), flush=True)
time.sleep(1000)
"""


class TestWorkers:
    def test_locks_tell_the_living_from_the_dead(self, path: Path) -> None:
        with open_file(path, SCHEMA) as file:
            environment = {**os.environ, "PYTHONPATH": str(Path(crawler.__file__).parents[1])}
            command = [sys.executable, "-c", HOLDER, str(path)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as other:
                assert other.stdout is not None
                assert other.stdout.readline() == "True\n"
                assert file.hold("me")
                assert file.dead_workers(["w/1", "me", "unknown"]) == ("unknown",)
                with pytest.raises(BackendError, match="w/1"):
                    file.hold("w/1")
                other.send_signal(signal.SIGKILL)
            assert file.dead_workers(["w/1", "me"]) == ("w/1",)
            assert file.dead_workers(["w/1"]) == ("w/1",), "still dead when asked again"
            assert file.hold("w/1")
            assert not file.hold("w/1")
            assert file.dead_workers(["w/1"]) == ()

    def test_closing_lets_go(self, path: Path) -> None:
        with open_file(path, SCHEMA) as file:
            assert file.hold("w1")
        with open_file(path, SCHEMA) as file:
            assert file.dead_workers(["w1"]) == ("w1",)
            assert file.hold("w1")

    def test_long_and_strange_names(self, path: Path) -> None:
        with open_file(path, SCHEMA) as file:
            for name in ("../../x", "ü" * 300, "a b", ".", ".."):
                assert file.hold(name)
                assert file.dead_workers([name]) == ()


@pytest.mark.parametrize(("fsync", "level"), [(False, 1), (True, 2)])
def test_each_commit_reaches_the_disk_when_asked_for(tmp_path: Path, fsync: bool, level: int) -> None:
    """https://www.sqlite.org/pragma.html#pragma_synchronous: 1 is NORMAL, 2 is FULL."""
    with closing(open_file(tmp_path / "a.db", SCHEMA, fsync=fsync)) as file:
        assert file.write(lambda db: db.execute("PRAGMA synchronous").fetchone()) == (level,)
