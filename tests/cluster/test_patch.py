"""The patch types in use: JSON patch, merge patch, strategic merge patch."""

from __future__ import annotations

from typing import Any

import pytest

from .api import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Object, Space
from .objects import config_map, container, deployment

DATA_PATCHES: list[tuple[str, str, Any, dict[str, str]]] = [
    ("merge adds and keeps", MERGE_PATCH, {"data": {"c": "3"}}, {"a": "1", "b": "2", "c": "3"}),
    ("merge replaces", MERGE_PATCH, {"data": {"a": "x"}}, {"a": "x", "b": "2"}),
    ("merge null removes", MERGE_PATCH, {"data": {"a": None}}, {"b": "2"}),
    ("strategic null removes", STRATEGIC_PATCH, {"data": {"a": None, "c": "3"}}, {"b": "2", "c": "3"}),
    ("strategic replace", STRATEGIC_PATCH, {"data": {"$patch": "replace", "z": "9"}}, {"z": "9"}),
    ("json add", JSON_PATCH, [{"op": "add", "path": "/data/c", "value": "3"}], {"a": "1", "b": "2", "c": "3"}),
    ("json replace", JSON_PATCH, [{"op": "replace", "path": "/data/a", "value": "x"}], {"a": "x", "b": "2"}),
    ("json remove", JSON_PATCH, [{"op": "remove", "path": "/data/a"}], {"b": "2"}),
    ("json move", JSON_PATCH, [{"op": "move", "from": "/data/a", "path": "/data/c"}], {"b": "2", "c": "1"}),
    ("json copy", JSON_PATCH, [{"op": "copy", "from": "/data/a", "path": "/data/c"}], {"a": "1", "b": "2", "c": "1"}),
    (
        "json test then replace",
        JSON_PATCH,
        [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "replace", "path": "/data/a", "value": "x"}],
        {"a": "x", "b": "2"},
    ),
]


@pytest.mark.parametrize(
    ("content_type", "patch", "expected"), [row[1:] for row in DATA_PATCHES], ids=[row[0] for row in DATA_PATCHES]
)
def test_a_patch_changes_what_it_names(space: Space, content_type: str, patch: Any, expected: dict[str, str]) -> None:
    space.create(config_map("a", {"a": "1", "b": "2"}))
    answer = space.patch("configmaps", "a", patch, content_type)
    assert answer["data"] == expected
    assert space.get("configmaps", "a") == answer


def test_json_patch_escapes_slashes_in_label_names(space: Space) -> None:
    space.create(config_map("a", labels={"ml-platform/job-id": "1", "other": "x"}))
    patch = [{"op": "replace", "path": "/metadata/labels/ml-platform~1job-id", "value": "2"}]
    assert space.patch("configmaps", "a", patch, JSON_PATCH)["metadata"]["labels"]["ml-platform/job-id"] == "2"


def test_a_failed_json_test_changes_nothing(space: Space) -> None:
    made = space.create(config_map("a", {"a": "1"}))
    patch = [
        {"op": "replace", "path": "/data/a", "value": "2"},
        {"op": "test", "path": "/data/a", "value": "other"},
    ]
    space.cluster.refused(422, "Invalid", "PATCH", space.path("configmaps", "a"), patch, content_type=JSON_PATCH)
    assert space.get("configmaps", "a") == made


def test_a_patch_that_changes_nothing_keeps_the_version(space: Space) -> None:
    made = space.create(config_map("a", {"a": "1"}))
    for content_type in (MERGE_PATCH, STRATEGIC_PATCH):
        same = space.patch("configmaps", "a", {"data": {"a": "1"}}, content_type)
        assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_a_patch_that_names_a_stale_version_is_a_conflict(space: Space) -> None:
    made = space.create(config_map("a", {"a": "1"}))
    space.patch("configmaps", "a", {"data": {"a": "2"}})
    patch = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"a": "3"}}
    path = space.path("configmaps", "a")
    space.cluster.refused(409, "Conflict", "PATCH", path, patch, content_type=MERGE_PATCH)


def test_a_patch_may_not_make_an_object_invalid(space: Space) -> None:
    space.create(config_map("a"))
    path = space.path("configmaps", "a")
    patch = {"metadata": {"labels": {"x": "not ok!"}}}
    space.cluster.refused(422, "Invalid", "PATCH", path, patch, content_type=MERGE_PATCH)


def test_an_unknown_patch_type_is_unsupported(space: Space) -> None:
    space.create(config_map("a"))
    path = space.path("configmaps", "a")
    answer = space.cluster.call("PATCH", path, {"data": {}}, content_type="application/json")
    assert answer.code == 415


def test_a_strategic_patch_merges_containers_and_env_by_name(space: Space) -> None:
    space.create(_template(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]))
    patch = {"containers": [{"name": "main", "env": [{"name": "B", "value": "x"}, {"name": "C", "value": "3"}]}]}
    spec = _patch_template(space, patch)
    assert [each["name"] for each in spec["containers"]] == ["main", "side"]
    assert {each["name"]: each["value"] for each in spec["containers"][0]["env"]} == {"A": "1", "B": "x", "C": "3"}
    assert spec["containers"][0]["image"]


def test_a_strategic_patch_deletes_a_list_entry_by_name(space: Space) -> None:
    space.create(_template(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]))
    patch = {
        "containers": [
            {"name": "side", "$patch": "delete"},
            {"name": "main", "env": [{"name": "A", "$patch": "delete"}]},
        ]
    }
    spec = _patch_template(space, patch)
    assert [each["name"] for each in spec["containers"]] == ["main"]
    assert spec["containers"][0]["env"] == [{"name": "B", "value": "2"}]


def test_a_strategic_patch_replaces_lists_without_a_merge_key(space: Space) -> None:
    space.create(_template(args=["a", "b"]))
    spec = _patch_template(space, {"containers": [{"name": "main", "args": ["c"]}]})
    assert spec["containers"][0]["args"] == ["c"]


def test_a_merge_patch_replaces_whole_lists(space: Space) -> None:
    space.create(_template())
    patch = {"spec": {"template": {"spec": {"containers": [container("true", "only")]}}}}
    spec = space.patch("deployments", "d", patch, MERGE_PATCH)["spec"]["template"]["spec"]
    assert [each["name"] for each in spec["containers"]] == ["only"]


def _template(**fields: Any) -> Object:
    body = deployment("d", 0, **fields)
    body["spec"]["template"]["spec"]["containers"].append(container("true", "side"))
    return body


def _patch_template(space: Space, spec: Object) -> Object:
    patched: Object = space.patch("deployments", "d", {"spec": {"template": {"spec": spec}}}, STRATEGIC_PATCH)
    template: Object = patched["spec"]["template"]["spec"]
    return template
