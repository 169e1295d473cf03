"""settings.toml, written from the tables: `python -m crawler.settings_file > settings.toml`. A test compares them."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from typing import Any

from crawler import settings
from crawler.settings import TABLES

HEAD = """\
# Settings of a crawl: every key with its default. Copy this file, keep what you change, and give it with --settings.
# Durations end in _s (seconds), sizes in _bytes, limits in _max.
# A value can also come from the environment, CRAWLER__POLITENESS__DELAY_S=0.5, or from the command line,
# --set politeness.delay_s=0.5; the command line wins over the environment, and both over this file.
# This file is written by `python -m crawler.settings_file`: change defaults and comments in crawler/tables.py.
"""

TAIL = """
# Keyword arguments of the spider.
[spider]

# The stores, by the name of their queue. `use` names the class, `bind` the kinds (direct) or patterns (topic) of the
# items it gets; every other key is a keyword argument of the class. Without a table, `crawler run` writes JSON lines.
#
# [pipelines.pages]
# use = "pipelines.jsonl:JsonLines"
# bind = ["#"]
# path = "pages.jsonl"
# batch_max = 1_000
# processors = [
#     { use = "drop", where = { title = { missing = true } } },
#     { use = "redact", patterns = ['\\b[\\w.+-]{1,64}@[\\w.-]{1,255}'] },
# ]
#
# [pipelines.own]
# use = "shop/store.py:Prices"
# dsn = "…"
"""


def comments(table: type) -> dict[str, str]:
    """The docstring under each field of a class, by field. Cost: parses the module's source."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(table) or settings))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == table.__name__)
    found = {}
    for field, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            found[field.target.id] = inspect.cleandoc(str(below.value.value)) if is_text else ""  # type: ignore[union-attr]
    return found


def _toml(value: Any) -> str:
    """A default as TOML, whose strings, numbers and arrays of strings are JSON's."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:_}"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def lines() -> Iterator[str]:
    """The lines of settings.toml."""
    yield from HEAD.splitlines()
    for name, table in TABLES.items():
        yield from ("", *(f"# {line}" for line in (inspect.getdoc(table) or "").splitlines()), f"[{name}]")
        texts, defaults = comments(table), table()
        for key in table.__struct_fields__:
            yield from (f"# {line}" for line in texts[key].splitlines())
            # `hosts = {}` would forbid a table [politeness.hosts."example.com"] further down.
            comment = "# " if isinstance(getattr(defaults, key), dict) else ""
            yield f"{comment}{key} = {_toml(getattr(defaults, key))}"
    yield from TAIL.splitlines()


if __name__ == "__main__":
    print("\n".join(lines()))
