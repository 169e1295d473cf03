"""Classes by name: what is found, and what a person reads when it is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler import plugin
from crawler.error import CrawlError, SettingsError
from crawler.model import Request


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty current directory; modules loaded from it are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_an_installed_class() -> None:
    assert plugin.load("crawler.model:Request") is Request


def test_a_class_in_the_current_directory() -> None:
    Path("shop_spider.py").write_text("class Shop: pass\n")
    assert plugin.load("shop_spider:Shop").__name__ == "Shop"


def test_a_class_in_a_file_with_a_neighbour() -> None:
    Path("own").mkdir()
    Path("own/neighbour_of_it.py").write_text("LIMIT = 3\n")
    Path("own/my spider.py").write_text("from neighbour_of_it import LIMIT\nclass Shop: limit = LIMIT\n")
    found = plugin.load("own/my spider.py:Shop")
    assert found.limit == 3
    assert plugin.load("./own/my spider.py:Shop") is found


def test_a_local_file_does_not_shadow_an_installed_module() -> None:
    Path("msgspec.py").write_text("raise RuntimeError\n")
    assert plugin.load("msgspec:Struct").__module__ == "msgspec"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("Shop", "expected module:Class or path/file.py:Class"),
        (":Shop", "expected module:Class"),
        ("shop:", "expected module:Class"),
        ("shop:a.b", "expected module:Class"),
        ("none_such:Shop", "there is no module none_such"),
        ("crawler.none_such:Shop", "there is no module crawler.none_such"),
        ("own/shop:Shop", "own/shop is not a module's name; a file's ends in .py"),
        ("none.py:Shop", "no such file none.py"),
        (".py:Shop", "no such file .py"),
        ("crawler.model:Requst", "crawler.model has no class Requst; did you mean Request?"),
        ("crawler.model:PRIORITY_MAX", "PRIORITY_MAX is not a class but of type int"),
        ("crawler.model:Request", "Request is not a subclass of crawler.error.CrawlError"),
    ],
)
def test_mistakes(spec: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        plugin.load(spec, CrawlError)
    assert str(caught.value).startswith(f"{spec}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import none_such_thing\n", "ModuleNotFoundError: No module named 'none_such_thing' at "),
        ("x = 1\n1 / 0\n", "ZeroDivisionError: division by zero at {file}:2: 1 / 0"),
        ("def f(:\n", "SyntaxError: "),
        ("raise SystemExit(3)\n", "SystemExit: 3 at {file}:1"),
        ("\0", "source code string cannot contain null bytes"),
    ],
)
@pytest.mark.parametrize("spec", ["broken_one:Shop", "broken_one.py:Shop"])
def test_code_that_does_not_import(tmp_path: Path, spec: str, code: str, message: str) -> None:
    Path("broken_one.py").write_text(code)
    for _ in range(2):  # a failed import leaves nothing behind
        with pytest.raises(SettingsError) as caught:
            plugin.load(spec)
        assert f"{spec}: does not import: " in str(caught.value)
        assert message.replace("{file}", str(tmp_path.resolve() / "broken_one.py")) in str(caught.value)


@pytest.mark.parametrize(
    ("package", "statement", "extra"),
    [
        ("pyarrow", "import pyarrow.parquet", "parquet"),
        ("psycopg", "from psycopg import sql", "postgres"),
        ("warcio", "import warcio", "warc"),
        ("jsonschema_rs", "import jsonschema_rs", "schema"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    package: str, statement: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)  # as Python itself says that a module is not there
    Path("needs.py").write_text(f"{statement}\nclass Store: pass\n")
    with pytest.raises(SettingsError, match=rf"needs {package}.*: pip install 'crawler-pipeline\[{extra}\]'"):
        plugin.load("needs.py:Store")


def test_another_missing_module_is_no_extra() -> None:
    assert plugin.missing_extra("x", ModuleNotFoundError("no", name="pyarrowx")) is None
    assert plugin.missing_extra("x", ImportError("no", name="pyarrow")) is None
