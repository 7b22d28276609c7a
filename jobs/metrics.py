"""Metrics that training programs report: checked, stored once per step, and thinned for drawing."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from jobs.models import TrainingJob
from platform_portal.errors import conflict, invalid

MAX_POINTS_PER_REQUEST = 10_000
MAX_NAMES = 200
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./ -]{0,99}")
MAX_STEP = 2**62
SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class Point:
    name: str
    step: int
    value: float


def parse(payload: Any) -> list[Point]:
    """The points of ``{"step", "values"}`` or of ``{"points": [{"step", "values"}, …]}``; a 400 names what is wrong.

    A value is a number or one of "NaN", "Infinity", "-Infinity": a loss that explodes is news too. The last value for a name
    and step counts.
    """
    if not isinstance(payload, dict):
        raise invalid({"": ["must be an object with step and values"]})
    errors: dict[str, list[str]] = {}
    if "points" in payload:
        batch, prefix = payload["points"], "points.{}."
        if not isinstance(batch, list) or set(payload) != {"points"}:
            raise invalid({"points": ["must be a list of {step, values}, and stand alone"]})
    else:
        batch, prefix = [payload], ""
    found: dict[tuple[str, int], Point] = {}
    total = 0
    for number, item in enumerate(batch):
        total += _take(item, prefix.format(number), found, errors)
        if total > MAX_POINTS_PER_REQUEST:
            raise invalid({"points": [f"must be at most {MAX_POINTS_PER_REQUEST} values in one request"]})
        if len(errors) >= 20:
            break
    if errors:
        raise invalid(errors)
    return list(found.values())


def metrics_record(*, job: TrainingJob, points: list[Point]) -> int:
    """Stores the points in one transaction, with the newest value of each name in the job; repeating it changes nothing."""
    if not points:
        return 0
    names_given = {point.name for point in points}
    with transaction.atomic():
        # The lock orders two batches of one job, so that the last values and the limit on names are right.
        known = TrainingJob.objects.select_for_update().values_list("metrics", flat=True).get(pk=job.pk)
        if len(set(known) | names_given) > MAX_NAMES:
            raise conflict("too_many_metrics", f"A job may have at most {MAX_NAMES} metric names.")
        now = timezone.now()
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO jobs_metricpoint (job_id, name, step, value, at)"
                " SELECT %s, p.name, p.step, p.value, %s"
                " FROM unnest(%s::text[], %s::bigint[], %s::float8[]) AS p(name, step, value)"
                " ON CONFLICT (job_id, name, step) DO UPDATE SET value = excluded.value, at = excluded.at",
                [job.pk, now, [p.name for p in points], [p.step for p in points], [p.value for p in points]],
            )
            cursor.execute(
                "SELECT given.name, (SELECT value FROM jobs_metricpoint AS p WHERE p.job_id = %s AND p.name = given.name"
                " ORDER BY step DESC LIMIT 1) FROM unnest(%s::text[]) AS given(name)",
                [job.pk, list(names_given)],
            )
            last = {name: _json_value(value) for name, value in cursor.fetchall()}
        TrainingJob.objects.filter(pk=job.pk).update(metrics=known | last)
    return len(points)


def series(job: TrainingJob, *, most: int = 400) -> dict[str, list[tuple[int, float]]]:
    """Each metric's curve, thinned to about ``most`` points: of every run of steps the lowest and the highest value stay.

    Thinned in the database, so that a million points cost no memory here.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH numbered AS ("
            "  SELECT name, step, value,"
            "    (row_number() OVER (PARTITION BY name ORDER BY step) - 1) * %s"
            "      / greatest(count(*) OVER (PARTITION BY name), %s) AS bucket"
            "  FROM jobs_metricpoint WHERE job_id = %s"
            "), ranked AS ("
            "  SELECT name, step, value,"
            "    row_number() OVER (PARTITION BY name, bucket ORDER BY value, step) AS lowest,"
            "    row_number() OVER (PARTITION BY name, bucket ORDER BY value DESC, step) AS highest"
            "  FROM numbered"
            ") SELECT name, step, value FROM ranked WHERE lowest = 1 OR highest = 1 ORDER BY name, step",
            [most // 2, most // 2, job.pk],
        )
        for name, step, value in cursor.fetchall():
            curves.setdefault(name, []).append((step, value))
    return curves


def _take(item: Any, prefix: str, found: dict[tuple[str, int], Point], errors: dict[str, list[str]]) -> int:
    if not isinstance(item, dict):
        errors[prefix.rstrip(".")] = ["must be an object with step and values"]
        return 0
    for unknown in set(item) - {"step", "values"}:
        errors[f"{prefix}{unknown[:80]}"] = ["is not a field; a point has step and values"]
    step, values = item.get("step"), item.get("values")
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= MAX_STEP:
        errors[f"{prefix}step"] = ["must be a whole number, 0 or more"]
        step = 0
    if not isinstance(values, Mapping) or not values:
        errors[f"{prefix}values"] = ["must be an object of metric names and numbers"]
        return 0
    for name, value in values.items():
        number = _number(value)
        if not NAME.fullmatch(name):
            errors[f"{prefix}values.{name[:80]!a}"] = [
                "must be a name of letters, digits, spaces and _ - . /, at most 100"
            ]
        elif number is None:
            errors[f"{prefix}values.{name}"] = ['must be a number, or "NaN", "Infinity" or "-Infinity"']
        else:
            found[name, step] = Point(name, step, number)
    return len(values)


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return SPECIAL.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _json_value(value: float) -> float | None:
    return value if math.isfinite(value) else None
