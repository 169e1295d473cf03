"""How many categories, listing pages and products make a host of a given number of pages. Pure."""

from __future__ import annotations

from typing import NamedTuple

PER_LISTING = 20
"""Products on a listing page."""

CATEGORIES_MAX = 24


class Size(NamedTuple):
    """How many of each kind a host has."""

    categories: int
    products: int
    infos: int

    def in_category(self, category: int) -> int:
        """Products of a category, counted from 1: product i is in category (i-1) % categories + 1."""
        return (self.products - category) // self.categories + 1 if self.products >= category else 0

    def listings(self, category: int) -> int:
        """Listing pages of a category, at least one."""
        return max(1, -(-self.in_category(category) // PER_LISTING))

    def pages(self) -> int:
        """All pages of the host, the home page included."""
        return 1 + sum(self.listings(c + 1) for c in range(self.categories)) + self.products + self.infos


def size_of(pages: int) -> Size:
    """The shop with exactly so many pages: as many products as fit, the rest information pages."""
    categories = max(1, min(CATEGORIES_MAX, pages // 40))
    low, high = 1, pages
    while low < high:
        middle = (low + high + 1) // 2
        if Size(categories, middle, 1).pages() <= pages:
            low = middle
        else:
            high = middle - 1
    products = Size(categories, low, 0)
    return Size(categories, low, pages - products.pages())
