"""The PostgreSQL store, on a private server: its tables and types, values that do not fit, a server that goes away."""

from __future__ import annotations

import contextlib
import itertools
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from crawler.error import Reject, SettingsError, Unavailable
from crawler.model import Message, Record
from pipelines.postgres import Postgres
from pipelines.postgres_rows import Column, cell
from pipelines.postgres_server import Server
from tests.servers.postgres import PASSWORD, PostgresServer

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def dsn(server: PostgresServer) -> str:
    return server.database(f"test{next(numbers)}")


def message(number: int | str, *data: bytes, kind: str = "page", url: str = "", at: str = "") -> Message:
    return Message(
        id=f"m{number}",
        kind=kind,
        url=url or f"https://e.com/{number}",
        fetched_at=at or "2026-01-31T12:00:00.123Z",
        spider="s",
        records=tuple(Record(f"i{number}-{index}", msgspec.Raw(one)) for index, one in enumerate(data)),
    )


def rows(dsn: str, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as connection:
        return connection.execute(sql).fetchall()


def run(dsn: str, *statements: str) -> None:
    with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as connection:
        for statement in statements:
            connection.execute(statement)


@contextlib.contextmanager
def opened(dsn: str, **options: Any) -> Iterator[Postgres]:
    pipeline = Postgres(dsn=dsn, **options)
    try:
        yield pipeline
    finally:
        pipeline.close()


def stored(dsn: str, messages: Sequence[Message], **options: Any) -> None:
    with opened(dsn, **options) as pipeline:
        pipeline.store(messages)


class TestTables:
    def test_the_whole_item_in_one_column(self, dsn: str) -> None:
        stored(dsn, [message(1, rb'{"title":"a\"b\\\n\u00e9","n":1.10}', b'{"x":[1,{"y":null}]}')])
        assert rows(dsn, "SELECT id, kind, url, spider, data FROM items ORDER BY id") == [
            ("i1-0", "page", "https://e.com/1", "s", {"title": 'a"b\\\né', "n": 1.10}),
            ("i1-1", "page", "https://e.com/1", "s", {"x": [1, {"y": None}]}),
        ]
        sql = "SELECT data ->> 'n', to_char(fetched_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') FROM items"
        assert rows(dsn, f"{sql} LIMIT 1") == [("1.10", "2026-01-31 12:00:00.123")]

    def test_columns_with_types(self, dsn: str) -> None:
        columns = {
            "price": "numeric",
            "name": {"type": "text", "field": "title"},
            "stock": "integer",
            "new": "boolean",
            "tags": "text[]",
            "grid": "integer[]",
            "offer": "jsonb",
            "seen": "timestamp(0) with time zone",
            "select": "double precision",
        }
        data = (
            b'{"price":12345678901234567890.120,"title":"a\\tb\\nc\\\\d","stock":-7,"new":true,"tags":["x\\"y",null,"\\\\"],'
            b'"grid":[[1,2],[3,4]],"offer":{"b":"1"},"seen":"2026-01-31T12:00:00.6Z","select":1e3,"more":1,"rest":[2]}'
        )
        stored(dsn, [message(1, data, b'{"price":null,"offer":"text"}')], columns=columns)
        sql = """SELECT price::text, name, stock, new, tags, grid, offer, seen = '2026-01-31T12:00:01Z', "select", extra
            FROM items ORDER BY id"""
        assert rows(dsn, sql) == [
            (
                "12345678901234567890.120",
                "a\tb\nc\\d",
                -7,
                True,
                ['x"y', None, "\\"],
                [[1, 2], [3, 4]],
                {"b": "1"},
                True,
                1000.0,
                {"more": 1, "rest": [2]},
            ),
            (None, None, None, None, None, None, "text", None, None, None),
        ]

    @pytest.mark.parametrize("table", ["Mixed Case", 'quo"te', "żółw", "shop.Offers", "order"])
    def test_names_are_taken_as_they_are(self, dsn: str, table: str) -> None:
        run(dsn, "CREATE SCHEMA shop")
        stored(dsn, [message(1, b"{}")], table=table)
        stored(dsn, [message(1, b"{}"), message(2, b"{}")], table=table)
        name = ".".join('"{}"'.format(part.replace('"', '""')) for part in table.split("."))
        assert rows(dsn, f"SELECT id FROM {name} ORDER BY id") == [("i1-0",), ("i2-0",)]

    def test_a_table_of_the_users_with_more_columns_is_used(self, dsn: str) -> None:
        run(
            dsn,
            """CREATE TABLE items(number serial, id text UNIQUE, kind text, url text, fetched_at timestamptz,
                spider text, data jsonb, added timestamptz NOT NULL DEFAULT now(), note text)""",
        )
        stored(dsn, [message(1, b"{}")])
        assert rows(dsn, "SELECT id, added IS NOT NULL, note FROM items") == [("i1-0", True, None)]

    @pytest.mark.parametrize(
        ("made", "options", "told"),
        [
            ("id text PRIMARY KEY", {}, r"items has no column kind \(text\): ALTER TABLE .*ADD COLUMN"),
            (
                "id text PRIMARY KEY, kind text, url text, fetched_at timestamp, spider text, data jsonb",
                {},
                "column fetched_at is timestamp without time zone, and should be timestamp with time zone: .*ALTER",
            ),
            (
                "id text PRIMARY KEY, kind text, url text, fetched_at timestamptz, spider text, price integer, "
                "extra jsonb",
                {"columns": {"price": "numeric(10,2)"}},
                r"column price is integer, and should be numeric\(10,2\): .*ALTER COLUMN",
            ),
            (
                "id text, kind text, url text, fetched_at timestamptz, spider text, data jsonb",
                {},
                r'does not keep \("id"\) unique: ALTER TABLE "items" ADD UNIQUE',
            ),
            (
                "id text PRIMARY KEY, kind text, url text, fetched_at timestamptz, spider text, data jsonb, "
                "mine int NOT NULL",
                {},
                r"column mine \(integer\) may not be null and has no default",
            ),
        ],
    )
    def test_a_table_that_does_not_fit_is_refused(
        self, dsn: str, made: str, options: dict[str, Any], told: str
    ) -> None:
        run(dsn, f"CREATE TABLE items({made})")
        with pytest.raises(SettingsError, match=told):
            Postgres(dsn=dsn, **options)

    def test_another_table_for_the_ids_is_refused(self, dsn: str) -> None:
        run(dsn, "CREATE TABLE items_message(text text)")
        with pytest.raises(SettingsError, match=r"items_message.*has no column id"):
            Postgres(dsn=dsn)

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"columns": {"price": "numeri"}}, 'type "numeri" does not exist'),
            ({"columns": {"price": "text); DROP TABLE x; --"}}, "is not the name of a PostgreSQL type"),
            ({"columns": {"price": 5}}, "columns: price: expected a type"),
            ({"columns": {"price": {"type": "text", "feld": "x"}}}, "unknown key feld; did you mean field"),
            ({"columns": {"url": "text"}}, "columns: url: every table has a column of this name"),
            ({"table": "a.b.c"}, r"expected NAME or SCHEMA.NAME"),
            ({"table": ""}, r"expected NAME or SCHEMA.NAME"),
            ({"table": "x" * 60}, "longer than 55 bytes"),
            ({"table": "nowhere.items"}, 'schema "nowhere" does not exist.*CREATE TABLE "nowhere"'),
            ({"on_conflict": "replace"}, "expected skip or update"),
            ({"on_conflict": "update"}, "go together"),
            ({"key": ["url"]}, "go together"),
            ({"on_conflict": "update", "key": ["uri"]}, "key: uri is not a column; did you mean url"),
            ({"unstorable": "drop"}, "expected reject or replace"),
        ],
    )
    def test_options_that_are_wrong(self, dsn: str, options: dict[str, Any], told: str) -> None:
        with pytest.raises(SettingsError, match=f"(?s){told}"):
            Postgres(dsn=dsn, **options)

    def test_a_user_without_the_right_to_make_tables_is_told_what_to_make(
        self, server: PostgresServer, dsn: str
    ) -> None:
        run(dsn, "DROP ROLE IF EXISTS writer", "CREATE ROLE writer LOGIN PASSWORD 'w'")
        own = dsn.replace(f"crawler:{PASSWORD}", "writer:w")
        with pytest.raises(SettingsError, match=r"permission denied.*CREATE TABLE") as told:
            Postgres(dsn=own)
        for _ in range(2):
            run(dsn, str(told.value).rpartition("or get the right to: ")[2])
            with pytest.raises(SettingsError, match="permission denied") as told:
                Postgres(dsn=own)
        run(dsn, "GRANT SELECT, INSERT ON items, items_message TO writer")
        stored(own, [message(1, b"{}")])
        assert rows(dsn, "SELECT id FROM items") == [("i1-0",)]


class TestOnce:
    def test_the_first_message_stored_wins(self, dsn: str) -> None:
        with opened(dsn) as pipeline:
            pipeline.store([message(1), message(2, b'{"a":1}'), message(2, b'{"a":2}')])
            pipeline.store([message(1, b"{}"), message(2, b'{"a":3}', b"{}")])
        assert rows(dsn, "SELECT id, data FROM items") == [("i2-0", {"a": 1})]

    def test_an_item_id_that_another_message_has_brought(self, dsn: str) -> None:
        one, other = message(1, b'{"a":1}'), message(2, b'{"a":2}')
        twice = msgspec.structs.replace(other, records=one.records + other.records + one.records)
        with opened(dsn) as pipeline:
            pipeline.store([one, twice])
        assert rows(dsn, "SELECT id FROM items ORDER BY id") == [("i1-0",), ("i2-0",)]

    def test_several_writers_at_once(self, dsn: str) -> None:
        failed: list[Exception] = []

        def write(step: int) -> None:
            try:
                with opened(dsn) as pipeline:
                    for start in range(0, 400, 20):
                        pipeline.store([message(number, b"{}") for number in range(start, start + 20)[::step]])
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=write, args=(step,)) for step in (1, -1, 1, -1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failed
        assert rows(dsn, "SELECT count(*), count(DISTINCT id) FROM items") == [(400, 400)]


class TestLatest:
    OPTIONS: dict[str, Any] = {  # noqa: RUF012
        "on_conflict": "update",
        "key": ["sku"],
        "columns": {"sku": "text", "price": "numeric"},
    }

    def test_the_item_fetched_last_is_kept_of_each_key(self, dsn: str) -> None:
        def at(number: int, hour: int, *prices: tuple[str, int]) -> Message:
            data = (b'{"sku":"%b","price":%d}' % (sku.encode(), price) for sku, price in prices)
            return message(number, *data, at=f"2026-01-31T{hour:02}:00:00Z")

        with opened(dsn, **self.OPTIONS) as pipeline:
            pipeline.store([at(1, 10, ("a", 1), ("b", 1)), at(2, 12, ("a", 2), ("a", 3)), at(3, 11, ("a", 4))])
            pipeline.store([at(4, 11, ("a", 5)), at(5, 13, ("b", 6))])
            pipeline.store([at(1, 10, ("a", 1), ("b", 1))])  # delivered again
        assert rows(dsn, "SELECT sku, price::int, id FROM items ORDER BY sku") == [("a", 3, "i2-1"), ("b", 6, "i5-0")]

    def test_without_a_key_the_message_is_refused(self, dsn: str) -> None:
        with opened(dsn, **self.OPTIONS) as pipeline:
            with pytest.raises(Reject, match="column sku") as refused:
                pipeline.store([message(1, b'{"sku":"a"}'), message(2, b'{"price":1}')])
            assert refused.value.ids == {"m2"}

    def test_a_url_can_be_the_key_of_whole_items(self, dsn: str) -> None:
        with opened(dsn, on_conflict="update", key=["kind", "url"]) as pipeline:
            pipeline.store([message(1, b'{"a":1}', url="u"), message(2, b'{"a":2}', url="u")])
        assert rows(dsn, "SELECT data FROM items") == [({"a": 2},)]


COLUMNS = {"stock": "integer", "price": "numeric(6,2)", "code": "varchar(3)", "sold": "boolean", "tags": "text[]"}


class TestValuesThatDoNotFit:
    @pytest.mark.parametrize(
        ("data", "told"),
        [
            (b'{"stock":"many"}', "column stock: .*many"),
            (b'{"stock":99999999999}', "column stock: .*out of range"),
            (b'{"stock":1.5}', "column stock"),
            (b'{"stock":123456789012345678901234567890}', "column stock: .*out of range"),
            (b'{"price":12345.6}', "column price: numeric field overflow"),
            (b'{"price":"n/a"}', "column price"),
            (b'{"code":"abcd"}', "column code: value too long"),
            (b'{"sold":"perhaps"}', "column sold"),
            (b'{"tags":"a,b"}', "column tags: malformed array"),
            (b'{"tags":[["a"],["b","c"]]}', "column tags"),
            (b'{"code":"a\\u0000"}', "U\\+0000"),
            (b'{"stock":1,"more":"a\\u0000"}', "U\\+0000"),
            (b'{"code":"\\ud800"}', "single surrogate"),
            (b'{"code":"\xff"}', "no JSON object"),
            (b'{"stock":' + b"[" * 3_000 + b"]" * 3_000 + b"}", "no JSON object"),
            (b"[1]", "no JSON object"),
        ],
    )
    def test_exactly_the_bad_message_is_refused(self, dsn: str, data: bytes, told: str) -> None:
        good = b'{"stock":1,"price":9.99,"code":"abc","sold":true,"tags":["a"]}'
        batch = [message(number, good) for number in range(9)]
        batch.insert(5, message("bad", good, data))
        with opened(dsn, columns=COLUMNS) as pipeline:
            with pytest.raises(Reject, match=told) as refused:
                pipeline.store(batch)
            assert refused.value.ids == {"mbad"}
            assert rows(dsn, "SELECT 1 FROM items UNION ALL SELECT 1 FROM items_message") == []
            pipeline.store([one for one in batch if one.id != "mbad"])
        assert len(rows(dsn, "SELECT 1 FROM items")) == 9

    @pytest.mark.parametrize(
        ("data", "told"),
        [
            (b'{"a":"x\\u0000y"}', "U\\+0000"),
            (b'{"a":"\\ud83d"}', "single surrogate"),
            (b'{"a":"\\uDE00\\ud83d"}', "single surrogate"),
            (b'{"a":"\xff"}', "column data: invalid byte sequence"),
            (b'{"a":1e400000}', "column data"),
            (b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "column data: stack depth"),
            (b"{", "column data: invalid input syntax"),
        ],
    )
    def test_json_that_postgres_cannot_keep(self, dsn: str, data: bytes, told: str) -> None:
        with opened(dsn) as pipeline:
            with pytest.raises(Reject, match=told) as refused:
                pipeline.store([message(1, b"{}"), message(2, data)])
            assert refused.value.ids == {"m2"}
            pipeline.store([message(1, b"{}")])

    def test_what_looks_like_it_is_kept(self, dsn: str) -> None:
        data = rb'{"a":"\\u0000 \\\\ud800 \ud83d\ude00 \uD83D\uDE00","n":123456789012345678901234567890}'
        stored(dsn, [message(1, data)])
        assert rows(dsn, "SELECT data ->> 'a', data ->> 'n' FROM items") == [
            ("\\u0000 \\\\ud800 \N{GRINNING FACE} \N{GRINNING FACE}", "123456789012345678901234567890")
        ]

    @pytest.mark.parametrize("columns", [{}, {"a": "text"}])
    def test_it_can_be_replaced(self, dsn: str, columns: dict[str, str]) -> None:
        stored(dsn, [message(1, rb'{"a":"1\u00002\\u0000\ud8003"}')], unstorable="replace", columns=columns)
        sql = "SELECT a FROM items" if columns else "SELECT data ->> 'a' FROM items"
        assert rows(dsn, sql) == [("1\ufffd2\\u0000\ufffd3",)]

    @pytest.mark.parametrize(
        "field", [{"kind": "a\0b"}, {"url": "a\0b"}, {"at": "yesterday, perhaps"}, {"url": "\ud800"}]
    )
    def test_heads_that_do_not_fit(self, dsn: str, field: dict[str, str]) -> None:
        with opened(dsn) as pipeline:
            with pytest.raises(Reject) as refused:
                pipeline.store([message(1, b"{}"), message(2, b"{}", **field), message(3, b"{}")])
            assert refused.value.ids == {"m2"}

    @pytest.mark.parametrize(
        ("rule", "told"),
        [
            ("ALTER TABLE items ADD CONSTRAINT cheap CHECK ((data ->> 'a')::int < 5)", "cheap"),
            ("ALTER TABLE items ADD UNIQUE (data)", "items_data_key"),
            (
                """CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN IF NEW.data ->> 'a' = '9' THEN RAISE EXCEPTION 'nine?'; END IF; RETURN NEW; END $$;
                CREATE TRIGGER no BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION no()""",
                "nine",
            ),
        ],
    )
    def test_rules_of_the_database(self, dsn: str, rule: str, told: str) -> None:
        with opened(dsn) as pipeline:
            run(dsn, rule)
            pipeline.store([message(0, b'{"a":"1","b":0}'), message(9, b'{"a":"3"}')])
            with pytest.raises(Reject, match=told) as refused:
                pipeline.store([message(1, b'{"a":"2"}'), message(2, b'{"a":"9"}'), message(3, b'{"a":"3"}')][::-1])
            assert refused.value.ids == ({"m3"} if "UNIQUE" in rule else {"m2"})


class TestServerTroubles:
    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ((PASSWORD, "wrong-secret"), "password authentication failed"),
            (("crawler:", "nobody:"), "password authentication failed"),
            (("/postgres", "/nowhere"), 'database "nowhere" does not exist'),
        ],
    )
    def test_refused_for_good(self, server: PostgresServer, change: tuple[str, str], told: str) -> None:
        with pytest.raises(SettingsError, match=told) as refused:
            Postgres(dsn=server.dsn.replace(*change))
        assert "secret" not in str(refused.value)
        assert PASSWORD not in str(refused.value)

    def test_a_server_without_tls_is_refused_when_it_is_asked_for(self, server: PostgresServer) -> None:
        with pytest.raises(SettingsError, match="SSL"):
            Postgres(dsn=f"{server.dsn}?sslmode=require")

    @pytest.mark.parametrize(
        "dsn",
        [
            "postgresql://u:s3cret/x@host/db",
            "postgresql://u:x@s3cret@host/db",
            "host=a passwort=s3cret",
            "postgresql+psycopg://u:s3cret@host/db",
            "s3cret",
        ],
    )
    def test_a_dsn_that_is_none_is_not_shown(self, dsn: str) -> None:
        with pytest.raises(SettingsError) as refused:
            Postgres(dsn=dsn)
        assert "s3cret" not in f"{refused.value} {refused.value.__cause__} {refused.value.__context__}"

    def test_a_server_that_is_not_there_is_waited_for(self) -> None:
        for dsn in ("postgresql://u:s3cret@127.0.0.1:1/db", "postgresql://u:s3cret@no.such.invalid/db"):
            with pytest.raises(Unavailable, match="postgresql://u@") as away:
                Postgres(dsn=dsn)
            assert "s3cret" not in str(away.value)

    def test_the_password_from_a_file_or_an_option(
        self, server: PostgresServer, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bare = dsn.replace(f":{PASSWORD}", "")
        (tmp_path / "password").write_text(f"{PASSWORD}\nsecond line")
        (tmp_path / "empty").write_text("\n")
        stored(bare, [message(1, b"{}")], password_file=str(tmp_path / "password"))
        stored(bare, [message(2, b"{}")], password=PASSWORD)
        for name, told in (("empty", "is empty"), ("missing", "cannot be read")):
            with pytest.raises(SettingsError, match=told):
                Postgres(dsn=bare, password_file=str(tmp_path / name))
        with pytest.raises(SettingsError, match="dsn and password: both"):
            Postgres(dsn=dsn, password="x")
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        stored(bare, [message(3, b"{}")])
        assert len(rows(dsn, "SELECT 1 FROM items")) == 3

    def test_no_repr_shows_the_password(self, server: PostgresServer) -> None:
        one = Server(server.dsn, "", "", connect_s=1, statement_s=1)
        assert repr(one) == f"Server(postgresql://crawler@127.0.0.1:{server.port}/postgres)"

    def test_connections_that_are_ended_are_replaced(self, dsn: str) -> None:
        with opened(dsn) as pipeline:
            pipeline.store([message(1, b"{}")])
            run(dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'crawler'")
            with pytest.raises(Unavailable):
                pipeline.store([message(2, b"{}")])
            pipeline.store([message(1, b"{}"), message(2, b"{}")])
        assert rows(dsn, "SELECT id FROM items ORDER BY id") == [("i1-0",), ("i2-0",)]

    def test_a_table_that_is_locked_is_waited_for(self, dsn: str) -> None:
        with opened(dsn, statement_s=0.2) as pipeline, contextlib.closing(psycopg.connect(dsn)) as other:
            other.execute("LOCK TABLE items")
            with pytest.raises(Unavailable, match="timeout"):
                pipeline.store([message(1, b"{}")])
            other.rollback()
            pipeline.store([message(1, b"{}")])

    def test_a_table_that_is_dropped_or_changed_is_waited_for(self, dsn: str) -> None:
        with opened(dsn) as pipeline:
            pipeline.store([message(1, b"{}")])
            run(dsn, "ALTER TABLE items RENAME COLUMN data TO old")
            for _ in range(2):
                with pytest.raises(Unavailable, match=r"data"):
                    pipeline.store([message(2, b"{}")])
            run(dsn, "DROP TABLE items")
            with contextlib.suppress(Unavailable):
                pipeline.store([message(2, b"{}")])
            pipeline.store([message(2, b"{}")])
        assert rows(dsn, "SELECT id FROM items") == [("i2-0",)]

    def test_a_database_that_is_read_only_is_waited_for(self, dsn: str) -> None:
        with opened(dsn) as pipeline:
            run(dsn, f"ALTER DATABASE {dsn.rpartition('/')[2]} SET default_transaction_read_only = on")
            pipeline.close()
            with pytest.raises(Unavailable, match="read-only"):
                pipeline.store([message(1, b"{}")])


def test_a_server_that_restarts_and_is_killed_loses_nothing() -> None:
    with PostgresServer({"max_connections": "4", "superuser_reserved_connections": "0"}) as server:
        with opened(server.dsn) as pipeline:
            pipeline.store([message(1, b"{}")])
            server.process.kill()
            with pytest.raises(Unavailable):
                pipeline.store([message(2, b"{}")])
            with pytest.raises(Unavailable, match=rf"127.0.0.1:{server.port}"):
                Postgres(dsn=server.dsn)
            server.process.restart()
            pipeline.store([message(2, b"{}")])
            server.process.restart()
            with pytest.raises(Unavailable):
                pipeline.store([message(3, b"{}")])
            pipeline.store([message(3, b"{}")])
            others = [server.connect() for _ in range(3)]
            with pytest.raises(Unavailable, match="too many clients"):
                Postgres(dsn=server.dsn)
            for other in others:
                other.close()
        assert [id for (id,) in rows(server.dsn, "SELECT id FROM items ORDER BY id")] == ["i1-0", "i2-0", "i3-0"]
        home = server.home
    assert not home.exists()


@pytest.mark.parametrize(
    ("raw", "type", "text"),
    [
        (b"null", "jsonb", rb"\N"),
        (b'"null"', "jsonb", b'"null"'),
        (b'"\\\\N"', "text", rb"\\N"),
        (b'"\\""', "text", b'"'),
        (b"1.10", "text", b"1.10"),
        (b'{"a": 1}', "text", b'{"a": 1}'),
        (b"[1, 2]", "text", b"[1, 2]"),
        (b'[1,"a b",null,"",{"x":"\\""},true]', "text[]", rb'{1,"a b",NULL,"","{\\"x\\":\\"\\\\\\"\\"}",true}'),
        (b"[]", "numeric(3)[]", b"{}"),
        (b'["\\t"]', "json", rb'["\\t"]'),
    ],
)
def test_cells(raw: bytes, type: str, text: bytes) -> None:
    assert cell(raw, Column("c", type, "c")) == text


def test_importing_the_command_line_does_not_import_psycopg() -> None:
    code = "import sys, crawler.cli, pipelines.jsonl; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_words_of_a_server_are_cut() -> None:
    one = Server("postgresql://u:s3cret@h/d", "", "", connect_s=1, statement_s=1)
    words = one.words(psycopg.OperationalError("s3cret " * 200))
    assert re.fullmatch(r"(\*\*\* )+\**…", words)
    assert len(words) <= 300
