"""The sums behind quotas follow the store's changes exactly."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

from localcluster.admission.usage import Ledger
from localcluster.registry import Registry
from localcluster.resources import BY_BUCKET, PODS, SECRETS


def pod(name: str, cpu: str) -> dict[str, Any]:
    resources = {"limits": {"cpu": cpu, "memory": "1Gi"}}
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "x", "resources": resources}]}}


def set_phase(registry: Registry, name: str, phase: str) -> None:
    registry.modify(PODS, "default", name, lambda obj: {**obj, "status": {"phase": phase}}, subresource="status")


def names(ledger: Ledger) -> dict[str, Decimal]:
    known = [f"count/{resource.qualified}" for resource in BY_BUCKET.values()]
    known += ["pods", "secrets", "cpu", "requests.cpu", "limits.cpu", "requests.memory", "limits.memory"]
    return {name: ledger.used("default", name) for name in known}


def test_an_empty_namespace_uses_nothing(registry: Registry) -> None:
    assert not any(names(Ledger(registry.store)).values())


def test_sums_kept_by_following_equal_sums_made_afresh(registry: Registry) -> None:
    ledger, chance = Ledger(registry.store), random.Random(7)
    live: list[str] = []
    for number in range(120):
        action = chance.random()
        if action < 0.5 or not live:
            live.append(f"p{number}")
            registry.create(PODS, "default", pod(live[-1], chance.choice(["100m", "0.5", "2"])))
        elif action < 0.75:
            phase = chance.choice(["Running", "Succeeded", "Failed"])
            set_phase(registry, chance.choice(live), phase)
        else:
            registry.delete(PODS, "default", live.pop(chance.randrange(len(live))))
        registry.create(SECRETS, "default", {"metadata": {"name": f"s{number}"}})
        assert names(ledger) == names(Ledger(registry.store))
    assert ledger.used("default", "secrets") == 120


def test_a_pod_that_ended_gives_back_what_it_used_but_still_counts(registry: Registry) -> None:
    ledger = Ledger(registry.store)
    registry.create(PODS, "default", pod("a", "2"))
    assert [ledger.used("default", name) for name in ("requests.cpu", "pods")] == [Decimal(2), Decimal(1)]
    set_phase(registry, "a", "Failed")
    assert [ledger.used("default", name) for name in ("requests.cpu", "pods")] == [Decimal(0), Decimal(0)]
    assert ledger.used("default", "count/pods") == 1
