"""Lists of seeds in their many forms -> requests, one at a time. A bad line is a Refusal, never the end of the list.

.txt and anything else: a URL a line, blank lines and lines that start with # aside; .csv: a header with `url`, and
maybe priority, depth, to, meta (JSON), any other column being a key of meta; .jsonl: an object a line; .xml: a
sitemap, an index of sitemaps, RSS or Atom (`crawler.seed_sitemap`). What has no telling name is told by its first byte.
Any of them with gzip, and in UTF-16 with a byte order mark.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Annotated, Any, BinaryIO
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from crawler.error import BadUrl, SiteError
from crawler.model import PRIORITY_MAX, Request
from crawler.seed_file import LINE_BYTES_MAX, chunks, in_utf_8, lines_of, open_list, opening
from crawler.seed_sitemap import Fetch, Found, Refusal, Sitemaps, Taking, is_marked, is_robots
from crawler.sitemap import is_xml
from crawler.url import canonical
from crawler.urlform import Form

__all__ = ["Fetch", "Found", "Line", "Refusal", "Taking", "is_list", "is_url", "requests"]

_PLAIN = Form()


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of JSON, or of CSV: the fields of a Request that a seed may have."""

    url: str
    priority: Annotated[int, Meta(ge=0, le=PRIORITY_MAX)] = 0
    depth: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    to: Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")] = "parse"
    meta: dict[str, Any] = {}
    method: Annotated[str, Meta(pattern="^[A-Z]{1,20}$")] = "GET"
    headers: dict[str, str] = {}
    body: str = ""

    def request(self, chars_max: int, form: Form = _PLAIN) -> Request:
        """Raises BadUrl."""
        return Request(
            url=form.of(canonical(self.url.strip(), chars_max=chars_max)),
            priority=self.priority,
            depth=self.depth,
            to=self.to,
            meta=self.meta,
            method=self.method,
            headers=tuple(self.headers.items()),
            body=self.body.encode(),
        )


def _detail(error: BadUrl | SiteError) -> str:
    """What is to be said beside the reason."""
    return str(error).removeprefix(f"{error.reason}: ")


def is_url(source: str) -> bool:
    return "://" in source


def is_list(source: str) -> bool:
    """Whether a source is a list of seeds (a file, `-`, the URL of a sitemap) and not itself a seed."""
    if not is_url(source) or is_marked(source):
        return True
    return urlsplit(source).path.lower().removesuffix(".gz").endswith(".xml")


def requests(
    source: str, *, chars_max: int, fetch: Fetch | None = None, taking: Taking | None = None
) -> Iterator[Found]:
    """The requests of one source: a URL, a file's path, `-` for standard input, the URL of a sitemap (`is_list`).

    Raises SettingsError when a file is missing or cannot be opened. Cost: 5 µs a line of text; constant memory.
    """
    taking = taking or Taking(chars_max=chars_max)
    if not is_list(source) or (is_url(source) and fetch is None):
        try:
            yield Request(url=taking.url(source.strip()))
        except BadUrl as error:
            yield Refusal(source, 0, error.reason, _detail(error))
        return
    try:
        file = fetch(source) if fetch is not None and is_url(source) else open_list(source)
    except (SiteError, BadUrl) as error:
        if is_robots(source) and isinstance(error, SiteError) and 400 <= error.status < 500:
            yield from Sitemaps(taking, fetch).of_robots(source, BytesIO())
        else:
            yield Refusal(source, 0, error.reason, _detail(error))
        return
    try:
        yield from _of_file(source, file, taking, fetch)
    except (OSError, EOFError, zlib.error) as error:
        yield Refusal(
            source, 0, "gzip" if not isinstance(error, OSError) or error.errno is None else "read", str(error)
        )
    finally:
        if source != "-":
            file.close()


def _of_file(source: str, file: BinaryIO, taking: Taking, fetch: Fetch | None) -> Iterator[Found]:
    if is_robots(source):
        yield from Sitemaps(taking, fetch).of_robots(source, file)
        return
    start, whole = opening(in_utf_8(chunks(file)))  # it tells the form, where the name does not
    name = (urlsplit(source).path if is_url(source) else source).lower().removesuffix(".gz")
    if name.endswith(".csv"):
        yield from _csv(source, lines_of(whole), taking)
    elif name.endswith((".jsonl", ".ndjson")) or (start[:1] == b"{" and not name.endswith(".txt")):
        yield from _json(source, lines_of(whole), taking)
    elif is_xml(start) if is_marked(source) else name.endswith(".xml") or (is_xml(start) and name[-4:] != ".txt"):
        yield from Sitemaps(taking, fetch).of_file(source, whole, web=is_url(source))
    else:
        yield from _text(source, lines_of(whole), taking)


Lines = Iterator[tuple[int, bytes] | None]


def _text(source: str, read: Lines, taking: Taking) -> Iterator[Found]:
    for one in read:
        if one is None:
            yield None
            continue
        line = one[1].strip()
        if not line or line[0] == 35:  # "#"
            continue
        if len(line) > LINE_BYTES_MAX:
            yield Refusal(source, one[0], "line_max")
            continue
        try:
            yield Request(url=taking.url(line.decode()))
        except BadUrl as error:
            yield Refusal(source, one[0], error.reason, _detail(error))
        except UnicodeDecodeError as error:
            yield Refusal(source, one[0], "encoding", f"not UTF-8: {error.reason} at byte {error.start + 1}")


def _json(source: str, read: Lines, taking: Taking) -> Iterator[Found]:
    decode = msgspec.json.Decoder(Line).decode
    for one in read:
        if one is None:
            yield None
            continue
        number, line = one
        if len(line) > LINE_BYTES_MAX:
            yield Refusal(source, number, "line_max")
        elif line.strip():
            try:
                yield decode(line).request(taking.chars_max, taking.form)
            except BadUrl as error:
                yield Refusal(source, number, error.reason, _detail(error))
            except msgspec.ValidationError as error:
                yield Refusal(source, number, "field", str(error))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                yield Refusal(source, number, "json", str(error))


def _csv(source: str, read: Lines, taking: Taking) -> Iterator[Found]:
    # Bytes that are no UTF-8 become lone surrogates, so that they spoil only their own row.
    rows = csv.reader(one[1].decode("utf-8", "surrogateescape") + "\n" for one in read if one is not None)
    header: list[str] | None = None
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Refusal(source, rows.line_num, "csv", str(error))
            continue
        if not row or row == [""]:
            continue
        if header is None:
            header = [name.strip().lower() for name in row]
            if "url" in header:
                continue
            if not is_url(row[0]):
                yield Refusal(source, rows.line_num, "csv", f"no column url in the header {', '.join(row)[:200]}")
                return
            header = ["url"]
        yield _of_row(source, rows.line_num, header, row, taking)


def _of_row(source: str, number: int, header: list[str], row: list[str], taking: Taking) -> Found:
    if len(row) > len(header):
        return Refusal(source, number, "csv", f"{len(row)} fields under {len(header)} columns")
    fields: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    try:
        "".join(row).encode()
        for name, value in zip(header, row, strict=False):
            if name == "meta":
                meta |= msgspec.json.decode(value or "{}", type=dict[str, Any])
            elif name in ("priority", "depth"):
                fields[name] = int(value or 0)
            elif name in ("url", "to", "method"):
                fields |= {name: value} if value else {}
            elif value:
                meta[name] = value
        return msgspec.convert({**fields, "meta": meta}, Line).request(taking.chars_max, taking.form)
    except BadUrl as error:
        return Refusal(source, number, error.reason, _detail(error))
    except UnicodeEncodeError:
        return Refusal(source, number, "encoding", "not UTF-8")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Refusal(source, number, "field", str(error))
