"""The embedded PostgreSQL on its own: short and long paths, crashes, leftovers, and who may reach it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from platform_portal import embedded_postgres
from tests.setup.running import ROOT, still_running, until

START = """
import sys; from pathlib import Path; from platform_portal.embedded_postgres import Server
server = Server(Path(sys.argv[1]), throwaway=True); server.start(); print(server.process.pid, flush=True); sys.stdin.read()
"""


@pytest.fixture
def server(tmp_path):
    made = embedded_postgres.Server(tmp_path / "pg", throwaway=True)
    yield made
    made.stop()


def query(folder: Path, sql: str):
    with psycopg.connect(embedded_postgres.url(folder), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone() if cursor.description else None


def processes_of(server: embedded_postgres.Server) -> list[psutil.Process]:
    assert server.process is not None
    parent = psutil.Process(server.process.pid)
    return [parent, *parent.children(recursive=True)]


def test_what_was_committed_is_there_after_a_stop_and_no_process_is_left(server):
    server.start()
    query(server.folder, "CREATE TABLE kept AS SELECT 42 AS n")
    processes = processes_of(server)
    server.stop()
    until(lambda: still_running(processes) == [], what="the end of every process")
    server.start()
    assert query(server.folder, "SELECT n FROM kept") == (42,)


def test_it_starts_again_after_every_process_was_killed_and_nothing_committed_is_lost(server):
    server.throwaway = False
    server.start()
    query(server.folder, "CREATE TABLE kept AS SELECT 42 AS n")
    for process in processes_of(server):
        process.kill()
    server.process.wait()
    server.start()
    assert query(server.folder, "SELECT n FROM kept") == (42,)


def test_a_lock_file_that_names_somebody_elses_process_does_not_stop_the_start(server):
    """After a reboot the process id in it may be anybody's, here this test's own."""
    server.prepare()
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n1\n5432\n{server.folder}\n\n\nready\n")
    server.start()
    assert query(server.folder, "SELECT 1") == (1,)


def test_an_initialisation_that_was_interrupted_is_not_taken_for_a_database(server):
    server.prepare()
    server.data.rename(server.folder / "data.unfinished")
    server.start()
    assert query(server.folder, "SELECT 1") == (1,)


def test_it_ends_when_the_program_that_started_it_is_killed(tmp_path):
    program = subprocess.Popen(
        [sys.executable, "-c", START, str(tmp_path / "pg")], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert program.stdout is not None
    server = psutil.Process(int(program.stdout.readline()))
    processes = [server, *server.children(recursive=True)]
    program.send_signal(signal.SIGKILL)
    program.wait()
    until(lambda: still_running(processes) == [], what="the end of PostgreSQL")


def test_a_path_that_is_too_long_for_a_socket_gets_a_short_one_that_is_known_beforehand(tmp_path):
    server = embedded_postgres.Server(tmp_path / ("deep" * 30), throwaway=True)
    beforehand = embedded_postgres.url(server.folder)
    server.start()
    try:
        assert query(server.folder, "SELECT 1") == (1,)
        assert embedded_postgres.url(server.folder) == beforehand
    finally:
        server.stop()
    assert not embedded_postgres.socket_folder(server.folder).exists()


def test_two_folders_are_two_servers(server, tmp_path):
    other = embedded_postgres.Server(tmp_path / "other", throwaway=True)
    server.start()
    other.start()
    try:
        query(server.folder, "CREATE TABLE mine ()")
        assert query(other.folder, "SELECT to_regclass('mine')") == (None,)
    finally:
        other.stop()


def test_its_programs_may_lie_in_a_home_that_is_closed_to_others(server, tmp_path, monkeypatch):
    """Root's checkout in root's home: the server runs as another user, and the home stays closed."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "postgresql").symlink_to(embedded_postgres._binaries().parent)
    monkeypatch.setattr(embedded_postgres, "_binaries", lambda: home / "postgresql" / "bin")
    server.start()
    assert query(server.folder, "SELECT 1") == (1,)
    assert home.stat().st_mode & 0o077 == 0


def test_nobody_else_can_reach_it(server):
    server.start()
    assert query(server.folder, "SHOW listen_addresses") == ("",)
    for folder in (server.folder, server.data):
        assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_of_another_user_is_refused_with_a_sentence(tmp_path, monkeypatch):
    foreign = tmp_path / "foreign"
    foreign.symlink_to(tmp_path)
    with pytest.raises(embedded_postgres.CannotStart, match="belongs to another user"):
        embedded_postgres.Server(foreign).prepare()
