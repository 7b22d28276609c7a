"""A bounded load over HTTP: some threads with a connection each, every answer timed."""

import http.client
import json
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class Measured:
    """Seconds of each request, the seconds of the whole, and how many were answered otherwise than expected."""

    times: list[float]
    seconds: float
    wrong: int

    @property
    def per_second(self) -> float:
        return len(self.times) / self.seconds

    def percentile(self, share: float) -> float:
        """In seconds; the value that ``share`` of the requests did not exceed."""
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def p50(self) -> float:
        return statistics.median(self.times)

    @property
    def p99(self) -> float:
        return self.percentile(0.99)


def run(
    port: int,
    *,
    concurrency: int,
    count: int,
    request: Callable[[int], tuple[str, str, Any]],
    headers: Mapping[str, str],
    expected: int,
) -> Measured:
    """Sends ``count`` requests; ``request(number)`` gives method, path and JSON body (or ``None``)."""
    times: list[float] = []
    wrong = 0
    numbers = iter(range(count))
    lock = threading.Lock()

    def work() -> None:
        nonlocal wrong
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                connection.close()
                return
            method, path, body = request(number)
            data = None if body is None else json.dumps(body).encode()
            began = time.perf_counter()
            connection.request(method, path, data, dict(headers))
            answer = connection.getresponse()
            answer.read()
            took = time.perf_counter() - began
            with lock:
                times.append(took)
                wrong += answer.status != expected

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Measured(times, time.perf_counter() - began, wrong)
