"""Items posted to a URL, in batches: a JSON array of the objects that a line of `pipelines.jsonl` is.

At least once: a consumer that dies between the answer and its note of it posts the batch again, maybe cut otherwise. So
a receiver that must have each item once keeps the items' ids. The same batch repeated has the same `Idempotency-Key`, a
hash of the ids of its messages.

    2xx                                  stored
    408 425 429 5xx, no answer in time   waited for, as long as Retry-After says, and nothing is charged
    3xx 401 403 404 405 407 410          likewise, with a warning: the URL or the secret is wrong, not the items
    413                                  halved, until one message alone is too large: rejected
    other 4xx                            halved, until the bad message is alone: rejected, with the answer's beginning

With a `secret` each request is signed as Standard Webhooks 1.0 says (standardwebhooks.com): `webhook-signature` is
`v1,` and the base64 of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`; the id is the Idempotency-Key.

The standard library's client does all that a store needs: one connection kept open, no redirect followed, nothing to
install. It knows no proxy.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import http.client
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from crawler.error import SettingsError
from crawler.model import Message
from crawler.version import VERSION
from pipelines import Reject, Unavailable
from pipelines.jsonl import objects

RETRY_AFTER_MAX_S: Final = 3_600.0
"""A longer wait that a server asks for is cut to this."""

ANSWER_BYTES_MAX: Final = 65_536
"""Read of an answer; one that is longer ends the connection."""

EXCERPT_CHARS_MAX: Final = 200
"""Of an answer in a rejection's reason."""

ACCEPTED_MAX: Final = 100_000
"""Messages remembered as stored while the rest of their batch is not."""

_AWAY: Final = frozenset({408, 425, 429})
_WRONG: Final = frozenset({401, 403, 404, 405, 407, 410})


class Webhook:
    """`url`: http or https. `secret`, or `secret_file` whose first line it is: signs; `whsec_…` is base64. `headers`:
    sent too. `post_max`, `bytes_max`: messages and bytes a request at most; one message is never cut. `ca_file`: PEM
    file of the authorities that the server's certificate must come from. Any number of writers."""

    def __init__(
        self,
        *,
        url: str,
        secret: str = "",
        secret_file: str = "",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
        post_max: int = 100,
        bytes_max: int = 4_000_000,
        ca_file: str = "",
    ) -> None:
        """Raises SettingsError. Connects with the first batch."""
        parts = _split(url)
        if min(timeout_s, post_max, bytes_max) <= 0:
            raise SettingsError("webhook: timeout_s, post_max and bytes_max must be above 0")
        self._shown = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connection = _connection(parts.scheme, str(parts.hostname), parts.port, timeout_s, ca_file)
        self._connection.auto_open = 1
        self._used = False
        self._secret = _key(secret, secret_file)
        self._headers = {"Content-Type": "application/json", "User-Agent": f"crawler/{VERSION}", **(headers or {})}
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers.setdefault("Authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
        _check_headers(self._headers)
        self._post_max, self._bytes_max = post_max, bytes_max
        self._accepted: set[str] = set()
        self._asked_to_wait_until_s = 0.0

    def store(self, messages: Sequence[Message]) -> None:
        """Raises Reject for what the receiver refuses for good, Unavailable. Cost: one trip a request."""
        waiting = [message for message in messages if message.records and message.id not in self._accepted]
        refused: dict[str, str] = {}
        for part in self._parts(waiting):
            self._deliver(part, refused)
        if refused:
            ids, reasons = frozenset(refused), sorted(set(refused.values()))
            raise Reject("; ".join(reasons[:3]), ids)
        self._accepted.difference_update(message.id for message in messages)

    def _parts(self, messages: Sequence[Message]) -> Iterator[list[Message]]:
        part: list[Message] = []
        size = 0
        for message in messages:
            grown = size + sum(len(record.data) + 300 for record in message.records)
            if part and (len(part) >= self._post_max or grown > self._bytes_max):
                yield part
                part, grown = [], grown - size
            part.append(message)
            size = grown
        if part:
            yield part

    def _deliver(self, part: Sequence[Message], refused: dict[str, str]) -> None:
        """Posts the part, halves first where it is refused. Fills `refused`: id -> reason."""
        status, answer = self._post(part)
        if 200 <= status < 300:
            if len(self._accepted) < ACCEPTED_MAX:
                self._accepted.update(message.id for message in part)
        elif len(part) > 1:
            middle = len(part) // 2
            self._deliver(part[:middle], refused)
            self._deliver(part[middle:], refused)
        else:
            refused[part[0].id] = f"http_{status}: {answer}" if answer else f"http_{status}"

    def _post(self, part: Sequence[Message]) -> tuple[int, str]:
        """Status and the answer's beginning. Raises Unavailable when the items are not to blame."""
        if (left_s := self._asked_to_wait_until_s - time.monotonic()) > 0:
            raise Unavailable(f"{self._shown} asked to wait: {left_s:.0f} s are left")
        body = b"[%b]" % b",".join(objects(part))
        key = blake2b("\n".join(message.id for message in part).encode(), digest_size=16).hexdigest()
        headers = {**self._headers, "Idempotency-Key": key, **self._signature(key, body)}
        try:
            status, reply, retry_after = self._ask(body, headers)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unavailable(f"{self._shown}: {type(error).__name__}: {error}") from error
        said = f"{self._shown} answered {status}"
        if status in _AWAY or status >= 500:
            wait_s = _seconds(retry_after)
            self._asked_to_wait_until_s = time.monotonic() + wait_s
            raise Unavailable(f"{said}, and to wait {wait_s:.0f} s" if wait_s else said)
        if status < 200 or 300 <= status < 400:
            raise Unavailable(f"{said}: redirects are not followed; set url to where it points")
        if status in _WRONG:
            raise Unavailable(f"{said}: mend url, secret or headers of this pipeline; the items wait")
        return status, reply

    def _ask(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, str]:
        try:
            return self._once(body, headers)
        except (ConnectionError, http.client.BadStatusLine):
            if not self._used:
                raise
            self._connection.close()  # it had been idle for so long that the server closed it
            self._used = False
            return self._once(body, headers)

    def _once(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, str]:
        self._connection.request("POST", self._target, body, dict(headers))
        response = self._connection.getresponse()
        answer = response.read(ANSWER_BYTES_MAX)
        self._used = True
        if not response.isclosed() and response.read(1):
            response.close()
            self._connection.close()
        text = " ".join(answer.decode(errors="replace").split())
        return response.status, text[:EXCERPT_CHARS_MAX], response.headers.get("Retry-After", "")

    def _signature(self, key: str, body: bytes) -> dict[str, str]:
        if not self._secret:
            return {}
        at = str(int(time.time()))
        digest = hmac.digest(self._secret, f"{key}.{at}.".encode() + body, "sha256")
        signature = f"v1,{base64.b64encode(digest).decode()}"
        return {"webhook-id": key, "webhook-timestamp": at, "webhook-signature": signature}

    def close(self) -> None:
        self._connection.close()


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isascii():
            return parts
    except ValueError:  # its text would show the URL
        parts = None
    raise SettingsError("webhook: url must be http://HOST… or https://HOST…, percent-encoded where it is not ASCII")


def _connection(scheme: str, host: str, port: int | None, timeout_s: float, ca_file: str) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"webhook: ca_file {ca_file}: {error}") from error
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


def _key(secret: str, secret_file: str) -> bytes:
    """The bytes that sign. Raises SettingsError."""
    if secret_file and not secret:
        try:
            secret = Path(secret_file).read_text(encoding="utf-8").partition("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"webhook: secret_file {secret_file} cannot be read: {error}") from error
        if not secret:
            raise SettingsError(f"webhook: secret_file {secret_file}: its first line is empty")
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise SettingsError("webhook: secret begins with whsec_, but what follows is not base64") from None


def _check_headers(headers: Mapping[str, str]) -> None:
    """Raises SettingsError for what would break the request (RFC 9110 §5)."""
    for name, value in headers.items():
        if not isinstance(value, str) or not f"{name}{value}".isascii() or any(c in f"{name}{value}" for c in "\r\n\0"):
            raise SettingsError(f"webhook: headers: {name!r} cannot be sent; each is a name and a text on one line")


def _seconds(retry_after: str) -> float:
    """Of a Retry-After (RFC 9110 §10.2.3): seconds or a date."""
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), RETRY_AFTER_MAX_S)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - time.time()), RETRY_AFTER_MAX_S)
    except (ValueError, TypeError):
        return 0.0
