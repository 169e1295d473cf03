"""A real web site: the HTML documentation of Debian's python3.11-doc package, or of the version that this Debian
has."""

from __future__ import annotations

from pathlib import Path


def docs_root() -> Path:
    """Raises RuntimeError when no such package is installed."""
    found = sorted(Path("/usr/share/doc").glob("python3.*/html/index.html"))
    if not found:
        raise RuntimeError("no Python documentation: apt-get install python3-doc (make test does)")
    return found[-1].parent
