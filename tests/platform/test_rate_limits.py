"""How often one may ask: by address before anybody is authenticated, by token, by job, and with bad tokens."""

import logging
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django import Settings

from platform_portal import env, rate_limits
from platform_portal.errors import DomainError
from platform_portal.rate_limits import hit

JOBS = "/v1/jobs/training"


@pytest.fixture(autouse=True)
def counted_anew(settings: Settings) -> Iterator[None]:
    settings.RATE_LIMIT_STORAGE_URL = "memory://"
    rate_limits.forget()
    yield
    rate_limits.forget()


@pytest.fixture
def ours(db: None) -> Any:
    from tests.personas import team

    return team("ours")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> "Clock":
    return Clock(monkeypatch)


class Clock:
    """The time that windows go by; the storage goes by the machine's, which no test waits for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000.0
        monkeypatch.setattr(time, "time", lambda: self.now)


def statuses(client: Any, count: int, path: str = JOBS, **extra: Any) -> list[int]:
    return [client.get(path, **extra).status_code for _ in range(count)]


# ---- what is limited


def test_a_token_asks_so_often_and_then_waits(ours: Any, settings: Settings) -> None:
    settings.RATE_LIMIT_TOKEN = "3/hour"
    assert statuses(ours.api, 4) == [200, 200, 200, 429]
    refused = ours.api.get(JOBS)
    body = refused.json()
    assert (body["code"], refused["RateLimit-Limit"], refused["RateLimit-Remaining"]) == ("rate_limited", "3", "0")
    wait = int(refused["Retry-After"])
    assert 1 <= wait <= 3601 and refused["RateLimit-Reset"] == str(wait)
    assert body["detail"] == f"Too many requests with this token: at most 3 per hour. Wait {wait} seconds."


def test_the_answers_before_say_what_is_left(ours: Any, settings: Settings) -> None:
    settings.RATE_LIMIT_TOKEN, settings.RATE_LIMIT_ADDRESS = "3/hour", "100/hour"
    first = ours.api.get(JOBS)
    # Of several limits the one that is reached first.
    assert (first["RateLimit-Limit"], first["RateLimit-Remaining"]) == ("3", "2")
    assert Client().get("/v1/auth/jwks")["RateLimit-Limit"] == "100"
    settings.RATE_LIMIT_TOKEN = settings.RATE_LIMIT_ADDRESS = ""
    assert "RateLimit-Limit" not in ours.api.get(JOBS)


def test_tokens_do_not_share_and_a_jwt_is_its_token_s(ours: Any, settings: Settings) -> None:
    from tenants.services import token_create
    from tests.personas import api_client

    text = ours.api.post("/v1/auth/token").json()["access_token"]
    rate_limits.forget()
    settings.RATE_LIMIT_TOKEN = "2/hour"
    _, other = token_create(tenant=ours.tenant, name="other")
    assert statuses(ours.api, 1) + statuses(api_client(text), 2) == [200, 200, 429]
    assert statuses(api_client(other), 3) == [200, 200, 429]


def test_an_address_asks_so_often_before_its_token_is_looked_at(
    ours: Any, settings: Settings, django_assert_num_queries: Any
) -> None:
    settings.RATE_LIMIT_ADDRESS = "2/hour"
    assert statuses(ours.api, 2, REMOTE_ADDR="192.0.2.1") == [200, 200]
    with django_assert_num_queries(0):
        refused = ours.api.get(JOBS, REMOTE_ADDR="192.0.2.1")
    assert refused.status_code == 429 and refused["Retry-After"]
    assert refused.json()["detail"].startswith("Too many requests from your address: at most 2 per hour.")
    assert refused["X-Content-Type-Options"] == "nosniff" and "Content-Security-Policy" in refused
    assert statuses(ours.api, 1, REMOTE_ADDR="192.0.2.2") == [200]


def test_the_address_is_the_one_that_our_proxy_saw(ours: Any, settings: Settings) -> None:
    settings.RATE_LIMIT_ADDRESS, settings.TRUSTED_PROXIES = "1/hour", 1
    forwarded = [statuses(ours.api, 1, HTTP_X_FORWARDED_FOR=f"10.0.0.{n}, 192.0.2.{n}") for n in (1, 2)]
    assert forwarded == [[200], [200]]
    # What the client wrote itself makes it nobody else.
    assert statuses(ours.api, 1, HTTP_X_FORWARDED_FOR="10.9.9.9, 192.0.2.1") == [429]
    # Without an address there is one count for all.
    assert statuses(ours.api, 2, REMOTE_ADDR="") == [200, 429]


@pytest.mark.parametrize("path", ["/v1/health", "/metrics", "/accounts/login/"])
def test_probes_metrics_and_pages_are_not_counted(db: None, settings: Settings, path: str) -> None:
    settings.RATE_LIMIT_ADDRESS = "1/hour"
    assert statuses(Client(), 3, path) == [200, 200, 200]
    assert 429 not in statuses(Client(), 2, "/v1/ready")
    assert statuses(Client(), 2, "/v1/auth/jwks") == [200, 429]


def test_bad_tokens_are_told_to_wait_and_good_ones_pass(ours: Any, settings: Settings) -> None:
    from tests.personas import api_client

    settings.RATE_LIMIT_AUTH_FAILURES = "3/hour"
    bad = [api_client(token) for token in ("mlp_x", "eyJhbGciOiJub25lIn0.e30.", "mlpjob.x.y", "x")]
    assert [client.get(JOBS).status_code for client in bad] == [401, 401, 401, 429]
    refused = bad[0].get(JOBS)
    assert refused.status_code == 429 and "with tokens that are not good" in refused.json()["detail"]
    assert statuses(ours.api, 2) == [200, 200]
    assert bad[0].get(JOBS, REMOTE_ADDR="192.0.2.9").status_code == 401
    # No token at all is nobody's guess.
    assert statuses(Client(), 1) == [401]


def test_a_job_s_own_calls_count_for_the_job_and_no_address(ours: Any, settings: Settings) -> None:
    from jobs import tokens
    from jobs.services import job_submit
    from tests.personas import api_client

    settings.RATE_LIMIT_ADDRESS, settings.RATE_LIMIT_TOKEN, settings.RATE_LIMIT_JOB_TOKEN = "1/hour", "1/hour", "3/hour"
    jobs = [job_submit(ctx=ours.context("member"), payload={"name": name}) for name in "ab"]
    for job in jobs:
        client = api_client(tokens.make(job.pk))
        sent = [
            client.post(f"{JOBS}/{job.pk}/metrics", {"step": n, "values": {"a": 1}}, format="json") for n in range(4)
        ]
        assert [answer.status_code for answer in sent] == [202, 202, 202, 429]
        assert sent[-1].json()["detail"].startswith("Too many requests by this job")
    settings.RATE_LIMIT_AUTH_FAILURES = "1/hour"
    forged = api_client("mlpjob.00.x")
    assert [forged.post(f"{JOBS}/{jobs[0].pk}/metrics").status_code for _ in range(2)] == [401, 429]


# ---- windows


def test_a_window_ends_and_another_begins(settings: Settings, clock: Clock) -> None:
    settings.RATE_LIMIT_TOKEN = "2/minute"

    def allowed() -> int:
        """How many pass now, and how long the next has to wait."""
        for count in range(10):
            try:
                hit("RATE_LIMIT_TOKEN", "key", "x")
            except DomainError as refused:
                clock.now += int(refused.headers["Retry-After"])
                return count
        return 10

    # The first window may have begun long ago; from then on each gives its two.
    assert [allowed() for _ in range(4)] == [2, 2, 2, 2]


def test_windows_of_different_keys_end_at_different_moments(settings: Settings, clock: Clock) -> None:
    settings.RATE_LIMIT_TOKEN = "1/hour"
    waits = set()
    for number in range(20):
        hit("RATE_LIMIT_TOKEN", str(number), "x")
        with pytest.raises(DomainError) as refused:
            hit("RATE_LIMIT_TOKEN", str(number), "x")
        waits.add(refused.value.headers["Retry-After"])
    assert len(waits) > 15


def test_several_rates_hold_together(settings: Settings, clock: Clock) -> None:
    settings.RATE_LIMIT_TOKEN = "2/second;3/hour"
    for _ in range(2):
        hit("RATE_LIMIT_TOKEN", "k", "x")
    with pytest.raises(DomainError, match="at most 2 per second"):
        hit("RATE_LIMIT_TOKEN", "k", "x")
    clock.now += 2
    with pytest.raises(DomainError, match="at most 3 per hour"):
        for _ in range(2):
            hit("RATE_LIMIT_TOKEN", "k", "x")


@pytest.mark.parametrize("text", ["x", "10", "10/fortnight", "-1/minute", "10 per"])
def test_a_rate_that_is_none_stops_the_start(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("RATE_LIMIT_TOKEN", text)
    with pytest.raises(ImproperlyConfigured, match="RATE_LIMIT_TOKEN"):
        env.rates("RATE_LIMIT_TOKEN", "1/minute")


@pytest.mark.parametrize(
    ("text", "rates"), [("", ""), ("5/second;100/hour", "5/second;100/hour"), (" 2/day ", "2/day")]
)
def test_rates_are_read(monkeypatch: pytest.MonkeyPatch, text: str, rates: str) -> None:
    monkeypatch.setenv("RATE_LIMIT_TOKEN", text)
    assert env.rates("RATE_LIMIT_TOKEN", "1/minute") == rates


def test_threads_that_count_together_lose_none(settings: Settings) -> None:
    settings.RATE_LIMIT_TOKEN = "500/hour"
    passed = []

    def work() -> None:
        for _ in range(200):
            try:
                hit("RATE_LIMIT_TOKEN", "k", "x")
                passed.append(1)
            except DomainError:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 500


# ---- the storage: Redis, as far as it is spoken here


class Redis(socketserver.ThreadingTCPServer):
    """Answers what the limits' client sends; counts keys like the script that it runs. ``delay`` makes it hang."""

    daemon_threads = allow_reuse_address = True

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.delay = 0.0
        self.commands: list[str] = []
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Conversation)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.server_address[1]}/0"

    def answer(self, words: list[str]) -> bytes:
        name = words[0].upper()
        self.commands.append(name)
        time.sleep(self.delay)
        if name in ("EVALSHA", "EVAL"):
            with self.lock:
                self.counts[words[3]] = self.counts.get(words[3], 0) + int(words[5])
                return b":%d\r\n" % self.counts[words[3]]
        return b"+OK\r\n"


class _Conversation(socketserver.StreamRequestHandler):
    server: Redis

    def handle(self) -> None:
        while head := self.rfile.readline():
            words = []
            for _ in range(int(head[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:-2].decode("latin-1"))
            self.wfile.write(self.server.answer(words))


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    server = Redis()
    settings.RATE_LIMIT_STORAGE_URL = server.url
    yield server
    server.shutdown()
    server.server_close()


def test_in_redis_all_processes_count_together_in_one_round_trip(settings: Settings, redis: Redis) -> None:
    settings.RATE_LIMIT_TOKEN = "3/hour"
    for _ in range(2):
        hit("RATE_LIMIT_TOKEN", "k", "x")
    # Another process: it remembers nothing.
    rate_limits.forget()
    hit("RATE_LIMIT_TOKEN", "k", "x")
    with pytest.raises(DomainError):
        hit("RATE_LIMIT_TOKEN", "k", "x")
    assert redis.commands.count("EVALSHA") == 4 and len(redis.counts) == 1


def test_a_redis_that_hangs_costs_little_once_and_then_nothing(
    settings: Settings, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    settings.RATE_LIMIT_TOKEN = "1/hour"
    hit("RATE_LIMIT_TOKEN", "k", "x")
    redis.delay = 2.0
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            hit("RATE_LIMIT_TOKEN", "k", "x")
    assert time.monotonic() - began < 1
    assert len([line for line in caplog.messages if "rate limits are not counted" in line]) == 1


def test_a_redis_that_is_not_there_stops_nobody(ours: Any, settings: Settings, clock: Clock) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        settings.RATE_LIMIT_STORAGE_URL = f"redis://127.0.0.1:{probe.getsockname()[1]}/0"
    settings.RATE_LIMIT_TOKEN = settings.RATE_LIMIT_ADDRESS = "1/hour"
    answers = [ours.api.get(JOBS) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert "RateLimit-Limit" not in answers[0]


def test_a_redis_that_comes_back_is_counted_in_again(settings: Settings, redis: Redis, clock: Clock) -> None:
    settings.RATE_LIMIT_TOKEN = "1/hour"
    redis.delay = 0.4
    for _ in range(3):
        hit("RATE_LIMIT_TOKEN", "k", "x")
    redis.delay = 0.0
    clock.now += rate_limits.PAUSE_SECONDS + 1
    with pytest.raises(DomainError):
        for _ in range(3):
            hit("RATE_LIMIT_TOKEN", "k", "x")


def test_a_storage_that_is_none_stops_nobody(settings: Settings) -> None:
    settings.RATE_LIMIT_STORAGE_URL, settings.RATE_LIMIT_TOKEN = "nonsense://x", "1/hour"
    for _ in range(3):
        hit("RATE_LIMIT_TOKEN", "k", "x")
