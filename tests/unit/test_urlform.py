"""Which URLs are one page, by setting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.error import SettingsError
from crawler.scope import Scope
from crawler.settings import load
from crawler.url import CANONICAL_VERSION, base_version, canonical
from crawler.urlform import Form

ALL = Form(
    sort_query=True,
    drop=("utm_*", "gclid"),
    lower_path=True,
    default_index=("index.html",),
    trailing_slash=True,
)


@pytest.mark.parametrize(
    ("form", "url", "expected"),
    [
        (Form(), "http://h/A/?b&a", "http://h/A/?b&a"),
        (Form(sort_query=True), "http://h/?b=2&a=1&b=1", "http://h/?a=1&b=2&b=1"),
        (Form(sort_query=True), "http://h/a", "http://h/a"),
        (Form(drop=("utm_*",)), "http://h/?utm_source=x&a=1&UTM_y", "http://h/?a=1"),
        (Form(drop=("utm_*",)), "http://h/a?utm_source=x", "http://h/a"),
        (Form(drop=("gclid",)), "http://h/?gclid2=1", "http://h/?gclid2=1"),
        (Form(lower_path=True), "http://h/A/%C3%84?Q=X", "http://h/a/%C3%84?Q=X"),
        (Form(default_index=("index.html",)), "http://h/a/index.html?x", "http://h/a/?x"),
        (Form(default_index=("index.html",)), "http://h/a/xindex.html", "http://h/a/xindex.html"),
        (Form(trailing_slash=True), "http://h/a/", "http://h/a"),
        (Form(trailing_slash=True), "http://h/", "http://h/"),
        (ALL, "http://h/A/Index.html?b=1&gclid=3", "http://h/a?b=1"),
        (ALL, "http://h/a/index.html/Index.html//", "http://h/a"),
    ],
)
def test_a_form(form: Form, url: str, expected: str) -> None:
    assert form.of(url) == expected


@given(st.text("aA/.?&=%41bu_tmindexhl", max_size=40))
def test_twice_is_once(tail: str) -> None:
    for form in (ALL, Form(sort_query=True), Form(drop=("a", "utm_*"))):
        once = form.of(canonical(f"http://h.example/{tail}"))
        assert form.of(once) == once
        assert canonical(once) == once


def test_each_form_has_a_version_of_its_own() -> None:
    forms = [
        Form(),
        Form(sort_query=True),
        Form(drop=("a",)),
        Form(drop=("b",)),
        Form(lower_path=True),
        Form(default_index=("a",)),
        Form(trailing_slash=True),
        ALL,
    ]
    versions = [form.version for form in forms]
    assert len(set(versions)) == len(forms)
    assert versions[0] == CANONICAL_VERSION
    assert {base_version(version) for version in versions} == {CANONICAL_VERSION}


def test_settings_make_the_form_and_its_version_goes_to_the_frontier() -> None:
    settings = load(None, overrides=["url.drop_tracking=true", 'url.tracking=["x*"]'])
    assert settings.form() == Form(drop=("x*",))
    assert settings.rules().canonical == Form(drop=("x*",)).version
    assert load(None).rules().canonical == CANONICAL_VERSION


@pytest.mark.parametrize("given", ['url.tracking=["a=b"]', 'url.tracking=["*a"]', 'url.default_index=["a/b"]'])
def test_names_that_cannot_be_are_refused(given: str) -> None:
    with pytest.raises(SettingsError, match=r"\[url\]"):
        load(None, overrides=[given, "url.drop_tracking=true"])


def test_links_are_judged_in_their_form_and_within_limits() -> None:
    scope = Scope(form=Form(drop=("x",)), segments_max=3, params_max=2, exclude=["x="])
    judged = {
        "http://h/a?x=1": ("http://h/a", ""),
        "http://h/a/b/c": ("http://h/a/b/c", ""),
        "http://h/a/b/c/d": ("http://h/a/b/c/d", "path_segments"),
        "http://h/?a&b": ("http://h/?a&b", ""),
        "http://h/?a&b&c": ("http://h/?a&b&c", "query_params"),
        "http://h/?a&b&x": ("http://h/?a&b", ""),
        "http://h/a&b&c&d": ("http://h/a&b&c&d", ""),
    }
    assert {url: scope.judge(url, "h") for url in judged} == judged
