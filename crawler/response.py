"""What a server answered, and how its Content-Type is read."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What a server answered, with status 200 to 399."""

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
    skipped: str = ""
    """Why the body was not read: `content_type`, or empty."""
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
