"""Lists of seeds in their many forms -> requests, one at a time. A bad line is a Refusal, never the end of the list.

.txt and anything else: a URL a line, blank lines and lines that start with # aside; .csv: a header with `url`, and
maybe priority, depth, to, meta (JSON), any other column being a key of meta; .jsonl: an object a line; .xml: a sitemap
or an index of sitemaps (sitemaps.org 0.9). What has no telling name is told by its first byte. Any of them with gzip.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable, Iterator
from typing import Annotated, Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from crawler.error import BadUrl, SiteError
from crawler.model import PRIORITY_MAX, Request
from crawler.seed_file import LINE_BYTES_MAX, lines, open_list
from crawler.url import canonical

Fetch = Callable[[str], BinaryIO]
"""Gets a list by its http or https URL; raises SiteError or BadUrl."""

SITEMAPS_DEPTH_MAX = 3
"""An index may name an index, and that one more; the standard allows none."""


class Refusal(NamedTuple):
    """A line that gave no request."""

    source: str
    line: int
    """From 1; 0: the source as a whole."""
    reason: str
    """`not_a_url`, `scheme`, `credentials`, `too_long`, `encoding`, `line_max`, `json`, `csv`, `field`, `gzip`, `read`,
    `sitemap`, `too_large`, or the reason of a list that could not be fetched."""
    detail: str = ""


Found = Request | Refusal | None
"""None: what comes next may take its time; a good moment to pass on what has come."""


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

    def request(self, chars_max: int) -> Request:
        """Raises BadUrl."""
        return Request(
            url=canonical(self.url.strip(), chars_max=chars_max),
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
    return not is_url(source) or urlsplit(source).path.lower().removesuffix(".gz").endswith(".xml")


def requests(source: str, *, chars_max: int, fetch: Fetch | None = None, nested: int = 0) -> Iterator[Found]:
    """The requests of one source: a URL, a file's path, `-` for standard input, the URL of a sitemap.

    Raises SettingsError when a file is missing or cannot be opened. Cost: 5 µs a line of text; constant memory.
    """
    if not is_list(source) or (is_url(source) and fetch is None):
        try:
            yield Request(url=canonical(source.strip(), chars_max=chars_max))
        except BadUrl as error:
            yield Refusal(source, 0, error.reason, _detail(error))
        return
    try:
        file = fetch(source) if fetch is not None and is_url(source) else open_list(source)
    except (SiteError, BadUrl) as error:
        yield Refusal(source, 0, error.reason, _detail(error))
        return
    try:
        yield from _of_file(source, file, chars_max, fetch, nested)
    except (OSError, EOFError, zlib.error) as error:
        yield Refusal(
            source, 0, "gzip" if not isinstance(error, OSError) or error.errno is None else "read", str(error)
        )
    finally:
        if source != "-":
            file.close()


def _of_file(source: str, file: BinaryIO, chars_max: int, fetch: Fetch | None, nested: int) -> Iterator[Found]:
    read = lines(file)
    first = b""
    seen: list[tuple[int, bytes] | None] = []
    for one in read:  # the first line that says something tells the form, where the name does not
        seen.append(one)
        if one is not None and (first := one[1].lstrip()):
            break
    whole = _chain(seen, read)
    name = (urlsplit(source).path if is_url(source) else source).lower().removesuffix(".gz")
    if name.endswith(".csv"):
        yield from _csv(source, whole, chars_max)
    elif name.endswith((".jsonl", ".ndjson")) or (first[:1] == b"{" and not name.endswith(".txt")):
        yield from _json(source, whole, chars_max)
    elif name.endswith(".xml") or (first[:1] == b"<" and not name.endswith(".txt")):
        yield from _sitemap(source, whole, chars_max, fetch, nested)
    else:
        yield from _text(source, whole, chars_max)


Lines = Iterator[tuple[int, bytes] | None]


def _chain(seen: list[tuple[int, bytes] | None], read: Lines) -> Lines:
    yield from seen
    yield from read


def _text(source: str, read: Lines, chars_max: int) -> Iterator[Found]:
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
            yield Request(url=canonical(line.decode(), chars_max=chars_max))
        except BadUrl as error:
            yield Refusal(source, one[0], error.reason, _detail(error))
        except UnicodeDecodeError as error:
            yield Refusal(source, one[0], "encoding", f"not UTF-8: {error.reason} at byte {error.start + 1}")


def _json(source: str, read: Lines, chars_max: int) -> Iterator[Found]:
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
                yield decode(line).request(chars_max)
            except BadUrl as error:
                yield Refusal(source, number, error.reason, _detail(error))
            except msgspec.ValidationError as error:
                yield Refusal(source, number, "field", str(error))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                yield Refusal(source, number, "json", str(error))


def _csv(source: str, read: Lines, chars_max: int) -> Iterator[Found]:
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
        yield _of_row(source, rows.line_num, header, row, chars_max)


def _of_row(source: str, number: int, header: list[str], row: list[str], chars_max: int) -> Found:
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
        return msgspec.convert({**fields, "meta": meta}, Line).request(chars_max)
    except BadUrl as error:
        return Refusal(source, number, error.reason, _detail(error))
    except UnicodeEncodeError:
        return Refusal(source, number, "encoding", "not UTF-8")
    except (msgspec.MsgspecError, ValueError) as error:
        return Refusal(source, number, "field", str(error))


def _sitemap(source: str, read: Lines, chars_max: int, fetch: Fetch | None, nested: int) -> Iterator[Found]:
    from crawler.seed_sitemap import Locations

    for number, is_sitemap, url, problem in Locations().read(read):
        if problem:
            yield Refusal(source, number, "sitemap", problem)
        elif is_sitemap and nested >= SITEMAPS_DEPTH_MAX:
            yield Refusal(source, number, "sitemap", f"an index within {nested} others")
        elif is_sitemap and fetch is None:
            yield Refusal(source, number, "sitemap", f"a list on the web cannot be fetched here: {url}")
        elif is_sitemap and is_url(url):
            yield None
            yield from requests(url, chars_max=chars_max, fetch=fetch, nested=nested + 1)
        else:
            try:
                yield Request(url=canonical(url, chars_max=chars_max))
            except BadUrl as error:
                yield Refusal(source, number, error.reason, _detail(error))
