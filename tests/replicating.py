"""PostgreSQL servers that can be stopped, followed and promoted, made as compose.replicas.yaml makes them."""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import yaml

from app.db import ROOT
from tests.serving import free_port

PASSWORD = "a secret: @/?"
NAME = "tracker"
WITHIN = 30.0
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.replicas.yaml").read_text())
# Speed, and nothing of the machine's but one port: what is tested is not how a disk keeps its word.
OPTIONS = "-c fsync=off -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c shared_buffers=16MB"


@dataclass
class Server:
    """A server of its own, in a folder, at a port of this machine."""

    tools: Path
    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def address(self) -> str:
        """Host and port, as an address of a database names them."""
        return f"127.0.0.1:{self.port}"

    def run(self, *command: str, **variables: str) -> None:
        """Run one of PostgreSQL's programs, which refuse to be run by root."""
        is_root = os.geteuid() == 0
        log = self.folder.with_suffix(".log")
        path = f"{self.tools}{os.pathsep}{os.environ['PATH']}"
        with log.open("a") as words:
            done = subprocess.run(
                command,
                check=False,
                cwd=self.folder.parent,
                env={"PATH": path, "PGDATA": str(self.folder), **variables},
                stdout=words,
                stderr=words,
                user="pgserver" if is_root else None,
            )
        assert done.returncode == 0, log.read_text()[-3000:]

    def make(self) -> None:
        """Make a primary that lets in what the Compose file lets in."""
        secret = self.folder.parent / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        hba = self.folder.parent / "pg_hba.conf"
        *shell, words = COMPOSE["services"]["db"]["command"]
        self.run(*shell, words.partition("exec docker-entrypoint.sh")[0].replace("/tmp", str(hba.parent)))
        self.run(
            "initdb",
            "--no-sync",
            "--encoding=utf8",
            f"--username={NAME}",
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
        )
        with (self.folder / "postgresql.conf").open("a") as configuration:
            configuration.write(f"hba_file = '{hba}'\n")

    def follow(self, primary: "Server") -> None:
        """Make a replica of `primary`, by the words of the Compose file."""
        (words,) = COMPOSE["services"]["replica"]["command"]
        script = words.replace("$$", "$").partition("exec postgres")[0]
        address = {"PGHOSTADDR": "127.0.0.1", "PGPORT": str(primary.port), "PGPASSWORD": PASSWORD}
        self.run(*COMPOSE["services"]["replica"]["entrypoint"], script, **address)

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return (self.folder / "postmaster.pid").exists()

    def start(self) -> None:
        """Start the server; it is ready when this returns."""
        self.run(
            "pg_ctl", "--wait", f"--options=-p {self.port} {OPTIONS}", f"--log={self.folder}/log", "start"
        )

    def stop(self) -> None:
        """Stop the server as a power cut would."""
        self.run("pg_ctl", "--wait", "--mode=immediate", "stop")

    def promote(self) -> None:
        """Make a primary of a replica."""
        self.run("pg_ctl", "--wait", "promote")

    def ask(self, question: str) -> Any:
        """Return the one value that a statement gives, if any."""
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=NAME,
            password=PASSWORD,
            dbname="postgres",
            autocommit=True,
        ) as connection:
            found = connection.execute(question.encode())
            row = found.fetchone() if found.description else None
        return row and row[0]


def until(is_so: Callable[[], object]) -> None:
    """Return once something is so; fail if it never is."""
    deadline = time.monotonic() + WITHIN
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)
