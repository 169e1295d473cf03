"""A private nginx that serves a directory on loopback and logs every request: who was asked for what, when, how long.

One process without a master, so that it is started and stopped by its pid and needs no privileges; everything it writes
is in a directory of its own.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

START_S_MAX = 10.0
"""nginx must answer within so long of its start."""

_CONFIG = """
daemon off;
master_process off;
pid {home}/nginx.pid;
error_log {home}/error.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    types {{
        text/html html htm; text/plain txt rst; text/xml xml; text/css css; application/json json;
        application/javascript js; image/png png; image/svg+xml svg; image/jpeg jpg jpeg; application/gzip gz;
    }}
    default_type application/octet-stream;
    log_format line escape=json
        '{{"end":$msec,"seconds":$request_time,"host":"$http_host","address":"$server_addr","method":"$request_method",'
        '"path":"$request_uri","status":$status,"bytes":$body_bytes_sent,"agent":"$http_user_agent"}}';
    access_log {home}/access.log line;
    client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
    sendfile on; tcp_nopush on; keepalive_timeout 65s; server_tokens off;
    {http}
    server {{
        listen 0.0.0.0:{port} backlog=1024;
        root {root};
        index index.html;
        absolute_redirect off;
        {server}
    }}
}}
"""


@dataclass(frozen=True)
class Hit:
    """One request as nginx saw it. Times are seconds since the epoch, to the millisecond."""

    end: float
    """When the response had been sent."""
    seconds: float
    """From the first byte of the request to the last of the response."""
    host: str
    """The Host header."""
    address: str
    """The local address that was asked, such as 127.0.0.7."""
    method: str
    path: str
    """Path and query as sent."""
    status: int
    bytes: int
    agent: str

    @property
    def start(self) -> float:
        return self.end - self.seconds


@dataclass
class Nginx:
    """`with Nginx(directory) as site: site.url` is up and answers; it listens on every address of the machine.

    `root` may hold nginx variables (`…/$host`: a directory per host). `server` and `http` are further lines for these
    blocks of its configuration. Raises RuntimeError with nginx's own words when it does not start.
    """

    root: Path | str
    server: str = ""
    http: str = ""
    port: int = 0
    """0: a free one."""
    home: Path = field(init=False)
    """Its own directory: configuration, pid, logs."""
    _process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> Self:
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
        if program is None:
            raise RuntimeError("nginx is not installed: apt-get install nginx-light")
        self.home = Path(tempfile.mkdtemp(prefix="nginx-"))
        self.port = self.port or _free_port()
        config = self.home / "nginx.conf"
        config.write_text(
            _CONFIG.format(home=self.home, port=self.port, root=self.root, server=self.server, http=self.http)
        )
        command = [program, "-p", str(self.home), "-e", str(self.home / "error.log"), "-c", str(config)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def _wait(self) -> None:
        until = time.monotonic() + START_S_MAX
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        log = self.home / "error.log"
        raise RuntimeError(f"nginx did not start: {log.read_text() if log.exists() else 'no log'}")

    def stop(self) -> None:
        """Stop it and remove its directory, the log included. Safe to repeat."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def hits(self) -> list[Hit]:
        """Every request answered so far, in the order of their ends. A client knows a moment before the log."""
        return list(self._read())

    def _read(self) -> Iterator[Hit]:
        with (self.home / "access.log").open(encoding="utf-8", errors="replace") as log:
            for line in log:
                if line.endswith("\n"):
                    yield Hit(**json.loads(line))

    def forget(self) -> None:
        """Empty the log."""
        (self.home / "access.log").write_bytes(b"")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port: int = probe.getsockname()[1]
        return port
