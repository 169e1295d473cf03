"""How numbers, times, tables and the words of strangers read in a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def number(value: float) -> str:
    """A count with thousands marks: `12,345`."""
    return f"{round(value):,}"


def rate(value: float) -> str:
    """A rate with as many digits as it deserves: `148`, `12.3`, `0.25`."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def size(value: float) -> str:
    """Bytes as people read them, in powers of 1000: `512 B`, `4.2 kB`, `1.3 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def seconds(value: float) -> str:
    """A duration: `0.3 s`, `12.3 s`, `4:05`, `2:04:05`, `3 d 2:04:05`."""
    if value < 60:
        return f"{max(0.0, value):.1f} s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}:{minutes:02}:{rest:02}" if hours or days else f"{minutes}:{rest:02}"
    return f"{days} d {clock}" if days else clock


def plural(count: int, noun: str) -> str:
    """`1 page`, `2 pages`, `0 pages`, `2 retries`."""
    if count == 1:
        return f"1 {noun}"
    return f"{number(count)} {noun[:-1]}ies" if noun.endswith("ry") else f"{number(count)} {noun}s"


def printable(text: str) -> str:
    """The text with control characters made visible, so that no page can move the cursor or colour a terminal.
    Line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, width: int) -> str:
    """At most `width` characters, the middle left out: both ends of a URL tell something."""
    if len(text) <= width:
        return text
    if width < 8:
        return text[:width]
    head = (width - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns two spaces apart; those whose cells are all numbers, sizes or times stand to the right, but for the
    first, which has names (a host may be an IP address)."""
    cells = [[number(cell) if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(head), *cells]) for i in range(len(head))]
    right = [
        i > 0 and bool(cells) and all(row[i][:1].isdigit() or row[i] in ("", "-") for row in cells)
        for i in range(len(head))
    ]
    lines = []
    for line in [list(head), *cells]:
        aligned = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True))
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)
