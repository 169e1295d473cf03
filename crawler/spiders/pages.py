"""The default spider: one `page` item for each page, and every link followed."""

from __future__ import annotations

from collections.abc import Iterator

from crawler.model import Item, Request
from crawler.page import Page
from crawler.spider import Spider


class Pages(Spider):
    """Takes every page and follows every link in scope."""

    name = "pages"

    def parse(self, page: Page) -> Iterator[Item | Request]:
        yield page_item(page)
        yield from page.follow_all()


def page_item(page: Page) -> Item:
    """What every page has: a `page` item. Of a page that is not HTML, only the text."""
    outline = page.outline
    return page.item(
        "page",
        title=outline.title,
        h1=outline.h1,
        description=outline.description,
        language=outline.language,
        canonical=(page.join(outline.canonical) or "") if outline.canonical else "",
        text=outline.text if page.kind == "html" else " ".join(page.text.split()),
        status=page.status,
        depth=page.depth,
        bytes=len(page.body),
        links=len(page.links()),
    )
