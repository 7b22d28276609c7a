"""Whether a wish fits, waits or never can, by tables and by properties; and the sentence that says so."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.models import Tenant
from tenants.quotas import ANY, Ask, Held, Limits, Outcome, decide, limits_of, room_for, with_ask

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
LIMITS = Limits(cpu=100, memory_gb=200, gpus=10, jobs=5, pods=6, pvcs=50, gpus_per_job=8, gpu_types={"nvidia-a100": 4})
ASK = Ask(cpu=4, memory_gb=16)
GPUS = Ask(cpu=4, memory_gb=16, gpus=2, gpu_type="nvidia-a100")

SMALL = st.integers(0, 6)
TYPES = st.sampled_from(["", "a", "b"])
ANY_LIMITS = st.builds(
    Limits,
    cpu=SMALL, memory_gb=SMALL, gpus=SMALL, jobs=SMALL, pods=SMALL, pvcs=SMALL, gpus_per_job=SMALL,
    gpu_types=st.dictionaries(st.sampled_from(["a", "b"]), SMALL),
)  # fmt: skip
ANY_HELD = st.builds(
    Held,
    cpu=SMALL, memory_gb=SMALL, gpus=SMALL, jobs=SMALL, pods=SMALL,
    gpu_types=st.dictionaries(st.sampled_from(["a", "b"]), SMALL),
)  # fmt: skip
ANY_ASK = st.builds(
    Ask, cpu=SMALL, memory_gb=SMALL, gpus=SMALL, gpu_type=TYPES, pods=st.integers(0, 3), jobs=st.integers(0, 1)
)


@pytest.mark.parametrize(
    ("held", "ask", "waiting", "outcome", "exceeded"),
    [
        (Held(), ASK, 0, "now", []),
        (Held(cpu=96), ASK, 0, "now", []),
        (Held(cpu=97), ASK, 0, "wait", [("cpu", 100, 97, 4)]),
        (Held(), ASK, 1, "wait", []),
        (Held(), replace(ASK, cpu=101), 0, "never", [("cpu", 100, 0, 101)]),
        (Held(jobs=5, pods=6), ASK, 0, "wait", [("jobs", 5, 5, 1), ("pods", 6, 6, 1)]),
        (Held(gpu_types={"nvidia-a100": 3}, gpus=3), GPUS, 0, "wait", [("gpus:nvidia-a100", 4, 3, 2)]),
        (Held(gpu_types={"nvidia-t4": 3}, gpus=3), replace(GPUS, gpu_type="nvidia-t4"), 0, "now", []),
        (Held(), replace(GPUS, gpus=5), 0, "never", [("gpus:nvidia-a100", 4, 0, 5)]),
        (Held(), replace(GPUS, gpus=9, gpu_type=""), 0, "never", [("gpus_per_job", 8, 0, 9)]),
        # What is no job, such as a deployment, is not held to a job's limits.
        (Held(jobs=5), replace(GPUS, gpus=9, gpu_type="", jobs=0), 0, "now", []),
        # A lowered limit that is overrun is in nobody's way who asks for nothing of it.
        (Held(gpus=99), ASK, 0, "now", []),
    ],
)  # fmt: skip
def test_what_fits_waits_or_never_can(held: Held, ask: Ask, waiting: int, outcome: str, exceeded: list[Any]) -> None:
    verdict = decide(LIMITS, held, ask, waiting=waiting)
    assert verdict.outcome.value == outcome
    assert [tuple(one.as_json().values()) for one in verdict.exceeded] == exceeded


@given(ANY_LIMITS, ANY_HELD, ANY_ASK)
def test_the_room_for_a_wish_is_what_decide_says(limits: Limits, held: Held, ask: Ask) -> None:
    room = room_for(limits, ask)
    fits = room is not None and room.holds(held, ask.gpu_type)
    assert fits == (decide(limits, held, ask).outcome is Outcome.NOW)
    assert room is None or max(vars(room).values()) <= ANY


@given(ANY_LIMITS, ANY_HELD, ANY_ASK, SMALL)
def test_never_is_what_would_not_fit_with_nothing_else_running(
    limits: Limits, held: Held, ask: Ask, waiting: int
) -> None:
    verdict, alone = decide(limits, held, ask, waiting=waiting), decide(limits, Held(), ask)
    assert (verdict.outcome is Outcome.NEVER) == (alone.outcome is not Outcome.NOW)
    assert all(one.used + one.requested > one.limit and one.requested for one in verdict.exceeded)
    assert (verdict.outcome is Outcome.NOW) == (not verdict.exceeded and not waiting)
    assert verdict.sentence and verdict.sentence.endswith(".")


@given(ANY_LIMITS, ANY_HELD, ANY_ASK)
def test_what_starts_now_leaves_no_limit_overrun_that_it_asks_of(limits: Limits, held: Held, ask: Ask) -> None:
    if decide(limits, held, ask).outcome is not Outcome.NOW:
        return
    after = with_ask(held, ask)
    for resource in ("cpu", "memory_gb", "gpus", "jobs", "pods"):
        grown = getattr(after, resource) - getattr(held, resource)
        assert grown == getattr(ask, resource)
        assert not grown or getattr(after, resource) <= getattr(limits, resource)
    if ask.gpus and ask.gpu_type in limits.gpu_types:
        assert after.gpu_types[ask.gpu_type] <= limits.gpu_types[ask.gpu_type]


@given(ANY_LIMITS, ANY_HELD, ANY_ASK, ANY_ASK)
def test_an_end_never_makes_a_wish_fit_less(limits: Limits, held: Held, ask: Ask, other: Ask) -> None:
    if decide(limits, with_ask(held, other), ask).outcome is Outcome.NOW:
        assert decide(limits, held, ask).outcome is Outcome.NOW


@pytest.mark.parametrize(
    ("until", "limits"),
    [(timedelta(days=1), (300, 200, {"nvidia-a100": 6})), (timedelta(0), (100, 200, {"nvidia-a100": 4}))],
)
def test_a_grant_raises_until_its_moment_and_never_lowers(until: timedelta, limits: tuple[Any, ...]) -> None:
    grant = {"until": (NOW + until).isoformat(), "cpu": 300, "memory_gb": 1, "gpus:nvidia-a100": 6, "gpus:other": 9}
    tenant = Tenant(slug="ours", quota_gpu_types={"nvidia-a100": 4}, grants=[grant])
    found = limits_of(tenant, NOW)
    assert (found.cpu, found.memory_gb, found.gpu_types) == limits


@pytest.mark.parametrize(
    ("held", "ask", "waiting", "parts"),
    [
        (Held(cpu=97), ASK, 0, ["quota of 100 CPU cores", "97 in use, 4 asked for", "1 CPU core is free"]),
        (Held(cpu=97, memory_gb=200), ASK, 0, ["200 GB of memory", "16 GB of memory are free"]),
        (Held(), replace(ASK, cpu=101), 0, ["101 CPU cores", "holds 100 in all", "never start"]),
        (Held(), replace(GPUS, gpus=9, gpu_type=""), 0, ["at most 8 GPUs", "asks for 9"]),
        (Held(gpus=3, gpu_types={"nvidia-a100": 3}), GPUS, 0, ["4 nvidia-a100 GPUs", "1 nvidia-a100 GPU is free"]),
        (Held(), ASK, 1, ["1 job waits in the team's queue before it"]),
        (Held(), ASK, 3, ["3 jobs wait"]),
    ],
)
def test_the_sentence_names_the_binding_limit_and_what_would_free_it(
    held: Held, ask: Ask, waiting: int, parts: list[str]
) -> None:
    sentence = decide(LIMITS, held, ask, waiting=waiting).sentence
    assert all(part in sentence for part in parts), sentence
