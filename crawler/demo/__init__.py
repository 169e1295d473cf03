"""A shop made of numbers: a site to crawl that needs no network and whose every page is known beforehand.

`shop.Shop` is pure: the same numbers give the same pages, and it tells the URLs that a crawl must find. `serve` serves
it, `export` writes it as files for another server, and `python -m crawler.demo` does either, or crawls it.
"""
