"""``Idempotency-Key``: one answer for one request, also when both arrive at once or one of them dies."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from platform_portal.errors import DomainError
from tenants import idempotency
from tenants.idempotency import Answer, once
from tenants.models import IdempotencyRecord, Tenant
from tests.personas import Team, team


class Maker:
    """Makes a team each time, as the effect that must not happen twice."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> Answer:
        self.made += 1
        Tenant.objects.create(slug=f"made-{self.made}", name="x")
        return 201, {"number": self.made, "at": timezone.now()}


def test_the_first_answer_again_to_the_letter(ours: Team) -> None:
    make = Maker()
    first = once(ours.ctx, "k", "f", make)
    assert once(ours.ctx, "k", "f", make) == first == (201, {"number": 1, "at": first[1]["at"]})
    assert make.made == 1 and isinstance(first[1]["at"], str)
    assert str(IdempotencyRecord.objects.get()) == f"{ours.tenant.pk}:k"


def test_without_a_key_each_is_its_own(ours: Team) -> None:
    make = Maker()
    assert [once(ours.ctx, None, "f", make)[1]["number"] for _ in range(2)] == [1, 2]
    assert not IdempotencyRecord.objects.exists()


def test_another_request_under_the_key_is_a_409(ours: Team) -> None:
    make = Maker()
    once(ours.ctx, "k", "f", make)
    with pytest.raises(DomainError) as refused:
        once(ours.ctx, "k", "another", make)
    assert (refused.value.http_status, refused.value.code) == (409, "idempotency_key_reused") and make.made == 1


def test_teams_do_not_share_keys(ours: Team, theirs: Team) -> None:
    make = Maker()
    assert once(ours.ctx, "k", "f", make)[1]["number"] == 1
    assert once(theirs.ctx, "k", "another", make)[1]["number"] == 2


def test_a_request_that_failed_leaves_neither_effect_nor_key(ours: Team) -> None:
    def fail() -> Answer:
        Tenant.objects.create(slug="half", name="x")
        raise DomainError("no", "no")

    with pytest.raises(DomainError, match="no"):
        once(ours.ctx, "k", "f", fail)
    assert not Tenant.objects.filter(slug="half").exists() and not IdempotencyRecord.objects.exists()
    assert once(ours.ctx, "k", "other", Maker())[0] == 201


def test_after_24_hours_the_key_is_free(ours: Team) -> None:
    make = Maker()
    once(ours.ctx, "k", "f", make)
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=23, minutes=59))
    assert once(ours.ctx, "k", "f", make)[1]["number"] == 1
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=24, minutes=1))
    assert once(ours.ctx, "k", "another", make)[1]["number"] == 2
    assert IdempotencyRecord.objects.count() == 1


def test_what_has_expired_is_removed(ours: Team) -> None:
    for number in range(3):
        once(ours.ctx, f"k{number}", "f", Maker.__call__.__get__(_numbered(number)))
    IdempotencyRecord.objects.filter(key="k1").update(created_at=timezone.now() - timedelta(hours=25))
    assert idempotency.delete_expired() == 1
    assert set(IdempotencyRecord.objects.values_list("key", flat=True)) == {"k0", "k2"}


def _numbered(number: int) -> Maker:
    maker = Maker()
    maker.made = 10 + number
    return maker


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x00b", "\ud800"])
def test_a_bad_key_is_a_400(ours: Team, key: str) -> None:
    with pytest.raises(DomainError) as refused:
        once(ours.ctx, key, "f", Maker())
    assert refused.value.http_status == 400 and list(refused.value.fields) == ["Idempotency-Key"]


@pytest.mark.parametrize("key", ["k", "x" * 255, "ü 😀", " "])
def test_any_other_key_is_good(ours: Team, key: str) -> None:
    assert once(ours.ctx, key, "f", Maker()) == once(ours.ctx, key, "f", Maker())


def together(count: int, work: Any) -> list[Any]:
    results: list[Any] = []
    gate = threading.Barrier(count)

    def run(number: int) -> None:
        gate.wait()
        try:
            results.append(work(number))
        except DomainError as refused:
            results.append(refused.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_is_made_and_all_get_its_answer() -> None:
    ours, make = team("ours"), Maker()
    results = together(8, lambda number: once(ours.ctx, "k", "f", make))
    assert len(results) == 8 and all(result == results[0] for result in results)
    assert make.made == 1 == Tenant.objects.filter(slug__startswith="made").count()


@pytest.mark.django_db(transaction=True)
def test_of_two_different_at_once_one_is_refused() -> None:
    ours, make = team("ours"), Maker()
    results = together(2, lambda number: once(ours.ctx, "k", f"f{number}", make)[0])
    assert sorted(map(str, results)) == ["201", "idempotency_key_reused"] and make.made == 1


@pytest.mark.django_db(transaction=True)
def test_when_the_first_of_two_fails_the_second_does_the_work() -> None:
    ours, make = team("ours"), Maker()
    inside, go_on = threading.Event(), threading.Event()

    def fail() -> Answer:
        inside.set()
        go_on.wait(5)
        raise DomainError("failed", "x")

    def work(number: int) -> Any:
        if number == 0:
            return once(ours.ctx, "k", "f", fail)
        inside.wait(5)
        threading.Timer(0.2, go_on.set).start()
        return once(ours.ctx, "k", "f", make)[0]

    assert sorted(map(str, together(2, work))) == ["201", "failed"] and make.made == 1


@pytest.mark.django_db(transaction=True)
def test_an_expired_key_is_taken_by_one_of_many() -> None:
    ours, make = team("ours"), Maker()
    once(ours.ctx, "k", "old", make)
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=25))
    results = together(6, lambda number: once(ours.ctx, "k", "new", make)[1]["number"])
    assert results == [2] * 6


@pytest.mark.django_db(transaction=True)
def test_the_same_submission_sent_twice_at_once_is_one_job() -> None:
    from jobs.models import TrainingJob

    ours = team("ours")

    def submit(number: int) -> Any:
        answer = ours.api.post("/v1/jobs/training", {"name": "a"}, format="json", HTTP_IDEMPOTENCY_KEY="k")
        return answer.status_code, answer.json()["id"]

    results = together(6, submit)
    assert {status for status, _ in results} == {201} and len({job_id for _, job_id in results}) == 1
    assert TrainingJob.objects.count() == 1
