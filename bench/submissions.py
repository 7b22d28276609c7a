"""Submissions accepted per second over HTTP into PostgreSQL, against the reference, at concurrency 1 and 8.

The cluster's controllers run, as they do behind any API server, but no machine fits what is submitted, so no container starts.
The portal's reconciler is stopped: its work does not belong to the request, which is the point of the design; ``rows``
measures it.
"""

import uuid
from typing import Any

from bench import load, report
from bench.stack import Stack, free_port

ROUNDS = 3
NAMESPACE = "ml-bench-reference"


def main(*, kubeconfig: str = "", count: int = 400) -> None:
    with Stack("--no-kubelet", kubeconfig=kubeconfig) as stack:
        from bench.data import raise_quota

        raise_quota("test")
        stack.namespace(NAMESPACE)
        portal = stack.web()
        reference = stack.web("bench.reference", workers=1, port=free_port())
        results: dict[tuple[str, int], list[load.Measured]] = {}
        for _ in range(ROUNDS):
            for concurrency in (1, 8):
                for name, port in (("portal", portal), ("reference", reference)):
                    measured = _submit(port, concurrency, count // (1 if concurrency > 1 else 2))
                    results.setdefault((name, concurrency), []).append(measured)
    rows = []
    for concurrency in (1, 8):
        ours, theirs = (_median(results[name, concurrency]) for name in ("portal", "reference"))
        for name, value in (("portal", ours), ("reference", theirs)):
            rows.append([name, concurrency, f"{value[0]:.0f}/s", report.ms(value[1]), report.ms(value[2])])
        ratios = [f"{a / b:.2f}" for a, b in zip(ours, theirs, strict=True)]
        rows.append(["**ratio**", concurrency, *(f"**{ratio}**" for ratio in ratios)])
    wrong = sum(measured.wrong for found in results.values() for measured in found)
    report.table(
        f"Submissions (median of {ROUNDS} rounds, {wrong} answers other than 201)",
        ["service", "concurrency", "accepted", "p50", "p99"],
        rows,
    )


def _submit(port: int, concurrency: int, count: int) -> load.Measured:
    run = uuid.uuid4().hex[:8]

    def request(number: int) -> tuple[str, str, Any]:
        body = {"name": f"bench-{run}-{number}", "entrypoint": "true", "compute": {"cpu_cores": 1, "memory_gb": 1}}
        return "POST", "/v1/jobs/training", body

    headers = {"Authorization": "Bearer tenant-test", "Content-Type": "application/json"}
    load.run(
        port, concurrency=concurrency, count=20, request=lambda n: request(1_000_000 + n), headers=headers, expected=201
    )
    return load.run(port, concurrency=concurrency, count=count, request=request, headers=headers, expected=201)


def _median(found: list[load.Measured]) -> tuple[float, float, float]:
    middle = sorted(found, key=lambda measured: measured.per_second)[len(found) // 2]
    return middle.per_second, middle.p50, middle.p99
