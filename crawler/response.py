"""What a server answered, and how its Content-Type is read."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How long the parts of a fetch took, in seconds; 0.0 for a part that was not needed."""

    dns_s: float = 0.0
    connect_s: float = 0.0
    """Until the connection stood, TLS included."""
    first_byte_s: float = 0.0
    """From then to the head of the response."""


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What a server answered, with status 200 to 399. A HEAD has no body."""

    url: str
    """Canonical; after followed redirects that of the last one."""
    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    body: bytes = b""
    """Decompressed."""
    charset: str | None = None
    """As in the Content-Type header, unchecked."""
    seconds: float = 0.0
    """From the request to the last byte."""
    wire_bytes: int = 0
    """Body as transferred."""
    fetched_at: str = ""
    """RFC 3339, UTC, milliseconds."""
    redirect: str | None = None
    """Canonical target of a redirect that was not followed."""
    media_type: str = ""
    """What the body is, where that is not what the server says (`crawler.sniff`); else empty."""
    skipped: str = ""
    """Why there is no body: `content_type` (not read), `not_modified` (304), or empty."""
    kept: bool = False
    """It came from the cache for development, not from the host."""
    hops: tuple[str, ...] = ()
    """URLs that redirected here, when they were followed."""

    @property
    def content_type(self) -> str:
        """`text/html`: lower case, without parameters; empty when the server named none."""
        return essence(self.headers.get("Content-Type", ""))


def essence(content_type: str) -> str:
    """`text/html` of `Text/HTML; charset=x`."""
    return content_type.partition(";")[0].strip().lower()


def charset_of(content_type: str) -> str | None:
    """The charset parameter of a Content-Type header, unchecked."""
    _, found, rest = content_type.partition("charset=")
    if not found:
        lower = content_type.lower()
        if "charset" not in lower:
            return None
        rest = lower.partition("charset")[2].lstrip().removeprefix("=")
    return rest.partition(";")[0].strip(" \t\"'") or None
