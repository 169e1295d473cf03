"""Which RabbitMQ a URL names, and who we are there. Reads the password file; else pure.

    amqp://[USER[:PASSWORD]@]HOST[:5672][,HOST[:PORT]…][/VHOST]     amqps:// with TLS, port 5671

Several hosts are nodes of one cluster, tried in turn. Without a vhost it is `/`; %2F in its name is a slash. A password
never stands in a message, a repr or a traceback: `Address.shown` is the URL with *** for it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NoReturn
from urllib.parse import unquote

import msgspec

from crawler.authority import check_tls, host, shown_user, who
from crawler.error import SettingsError
from crawler.tables import RabbitTable

PORT = 5672
TLS_PORT = 5671
HOSTS_MAX = 32


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where RabbitMQ is and who we are there. Made by `parse`."""

    hosts: tuple[tuple[str, int], ...]
    vhost: str
    tls: bool = False
    user: str = "guest"
    password: str = "guest"
    shown: str
    """The URL with *** for its password."""

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("shown", self.shown)]


def is_rabbit(url: str) -> bool:
    """Whether the URL's scheme is ours."""
    return url.partition(":")[0].lower() in ("amqp", "amqps")


def parse(url: str, table: RabbitTable) -> Address:
    """The address that `exchange.url` and the table [rabbit] give together.

    Raises SettingsError naming the key, what is wrong and what is meant. Cost: reads the password file, if one is
    named, and looks whether the files for TLS are there.
    """
    scheme, _, rest = url.partition(":")
    if not rest.startswith("//"):
        raise SettingsError(f"exchange.url: two slashes are missing behind {scheme}:")
    tls = scheme.lower() == "amqps"
    userinfo, at, place = rest.removeprefix("//").rpartition("@")
    named, _, secret = userinfo.partition(":")
    shown = f"{scheme}://{shown_user(userinfo)}{at}{place}"
    if "?" in place:
        _refuse(shown, "nothing is known behind the ?; all but hosts and vhost is set in [rabbit]")
    authority, _, vhost = place.partition("/")
    if "/" in vhost:
        _refuse(shown, "a slash in the vhost's name is written %2F")
    port = TLS_PORT if tls else PORT
    hosts = tuple(host(one, port, partial(_refuse, shown)) for one in authority.split(","))
    if len(hosts) > HOSTS_MAX:
        _refuse(shown, f"more than {HOSTS_MAX} hosts")
    user, password = who(unquote(named), unquote(secret), table, key="exchange.url", name="rabbit", shown=shown)
    check_tls(tls, table, name="rabbit", secure="amqps:// with an s", shown=shown)
    user, password = user or "guest", password or "guest"
    return Address(hosts=hosts, vhost=unquote(vhost) or "/", tls=tls, user=user, password=password, shown=shown)


def _refuse(shown: str, why: str) -> NoReturn:
    raise SettingsError(f"exchange.url {shown}: {why}")
