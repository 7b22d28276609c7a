"""What counts as different between what is wanted and what stands."""

import copy
from typing import Any

import pytest

from platform_portal.kube import quantity
from tenants import drift, manifests
from tests.tenants.test_manifests import EXPECTED, WISH

QUOTA = manifests.resource_quota(WISH)
ROLE = manifests.role(WISH)
POLICY = manifests.ingress_policy(WISH)
LIMITS = manifests.limit_range(WISH)


def changed(obj: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(obj)
    at: Any = made
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in parents:
        at = at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return made


def as_served(obj: dict[str, Any]) -> dict[str, Any]:
    """As an API server gives it back: with what it adds itself."""
    made = copy.deepcopy(obj)
    made["metadata"] |= {
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": "2026-05-04T12:00:00Z",
        "managedFields": [{}],
    }
    made["metadata"]["labels"]["kubernetes.io/metadata.name"] = "ml-ours"
    if made["kind"] == "Namespace":
        made |= {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    if made["kind"] == "ResourceQuota":
        made["status"] = {"hard": made["spec"]["hard"], "used": {"pods": "3"}}
    return made


@pytest.mark.parametrize("obj", EXPECTED, ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}")
def test_what_was_applied_is_no_difference_with_all_that_a_server_adds(obj: dict[str, Any]) -> None:
    assert drift.differences(obj, as_served(obj)) == ({}, {})


SAME: list[tuple[dict[str, Any], str, Any]] = [
    (QUOTA, "spec/hard/pods", 100),
    (QUOTA, "spec/hard/requests.cpu", "100000m"),
    (QUOTA, "spec/hard/requests.memory", "204800Mi"),
    (QUOTA, "spec/hard/count~jobs", "5"),
    (LIMITS, "spec/limits/0/default/cpu", "0.1"),
    (QUOTA, "metadata/labels/colour", "blue"),
    (QUOTA, "metadata/annotations", {"note": "hello"}),
]


@pytest.mark.parametrize(("obj", "path", "value"), SAME, ids=[row[1] for row in SAME])
def test_the_same_amount_in_another_spelling_and_what_people_add_is_no_difference(
    obj: dict[str, Any], path: str, value: Any
) -> None:
    assert drift.differences(obj, changed(obj, path, value)) == ({}, {})


DIFFERENT: list[tuple[dict[str, Any], str, Any, str, Any, Any]] = [
    (QUOTA, "spec/hard/pods", "101", "spec.hard.pods", "101", "100"),
    (QUOTA, "spec/hard/pods", ..., "spec.hard.pods", None, "100"),
    (QUOTA, "spec/scopes", ["Terminating"], "spec.scopes", ["Terminating"], None),
    (QUOTA, "metadata/labels/tenant", "x", "metadata.labels.tenant", "x", "ours"),
    (QUOTA, "metadata/labels/managed-by", ..., "metadata.labels.managed-by", None, "ml-platform"),
    (LIMITS, "spec/limits/0/default/cpu", "1", "spec.limits[0].default.cpu", "1", "100m"),
    (LIMITS, "spec/limits/0/max", {"cpu": "1"}, "spec.limits[0].max", {"cpu": "1"}, None),
    (ROLE, "rules/0/verbs", ["*"], "rules[0].verbs", ["*"], ["get", "list", "watch"]),
    (ROLE, "rules", [*ROLE["rules"], {}], "rules", [*ROLE["rules"], {}], ROLE["rules"]),
    (ROLE, "rules/0/resourceNames", ["a"], "rules[0].resourceNames", ["a"], None),
    (POLICY, "spec/podSelector", {"matchLabels": {"a": "b"}}, "spec.podSelector.matchLabels", {"a": "b"}, None),
    (
        POLICY,
        "spec/ingress/0/from/0/namespaceSelector",
        {},
        "spec.ingress[0].from[0].namespaceSelector",
        {},
        None,
    ),
]


@pytest.mark.parametrize(
    ("obj", "path", "value", "where", "found", "wanted"),
    DIFFERENT,
    ids=[f"{row[0]['kind']}-{row[3]}" for row in DIFFERENT],
)
def test_a_difference_is_told_by_its_path_and_nothing_else(
    obj: dict[str, Any], path: str, value: Any, where: str, found: Any, wanted: Any
) -> None:
    assert drift.differences(obj, changed(obj, path, value)) == ({where: found}, {where: wanted})


def test_a_label_is_text_and_no_amount() -> None:
    wanted = changed(QUOTA, "metadata/labels/size", "1000m")
    assert drift.differences(wanted, changed(QUOTA, "metadata/labels/size", "1"))[0]


def test_an_absent_object_is_one_difference() -> None:
    assert drift.differences(QUOTA, None) == ({"object": "absent"}, {"object": "present"})


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("1", "1000m", True),
        ("1Gi", "1024Mi", True),
        (100, "100", True),
        ("1e3", "1k", True),
        ("0.5", "500m", True),
        ("1G", "1Gi", False),
        ("100n", "0", False),
        ("", "0", False),
        ("all", "all", True),
        ("all", "none", False),
        (True, "1", False),
        (None, "1", False),
        ("1e9999", "1e9998", False),
    ],
)
def test_amounts_are_the_same_by_value(left: Any, right: Any, same: bool) -> None:
    assert quantity.same(left, right) is quantity.same(right, left) is same
