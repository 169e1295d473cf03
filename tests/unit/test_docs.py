"""What is written is what there is: README against the commands, settings, errors and make targets; sizes of files."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.cli import build_parser
from crawler.settings import TABLES
from crawler.version import VERSION

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES_MAX = 350


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def options(parser: argparse.ArgumentParser) -> set[str]:
    """The options of a command and of the commands below it."""
    found = {option for action in parser._actions for option in action.option_strings}
    return found.union(*map(options, subcommands(parser).values()))


COMMANDS = subcommands(build_parser())


def written(text: str) -> Iterator[str]:
    """Every `crawler …` command line in a text: in code blocks and in back quotes, without its comment."""
    blocks = re.findall(r"```(?:sh|shell|console|bash)?\n(.*?)```", text, re.DOTALL)
    lines = [
        line.strip().removeprefix("$ ") for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()
    ]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in lines:
        if re.match(r"crawler [a-z-]", line):
            yield line.partition("  #")[0].strip()


@pytest.mark.parametrize("line", sorted(set(written(README))))
def test_a_command_line_in_the_readme_is_one(line: str) -> None:
    words = re.sub(r"[\[\]]|\\?\|", " ", line).split()[1:]
    if words[0].startswith("-"):
        assert words[0] in options(build_parser())
        return
    assert words[0] in COMMANDS, line
    known = options(COMMANDS[words[0]])
    named = {word.partition("=")[0] for word in words[1:] if re.fullmatch(r"--?[a-zA-Z][\w-]*(=.*)?", word)}
    assert named - known == set(), line


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert any(re.match(rf"crawler {command}\b", line) for line in written(README))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_worked_examples(command: str) -> None:
    """In its help; their options exist."""
    parser = COMMANDS[command]
    text = parser.format_help() + "".join(one.format_help() for one in subcommands(parser).values())
    examples = [line.strip() for line in text.splitlines() if line.strip().startswith(f"crawler {command}")]
    assert examples
    for line in examples:
        named = set(re.findall(r"(?<!\S)--?[a-zA-Z][\w-]*", re.split(r"\s{2,}", line)[0]))
        assert named - options(parser) == set(), line


def test_make_targets_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"crawl", "test"} <= named <= targets


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`(?:--set )?([a-z]+\.[a-z]\w+)(?:=[^`]*| = [^`]*)?`", README)))
)
def test_settings_in_the_readme_exist(name: str) -> None:
    table, _, key = name.partition(".")
    if table in TABLES:
        assert key in TABLES[table].__struct_fields__


def error_classes() -> list[str]:
    tree = ast.parse((ROOT / "crawler" / "error.py").read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("name", error_classes())
def test_every_error_is_in_the_readme(name: str) -> None:
    assert re.search(rf"`{name}`|^[├└│ ─]*{name}\b", README, re.MULTILINE)


def sources() -> list[Path]:
    found = [path for top in ("crawler", "pipelines") for path in (ROOT / top).rglob("*.py")]
    return sorted(path.relative_to(ROOT) for path in found)


@pytest.mark.parametrize("path", sources(), ids=str)
def test_no_file_is_too_long(path: Path) -> None:
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= LINES_MAX


def test_the_changelog_knows_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"[{VERSION}]" in text or "[Unreleased]" in text


def test_the_lock_holds_hashes_and_no_addresses() -> None:
    for name in ("requirements.lock", "requirements-bench.lock"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        packages = [line for line in lines if re.match(r"[a-z0-9]", line)]
        assert packages
        assert all(re.match(r"[a-z0-9._-]+==[\w.]+ ", line) and line.endswith("\\") for line in packages)
        assert not [
            line for line in lines if "://" in line or line.lstrip().startswith(("-i", "--index", "--find", "--extra"))
        ]
