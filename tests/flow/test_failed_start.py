"""A crawl that cannot begin leaves nothing that was not there before; one that was there stays as it was."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.rabbit_exchange import shared_broker
from tests.servers.daemon import free_port

ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
NOWHERE = "http://127.0.0.1:9/"
"""The port `discard`: nobody answers."""


def crawler(folder: Path, *arguments: str, url: str = "") -> tuple[int, str]:
    environ = {**ENVIRON, "CRAWLER__EXCHANGE__URL": url} if url else ENVIRON
    command = [sys.executable, "-m", "crawler", *arguments]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, done.stderr


def tree(folder: Path) -> dict[str, int]:
    """What is there, with the sizes of files."""
    found = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.stat().st_size if path.is_file() else 0 for path in found}


def wrong_password() -> str:
    return shared_broker().url.replace("crawler-password", "another")


@pytest.mark.parametrize("state", [(), ("--state", "a/b/c.db"), ("--state", "c.db")], ids=["default", "nested", "here"])
def test_a_wrong_password_of_the_broker(tmp_path: Path, state: tuple[str, ...]) -> None:
    code, said = crawler(tmp_path, "run", NOWHERE, "--quiet", *state, url=wrong_password())
    assert (code, tree(tmp_path)) == (2, {}), said
    assert "does not take the password" in said


def test_no_broker(tmp_path: Path) -> None:
    code, said = crawler(tmp_path, "run", NOWHERE, "--quiet", url=f"amqp://127.0.0.1:{free_port()}/")
    assert (code, tree(tmp_path)) == (3, {}), said


def test_a_pipeline_that_refuses_its_settings_when_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(
        '[pipelines.hook]\nuse = "pipelines.webhook:Webhook"\nurl = "no url at all"\n', encoding="utf-8"
    )
    before = tree(tmp_path)
    code, said = crawler(tmp_path, "run", NOWHERE, "--quiet", "--settings", "shop.toml")
    assert (code, tree(tmp_path)) == (2, before), said


def test_other_files_beside_it_stay(tmp_path: Path) -> None:
    (tmp_path / ".crawler").mkdir()
    (tmp_path / ".crawler" / "other.db.history").write_text("x")
    before = tree(tmp_path)
    assert crawler(tmp_path, "run", NOWHERE, "--quiet", url=wrong_password())[0] == 2
    assert tree(tmp_path) == before


def test_seeds_that_are_all_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv.gz").write_bytes(b"\x1f\x8b no gzip behind its first two bytes")
    before = tree(tmp_path)
    code, said = crawler(tmp_path, "seed", "list.csv.gz", "--quiet")
    assert (code, tree(tmp_path)) == (2, before), said


def test_a_crawl_that_was_there_stays(tmp_path: Path) -> None:
    assert crawler(tmp_path, "seed", NOWHERE, f"{NOWHERE}2", "--state", "c.db", "--quiet")[0] == 0
    before = tree(tmp_path)
    assert crawler(tmp_path, "run", NOWHERE, "--quiet", "--state", "c.db", url=wrong_password())[0] == 2
    assert tree(tmp_path) == before


def test_a_crawl_that_another_form_of_urls_refuses_stays(tmp_path: Path) -> None:
    assert crawler(tmp_path, "seed", NOWHERE, "--state", "c.db", "--quiet")[0] == 0
    before = tree(tmp_path)
    more = ("--set", "url.sort_query=true", "--set", "url.lower_path=true")
    code, said = crawler(tmp_path, "run", NOWHERE, "--quiet", "--state", "c.db", *more)
    assert (code, tree(tmp_path)) == (2, before), said


def test_pages_that_another_command_added_meanwhile_stay(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://127.0.0.1:{silent.getsockname()[1]}/"
        command = [sys.executable, "-m", "crawler", "run", NOWHERE, "--quiet", "--state", "c.db"]
        run = subprocess.Popen(command, cwd=tmp_path, env={**ENVIRON, "CRAWLER__EXCHANGE__URL": url})
        try:
            silent.settimeout(60)
            with silent.accept()[0]:  # the state is made, and the broker does not answer
                assert crawler(tmp_path, "seed", f"{NOWHERE}2", "--state", "c.db", "--quiet")[0] == 0
                assert run.wait(60) == 3
        finally:
            run.kill()
            run.wait()
    assert "c.db" in tree(tmp_path)


@pytest.mark.parametrize("name", ["c.db.history", "c.db.unique.keys"])
def test_what_a_crawl_of_that_name_left_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    assert crawler(tmp_path, "run", NOWHERE, "--quiet", "--state", "c.db", url=wrong_password())[0] == 2
    assert (tmp_path / name).read_text() == "x"


def test_a_link_to_where_the_state_is_to_be_stays(tmp_path: Path) -> None:
    (tmp_path / "c.db").symlink_to("real.db")
    assert crawler(tmp_path, "run", NOWHERE, "--quiet", "--state", "c.db", url=wrong_password())[0] == 2
    assert (tmp_path / "c.db").is_symlink()
