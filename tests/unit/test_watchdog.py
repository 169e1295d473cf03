"""The watchdog ends a process whose parsing never returns, even inside one C function that holds the interpreter."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

LOOPS = {
    "python": "while True: pass",
    "c": "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
    "swallows": "\nwhile True:\n  try:\n    while True: pass\n  except BaseException: pass",
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS.keys())
def test_ends_the_process(loop: str) -> None:
    body = "\n".join("  " + line for line in loop.splitlines())
    code = f"from crawler.watchdog import Watchdog\nwith Watchdog(0.1):\n{body}"
    done = subprocess.run([sys.executable, "-c", code], timeout=20, check=False)
    assert done.returncode == -signal.SIGALRM


def test_is_off_again_afterwards() -> None:
    code = "import time\nfrom crawler.watchdog import Watchdog\nwith Watchdog(0.1): pass\ntime.sleep(0.3)"
    assert subprocess.run([sys.executable, "-c", code], timeout=20, check=False).returncode == 0
