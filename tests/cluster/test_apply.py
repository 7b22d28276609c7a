"""Server-side apply: how the platform keeps its objects as it wants them, and drifts back what others changed."""

from __future__ import annotations

from .api import APPLY_PATCH, Object, Space, path_of
from .objects import config_map, container, deployment, quota


def _manager(obj: Object, name: str) -> Object:
    found = [each for each in obj["metadata"]["managedFields"] if each["manager"] == name]
    return found[0] if found else {}


def test_apply_creates_what_is_missing(space: Space) -> None:
    path = space.path("configmaps", "a")
    answer = space.cluster.call(
        "PATCH", path, config_map("a", {"k": "v"}), content_type=APPLY_PATCH, fieldManager="platform"
    )
    assert answer.code == 201
    made = answer.json
    assert made["data"] == {"k": "v"}
    fields = _manager(made, "platform")
    assert (fields["operation"], fields["apiVersion"], fields["fieldsType"]) == ("Apply", "v1", "FieldsV1")
    assert fields["fieldsV1"]["f:data"]["f:k"] == {}


def test_applying_the_same_again_changes_nothing(space: Space) -> None:
    first = space.apply(config_map("a", {"k": "v"}))
    again = space.apply(config_map("a", {"k": "v"}))
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_applying_a_deployment_again_changes_nothing(space: Space) -> None:
    body = deployment("d", 0)
    body["spec"]["paused"] = True
    space.apply(body)
    settled = space.wait("deployments", "d", lambda obj: obj["status"].get("observedGeneration") == 1, "observed")
    again = space.apply(body)
    assert again["metadata"]["generation"] == 1
    assert again["spec"] == settled["spec"]


def test_a_field_left_out_by_its_owner_is_removed(space: Space) -> None:
    space.apply(config_map("a", {"k": "1", "l": "2"}, labels={"x": "1", "y": "2"}))
    changed = space.apply(config_map("a", {"k": "1"}, labels={"y": "2"}))
    assert changed["data"] == {"k": "1"}
    assert changed["metadata"]["labels"] == {"y": "2"}


def test_the_fields_of_others_stay(space: Space) -> None:
    space.apply(config_map("a", {"k": "1"}))
    space.patch("configmaps", "a", {"data": {"other": "x"}, "metadata": {"annotations": {"by": "hand"}}})
    changed = space.apply(config_map("a", {"k": "2"}))
    assert changed["data"] == {"k": "2", "other": "x"}
    assert changed["metadata"]["annotations"] == {"by": "hand"}


def test_a_field_of_another_manager_is_a_conflict_and_named(space: Space) -> None:
    space.apply(config_map("a", {"k": "1"}), "first")
    path = space.path("configmaps", "a")
    status = space.cluster.refused(
        409, "Conflict", "PATCH", path, config_map("a", {"k": "2"}), content_type=APPLY_PATCH, fieldManager="second"
    )
    (cause,) = status["details"]["causes"]
    assert cause["reason"] == "FieldManagerConflict"
    assert cause["field"] == ".data.k"
    assert 'conflict with "first"' in cause["message"]
    assert space.get("configmaps", "a")["data"] == {"k": "1"}


def test_a_change_by_hand_conflicts_until_forced(space: Space) -> None:
    space.apply(quota("q", {"pods": "10"}))
    space.patch("resourcequotas", "q", {"spec": {"hard": {"pods": "99"}}}, fieldManager="hand")
    path = space.path("resourcequotas", "q")
    space.cluster.refused(
        409, "Conflict", "PATCH", path, quota("q", {"pods": "10"}), content_type=APPLY_PATCH, fieldManager="platform"
    )
    restored = space.apply(quota("q", {"pods": "10"}), force=True)
    assert restored["spec"]["hard"] == {"pods": "10"}
    assert "f:spec" not in _manager(restored, "hand").get("fieldsV1", {})


def test_the_same_value_is_shared_and_survives_one_owner(space: Space) -> None:
    space.apply(config_map("a", {"k": "1", "l": "2"}), "first")
    space.apply(config_map("a", {"k": "1"}), "second")
    kept = space.apply(config_map("a", {"l": "2"}), "first")
    assert kept["data"] == {"k": "1", "l": "2"}
    gone = space.apply(config_map("a"), "second")
    assert gone["data"] == {"l": "2"}


def test_lists_with_keys_are_merged_by_their_key(space: Space) -> None:
    body = deployment("d", 0)
    space.apply(body)
    sidecar = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {
            "selector": body["spec"]["selector"],
            "template": {"spec": {"containers": [container("true", "side")]}},
        },
    }
    both = space.apply(sidecar, "other")
    assert sorted(each["name"] for each in both["spec"]["template"]["spec"]["containers"]) == ["main", "side"]
    body["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "NEW", "value": "1"}]
    changed = space.apply(body)["spec"]["template"]["spec"]["containers"]
    by_name = {each["name"]: each for each in changed}
    assert set(by_name) == {"main", "side"}
    assert by_name["main"]["env"] == [{"name": "NEW", "value": "1"}]


def test_a_list_entry_left_out_by_its_owner_is_removed(space: Space) -> None:
    ports = [{"name": "http", "port": 80}, {"name": "metrics", "port": 9090}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"selector": {"app": "s"}, "ports": ports},
    }
    space.apply(service)
    changed = space.apply({**service, "spec": {"selector": {"app": "s"}, "ports": ports[:1]}})
    assert [each["name"] for each in changed["spec"]["ports"]] == ["http"]


def test_apply_takes_over_an_object_that_was_created(space: Space) -> None:
    space.create(config_map("a", {"k": "1"}), fieldManager="hand")
    changed = space.apply(config_map("a", {"k": "2"}), force=True)
    assert changed["data"] == {"k": "2"}
    assert _manager(changed, "platform")["operation"] == "Apply"


def test_a_dry_run_of_apply_stores_nothing(space: Space) -> None:
    assert space.apply(config_map("a", {"k": "v"}), dryRun="All")["data"] == {"k": "v"}
    space.cluster.refused(404, "NotFound", "GET", space.path("configmaps", "a"))


def test_apply_without_a_field_manager_is_refused(space: Space) -> None:
    path = space.path("configmaps", "a")
    answer = space.cluster.call("PATCH", path, config_map("a"), content_type=APPLY_PATCH)
    assert answer.code in (400, 422)
    assert "fieldManager" in answer.json["message"]


def test_apply_under_another_name_is_a_bad_request(space: Space) -> None:
    path = space.path("configmaps", "a")
    status = space.cluster.refused(
        400, "BadRequest", "PATCH", path, config_map("b"), content_type=APPLY_PATCH, fieldManager="platform"
    )
    assert "the name of the object (b) does not match the name on the URL (a)" in status["message"]
    assert {"a", "b"}.isdisjoint(space.names("configmaps"))


def test_apply_reads_yaml(space: Space) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n"
    path = space.path("configmaps", "a")
    answer = space.cluster.call("PATCH", path, body, content_type=APPLY_PATCH, fieldManager="platform")
    assert answer.json["data"] == {"k": "v"}


def test_a_namespace_is_applied_with_its_labels(space: Space) -> None:
    body: Object = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": space.name, "labels": {"tenant": "x", "managed-by": "ml-platform"}},
    }
    path = path_of("namespaces", name=space.name)
    applied = space.cluster.apply(path, body)
    assert applied["metadata"]["labels"]["tenant"] == "x"
    # A label that the cluster itself sets stays.
    assert applied["metadata"]["labels"]["kubernetes.io/metadata.name"] == space.name
    del body["metadata"]["labels"]["tenant"]
    assert "tenant" not in space.cluster.apply(path, body)["metadata"]["labels"]
