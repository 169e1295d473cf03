"""What `crawler fetch` shows of an answer, for people. Pure: from the values that `--json` has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from crawler.cli.text import number, printable, shorten, size

VALUE_WIDTH = 100
"""Longer header values and items are cut in the middle, unless all is shown."""
LINKS_SHOWN = 10


def head(view: Mapping[str, Any], *, full: bool) -> Iterator[str]:
    """The way there, the answer's head, and what is known of the connection."""
    for hop in view["hops"]:
        yield f"{hop['status'] or '---'}  {hop['seconds']:.3f} s  {printable(hop['url'])}"
    yield ""
    if view["status_line"]:
        yield printable(view["status_line"])
    yield from (f"{printable(name)}: {_cut(value, full)}" for name, value in view["headers"])
    if view["headers"]:
        yield ""
    if view["address"]:
        yield f"address   {view['address']}"
    timing = view["timing"]
    if timing["total_s"]:
        yield (
            f"time      name {timing['dns_s']:.3f} s, connect {timing['connect_s']:.3f} s, "
            f"first byte {timing['first_byte_s']:.3f} s, total {timing['total_s']:.3f} s"
        )
    if view["robots"]:
        yield f"robots    {_cut(view['robots'], full)}"


def body(view: Mapping[str, Any], *, full: bool) -> Iterator[str]:
    """What the page has, and what the spider makes of it."""
    if view["skipped"]:
        yield f"body      not read: {view['skipped']} (see fetch.content_types)"
        return
    yield f"body      {size(view['wire_bytes'])} on the wire, {size(view['bytes'])} decompressed"
    yield f"charset   {view['charset']} ({view['charset_from']})"
    followed = number(len(view["requests"]))
    yield f"links     {number(len(view['links']))} distinct; the spider follows {followed} in scope"
    shown = view["requests"] if full else view["requests"][:LINKS_SHOWN]
    yield from (f"          {_cut(url, full)}" for url in shown)
    if len(shown) < len(view["requests"]):
        yield f"          and {number(len(view['requests']) - len(shown))} more: --full"
    if view["failure"]:
        yield f"spider    failed: {printable(view['failure'])}"
    yield f"items     {number(len(view['items']))}"
    for item in view["items"]:
        yield f"  {printable(item['kind'])}  {item['id']}"
        for key, value in item["data"].items():
            yield f"    {printable(key)}: {_cut(json.dumps(value, ensure_ascii=False), full)}"


def _cut(text: str, full: bool) -> str:
    return printable(text) if full else shorten(printable(text), VALUE_WIDTH)
