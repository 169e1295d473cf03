"""What went wrong with a fetch, by whose fault it is: aiohttp's exceptions and a proxy's own answers as SiteErrors."""

from __future__ import annotations

import aiohttp

from crawler.error import SiteError
from crawler.proxy import Proxy


def mapped(error: Exception, proxy: Proxy | None = None) -> SiteError:
    """aiohttp's exceptions by whose fault they are. Reason `proxy`: the proxy's, nobody else is to be charged."""
    detail = f"{type(error).__name__}: {error}"[:300]
    match error:
        case SiteError():
            return error
        case aiohttp.ClientProxyConnectionError():
            return SiteError("proxy", f"{proxy}: {error.os_error}"[:300], blame="host")
        case aiohttp.ClientHttpProxyError():
            return from_proxy(error.status, f"{proxy} answers {error.status} {error.message}"[:300])
        case aiohttp.ClientConnectorDNSError():
            if proxy is not None and proxy.scheme.startswith("http"):
                return SiteError("proxy", f"{proxy}: {error.os_error}"[:300], blame="host")
            return SiteError("dns", detail, blame="host")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return SiteError("tls", detail, blame="host")
        case aiohttp.ClientConnectorError():
            return SiteError("connect", detail, blame="host")
        case TimeoutError():
            return SiteError("timeout_connect", detail, blame="host")
        case aiohttp.ClientResponseError():
            return SiteError("protocol", detail)
        case aiohttp.ClientPayloadError():
            return SiteError("reset" if "not completed" in detail else "protocol", detail)
        case aiohttp.InvalidURL() | ValueError():
            return SiteError("bad_url", detail, final=True)
        case _:
            return SiteError("reset", detail)


def from_proxy(status: int, detail: str) -> SiteError:
    """What a status means that a proxy gave of itself (RFC 9110 §15.5.8, 9.3.6): it wants other credentials, it does
    not let us there, or it could not reach the host."""
    if status in (401, 407):
        return SiteError("proxy", detail, blame="host")
    if status < 500:
        return SiteError("proxy_refused", detail, final=True)
    return SiteError("connect", detail, blame="host")
