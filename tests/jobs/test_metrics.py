"""What training programs report: checked, kept once per step, thinned for drawing without losing an extreme."""

import math
import threading
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from jobs import metrics
from jobs.metrics import Point, metrics_record, parse, series
from jobs.models import MetricPoint, TrainingJob
from platform_portal.errors import DomainError
from tests.jobs.fake_cluster import FakeCluster
from tests.jobs.rounds import fresh, submit
from tests.personas import Team
from tests.platform.test_safejson import ANY_JSON


@pytest.fixture
def job(ours: Team, cluster: FakeCluster) -> TrainingJob:
    return submit(ours)


def points(name: str, values: dict[int, float]) -> list[Point]:
    return [Point(name, step, value) for step, value in values.items()]


def test_one_step_and_a_batch() -> None:
    assert parse({"step": 3, "values": {"loss": 0.5, "a/b c": 1}}) == [Point("loss", 3, 0.5), Point("a/b c", 3, 1.0)]
    batch = {"points": [{"step": 1, "values": {"x": 1}}, {"step": 2, "values": {"x": 2}}]}
    assert parse(batch) == [Point("x", 1, 1.0), Point("x", 2, 2.0)] and parse({"points": []}) == []


def test_the_last_value_of_a_step_counts() -> None:
    batch = {"points": [{"step": 1, "values": {"x": 1}}, {"step": 1, "values": {"x": 2}}]}
    assert parse(batch) == [Point("x", 1, 2.0)]


def test_what_is_no_number_has_a_name() -> None:
    found = parse({"step": 0, "values": {"a": "NaN", "b": "Infinity", "c": "-Infinity"}})
    assert math.isnan(found[0].value) and [point.value for point in found[1:]] == [math.inf, -math.inf]


BAD: list[tuple[Any, str]] = [
    ([], ""), ("x", ""), (None, ""), ({}, "step"), ({"step": 1}, "values"), ({"step": 1, "values": []}, "values"),
    ({"step": 1, "values": {}}, "values"), ({"values": {"a": 1}}, "step"), ({"step": None, "values": {"a": 1}}, "step"),
    ({"step": 2**62 + 1, "values": {"a": 1}}, "step"), ({"step": True, "values": {"a": 1}}, "step"),
    ({"step": 1, "values": {"a": None}}, "values.a"), ({"step": 1, "values": {"a": [1]}}, "values.a"),
    ({"step": 1, "values": {"a": "nan"}}, "values.a"), ({"step": 1, "values": {"a": 10**400}}, "values.a"),
    ({"step": 1, "values": {"": 1}}, "values.''"), ({"step": 1, "values": {"-x": 1}}, "values.'-x'"),
    ({"step": 1, "values": {"x" * 101: 1}}, f"values.{'x' * 80!a}"), ({"step": 1, "values": {"a\x00": 1}}, "values.'a\\x00'"),
    ({"step": 1, "values": {"\ud800": 1}}, "values.'\\ud800'"), ({"step": 1, "values": {"a": 1}, "time": 5}, "time"),
    ({"points": [5]}, "points.0"), ({"points": 5}, "points"), ({"points": [], "step": 1}, "points"),
    ({"points": [{"step": 1, "values": {"a": 1}}, {"step": -1, "values": {"a": 1}}]}, "points.1.step"),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "path"), BAD, ids=lambda value: ascii(value)[:40])
def test_bad_points_are_refused_by_path(payload: Any, path: str) -> None:
    with pytest.raises(DomainError) as refused:
        parse(payload)
    assert path in refused.value.fields and refused.value.http_status == 400


def test_errors_are_bounded_and_so_are_points() -> None:
    with pytest.raises(DomainError) as refused:
        parse({"points": [{"step": -1}] * 1000})
    assert len(refused.value.fields) < 50
    most = [{"step": step, "values": {"a": 1, "b": 2}} for step in range(5000)]
    assert len(parse({"points": most})) == 10_000
    with pytest.raises(DomainError, match="correct points"):
        parse({"points": [*most, {"step": 1, "values": {"c": 1}}]})


@given(
    ANY_JSON
    | st.fixed_dictionaries({"points": st.lists(st.fixed_dictionaries({"step": ANY_JSON, "values": ANY_JSON}))})
)
def test_no_json_makes_it_raise_anything_else(payload: Any) -> None:
    try:
        parse(payload)
    except DomainError as refused:
        assert refused.http_status == 400


# ---- keeping


def test_the_newest_step_is_the_last_value_in_whatever_order_they_come(job: TrainingJob) -> None:
    assert metrics_record(job=job, points=points("loss", {5: 0.5, 3: 0.3})) == 2
    assert metrics_record(job=job, points=points("loss", {4: 0.4})) == 1
    assert metrics_record(job=job, points=points("acc", {1: 0.9})) == 1
    assert fresh(job).metrics == {"loss": 0.5, "acc": 0.9}
    metrics_record(job=job, points=points("loss", {5: 0.25}))
    assert fresh(job).metrics["loss"] == 0.25 and MetricPoint.objects.count() == 4


def test_nothing_is_nothing(job: TrainingJob, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        assert metrics_record(job=job, points=[]) == 0


def test_values_of_every_size_are_kept_and_shown(ours: Team, job: TrainingJob) -> None:
    values = {0: 1e300, 1: -1e-300, 2: 5e-324, 3: 1.7976931348623157e308, 4: 0.1 + 0.2, 5: -0.0}
    metrics_record(job=job, points=points("x", values))
    assert dict(series(job)["x"]) == values
    for name, value in (("big", 1e300), ("nan", math.nan), ("inf", math.inf)):
        metrics_record(job=job, points=points(name, {0: value}))
    answer = ours.api.get(f"/v1/jobs/training/{job.pk}")
    assert answer.status_code == 200
    shown = answer.json()["metrics"]
    assert float(shown["big"]) == 1e300 and shown["nan"] is None and shown["inf"] is None
    assert ours.api.get("/v1/jobs/training").status_code == 200


def test_a_job_may_have_200_names(job: TrainingJob) -> None:
    metrics_record(job=job, points=[Point(f"m{number}", 0, 1.0) for number in range(200)])
    metrics_record(job=job, points=points("m7", {1: 1.0}))
    with pytest.raises(DomainError) as refused:
        metrics_record(job=job, points=points("one-more", {0: 1.0}))
    assert refused.value.http_status == 409
    assert len(fresh(job).metrics) == 200 and not MetricPoint.objects.filter(name="one-more").exists()


def test_a_batch_takes_a_constant_number_of_queries(
    job: TrainingJob, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for size in (1, 5000):
        with django_assert_num_queries(6):
            metrics_record(job=job, points=points("x", {step: float(step) for step in range(size)}))


def test_jobs_do_not_share_points(ours: Team, job: TrainingJob) -> None:
    other = submit(ours, "b")
    metrics_record(job=job, points=points("x", {1: 1.0}))
    metrics_record(job=other, points=points("x", {1: 2.0}))
    assert series(job) == {"x": [(1, 1.0)]} and series(other) == {"x": [(1, 2.0)]}


# ---- thinning


def test_a_short_curve_is_whole(job: TrainingJob) -> None:
    values = {step * 10: math.sin(step) for step in range(200)}
    metrics_record(job=job, points=points("x", values))
    assert series(job) == {"x": sorted(values.items())}


def test_many_thousand_points_keep_their_extremes_and_their_ends(job: TrainingJob) -> None:
    values = {step: math.sin(step / 1000) for step in range(50_000)}
    values |= {12_345: 99.0, 43_210: -99.0}
    for start in range(0, 50_000, 10_000):
        metrics_record(job=job, points=points("x", {step: values[step] for step in range(start, start + 10_000)}))
    curve = series(job, most=400)["x"]
    assert len(curve) <= 400 and curve == sorted(curve)
    assert (12_345, 99.0) in curve and (43_210, -99.0) in curve
    assert curve[0][0] < 250 and curve[-1][0] >= 49_750
    assert all(values[step] == value for step, value in curve)
    assert fresh(job).metrics == {"x": values[49_999]}


def test_each_curve_is_thinned_by_itself(job: TrainingJob) -> None:
    metrics_record(job=job, points=points("long", {step: float(step % 7) for step in range(5000)}))
    metrics_record(job=job, points=points("short", {0: 1.0, 4999: 2.0}))
    found = series(job, most=100)
    assert len(found["long"]) <= 100 and found["short"] == [(0, 1.0), (4999, 2.0)]


def test_what_is_no_number_is_in_the_curve(job: TrainingJob) -> None:
    metrics_record(job=job, points=points("x", {step: (math.nan if step == 3000 else 1.0) for step in range(5000)}))
    assert any(math.isnan(value) for _, value in series(job)["x"])


def test_no_points_no_curves(job: TrainingJob) -> None:
    assert series(job) == {}


@pytest.mark.django_db(transaction=True)
def test_two_batches_at_once_are_both_kept_and_the_limit_holds(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MAX_NAMES", 40)
    refused: list[str] = []

    def report(worker: int) -> None:
        try:
            for step in range(10):
                names = [Point("shared", worker * 10 + step, float(worker)), Point(f"w{worker}-{step}", step, 1.0)]
                metrics_record(job=job, points=names)
        except DomainError as error:
            refused.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=report, args=(worker,)) for worker in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = fresh(job).metrics
    assert len(kept) == 40 == MetricPoint.objects.values("name").distinct().count()
    assert refused and set(refused) == {"too_many_metrics"}
    newest = MetricPoint.objects.filter(name="shared").order_by("-step").first()
    assert newest is not None and kept["shared"] == newest.value
