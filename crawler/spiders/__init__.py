"""Spiders that ship with the crawler."""
