"""Processors: what each does, alone and in a row, and what their settings may say."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crawler import app, settings
from crawler.error import Reject, SettingsError
from crawler.model import Message, Record
from crawler.settings import PipelineTable
from pipelines.processors.chain import Chain, steps

LIST_PIPELINE = "pipelines.jsonl:JsonLines"


class Sink:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.closed = 0

    def store(self, messages: Sequence[Message]) -> None:
        self.messages += messages

    def close(self) -> None:
        self.closed += 1

    def items(self) -> dict[str, Any]:
        return {record.id: record.fields() for message in self.messages for record in message.records}


def message(id: str, *items: dict[str, Any] | bytes, kind: str = "product") -> Message:
    raws = [item if isinstance(item, bytes) else msgspec.json.encode(item) for item in items]
    return Message(
        id=id,
        kind=kind,
        url="https://e.com/",
        fetched_at="2026-01-31T12:00:00.000Z",
        spider="s",
        records=tuple(Record(f"{id}{n}", msgspec.Raw(raw)) for n, raw in enumerate(raws)),
    )


def chain(*entries: dict[str, Any], beside: str = "") -> tuple[Chain, Sink]:
    sink = Sink()
    return Chain("out", steps(entries, where="[pipelines.out]", beside=beside), sink), sink


def one(fields: dict[str, Any], *entries: dict[str, Any]) -> dict[str, Any] | None:
    """What becomes of an item; None: dropped."""
    pipeline, sink = chain(*entries)
    pipeline.store([message("m", fields)])
    assert [found.id for found in sink.messages] == ["m"]
    return sink.items().get("m0")


OFFER = {"currency": "EUR", "seller": {"mail": "x@y.z"}}
SHIRT = {"sku": "a1", "price": 0, "title": "Sample shirt", "offer": OFFER}


@pytest.mark.parametrize(
    ("where", "dropped"),
    [
        ({"price": 0}, True),
        ({"price": 0.0}, True),
        ({"price": False}, False),
        ({"price": 1}, False),
        ({"price": "0"}, False),
        ({"offer.currency": "EUR"}, True),
        ({"offer.currency": "USD"}, False),
        ({"offer": {"equals": SHIRT["offer"]}}, True),
        ({"title": {"matches": "(?i)sample"}}, True),
        ({"title": {"matches": "^shirt"}}, False),
        ({"price": {"matches": "0"}}, False),
        ({"nothing": {"missing": True}}, True),
        ({"title": {"missing": True}}, False),
        ({"title": {"missing": False}}, True),
        ({"price": {"missing": True}}, False),
        ({"nothing": {"matches": ""}}, False),
        ({"price": 0, "title": {"matches": "shirt"}}, True),
        ({"price": 0, "title": {"matches": "shoe"}}, False),
    ],
)
def test_drop(where: dict[str, Any], dropped: bool) -> None:
    assert one(SHIRT, {"use": "drop", "where": where}) == (None if dropped else SHIRT)


@pytest.mark.parametrize(
    ("value", "missing"), [(None, True), ("", True), ([], True), ({}, True), (0, False), (False, False)]
)
def test_what_is_missing(value: Any, missing: bool) -> None:
    assert (one({"a": value}, {"use": "drop", "where": {"a": {"missing": True}}}) is None) is missing


@pytest.mark.parametrize(
    ("entry", "fields"),
    [
        ({"use": "keep", "fields": ["sku", "price", "no"]}, {"sku": "a1", "price": 0}),
        (
            {"use": "remove", "fields": ["title", "offer.seller", "no.such"]},
            {"sku": "a1", "price": 0, "offer": {"currency": "EUR"}},
        ),
        (
            {"use": "rename", "fields": {"sku": "id", "no": "x"}},
            {"id": "a1", "price": 0, "title": "Sample shirt", "offer": OFFER},
        ),
        ({"use": "redact", "fields": ["sku", "no"]}, {**SHIRT, "sku": "***"}),
        ({"use": "redact", "fields": ["offer"], "replacement": ""}, {**SHIRT, "offer": ""}),
        ({"use": "redact", "fields": ["offer.currency"]}, {**SHIRT, "offer": {**OFFER, "currency": "***"}}),
        (
            {"use": "redact", "patterns": [r"\w+@\w+", "[Ss]hirt"]},
            {**SHIRT, "title": "Sample ***", "offer": {**OFFER, "seller": {"mail": "***.z"}}},
        ),
    ],
)
def test_fields(entry: dict[str, Any], fields: dict[str, Any]) -> None:
    assert one(SHIRT, entry) == fields


def test_rename_replaces_and_exchanges() -> None:
    assert one({"a": 1, "b": 2, "c": 3}, {"use": "rename", "fields": {"a": "b"}}) == {"b": 1, "c": 3}
    assert one({"a": 1, "b": 2}, {"use": "rename", "fields": {"a": "b", "b": "a"}}) == {"b": 1, "a": 2}


def test_a_field_with_a_dot_in_its_own_name_goes_first() -> None:
    item = {"a.b": 1, "a": {"b": 2}}
    assert one(item, {"use": "remove", "fields": ["a.b"]}) == {"a": {"b": 2}}


def test_a_hash_is_stable_keyed_and_tells_values_apart() -> None:
    def hashed(value: Any, **options: Any) -> Any:
        found = one({"a": value}, {"use": "redact", "fields": ["a"], "hash": True, **options})
        assert found is not None
        return found["a"]

    values = [hashed("x"), hashed("y"), hashed("x", salt="s"), hashed({"x": 1, "y": 2})]
    assert len(set(values)) == 4
    assert all(len(value) == 32 for value in values)
    assert hashed("x") == values[0]
    assert hashed({"y": 2, "x": 1}) == values[3]
    assert hashed(None) is None


def test_kinds() -> None:
    pipeline, sink = chain(
        {"use": "keep", "kinds": ["shop.*"], "fields": []}, {"use": "drop", "kinds": "news", "where": {"a": 1}}
    )
    pipeline.store([message(str(at), {"a": 1}, kind=kind) for at, kind in enumerate(["shop.x", "shop", "news"])])
    assert sink.items() == {"00": {}, "10": {"a": 1}}


PRODUCT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "required": ["price"],
    "properties": {"price": {"type": "number", "exclusiveMinimum": 0}, "tags": {"items": {"type": "string"}}},
}


def test_the_message_of_an_invalid_item_is_refused_with_place_and_rule(tmp_path: Path) -> None:
    (tmp_path / "product.json").write_text(json.dumps(PRODUCT))
    pipeline, sink = chain({"use": "validate", "schema_file": str(tmp_path / "product.json")})
    good, bad = message("good", {"price": 1}), message("bad", {"price": 2}, {"price": 1, "tags": ["a", 7]})
    other = message("other", {})
    left, reasons = [good, bad, other], []
    while True:
        try:
            pipeline.store(left)
            break
        except Reject as error:
            reasons.append((error.reason, error.ids))
            left = [one for one in left if one.id not in error.ids]
    assert reasons == [
        ('schema: /tags/1: 7 is not of type "string" (/properties/tags/items/type)', {"bad"}),
        ('schema: the item: "price" is a required property (/required)', {"other"}),
    ]
    assert sink.items() == {"good0": {"price": 1}}


def test_an_invalid_item_may_be_dropped_instead() -> None:
    pipeline, sink = chain({"use": "validate", "schema": PRODUCT, "invalid": "drop"})
    pipeline.store([message("m", {"price": 1}, {"price": 0}, {"price": "1"}, {"price": 2})])
    assert sink.items() == {"m0": {"price": 1}, "m3": {"price": 2}}


@pytest.mark.parametrize("beside", ["", "state"])
def test_the_first_of_a_key_is_stored_also_when_it_comes_again(beside: str, tmp_path: Path) -> None:
    beside = beside and str(tmp_path / beside)
    entry = {"use": "deduplicate", "key": ["sku", "offer.currency"]}
    pipeline, sink = chain(entry, beside=beside)
    first = message(
        "m1", {"sku": 1, "offer": {"currency": "EUR"}}, {"sku": 1, "offer": {"currency": "EUR"}, "again": 1}
    )
    others = message(
        "m2", {"sku": 1}, {"sku": 1, "offer": {"currency": "USD"}}, {"sku": "1"}, {"other": 1}, {"other": 1}
    )
    pipeline.store([first])
    pipeline.store([first, others, message("m3", {"sku": 1, "offer": {"currency": "EUR"}})])
    assert list(sink.items()) == ["m10", "m20", "m21", "m22", "m23", "m24"]
    pipeline.store([message("m4", {"sku": 1, "offer": {"currency": "EUR"}}, kind="other")])
    assert "m40" in sink.items()
    pipeline.close()
    if beside:
        assert len([path for path in tmp_path.iterdir() if path.suffix == ".keys"]) == 1
        pipeline, sink = chain({"use": "keep", "fields": ["sku", "offer"]}, entry, beside=beside)
        pipeline.store([message("m5", {"sku": 1, "offer": {"currency": "EUR"}}), first])
        assert list(sink.items()) == ["m10"]
        pipeline.close()


def test_an_item_that_is_refused_takes_no_key() -> None:
    pipeline, sink = chain({"use": "validate", "schema": PRODUCT}, {"use": "deduplicate", "key": ["sku"]})
    with pytest.raises(Reject):
        pipeline.store([message("bad", {"sku": 1, "price": 0}), message("good", {"sku": 1, "price": 5})])
    pipeline.store([message("good", {"sku": 1, "price": 5})])
    assert list(sink.items()) == ["good0"]


def test_ids_stay_and_data_that_nothing_changed_stays_byte_by_byte() -> None:
    raw = b'{"price": 1.10, "n":123456789012345678901234567890}'
    pipeline, sink = chain(
        {"use": "drop", "where": {"price": 0}},
        {"use": "rename", "fields": {"no": "such"}},
        {"use": "redact", "fields": ["no"], "patterns": ["nowhere"]},
    )
    pipeline.store([message("m", raw, {"price": 0}, raw)])
    (got,) = sink.messages
    assert [(record.id, bytes(record.data)) for record in got.records] == [("m0", raw), ("m2", raw)]


OWN = """
class Currency:
    def __init__(self, *, to, rate=2):
        self.to, self.rate = to, rate
    def process(self, fields):
        if fields.get("bad"):
            raise ValueError("no rate")
        if "price" not in fields:
            return None
        fields["price"] *= self.rate
        fields["currency"] = self.to
        return fields
class Odd:
    def process(self, fields):
        return [fields]
class Nothing:
    pass
class Any:
    def __init__(self, **options):
        self.options = options
    def process(self, fields):
        return self.options
"""


def test_a_processor_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN)
    pipeline, sink = chain({"use": f"{own}:Currency", "to": "EUR"}, {"use": f"{own}:Currency", "to": "USD", "rate": 1})
    pipeline.store([message("m", {"price": 2}, {})])
    assert sink.items() == {"m0": {"price": 4, "currency": "USD"}}
    with pytest.raises(ValueError, match="no rate"):
        pipeline.store([message("x", {"bad": 1})])
    assert one({}, {"use": f"{own}:Any", "a": 1}) == {"a": 1}
    with pytest.raises(TypeError, match="Odd: process returned list, not a dict or None"):
        one({}, {"use": f"{own}:Odd"})
    with pytest.raises(SettingsError, match="no method process"):
        chain({"use": f"{own}:Nothing"})


def test_what_was_dropped_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pipelines.processors.chain")
    pipeline, sink = chain({"use": "drop", "where": {"a": 1}}, {"use": "deduplicate", "key": ["b"]})
    pipeline.store([message("m", {"a": 1}, {"a": 1}, {"b": 1}, {"b": 1})])
    pipeline.store([message("n", {"b": 2}), message("o", {"a": 1})])
    pipeline.close()
    assert caplog.messages == [
        "out: 3 items dropped (drop 2, deduplicate 1)",
        "out: 1 items dropped (drop 1)",
        "out: 4 items dropped (drop 3, deduplicate 1) in all",
    ]
    assert sink.closed == 1


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({}, r"processors\[1\]: use is missing; there is deduplicate, drop"),
        ({"use": 7}, "use is missing"),
        ({"use": "dorp"}, "unknown processor dorp; did you mean drop"),
        ({"use": "drop", "were": {}}, r"processors\[1\] \(drop\): unknown option were, did you mean where"),
        ({"use": "drop"}, "where is missing"),
        ({"use": "drop", "where": {}}, "table of conditions"),
        ({"use": "drop", "where": ["a"]}, "table of conditions"),
        ({"use": "drop", "where": {"a": {"mising": True}}}, "a: unknown test mising; did you mean missing"),
        ({"use": "drop", "where": {"a": {"missing": 1}}}, "missing is true or false"),
        ({"use": "drop", "where": {"a": {"matches": "("}}}, "not a regular expression"),
        ({"use": "drop", "where": {"a": {"matches": 1}}}, "matches is a string"),
        ({"use": "drop", "where": {"a": {"matches": "a", "missing": True}}}, "expected one of"),
        ({"use": "keep", "fields": [1]}, "fields: expected an array of strings"),
        ({"use": "keep", "fields": ["a"], "kinds": {}}, "kinds: expected"),
        ({"use": "rename", "fields": ["a"]}, "table of new names"),
        ({"use": "rename", "fields": {"a": "c", "b": "c"}}, "same new name"),
        ({"use": "deduplicate", "key": []}, "at least one field"),
        ({"use": "redact"}, "say what is to be redacted"),
        ({"use": "redact", "patterns": ["("]}, "not a regular expression"),
        ({"use": "redact", "fields": ["a"], "salt": "x"}, "salt: it is for hash"),
        ({"use": "validate"}, "give one of them"),
        ({"use": "validate", "schema": 1}, "a table"),
        ({"use": "validate", "schema": {}, "invalid": "burry"}, 'expected "bury" or "drop"'),
        ({"use": "validate", "schema": {"type": "objekt"}}, "not a JSON Schema"),
        ({"use": "validate", "schema": {"$ref": "http://127.0.0.1:9/x"}}, "not a JSON Schema.*not fetched"),
        ({"use": "validate", "schema": {"$ref": "file:///etc/passwd"}}, "not a JSON Schema.*not fetched"),
        ({"use": "validate", "schema_file": "/nowhere.json"}, "cannot be read"),
        ({"use": "nowhere:Thing"}, "no module nowhere"),
    ],
)
def test_settings_that_are_refused(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=rf"\[pipelines\.out\] .*{said}"):
        chain(entry)


def test_from_a_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(
        f"""
        [pipelines.prices]
        use = "{LIST_PIPELINE}"
        path = "{tmp_path}/prices.jsonl"
        batch_max = 7
        batch_bytes_max = 5_000_000
        processors = [
            {{ use = "drop", where = {{ price = {{ missing = true }} }} }},
            {{ use = "rename", fields = {{ preis = "price" }} }},
        ]
        """
    )
    loaded = settings.load(str(path))
    table = loaded.pipelines["prices"]
    assert table.arguments == {"path": f"{tmp_path}/prices.jsonl"}
    assert table.batches(loaded.exchange).batch_max == 7
    assert table.batches(loaded.exchange).batch_bytes_max == 5_000_000
    assert table.batches(loaded.exchange).batch_wait_s == loaded.exchange.batch_wait_s
    app.check_pipeline("prices", table)
    pipeline = app.make_pipeline("prices", table)
    pipeline.store([message("m", {"price": 1, "preis": 2}, {})])
    pipeline.close()
    (line,) = (tmp_path / "prices.jsonl").read_text().splitlines()
    assert json.loads(line)["data"] == {"price": 2}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('processors = "drop"', "processors: expected an array of tables"),
        ('processors = ["drop"]', "processors: expected an array of tables"),
        ("batch_max = 0", "batch_max: expected a whole number from 1"),
        ("batch_bytes_max = 0", "batch_bytes_max: expected a whole number from 1"),
        ("batch_wait_s = -1", "batch_wait_s: expected a number from 0"),
    ],
)
def test_a_table_that_is_refused(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(f'[pipelines.a]\nuse = "{LIST_PIPELINE}"\n{line}\n')
    with pytest.raises(SettingsError, match=said):
        settings.load(str(path))


def test_secrets_of_a_pipeline_are_not_shown() -> None:
    table = PipelineTable(use="pipelines.webhook:Webhook", arguments={"secret": "hush", "url": "http://me:hush@x/"})
    assert "hush" not in repr(table)


def test_whole_pages_have_no_processors(tmp_path: Path) -> None:
    (tmp_path / "raw.py").write_text("class Raw:\n    takes = 'raw'\n    def store(self, messages): ...\n")
    table = PipelineTable(use=f"{tmp_path}/raw.py:Raw", processors=({"use": "keep", "fields": ["a"]},))
    with pytest.raises(SettingsError, match="takes whole pages"):
        app.check_pipeline("raw", table)
