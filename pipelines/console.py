"""Items printed as they come, one line each: for a first look. What is delivered again is printed again."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from crawler.model import Message

_UNPRINTABLE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
"""Control characters: text from the web must not drive the terminal."""


class Console:
    """Colours, and lines cut to the width, only on a terminal; no colours if NO_COLOR is set (no-color.org)."""

    writers = 1

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._colours = self._terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._reader_left = False

    def store(self, messages: Sequence[Message]) -> None:
        """When the reader of a pipe leaves, the rest goes nowhere, as with any command before `head`."""
        if self._reader_left:
            return
        width = shutil.get_terminal_size().columns if self._terminal else 0
        lines = [self._line(message, record.fields(), width) for message in messages for record in message.records]
        try:
            sys.stdout.write("".join(lines))
            sys.stdout.flush()
        except BrokenPipeError:
            self._reader_left = True
            with open(os.devnull, "wb") as nowhere:  # or the flush at exit fails again
                os.dup2(nowhere.fileno(), sys.stdout.fileno())

    def _line(self, message: Message, fields: dict[str, Any], width: int) -> str:
        values = " ".join(f"{name}={_text(value)}" for name, value in fields.items())
        line = f"{message.kind} {message.url} {values}".translate(_UNPRINTABLE)
        if width and len(line) > width:
            line = f"{line[: width - 1]}…"
        if self._colours:
            kind = message.kind.translate(_UNPRINTABLE)
            line = f"\x1b[36m{kind}\x1b[0m{line[len(kind) :]}"
        return f"{line}\n"


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
