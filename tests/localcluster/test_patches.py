"""The patch types as functions, on cases a whole server would hide."""

from __future__ import annotations

from typing import Any

import pytest

from localcluster.apply import Author, after_update, server_side_apply
from localcluster.errors import ApiError
from localcluster.patch import json_patch, merge_patch, strategic_merge
from localcluster.resources import CONFIG_MAPS, DEPLOYMENTS

ME, OTHER = Author("me", "v1", "", "t1"), Author("other", "v1", "", "t2")

MERGES = [
    ({"a": 1}, {"a": None}, {}),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
    ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
    ({"a": 1}, {"a": {"b": None}}, {"a": {}}),
    ({}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
]


@pytest.mark.parametrize(("before", "patch", "wanted"), MERGES)
def test_merge_patches(before: Any, patch: Any, wanted: Any) -> None:
    assert merge_patch(before, patch) == wanted


STRATEGIC = [
    ("an entry is merged by its name", [{"name": "a", "image": "2"}], [{"name": "a", "image": "2"}, {"name": "b"}]),
    ("a new entry is added", [{"name": "c"}], [{"name": "a", "image": "1"}, {"name": "b"}, {"name": "c"}]),
    ("an entry is deleted", [{"name": "a", "$patch": "delete"}], [{"name": "b"}]),
    ("the list is replaced", [{"$patch": "replace"}, {"name": "z"}], [{"name": "z"}]),
]


@pytest.mark.parametrize(("patch", "wanted"), [row[1:] for row in STRATEGIC], ids=[row[0] for row in STRATEGIC])
def test_strategic_merges_of_containers(patch: Any, wanted: Any) -> None:
    before = {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}
    assert strategic_merge(before, {"containers": patch}) == {"containers": wanted}
    assert before == {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}


def test_directives_of_kubectl_are_understood() -> None:
    before = {
        "finalizers": ["a", "b"],
        "env": [{"name": "A"}, {"name": "B"}],
        "strategy": {"type": "x", "rollingUpdate": {}},
    }
    patch = {
        "$deleteFromPrimitiveList/finalizers": ["a"],
        "$setElementOrder/env": [{"name": "B"}, {"name": "A"}],
        "env": [{"name": "B", "value": "2"}],
        "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
    }
    assert strategic_merge(before, patch) == {
        "finalizers": ["b"],
        "env": [{"name": "B", "value": "2"}, {"name": "A"}],
        "strategy": {"type": "Recreate"},
    }


OPERATIONS = [
    ([{"op": "add", "path": "/a~1b", "value": 1}], {"l": [1, 2], "a/b": 1}),
    ([{"op": "add", "path": "/l/0", "value": 0}], {"l": [0, 1, 2]}),
    ([{"op": "add", "path": "/l/-", "value": 3}], {"l": [1, 2, 3]}),
    ([{"op": "remove", "path": "/l/1"}], {"l": [1]}),
    ([{"op": "replace", "path": "/l", "value": "x"}], {"l": "x"}),
    ([{"op": "move", "from": "/l/0", "path": "/m"}], {"l": [2], "m": 1}),
    ([{"op": "copy", "from": "/l", "path": "/m"}], {"l": [1, 2], "m": [1, 2]}),
    ([{"op": "test", "path": "/l/0", "value": 1}], {"l": [1, 2]}),
]


@pytest.mark.parametrize(("operations", "wanted"), OPERATIONS)
def test_json_patches(operations: Any, wanted: Any) -> None:
    assert json_patch({"l": [1, 2]}, operations) == wanted


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "test", "path": "/l/0", "value": 9}],
        [{"op": "remove", "path": "/none"}],
        [{"op": "replace", "path": "/none", "value": 1}],
        [{"op": "add", "path": "/l/9", "value": 1}],
        [{"op": "jump", "path": "/l"}],
        [{"op": "add", "path": "l"}],
        "no list",
    ],
)
def test_json_patches_that_cannot_be_applied_are_refused(operations: Any) -> None:
    with pytest.raises(ApiError) as refused:
        json_patch({"l": [1, 2]}, operations)
    assert refused.value.code in (400, 422)


def config(**data: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": data}


def apply(live: Any, wanted: Any, author: Author = ME, *, force: bool = False, resource: Any = CONFIG_MAPS) -> Any:
    return server_side_apply(resource, live, wanted, author, force=force)


def test_applying_the_same_twice_changes_nothing_at_all() -> None:
    once = apply(None, config(a="1"))
    assert apply(once, config(a="1"), Author("me", "v1", "", "later")) == once


def test_a_field_left_out_by_its_only_owner_goes_and_a_shared_one_stays() -> None:
    live = apply(apply(None, config(a="1", b="2")), config(b="2"), OTHER)
    assert apply(live, config())["data"] == {"b": "2"}


def test_another_value_for_a_field_of_another_manager_is_a_conflict_that_names_both() -> None:
    live = apply(None, config(a="1"), OTHER)
    with pytest.raises(ApiError) as refused:
        apply(live, config(a="2"))
    assert refused.value.code == 409
    assert refused.value.message == 'Apply failed with 1 conflict: conflict with "other" using v1: .data.a'
    forced = apply(live, config(a="2"), force=True)
    assert forced["data"] == {"a": "2"}
    assert [entry["manager"] for entry in forced["metadata"]["managedFields"]] == ["me"]


def test_an_update_takes_over_what_it_changed() -> None:
    live = apply(None, config(a="1", b="2"))
    changed = {**live, "data": {"a": "9", "b": "2"}}
    changed["metadata"] = {**live["metadata"], "managedFields": after_update(live, changed, OTHER)}
    with pytest.raises(ApiError):
        apply(changed, config(a="1", b="2"))
    assert apply(changed, config(b="2"))["data"] == {"a": "9", "b": "2"}


def test_two_notations_of_one_quantity_do_not_conflict() -> None:
    def deployment(cpu: str) -> dict[str, Any]:
        container = {"name": "a", "image": "x", "resources": {"limits": {"cpu": cpu}}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [container]}}}
        return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"}, "spec": spec}

    live = apply(None, deployment("500m"), OTHER, resource=DEPLOYMENTS)
    apply(live, deployment("0.5"), resource=DEPLOYMENTS)
    with pytest.raises(ApiError):
        apply(live, deployment("0.6"), resource=DEPLOYMENTS)
