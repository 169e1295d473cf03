"""The demo shop's pages as HTML: 4 to 8 KB each, put together from texts that are made once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_TEXT = """
amber anchor basin beacon bench birch blanket bottle bramble brass canvas carbon cedar chalk clay copper cotton cradle
crystal drift ember fabric feather fern flannel forge garnet ginger glass granite hammock harbor hazel heather hickory
indigo iron ivory jasper juniper kettle lantern larch leather linen maple marble meadow mortar nickel oak olive onyx
opal paper pebble pepper pewter pine plum porcelain quartz quill rattan reed ribbon saddle saffron sage satin silver
slate spruce stone thistle timber topaz tulip velvet walnut willow wool zinc
"""
_WORDS = tuple(_TEXT.split())
CSS = b"body { max-width: 60em; margin: auto; font-family: sans-serif } nav li { display: inline; margin: .5em }\n"
_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """64 well-mixed bits of some small numbers (splitmix64's finisher), the same in every run. Cost: 1 µs."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def _sentence(salt: int) -> str:
    words = [_WORDS[mix(salt, place) % len(_WORDS)] for place in range(8 + salt % 9)]
    return f"{' '.join(words).capitalize()}."


class Writer:
    """Makes the pages. Holds 64 paragraphs, from which each page takes its own few."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._paragraphs = tuple(
            "<p>" + " ".join(_sentence(mix(seed, 1_000 + number, line)) for line in range(5)) + "</p>\n"
            for number in range(64)
        )
        self._navs: dict[tuple[int, int], bytes] = {}

    def name(self, index: int, product: int) -> str:
        """A product's name; another host's product of the same number has another."""
        salt = mix(self._seed, index, product)
        words = (_WORDS[(salt >> shift) % len(_WORDS)].capitalize() for shift in (0, 9, 18))
        return f"{' '.join(words)} No. {product}"

    def category(self, category: int) -> str:
        return _WORDS[mix(self._seed, category) % len(_WORDS)].capitalize() + f" {category}"

    def nav(self, index: int, categories: int) -> bytes:
        """The navigation of a host, made once."""
        if (index, categories) not in self._navs:
            links = "".join(
                f'<li><a href="/c/{one}.html">{self.category(one)}</a></li>\n' for one in range(1, categories + 1)
            )
            text = (
                f'<header><a class="logo" href="/">Demo shop {index + 1}</a></header>\n<nav><ul>\n{links}</ul></nav>\n'
            )
            self._navs[index, categories] = text.encode()
        return self._navs[index, categories]

    def home(self, index: int, nav: bytes, links: Sequence[str]) -> bytes:
        more = "".join(f'<li><a href="{link}">{escape(link)}</a></li>\n' for link in links)
        main = f"<h1>Demo shop {index + 1}</h1>\n{self._text(mix(self._seed, index), 6)}<ul>\n{more}</ul>\n"
        return _page(f"Demo shop {index + 1}", "Everything that can be made of numbers.", nav, main)

    def info(self, title: str, name: str, nav: bytes) -> bytes:
        return _page(title, "Information", nav, f"<h1>{title}</h1>\n{self._text(mix(*name.encode()), 8)}")

    def listing(
        self,
        index: int,
        category: int,
        number: int,
        products: Sequence[int],
        pages: Sequence[tuple[int, str]],
        nav: bytes,
    ) -> bytes:
        rows = "".join(
            f'<li class="product"><a href="/p/{one}.html">{self.name(index, one)}</a> '
            f'<span class="price">{_price(mix(self._seed, index, one))}</span></li>\n'
            for one in products
        )
        links = "".join(f'<a href="{path}">{other}</a>\n' for other, path in pages)
        title = f"{self.category(category)}, page {number}"
        text = self._text(mix(self._seed, index, category, number), 3)
        main = f'<h1>{title}</h1>\n{text}<ol>\n{rows}</ol>\n<div class="pages">\n{links}</div>\n'
        return _page(title, f"Products of {self.category(category)}", nav, main)

    def product(
        self, index: int, one: int, category: int, related: Sequence[str], extra: Sequence[str], nav: bytes
    ) -> bytes:
        salt, name = mix(self._seed, index, one), self.name(index, one)
        links = "".join(f'<li><a href="{link}">See also {at}</a></li>\n' for at, link in enumerate(related, 1))
        offers = "".join(f'<a rel="nofollow" href="{link}">{escape(link)}</a>\n' for link in extra)
        facts = "".join(
            f"<tr><th>{_WORDS[(salt >> at) % len(_WORDS)]}</th><td>{(salt >> at) % 900}</td></tr>\n"
            for at in range(5, 45, 5)
        )
        main = (
            f'<p><a href="/">Home</a> / <a href="../c/{category}.html">{self.category(category)}</a></p>\n'
            f'<article class="product"><h1>{name}</h1>\n<p class="price" data-currency="EUR">{_price(salt)}</p>\n'
            f'<p class="sku">SKU-{index + 1}-{one}</p>\n<div class="description">\n{self._text(salt, 7)}</div>\n'
            f"<table>\n{facts}</table>\n{offers}</article>\n<aside><ul>\n{links}</ul></aside>\n"
        )
        return _page(name, f"{name} at Demo shop {index + 1}", nav, main)

    def _text(self, salt: int, count: int) -> str:
        """Some of the paragraphs, told by `salt`."""
        return "".join([self._paragraphs[(salt >> (6 * place)) & 63] for place in range(count)])


def _price(salt: int) -> str:
    return f"{salt % 50_000 / 100:.2f}"


def _page(title: str, description: str, nav: bytes, main: str) -> bytes:
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<title>{title}</title>\n<meta name="description" content="{description}">\n'
        '<link rel="stylesheet" href="/shop.css">\n</head>\n<body>\n'
    )
    return (
        head.encode() + nav + f"<main>\n{main}</main>\n<footer>Made of numbers.</footer>\n</body>\n</html>\n".encode()
    )


def not_found(path: str) -> bytes:
    return _page("Not found", "Not found", b"", f"<h1>There is no {escape(path)}</h1>\n")


def sitemap(urls: Iterable[str]) -> bytes:
    """A sitemap of these URLs (sitemaps.org, 0.9)."""
    rows = "".join(f"<url><loc>{escape(url)}</loc></url>\n" for url in urls)
    return _sitemap("urlset", rows)


def sitemap_index(urls: Iterable[str]) -> bytes:
    """An index of these sitemaps."""
    rows = "".join(f"<sitemap><loc>{escape(url)}</loc></sitemap>\n" for url in urls)
    return _sitemap("sitemapindex", rows)


def _sitemap(kind: str, rows: str) -> bytes:
    space = "http://www.sitemaps.org/schemas/sitemap/0.9"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{kind} xmlns="{space}">\n{rows}</{kind}>\n'.encode()
