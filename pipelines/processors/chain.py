"""Processors before a pipeline: a pipeline itself, so that the consumer need not know of them."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from crawler import plugin
from crawler.error import CrawlError, SettingsError
from crawler.exchange.routing import matches
from crawler.model import Message, Record
from crawler.strict import did_you_mean
from pipelines import Pipeline, Reject
from pipelines.processors import Fields, Processor
from pipelines.processors.deduplicate import Deduplicate
from pipelines.processors.path import texts

BUILT_IN: Final = {
    "deduplicate": "pipelines.processors.deduplicate:Deduplicate",
    "drop": "pipelines.processors.drop:Drop",
    "keep": "pipelines.processors.columns:Keep",
    "redact": "pipelines.processors.redact:Redact",
    "remove": "pipelines.processors.columns:Remove",
    "rename": "pipelines.processors.columns:Rename",
    "validate": "pipelines.processors.validate:Validate",
}
"""Word in `use` -> class."""

_log = logging.getLogger(__name__)


class Step(NamedTuple):
    """A processor in its place."""

    name: str
    """As in `use`."""
    processor: Processor
    kinds: tuple[str, ...] = ("#",)

    def takes(self, kind: str) -> bool:
        return any(matches(pattern, kind) for pattern in self.kinds)


class _Entry:
    """An item on its way through the steps."""

    __slots__ = ("changed", "fields", "message", "place", "record")

    def __init__(self, place: int, message: Message, record: Record) -> None:
        self.place = place
        self.message = message
        self.record = record
        self.fields: Fields | None = record.fields()
        self.changed = False


def steps(entries: Sequence[Mapping[str, Any]], *, where: str, beside: str = "") -> tuple[Step, ...]:
    """The processors of a settings table, in order. `where`: for messages. `beside`: begin of the paths of files that
    they keep; empty: they keep none. Raises SettingsError naming the entry, from 1, and the option."""
    return tuple(_step(entry, f"{where} processors[{at}]", beside) for at, entry in enumerate(entries, 1))


def _step(entry: Mapping[str, Any], where: str, beside: str) -> Step:
    options = dict(entry)
    use, kinds = options.pop("use", None), options.pop("kinds", ("#",))
    if not isinstance(use, str):
        raise SettingsError(f"{where}: use is missing; {did_you_mean('', BUILT_IN)}, or name a class: file.py:Class")
    if ":" not in use and use not in BUILT_IN:
        raise SettingsError(f"{where}: unknown processor {use}; {did_you_mean(use, BUILT_IN)}")
    try:
        kind = plugin.load(BUILT_IN.get(use, use))
        processor = _made(kind, options)
        step = Step(use, processor, texts("kinds", kinds))
    except CrawlError as error:
        raise SettingsError(f"{where} ({use}): {error}") from error
    except Exception as error:
        missing = plugin.missing_extra(f"{where} ({use})", error)
        raise missing or SettingsError(f"{where} ({use}): {type(error).__name__}: {error}") from error
    if isinstance(processor, Deduplicate) and beside:
        processor.place(beside)
    return step


def _made(kind: type[Any], options: dict[str, Any]) -> Processor:
    signature = inspect.signature(kind)
    takes = [name for name, one in signature.parameters.items() if one.kind is not one.VAR_KEYWORD]
    if len(takes) == len(signature.parameters):
        for name in options:
            if name not in takes:
                raise SettingsError(f"unknown option {name}, {did_you_mean(name, ('kinds', *takes))}")
    for name, one in signature.parameters.items():
        if one.default is one.empty and name not in options and one.kind is not one.VAR_KEYWORD:
            raise SettingsError(f"{name} is missing")
    processor: Processor = kind(**options)
    if not callable(getattr(processor, "process", None)):
        raise SettingsError("the class has no method process(fields)")
    return processor


class Chain:
    """The steps, then the pipeline's `store`."""

    def __init__(self, name: str, made: Sequence[Step], pipeline: Pipeline) -> None:
        """`name`: the pipeline's, for the log."""
        self._name = name
        self._steps = tuple(made)
        self._pipeline = pipeline
        self._dropped: Counter[str] = Counter()

    def store(self, messages: Sequence[Message]) -> None:
        """Raises Reject with the messages that a step refuses for one reason, before anything is stored; and what the
        pipeline's `store` raises. Cost: one decoding an item, one encoding a changed one, and the steps."""
        entries = [_Entry(at, message, record) for at, message in enumerate(messages) for record in message.records]
        refused: dict[str, set[str]] = {}
        dropped: Counter[str] = Counter()
        for step in self._steps:
            self._run(step, entries, refused, dropped)
        for reason, ids in refused.items():
            raise Reject(reason, frozenset(ids))
        self._pipeline.store(_messages(messages, entries))
        if dropped.total():
            self._dropped += dropped
            _log.debug("%s: %s", self._name, _told(dropped))

    def _run(self, step: Step, entries: Sequence[_Entry], refused: dict[str, set[str]], dropped: Counter[str]) -> None:
        takes = {kind: step.takes(kind) for kind in {entry.message.kind for entry in entries}}
        mine = [entry for entry in entries if entry.fields is not None and takes[entry.message.kind]]
        if isinstance(step.processor, Deduplicate):
            known = set[str]().union(*refused.values())
            mine = [entry for entry in mine if entry.message.id not in known]
            asked = [(entry.record.id, entry.message.kind, entry.fields or {}) for entry in mine]
            for entry, first in zip(mine, step.processor.first(asked), strict=True):
                entry.fields = entry.fields if first else None
        else:
            copies = getattr(step.processor, "copies", False)
            for entry in mine:
                _process(step, entry, copies, refused)
        dropped[step.name] += sum(entry.fields is None for entry in mine)

    def close(self) -> None:
        if self._dropped.total():
            _log.info("%s: %s in all", self._name, _told(self._dropped))
        for step in self._steps:
            if close := getattr(step.processor, "close", None):
                close()
        if close := getattr(self._pipeline, "close", None):
            close()


def _process(step: Step, entry: _Entry, copies: bool, refused: dict[str, set[str]]) -> None:
    before = entry.fields
    assert before is not None
    try:
        fields = step.processor.process(before)
    except Reject as error:
        refused.setdefault(error.reason, set()).add(entry.message.id)
        return
    if fields is not None and not isinstance(fields, dict):
        raise TypeError(f"{step.name}: process returned {type(fields).__name__}, not a dict or None")
    entry.changed |= fields is not before or not copies
    entry.fields = fields


def _messages(messages: Sequence[Message], entries: Sequence[_Entry]) -> list[Message]:
    """The messages with what is left of their items; ids as they were. Data that no step changed stays as it came."""
    left: dict[int, list[Record]] = {}
    touched = set()
    for entry in entries:
        whose = entry.place
        if entry.changed or entry.fields is None:
            touched.add(whose)
        if entry.fields is not None:
            data = msgspec.Raw(msgspec.json.encode(entry.fields)) if entry.changed else entry.record.data
            left.setdefault(whose, []).append(Record(entry.record.id, data))
    return [
        msgspec.structs.replace(message, records=tuple(left.get(at, ()))) if at in touched else message
        for at, message in enumerate(messages)
    ]


def _told(dropped: Counter[str]) -> str:
    whose = ", ".join(f"{name} {count}" for name, count in dropped.items() if count)
    return f"{dropped.total()} items dropped ({whose})"
