"""What an error of Redis or of the way to it means here: whose it is, what happened, and what to do about it."""

from __future__ import annotations

import ssl
from typing import TypeVar

from redis import exceptions as told

from crawler.error import BackendError, BadRecord, CrawlError, SettingsError

E = TypeVar("E", bound=BaseException)

_WAITING = {
    "MISCONF": "cannot save to its disk and so takes no writes: look into its log and at its disk",
    "BUSY": "is busy with a script for too long: it answers when that ends, or after SCRIPT KILL",
    "NOREPLICAS": "takes no writes without its replicas (min-replicas-to-write)",
    "UNBLOCKED": "changed its role: failing over",
    "TRYAGAIN": "is moving keys to another node: it answers when that is done",
    "CLUSTERDOWN": "is a Cluster that is down or failing over: some slots have no node",
    "MASTERDOWN": "is a replica without its primary: failing over",
    "ASK": "is moving these keys to another node: the crawl waits until that is done",
    "MOVED": "has moved these keys to another node",
    "READONLY": "is a replica now: failing over; or frontier.url names a replica",
    "OOM": "is out of memory (maxmemory): raise maxmemory, or wait until pages are done",
    "NOSCRIPT": "forgets scripts as soon as they are loaded: somebody calls SCRIPT FLUSH again and again",
    "LOADING": "is loading its data: it answers when that is done",
}
"""By the first word of the answer; waiting helps."""

_WAITING_TEXT = {
    "max number of clients": "has no connection left (maxclients): raise it, or run fewer workers",
    "non local key in a cluster": "is moving these keys to another node: the crawl waits until that is done",
    "Script killed by user": "had the script ended by SCRIPT KILL",
}
"""By a part of the answer; waiting helps."""

_REFUSED_TEXT = {
    "DB index": "has no such database: see `databases` in redis.conf, and the number in frontier.url",
    "SELECT is not allowed in cluster": "is a Cluster: write redis+cluster://, without a database",
    "cluster support disabled": "is not a Cluster: write redis:// instead of redis+cluster://",
    "without any password configured": "asks for no password, but one is given: take it away, or set one in Redis",
}
_NO_RIGHT = ("unknown command", "can't run this command", "can't access at least one of the keys", "no permissions to")


class Forbidden(SettingsError):
    """A command that this user, or nobody, may give."""


def reason(error: BaseException, where: str, *, worked: bool, key: str = "") -> CrawlError | RuntimeError:
    """The error to raise instead. `where`: as a person may see it. `worked`: the same command was answered before, so
    that a refusal is likely an administrator at work, who must not end the crawl: BackendError, not SettingsError.
    `key`: what the command was for.

    RuntimeError is a bug of ours: a wrong command or script.
    """
    text = str(error)
    refused: type[CrawlError] = BackendError if worked else SettingsError
    code = getattr(error, "status_code", None) or text.partition(" ")[0]
    if isinstance(error, told.AuthenticationError):
        hint = next((hint for part, hint in _REFUSED_TEXT.items() if part in text), "")
        hint = hint or "wants another user or password: see frontier.url and [redis] user, password, password_file"
        return refused(f"Redis at {where} {hint} ({text})")
    if isinstance(error, told.NoPermissionError) or any(part in text for part in _NO_RIGHT):
        refused = BackendError if worked else Forbidden
        return refused(f"Redis at {where} forbids what the crawler needs: {text}; see the ACL in deploy/redis.acl")
    if code in _WAITING:
        return BackendError(f"Redis at {where} {_WAITING[code]}")
    for part, hint in _WAITING_TEXT.items():
        if part in text:
            return BackendError(f"Redis at {where} {hint}")
    if code == "GONE":
        return SettingsError(f"Redis at {where}: {text}: it was removed, or the server lost it (no persistence?)")
    if code == "SCHEMA":
        return SettingsError(f"Redis at {where}: {text}: finish the crawl with the version that began it")
    if code == "DAMAGED":
        text = text.partition(" ")[2]
        return SettingsError(f"Redis at {where}: {text}: put it back from a backup, or remove the crawl: crawler rm")
    if code == "WRONGTYPE":
        crawl = key.startswith("crawler:{")
        of = f"{key} or a key that starts so" if crawl else key or "a key"
        way = ", or remove the crawl: crawler rm" if crawl else ""
        return BadRecord(f"Redis at {where}: {of} is not the crawler's ({text}): find it with TYPE, rename it{way}")
    if isinstance(error, told.ResponseError):
        for part, hint in _REFUSED_TEXT.items():
            if part in text:
                return refused(f"Redis at {where} {hint}")
        return RuntimeError(f"Redis at {where}: {text}")
    return _connection(error, text, where, worked)


def _connection(error: BaseException, text: str, where: str, worked: bool) -> CrawlError:
    tls = _caused(error, ssl.SSLError)
    if tls is not None:
        return (BackendError if worked else SettingsError)(f"Redis at {where}: TLS failed: {_tls_text(tls)}")
    if isinstance(error, told.InvalidResponse):
        return BackendError(f"Redis at {where}: what answers there is not Redis")
    cause = _caused(error, OSError)
    text = (cause.strerror if cause else "") or text.rstrip(".")
    if not worked and ("closed by server" in text or "reset by peer" in text):
        text += "; if it wants TLS, write rediss://"
    return BackendError(f"Redis at {where} does not answer: {text}")


def _caused(error: BaseException | None, kind: type[E]) -> E | None:
    """The error of this kind that an error is, or comes from."""
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None


def _tls_text(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}): set [redis] ca_file, or mend the certificate"
    known = (error.reason or "").upper()
    if "WRONG_VERSION" in known or "RECORD_LAYER" in known:
        return "it does not speak TLS: write redis:// instead of rediss://"
    if "ALERT" in known:
        return f"it refused this client ({known.lower()}): set [redis] cert_file and key_file to what it trusts"
    return f"{known.lower() or 'error'}: see [redis] ca_file, cert_file and key_file"
