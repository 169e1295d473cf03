"""The demo shop as files, for a server that costs less than one in Python."""

from __future__ import annotations

import os
from collections.abc import Iterator

from crawler.demo.shop import Shop


def export(shop: Shop, folder: str) -> int:
    """Write `folder/<host without port>/<path>` for every page, robots.txt and sitemap; returns how many files.

    Redirects go to `folder/redirects.map`, in the form of an nginx map from `$host$uri` to the target:
    `map $host$uri $moved { include redirects.map; }` and `if ($moved) { return 301 $moved; }`. Files cannot be slow or
    fail: those pages are written as they are when they work. Raises OSError. Cost: about 100 µs a page.
    """
    count = 0
    for index, host in enumerate(shop.hosts):
        root = os.path.join(folder, host.partition(":")[0])
        for name in ("c", "p", "info", "old", "go", "basket"):
            os.makedirs(os.path.join(root, name), exist_ok=True)
        for path in _files(shop, index):
            reply = shop.page(path, host, failures=1_000)
            if reply.status == 200:
                with open(root + (path if path != "/" else "/index.html"), "wb") as file:
                    file.write(reply.body)
                count += 1
    with open(os.path.join(folder, "redirects.map"), "w", encoding="ascii") as file:
        for url, _, target in shop.redirects():
            host, _, path = url.removeprefix("http://").partition("/")
            file.write(f'"{host.partition(":")[0]}/{path}" "{target}";\n')
    return count


def _files(shop: Shop, index: int) -> Iterator[str]:
    yield from shop.paths(index)
    yield from ("/robots.txt", "/sitemap.xml", "/shop.css")
    number = 1
    while shop.page(f"/sitemap-{number}.xml", shop.hosts[index]).status == 200:
        yield f"/sitemap-{number}.xml"
        number += 1
