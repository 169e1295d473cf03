"""A URL that a person gives is looked for in the form that the crawl has given its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest

from crawler.cli import main
from crawler.exchange.sqlite import SqliteExchange
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import Bury, Message, Queue, Record, Request, Rules, Settlement
from crawler.settings import load
from crawler.urlform import Form, of_version

STATE = ".crawler/shop.db"
OVERRIDES = ("url.sort_query=true", "url.drop_tracking=true", "url.trailing_slash=true")
KEPT = "http://a.example/x?a=1&b=2"
GIVEN = "HTTP://A.example:80/x/?utm_source=mail&b=2&a=1#part"
INSISTED = "http://a.example/y/"
"""The form that a server redirects to when it wants no other."""


@pytest.fixture(autouse=True)
def _crawl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two dead pages, and a dead message of the first, in a crawl with a form of its own."""
    monkeypatch.chdir(tmp_path)
    begin(OVERRIDES)


def begin(overrides: tuple[str, ...]) -> None:
    rules = Rules(robots=False, per_host=0, canonical=load(None, overrides=overrides).form().version)
    Path(STATE).parent.mkdir(exist_ok=True)
    with SqliteFrontier(STATE, rules, name="shop") as frontier:
        frontier.add([Request(url=KEPT), Request(url=INSISTED)])
        leases = frontier.lease(2, worker="w1", request_id=os.urandom(16).hex()).leases
        frontier.settle([Settlement(one.token, Bury("http_404")) for one in leases])
    with SqliteExchange(STATE) as exchange:
        exchange.declare([Queue("out")])
        record = Record("r" * 32, msgspec.Raw(b"{}"))
        exchange.publish([Message(id="m", kind="page", url=KEPT, fetched_at="", spider="s", records=(record,))])
        (delivery,) = exchange.lease("out", 1, consumer="c1", request_id=os.urandom(16).hex())
        exchange.settle([Settlement(delivery.token, Bury("full"))])


def run(*words: str) -> int:
    return main(list(words))


@pytest.mark.parametrize("said", [(), tuple(word for one in OVERRIDES for word in ("--set", one))])
@pytest.mark.parametrize("given", [KEPT, GIVEN])
class TestTheForm:
    """Also without the crawl's settings, which its record names."""

    def test_dead_pages(self, given: str, said: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        assert run("dead", "show", given, *said) == 0
        assert f"url          {KEPT}\n" in capsys.readouterr().out
        assert run("dead", "kick", given, *said) == 0
        assert "1 page kicked" in capsys.readouterr().out

    def test_dropped(self, given: str, said: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        assert run("dead", "drop", given, *said) == 0
        assert "1 page dropped" in capsys.readouterr().out

    def test_dead_items(self, given: str, said: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        assert run("dead", "ls", "--items", "--json", given, *said) == 0
        assert json.loads(capsys.readouterr().out)["message"]["url"] == KEPT

    def test_explain(self, given: str, said: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        assert run("explain", given, *said) == 0
        shown = capsys.readouterr().out
        assert "state        dead since" in shown
        assert f"url          {KEPT}\n" in shown

    def test_peek_at_its_host(self, given: str, said: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        assert run("dead", "kick", given, *said) == 0
        capsys.readouterr()
        assert run("peek", given, "--json", *said) == 0
        assert json.loads(capsys.readouterr().out)["request"]["url"] == KEPT


def test_a_form_that_the_server_insisted_on_is_found_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", INSISTED) == 0
    assert "state        dead since" in capsys.readouterr().out
    assert run("dead", "kick", INSISTED) == 0
    assert "1 page kicked" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["explain", KEPT], ["dead", "show", KEPT], ["dead", "show", KEPT, "--items"]])
def test_lists_of_names_that_only_the_settings_have_are_asked_for(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("url.drop_tracking=true", 'url.tracking=["x"]')
    Path(STATE).unlink()
    begin(own)
    assert run(*command) == 2
    assert "--settings" in capsys.readouterr().err
    assert run("dead", "show", f"{KEPT}&x=1", *(word for one in own for word in ("--set", one))) == 0
    assert run("dead", "show", "--reason", "http_404") == 0


@pytest.mark.parametrize(
    "form",
    [
        Form(),
        Form(sort_query=True),
        Form(lower_path=True, trailing_slash=True),
        Form(drop=("a", "b*")),
        Form(sort_query=True, drop=("b*", "a"), default_index=("i.html",)),
    ],
)
def test_a_version_names_its_form(form: Form) -> None:
    known = Form(drop=("a", "b*"), default_index=("i.html",))
    found = of_version(form.version, known)
    assert found is not None
    assert (found.version, found.of("http://h/X/i.html?b=1&c&a=2&B1=3")) == (
        form.version,
        form.of("http://h/X/i.html?b=1&c&a=2&B1=3"),
    )


@pytest.mark.parametrize("version", ["whatwg-2", "whatwg-1+new_rule", Form(drop=("c",)).version])
def test_a_version_of_other_rules_names_none(version: str) -> None:
    assert of_version(version, Form(drop=("a",))) is None
