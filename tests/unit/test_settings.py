"""Settings: what is read, what wins, and what each mistake says."""

from __future__ import annotations

from pathlib import Path

import pytest

from crawler import settings_file
from crawler.error import SettingsError
from crawler.model import OwnPace
from crawler.settings import TABLES, PipelineTable, Settings, load

ROOT = Path(__file__).parents[2]


def test_without_a_file_all_is_default() -> None:
    assert load(None) == Settings()


def test_settings_toml_is_what_the_code_says() -> None:
    assert (ROOT / "settings.toml").read_text(encoding="utf-8").splitlines() == list(settings_file.lines())


def test_settings_toml_holds_the_defaults() -> None:
    assert load(str(ROOT / "settings.toml")) == Settings()


def test_a_copy_of_settings_toml_takes_tables_for_single_hosts(tmp_path: Path) -> None:
    copy = tmp_path / "mine.toml"
    text = (ROOT / "settings.toml").read_text(encoding="utf-8")
    copy.write_text(f'{text}\n[politeness.hosts."example.com"]\ndelay_s = 5\n', encoding="utf-8")
    assert set(load(str(copy)).politeness.hosts) == {"example.com"}


@pytest.mark.parametrize("table", TABLES)
def test_every_key_has_a_comment_that_ends_as_a_sentence(table: str) -> None:
    comments = settings_file.comments(TABLES[table])
    assert list(comments) == list(TABLES[table].__struct_fields__)
    assert [key for key, text in comments.items() if not text.endswith((".", ")"))] == []


@pytest.mark.parametrize("table", TABLES)
def test_every_default_is_in_its_own_range(table: str) -> None:
    defaults = TABLES[table]()
    for key in TABLES[table].__struct_fields__:
        value = settings_file._toml(getattr(defaults, key))
        assert getattr(getattr(load(None, overrides=[f"{table}.{key}={value}"]), table), key) == getattr(defaults, key)


def test_what_wins(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[worker]\nprocesses = 3\nconcurrency = 3\nbatch_max = 3\n")
    environ = {"CRAWLER__WORKER__CONCURRENCY": "4", "CRAWLER__WORKER__BATCH_MAX": "4", "CRAWLER_OTHER": "x"}
    worker = load(str(file), overrides=["worker.batch_max=5"], environ=environ).worker
    assert (worker.processes, worker.concurrency, worker.batch_max) == (3, 4, 5)


def test_pipelines_keep_what_they_do_not_know(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[pipelines.a]\nuse = "m:A"\nbind = ["shop.*"]\npath = "x"\ndeep = { n = 1 }\n[spider]\nshelf = 7\n'
    )
    environ = {"CRAWLER__PIPELINES__A__PATH": "y"}
    settings = load(str(file), overrides=["pipelines.b.use=m.n:B", "pipelines.b.fsync=true"], environ=environ)
    assert settings.pipelines == {
        "a": PipelineTable(use="m:A", bind=("shop.*",), arguments={"path": "y", "deep": {"n": 1}}),
        "b": PipelineTable(use="m.n:B", arguments={"fsync": True}),
    }
    assert settings.spider == {"shelf": 7}


@pytest.mark.parametrize(
    ("override", "table", "key", "value"),
    [
        ("crawl.name=quotes", "crawl", "name", "quotes"),
        ("crawl.name=2024", "crawl", "name", "2024"),
        ("crawl.name=true", "crawl", "name", "true"),
        ('crawl.name="a b"', "crawl", "name", "a b"),
        ("crawl.name=a=b", "crawl", "name", "a=b"),
        ("crawl.name=", "crawl", "name", ""),
        ("crawl.hosts=['a.com', '*.b.com']", "crawl", "hosts", ("a.com", "*.b.com")),
        ("politeness.delay_s=2", "politeness", "delay_s", 2.0),
        ("politeness.robots=false", "politeness", "robots", False),
        ("fetch.body_bytes_max=1_000", "fetch", "body_bytes_max", 1000),
        ("frontier.order=lifo", "frontier", "order", "lifo"),
    ],
)
def test_a_text_becomes_what_its_key_wants(override: str, table: str, key: str, value: object) -> None:
    found = getattr(getattr(load(None, overrides=[override]), table), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[worker]\nconcurency = 3", "[worker] concurency: unknown key, did you mean concurrency?"),
        ("[worker]\nxyz = 3", "[worker] xyz: unknown key, there is processes, concurrency"),
        ("[wroker]\nprocesses = 3", "[wroker] processes: unknown table [wroker]; did you mean worker?"),
        ("processes = 3", "processes stands above the first [table]"),
        (
            '[worker]\nconcurrency = "3"',
            'concurrency: expected a whole number from 1 to 1,000,000,000,000,000, found "3"',
        ),
        ("[worker]\nconcurrency = 0", "found 0"),
        ("[worker]\nconcurrency = 2.5", "found 2.5"),
        ("[worker]\nconcurrency = true", "found true"),
        ("[politeness]\ndelay_s = -1", "delay_s: expected a number from 0 to 1,000,000,000, found -1"),
        ("[politeness]\ndelay_s = inf", "found inf"),
        ("[politeness]\ndelay_s = nan", "found nan"),
        ("[politeness]\nper_host = -1", "per_host: expected a whole number from 0"),
        ("[politeness]\nrobots = 1", "robots: expected true or false, found 1"),
        ("[frontier]\nlease_s = 0", "lease_s: expected a number above 0"),
        ('[frontier]\norder = "random"', 'order: expected "fifo" or "lifo", found "random" (a string)'),
        ('[crawl]\nhosts = "a.com"', 'hosts: expected an array of strings, as in ["a", "b"], found "a.com"'),
        ("[crawl]\nhosts = [1]", "found [1] (an array)"),
        ('[crawl]\nexclude = ["("]', "[crawl] exclude: '(' is not a regular expression"),
        ("[pipelines]\na = 3", "expected a table with a name and a key"),
        ("[pipelines.a]\npath = 3", "[pipelines.a] use: missing; name the class"),
        ("[pipelines.a]\nuse = 3", "[pipelines.a] use: expected a string, found 3"),
        ('[pipelines.history]\nuse = "a:B"', "[pipelines.history]: a name is"),
        ('[pipelines."a b"]\nuse = "a:B"', "[pipelines.a b]: a name is"),
        ("[worker", "not TOML"),
        ("[worker]\nprocesses = 1\nprocesses = 2", "not TOML"),
        ("\udcff", "not TOML"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError) as caught:
        load(str(file))
    assert message in str(caught.value)
    if "regular" not in message and "[pipelines" not in message:
        assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("worker.concurency=3", "--set worker.concurency: unknown key, did you mean concurrency?"),
        (
            "worker.concurrency=x",
            '--set worker.concurrency: expected a whole number from 1 to 1,000,000,000,000,000, found "x"',
        ),
        ("concurrency=3", "expected table.key=value"),
        ("worker.concurrency", "expected table.key=value"),
        ("worker.=3", "expected one key in [worker]"),
        ("worker.a.b=3", "expected one key in [worker]"),
        ("pipelines.a=3", "expected a table with a name and a key"),
        ("crawl.name=1\n[worker]\nx=2", ""),
    ],
)
def test_mistakes_on_the_command_line(override: str, message: str) -> None:
    if not message:
        assert load(None, overrides=[override]).crawl.name == override.partition("=")[2]
        return
    with pytest.raises(SettingsError) as caught:
        load(None, overrides=[override])
    assert message in str(caught.value)


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, environ={"CRAWLER__WORKER__CONCURENCY": "3"})
    assert str(caught.value) == "CRAWLER__WORKER__CONCURENCY: unknown key, did you mean concurrency?"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such settings file"):
        load(str(tmp_path / "none.toml"))
    with pytest.raises(SettingsError, match="cannot be read"):
        load(str(tmp_path))


def test_the_frontiers_rules_come_from_three_tables() -> None:
    overrides = ["frontier.order=lifo", "politeness.delay_s=0.5", "crawl.pages_max=7"]
    rules = load(None, overrides=overrides).rules()
    assert (rules.order, rules.delay_s, rules.pages_max) == ("lifo", 0.5, 7)


class TestPolitenessOfHosts:
    def test_values_for_single_hosts(self, tmp_path: Path) -> None:
        path = tmp_path / "settings.toml"
        first = '[politeness.hosts."a.example"]\ndelay_s = 5\n'
        second = '[politeness.hosts."b.example:8080"]\nper_host = 2\n'
        path.write_text(first + second)
        own = load(str(path)).own()
        assert own == {"a.example": OwnPace(delay_s=5.0), "b.example:8080": OwnPace(per_host=2)}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('hosts."a.example"]\ndelay = 5', r'hosts\."a\.example" delay: unknown key, did you mean delay_s\?'),
            ('hosts."A.example"]\ndelay_s = 5', 'calls this host "a.example": write it so'),
            ('hosts."a.example:80"]\ndelay_s = 5', 'calls this host "a.example": write it so'),
            ('hosts."*.example"]\ndelay_s = 5', "not a host"),
            ('hosts."a.example/x"]\ndelay_s = 5', "not a host"),
            ('hosts."a.example"]\ndelay_s = -5', "hosts: expected a table of tables, found Expected `float` >= 0"),
            ('hosts."a.example"]\ndelay_s = nan', "hosts: expected a table of tables"),
        ],
    )
    def test_what_is_wrong_is_named(self, text: str, message: str, tmp_path: Path) -> None:
        path = tmp_path / "settings.toml"
        path.write_text(f"[politeness.{text}\n")
        with pytest.raises(SettingsError, match=message):
            load(str(path))
