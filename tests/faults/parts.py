"""The platform's real parts as processes, which a test kills and starts again, and what must be true afterwards.

Requires nothing of this process's Django: the tests know what the API answers, what stands in the database of these parts, and
what the cluster says. The database is as durable as in production; a throw-away one may forget what it has answered when it
is killed.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg

from localcluster.testing import LocalCluster
from platform_portal import embedded_postgres
from platform_portal.kube import client as kube_client
from platform_portal.kube.cluster import Cluster
from tests.setup.running import ROOT, Program, until
from tests.setup.test_up import free_port

TOKEN, TEAM, NAMESPACE = "tenant-test", "test", "ml-test"
JOB_ID = "ml-platform/job-id"
PATIENCE = 120.0
LINES = 20
PROGRAM = (
    'echo "$ML_PLATFORM_JOB_ID" >> "$RUNS"; i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo "line $i"; done; '
    "{middle}; echo the end"
)
PREPARE = """
import django, io
from django.core.management import call_command
django.setup()
call_command("migrate", verbosity=0)
call_command("demo", stdout=io.StringIO())
"""
LOG = "".join(f"line {number}\n" for number in range(1, LINES + 1)) + "the end\n"


class Parts:
    """PostgreSQL, localcluster, web, reconciler, worker and beat; as a context manager all of them, and their end."""

    def __init__(self, folder: Path, *, kube_timeout: int) -> None:
        self.folder, self.runs = folder, folder / "runs"
        self.postgres = embedded_postgres.Server(folder / "postgres")
        self.localcluster = LocalCluster(folder / "cluster", "--cpu", "200", "--memory", "400Gi", "--pods", "400")
        self.port = free_port()
        # What the portal is told of the cluster; a test may put something between them before it starts the parts.
        self.kubeconfig = self.localcluster.kubeconfig
        self._kube_timeout = kube_timeout
        self._programs: dict[str, Program] = {}

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *error: object) -> None:
        for program in self._programs.values():
            _kill_group(program)
        self.localcluster.stop()
        self.postgres.stop()

    def begin(self) -> None:
        """Everything up, with the demo team's quota raised so that all jobs of a test fit at once."""
        self.runs.touch()
        for name in ("queue", "control"):
            (self.folder / "celery" / name).mkdir(parents=True)
        self.postgres.start()
        subprocess.run([sys.executable, "-c", PREPARE], cwd=ROOT, env=os.environ | self._env(), check=True)
        self.execute(
            "UPDATE tenants_tenant SET quota_cpu = 200, quota_memory_gib = 400, quota_pods = 400 WHERE slug = %s", TEAM
        )
        for part in ("web", "reconciler", "worker", "beat"):
            self.start(part)
        until(lambda: self.answers("/v1/health"), 60, "the portal's answer")

    def start(self, part: str) -> None:
        if part == "PostgreSQL":
            self.postgres.start()
        elif part == "localcluster":
            self.localcluster.start()
        else:
            self._programs[part] = Program(*self._command(part), env=self._env(), without=["DJANGO_SETTINGS_MODULE"])

    def kill(self, part: str) -> None:
        """SIGKILL to every process of the part at once; the cluster's pods are processes of their own and go on."""
        if part == "localcluster":
            self.localcluster.kill9()
        elif part == "PostgreSQL":
            assert self.postgres.process is not None
            # Its sessions have left its process group.
            server = psutil.Process(self.postgres.process.pid)
            for process in [server, *server.children(recursive=True)]:
                process.kill()
            self.postgres.process.wait()
        else:
            _kill_group(self._programs.pop(part))

    def output(self) -> str:
        """The last lines that the running parts printed, for the message of a failed test."""
        return "\n".join(f"{part}: {line}" for part, one in self._programs.items() for line in one.lines[-15:])

    def _command(self, part: str) -> list[str]:
        celery = ["-m", "celery", "--quiet", "-A", "platform_portal"]
        return {
            "web": [
                *("-m", "gunicorn", "platform_portal.wsgi", "--bind", f"127.0.0.1:{self.port}", "--workers", "2"),
                *("--worker-class", "gthread", "--threads", "8", "--no-control-socket", "--log-level", "warning"),
            ],
            "reconciler": ["manage.py", "reconcile"],
            "worker": [*celery, "worker", "-P", "threads", "-c", "4", "--loglevel", "warning"],
            "beat": [*celery, "beat", "--pidfile=", "--loglevel", "warning"],
        }[part]

    def _env(self) -> dict[str, str]:
        return {
            "PLATFORM_MODE": "laptop",
            "PLATFORM_VAR": str(self.folder),
            "PORT": str(self.port),
            "DATABASE_URL": embedded_postgres.url(self.postgres.folder),
            "KUBECONFIG": str(self.kubeconfig),
            "KUBE_TIMEOUT_SECONDS": str(self._kube_timeout),
            "DJANGO_SETTINGS_MODULE": "platform_portal.settings",
            "LOG_LEVEL": "WARNING",
            # These tests ask much more than a script may, and from one address.
            "RATE_LIMIT_ADDRESS": "",
            "RATE_LIMIT_TOKEN": "",
        }

    # ---- what a client of the API does

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status and the answer, JSON decoded; OSError or HTTPException when there is none."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = None if body is None else json.dumps(body).encode()
            common = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
            connection.request(method, path, data, common | headers)
            answer = connection.getresponse()
            content, kind = answer.read(), answer.getheader("Content-Type", "")
            return answer.status, json.loads(content) if content and "json" in kind else content.decode()
        finally:
            connection.close()

    def answers(self, path: str) -> bool:
        try:
            return self.ask("GET", path)[0] == 200
        except (OSError, HTTPException):
            return False

    def submit(self, name: str, *, middle: str = "sleep 0.5") -> tuple[int, Any]:
        """One try under the key of its name; ``middle`` is what the program does between its lines."""
        body = {
            "name": name,
            "entrypoint": PROGRAM.format(lines=LINES, middle=middle),
            "compute": {"cpu_cores": 1, "memory_gb": 1},
            "env_vars": {"RUNS": str(self.runs)},
        }
        return self.ask("POST", "/v1/jobs/training", body, **{"Idempotency-Key": name})

    def accepted(self, name: str, *, middle: str = "sleep 0.5") -> str:
        """The id of a job whose submission must be answered at once."""
        status, job = self.submit(name, middle=middle)
        assert status == 201, job
        return str(job["id"])

    # ---- what is true

    def rows(self, sql: LiteralString, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(embedded_postgres.url(self.postgres.folder)) as connection:
            return connection.execute(sql, values).fetchall()

    def execute(self, sql: LiteralString, *values: Any) -> None:
        with psycopg.connect(embedded_postgres.url(self.postgres.folder)) as connection:
            connection.execute(sql, values)

    def row(self, job_id: str) -> tuple[Any, ...]:
        """State, reason and when it was last seen, as they stand in the database."""
        sql: LiteralString = "SELECT status, reason, observed_at FROM jobs_trainingjob WHERE id = %s"
        return self.rows(sql, job_id)[0]

    def until_row(self, job_id: str, status: str) -> None:
        self.until(lambda: self.row(job_id)[0] == status, f"job {job_id} to be {status}")

    def until(self, condition: Callable[[], Any], what: str) -> None:
        try:
            until(condition, PATIENCE, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None

    def expire_log_leases(self) -> None:
        """As if the minute had passed after which the lease of a collector that died is over; nobody waits it out here."""
        self.execute("UPDATE jobs_joblog SET lease_until = now() WHERE lease_until > now()")

    def in_cluster(self, kind: str) -> Counter[str]:
        """How many objects of this kind stand in the cluster for each job id."""
        cluster = Cluster(kube_client.load(str(self.localcluster.kubeconfig), timeout=30, connections=1))
        return Counter(str(obj["metadata"]["labels"][JOB_ID]) for obj in cluster.list(kind, NAMESPACE, JOB_ID))

    def job_in_cluster(self, job_id: str) -> dict[str, Any] | None:
        """The job's Job, asked of the cluster itself."""
        cluster = Cluster(kube_client.load(str(self.localcluster.kubeconfig), timeout=30, connections=1))
        return next(iter(cluster.list("Job", NAMESPACE, f"{JOB_ID}={job_id}")), None)

    def assert_each_succeeded_once(self, ids: dict[str, str]) -> None:
        """``ids`` (by name) are rows, Jobs, pods, runs and whole logs, each exactly once, and nothing is left to be done."""
        wanted = list(ids)
        self.until(lambda: not self._unfinished(wanted), f"the end of all of {wanted[0]} …")
        found = self.rows(
            "SELECT job.name, job.id::text, job.status, job.reason, job.attempts FROM jobs_trainingjob AS job"
            " WHERE job.name = ANY(%s) ORDER BY job.name",
            wanted,
        )
        assert found == [(name, ids[name], "succeeded", "Completed", 1) for name in sorted(wanted)]
        once = Counter(ids.values())
        for kind in ("Job", "Pod"):
            standing = self.in_cluster(kind)
            assert {job_id: standing[job_id] for job_id in once} == once, f"not one {kind} for each job"
        ran = Counter(self.runs.read_text().split())
        assert {job_id: ran[job_id] for job_id in once} == once, "a program ran twice, or never"
        for name, job_id in ids.items():
            assert self.ask("GET", f"/v1/jobs/training/{job_id}/logs") == (200, LOG), name

    def assert_counted_once(self) -> None:
        """The counts that are kept beside the rows agree with the rows: of all submissions, and of all ends by status."""
        [(rows, tally)] = self.rows(
            "SELECT (SELECT count(*) FROM jobs_trainingjob), (SELECT sum(count) FROM jobs_submissiontally)"
        )
        assert rows == tally
        ends = self.rows("SELECT status, count(*) FROM jobs_trainingjob WHERE started_at IS NOT NULL GROUP BY status")
        for status, count in ends:
            lines = self.rows(
                "SELECT count(*), count(DISTINCT job_id) FROM jobs_jobevent AS line JOIN jobs_trainingjob AS job"
                " ON job.id = line.job_id WHERE line.key = 'ended' AND job.status = %s AND started_at IS NOT NULL",
                status,
            )
            assert lines == [(count, count)], status

    def _unfinished(self, names: list[str]) -> list[tuple[Any, ...]]:
        """Rows that are live, leased or due, and those whose log is not known to be whole."""
        return self.rows(
            "SELECT job.name, job.status, job.reason FROM jobs_trainingjob AS job"
            " LEFT JOIN jobs_joblog AS log ON log.job_id = job.id WHERE job.name = ANY(%s) AND NOT ("
            " job.status IN ('succeeded', 'failed', 'cancelled') AND job.lease_until IS NULL AND job.lease_owner IS NULL"
            " AND job.next_check_at IS NULL AND coalesce(log.complete, false) AND log.lease_until IS NULL"
            " AND log.due_at IS NULL)",
            names,
        )


class Submissions:
    """A bounded stream of submissions from some clients at once, each repeated under its key until it is accepted.

    The first half is sent at once, the second when ``go_on`` is called, so that a test can do something in the middle.
    """

    CLIENTS, COUNT = 4, 40

    def __init__(self, parts: Parts, prefix: str) -> None:
        self.ids: dict[str, str] = {}
        self.broken = 0
        self.refused: list[Any] = []
        self._parts, self._second_half = parts, threading.Event()
        self._names = [f"{prefix}-{number}" for number in range(self.COUNT)]
        self._next, self._lock = iter(enumerate(self._names)), threading.Lock()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(self.CLIENTS)]
        for thread in self._threads:
            thread.start()

    @property
    def half(self) -> int:
        return self.COUNT // 2

    def go_on(self) -> None:
        self._second_half.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
        assert self.refused == [] and sorted(self.ids) == sorted(self._names), self._parts.output()

    def _client(self) -> None:
        while True:
            with self._lock:
                number, name = next(self._next, (0, ""))
            if not name:
                return
            if number >= self.half:
                self._second_half.wait(PATIENCE)
            self._submit(name)

    def _submit(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                status, answer = self._parts.submit(name)
            except (OSError, HTTPException):
                status, answer = 0, None
            with self._lock:
                if status == 201:
                    self.ids[name] = str(answer["id"])
                    return
                if 0 < status < 500:
                    self.refused.append((name, status, answer))
                    return
                self.broken += 1
            time.sleep(0.1)


def _kill_group(program: Program) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.process.pid, signal.SIGKILL)
    program.process.wait()
