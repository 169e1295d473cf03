"""The README's benchmark table: rates, comparison, and where it goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.table import BEGIN, END, Row, insert, render

ROWS = [
    Row("ours", pages=1_000, wall_s=1.0, cpu_s=2.0, peak_mb=80.4),
    Row("theirs", pages=1_000, wall_s=9.5, cpu_s=10.0, peak_mb=250.0),
]


def test_render_compares_with_the_baseline() -> None:
    lines = render(ROWS, baseline="theirs", caption="on some machine").splitlines()
    assert lines[2] == "| ours | 1,000 | 1.00 | 2.00 | 500 | 5.0 | 80 |"
    assert lines[3] == "| theirs | 1,000 | 9.50 | 10.00 | 100 | 1.0 | 250 |"
    assert lines[-1] == "on some machine"


def test_render_without_the_baseline_compares_nothing() -> None:
    assert "| 500 |  | 80 |" in render(ROWS[:1], baseline="theirs", caption="")


def test_insert_replaces_what_is_between_the_markers_only() -> None:
    text = f"head\n{BEGIN}\nold\n{END}\ntail\n"
    once = insert(text, "new")
    assert once == f"head\n{BEGIN}\nnew\n{END}\ntail\n"
    assert insert(once, "new") == once


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_insert_without_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="bench:begin"):
        insert(text, "new")


SPIN = "import time\nwhile time.process_time() < 0.3: pass\n"
ORPHAN = f"""
import os
read, write = os.pipe()
if os.fork():
    os.close(write)
    os.read(read, 1)
elif os.fork():
    os._exit(0)
else:
    {SPIN.replace(chr(10), chr(10) + "    ")}
"""


@pytest.mark.parametrize(
    ("code", "processes"),
    [
        (SPIN, 1),
        (f"import os\npid = os.fork()\n{SPIN}if pid: os.waitpid(pid, 0)\n", 2),
        (ORPHAN, 1),
    ],
    ids=["alone", "a child", "an orphan"],
)
def test_measure_counts_the_whole_tree(code: str, processes: int, tmp_path: Path) -> None:
    """In a process of its own: the account of children is the whole process's, other tests' children included."""
    wrapper = (
        "import pathlib, sys\nfrom tests.bench.measure import measure\n"
        "used = measure([sys.executable, '-c', sys.argv[1]], home=pathlib.Path(sys.argv[2]))\n"
        "print(used.code, used.cpu_s)\n"
    )
    command = [sys.executable, "-c", wrapper, code, tmp_path]
    root = Path(__file__).resolve().parents[2]
    answer = subprocess.run(command, cwd=root, timeout=60, check=True, capture_output=True, text=True)
    exit_code, cpu_s = answer.stdout.split()
    assert exit_code == "0"
    assert float(cpu_s) >= 0.3 * processes
