"""python -m crawler.demo: serve the demo shop, write it as files, or crawl it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from crawler.demo.export import export
from crawler.demo.serve import Service, listen, names, serve
from crawler.demo.shop import Shop

EXAMPLES = """examples:
  python -m crawler.demo --port 8000                        serve 1,200 pages at http://127.0.0.1:8000/
  python -m crawler.demo --pages 20000 --hosts 50 --port 0  50 hosts, 127.0.0.1 to 127.0.0.50, on a free port
  python -m crawler.demo --export site --port 8000          write files for a web server on port 8000
  python -m crawler.demo --run -- -w 2 -o shop.jsonl        serve it, crawl it, and stop
"""
RUN_DEFAULTS = (
    (("--delay",), "0"),
    (("--per-host",), "0"),
    (("-o", "--out"), "demo.jsonl"),
)
"""Options of `crawler run` that --run gives when they are not given."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m crawler.demo",
        description="A demo shop to crawl.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--pages", type=int, default=1_200, help="pages over all hosts (default 1200)")
    made.add_argument("--hosts", type=int, default=1, help="hosts 127.0.0.1, 127.0.0.2 …, up to 250 (default 1)")
    made.add_argument("--port", type=int, default=8_000, help="port of all hosts; 0: any free one (default 8000)")
    made.add_argument("--seed", type=int, default=1, help="another number makes another shop (default 1)")
    made.add_argument("--no-faults", action="store_true", help="no redirects, broken links, slow or failing pages")
    made.add_argument("--log", metavar="FILE", help="append each URL that is asked for to FILE")
    made.add_argument("--export", metavar="DIR", help="write the pages as files below DIR and stop")
    made.add_argument("--until-eof", action="store_true", help="stop when standard input ends")
    made.add_argument("--run", action="store_true", help="serve, crawl with `crawler run` and stop")
    made.add_argument("arguments", nargs="*", help="after --run --: more arguments of `crawler run`")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, that of `crawler run`, or 2 for arguments that make no shop."""
    given = parser().parse_args(argv)
    try:
        if given.run:
            return run(given)
        return asyncio.run(_serve(given)) if given.export is None else _export(given)
    except (ValueError, OSError) as error:
        print(f"crawler.demo: {error}", file=sys.stderr)
        return 2


def _shop(given: argparse.Namespace, port: int) -> Shop:
    return Shop(pages=given.pages, hosts=names(port, given.hosts), seed=given.seed, faults=not given.no_faults)


def _export(given: argparse.Namespace) -> int:
    count = export(_shop(given, given.port), given.export)
    print(f"{count} files below {given.export}")
    return 0


async def _serve(given: argparse.Namespace) -> int:
    with listen(given.port) as server:
        await _serve_until_told(given, _shop(given, server.getsockname()[1]), server)
    return 0


async def _serve_until_told(given: argparse.Namespace, shop: Shop, server: socket.socket) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if given.until_eof:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    log = open(given.log, "a", encoding="utf-8", buffering=1) if given.log else None  # noqa: SIM115 (ends with the process)
    service = Service(shop, (lambda url: print(url, file=log)) if log else None)
    print(shop.seeds()[0], flush=True)
    await serve(service, server, stop)


def run(given: argparse.Namespace) -> int:
    """Serve in a child process, crawl in another, stop the first; the exit code is the crawl's."""
    options = ["--pages", str(given.pages), "--hosts", str(given.hosts), "--port", str(given.port)]
    options += ["--seed", str(given.seed), *(["--no-faults"] if given.no_faults else [])]
    options += ["--log", given.log] if given.log else []
    command = [sys.executable, "-m", "crawler.demo", "--until-eof", *options]
    # In its own session, so that Ctrl-C reaches the crawl alone; it ends with our end of the pipe, however we end.
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True, text=True) as site:
        assert site.stdin is not None
        assert site.stdout is not None
        url = site.stdout.readline().strip()
        if not url:
            return site.wait() or 1
        shop = _shop(given, int(url.rstrip("/").rpartition(":")[2]))
        count = f"{given.pages:,} pages over {given.hosts} host{'s'[: given.hosts - 1]}"
        print(f"demo shop: {count} at {url}", file=sys.stderr)
        arguments = run_arguments(given.arguments)
        crawl = subprocess.Popen([sys.executable, "-m", "crawler", "run", *shop.seeds(), *arguments])
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the crawl's, which ends in its own way
        try:
            code = crawl.wait()
        finally:
            signal.signal(signal.SIGINT, before)
            site.stdin.close()
    if code == 0:
        _compare(shop, arguments)
    return code


def run_arguments(given: Sequence[str]) -> list[str]:
    """The arguments of `crawler run` with the demo's defaults. Another port is another site, so each run is fresh."""
    arguments = list(given)
    for names_, value in RUN_DEFAULTS:
        if not any(one in names_ or one.startswith(f"{names_[-1]}=") for one in given):
            arguments += [names_[-1], value]
    if "--state" not in given and not any(one.startswith(("--state=", "crawl.name=")) for one in given):
        arguments += ["--set", "crawl.name=demo"]
    return arguments if "--fresh" in arguments else [*arguments, "--fresh"]


def _compare(shop: Shop, arguments: Sequence[str]) -> None:
    """Say whether the output holds every page of the shop, each once."""
    out = arguments[max(at for at, one in enumerate(arguments) if one in ("-o", "--out")) + 1]
    if not out.endswith(".jsonl") or not os.path.exists(out):
        return
    with open(out, encoding="utf-8") as file:
        found = [json.loads(line)["url"] for line in file]
    wanted = set(shop.urls())
    missing, twice = len(wanted - set(found)), len(found) - len(set(found))
    verdict = "each once" if not missing and not twice else f"{missing} missing, {twice} twice"
    print(
        f"demo shop: {len(wanted & set(found)):,} of its {len(wanted):,} pages are in {out}, {verdict}", file=sys.stderr
    )


if __name__ == "__main__":
    sys.exit(main())
