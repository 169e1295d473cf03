"""Imports point down only, without cycles, and each library is known to one file.

Reads every import by its syntax tree: those within functions and those for type checkers only count as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS: tuple[tuple[str, ...], ...] = (
    # Values.
    ("crawler.model", "crawler.view", "crawler.error", "crawler.version"),
    # Pure parts, and parts that know nothing of crawling.
    (
        "crawler.authority",
        "crawler.url",
        "crawler.codec",
        "crawler.strict",
        "crawler.tables",
        "crawler.tables_session",
        "crawler.tables_visit",
        "crawler.tables_web",
        "crawler.urlform",
        "crawler.hours",
        "crawler.gate",
        "crawler.settings",
        "crawler.settings_file",
        "crawler.plugin",
    ),
    ("crawler.revisit", "crawler.simhash"),
    ("crawler.retry", "crawler.response", "crawler.httpstatus", "crawler.body", "crawler.charset"),
    (
        "crawler.sniff",
        "crawler.robots",
        "crawler.robots_match",
        "crawler.links",
        "crawler.nesting",
        "crawler.shape",
        "crawler.trap",
        "crawler.sitemap",
    ),
    ("crawler.suffix",),
    ("crawler.address", "crawler.guard", "crawler.cookies", "crawler.proxy", "crawler.session"),
    ("crawler.raw", "crawler.scope", "crawler.combine", "crawler.caller", "crawler.known", "crawler.watchdog"),
    ("crawler.workerlock", "crawler.demo", "crawler.demo.[!_]*"),
    # Pages, spiders and the ports.
    ("crawler.page", "crawler.outline", "crawler.spider", "crawler.manners", "crawler.harvest"),
    ("crawler.frontier", "crawler.exchange", "pipelines"),
    # Adapters.
    (
        "crawler.cache",
        "crawler.sqlitefile",
        "crawler.connect",
        "crawler.pool",
        "crawler.fetch",
        "crawler.fetch_error",
        "crawler.frontier.*",
        "crawler.exchange.*",
    ),
    ("crawler.spiders", "crawler.spiders.*", "pipelines.*"),
    # Running parts.
    (
        "crawler.seed",
        "crawler.seed_*",
        "crawler.keeper",
        "crawler.commit",
        "crawler.rulebook",
        "crawler.visit",
        "crawler.ending",
        "crawler.weigh",
        "crawler.worker",
    ),
    ("pipelines.consumer",),
    # Where they are put together.
    ("crawler.home", "crawler.app", "crawler.plan", "crawler.report", "crawler.fleet", "crawler.child", "crawler.solo"),
    ("crawler.launch", "crawler.script", "crawler"),
    # Commands.
    ("crawler.cli", "crawler.cli.*", "crawler.__main__", "crawler.demo.__main__"),
)
"""From the bottom to the top. A name without a wildcard wins over one with."""

ONLY = {
    "aiohttp": ("crawler.fetch", "crawler.fetch_error", "crawler.connect", "crawler.pool"),
    "yarl": ("crawler.fetch", "crawler.pool"),
    "python_socks": ("crawler.connect",),
    "parsel": ("crawler.page",),
    "selectolax": ("crawler.outline",),
    "publicsuffixlist": ("crawler.suffix",),
    "warcio": ("pipelines.warcrecord",),
    "jsonschema_rs": ("pipelines.processors.validate",),
    "redis": ("crawler.frontier.redis", "crawler.frontier.redis.*"),
    "psycopg": ("pipelines.postgres", "pipelines.postgres_*"),
    "pyarrow": ("pipelines.parquet",),
    "pika": ("crawler.exchange.rabbit", "crawler.exchange.rabbit.*"),
    "rich": ("crawler.cli.*",),
    "importlib": ("crawler.plugin",),
    "runpy": (),
    "pickle": (),
    "marshal": (),
    "shelve": (),
    "unittest": (),
}
"""Who may import a library; patterns."""


def layer(module: str) -> int | None:
    for exact in (True, False):
        for number, names in enumerate(LAYERS):
            if any(name == module if exact else fnmatchcase(module, name) for name in names):
                return number
    return None


def project() -> dict[str, str]:
    """Source by module name."""
    found = {}
    for top in ("crawler", "pipelines"):
        for path in (ROOT / top).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def imports(source: str) -> Iterator[str]:
    """Every dotted name that a source imports; for `from a import b` it is `a.b`, whatever b is."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{name.name}" for name in node.names)


def graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Module -> modules of the project that it imports."""
    edges: dict[str, set[str]] = {}
    for module, source in sources.items():
        edges[module] = set()
        for name in imports(source):
            while name and name not in sources:
                name = name.rpartition(".")[0]
            if name and name != module:
                edges[module].add(name)
    return edges


def upward(sources: Mapping[str, str]) -> list[str]:
    """Imports that point up, and modules without a place."""
    wrong = [f"{module} has no layer" for module in sources if layer(module) is None]
    for module, targets in graph(sources).items():
        wrong += [
            f"{module} imports {target}, which is above it"
            for target in targets
            if (layer(target) or 0) > (layer(module) or 0)
        ]
    return sorted(wrong)


def cycles(sources: Mapping[str, str]) -> list[str]:
    """Modules that are left when those that import none of the others are taken away, again and again; both ways."""
    edges = graph(sources)
    while True:
        free = {one for one, targets in edges.items() if not targets or all(one not in into for into in edges.values())}
        if not free:
            return sorted(f"{one} -> {', '.join(sorted(targets))}" for one, targets in edges.items())
        edges = {one: targets - free for one, targets in edges.items() if one not in free}


def strangers(sources: Mapping[str, str]) -> list[str]:
    """Imports of a library by a file that may not know it, and relative imports."""
    wrong = []
    for module, source in sources.items():
        for name in imports(source):
            allowed = ONLY.get(name.partition(".")[0])
            if name.startswith(".") or (allowed is not None and not any(fnmatchcase(module, one) for one in allowed)):
                wrong.append(f"{module} imports {name}")
    return sorted(wrong)


def calls(sources: Mapping[str, str], names: set[str]) -> list[str]:
    """Calls of built-in functions that run text as code or import by name."""
    return sorted(
        f"{module}:{node.lineno} calls {node.func.id}"
        for module, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    )


def test_imports_point_down() -> None:
    assert upward(project()) == []


def test_there_are_no_cycles() -> None:
    assert cycles(project()) == []


def test_each_library_is_known_to_one_file() -> None:
    assert strangers(project()) == []


def test_no_text_is_run_as_code() -> None:
    assert calls(project(), {"eval", "exec", "__import__", "compile"}) == []


def test_the_layers_name_no_module_that_is_gone() -> None:
    modules = project()
    names = [name for names in LAYERS for name in names]
    assert [name for name in names if not any(fnmatchcase(module, name) for module in modules)] == []
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("sources", "check", "wrong"),
    [
        (
            {"crawler.url": "def f():\n    from crawler import app", "crawler.app": ""},
            upward,
            ["crawler.url imports crawler.app, which is above it"],
        ),
        (
            {"crawler.model": "if TYPE_CHECKING:\n    from crawler.page import Page", "crawler.page": ""},
            upward,
            ["crawler.model imports crawler.page, which is above it"],
        ),
        (
            {"crawler.page": "from crawler import Spider", "crawler": ""},
            upward,
            ["crawler.page imports crawler, which is above it"],
        ),
        ({"crawler.nowhere": ""}, upward, ["crawler.nowhere has no layer"]),
        ({"crawler.app": "import crawler.url", "crawler.url": ""}, upward, []),
        (
            {"a": "import b", "b": "def f():\n    import c", "c": "from a import x", "d": "import a", "e": ""},
            cycles,
            ["a -> b", "b -> c", "c -> a"],
        ),
        ({"a": "import b, c", "b": "import c", "c": ""}, cycles, []),
        ({"crawler.url": "import aiohttp.web"}, strangers, ["crawler.url imports aiohttp.web"]),
        ({"crawler.url": "from . import codec"}, strangers, ["crawler.url imports ..codec"]),
        ({"crawler.fetch": "import aiohttp"}, strangers, []),
    ],
)
def test_these_checks_find_what_they_look_for(sources: dict[str, str], check: object, wrong: list[str]) -> None:
    assert callable(check)
    assert check(sources) == wrong
