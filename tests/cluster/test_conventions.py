"""What every resource does alike: metadata, names, errors, versions, dry run, representations."""

from __future__ import annotations

import re
import uuid

import pytest

from .api import Cluster, Object, Space, holds, path_of, resource_of
from .objects import config_map, job, pod, secret

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"


@pytest.mark.parametrize("path", ["/readyz", "/livez", "/healthz"])
def test_health_paths_answer_ok(cluster: Cluster, path: str) -> None:
    answer = cluster.call("GET", path, headers={"Accept": "*/*"})
    assert (answer.code, answer.text) == (200, "ok")


def test_version_names_a_supported_kubernetes(cluster: Cluster) -> None:
    version = cluster.get("/version")
    assert version["major"] == "1"
    assert int(re.sub(r"\D", "", version["minor"])) >= 31
    assert version["gitVersion"].startswith("v1.")


def test_discovery_lists_the_groups_and_resources_in_use(cluster: Cluster) -> None:
    groups = {group["name"] for group in cluster.get("/apis")["groups"]}
    assert {"apps", "batch", "autoscaling", "policy", "networking.k8s.io", "rbac.authorization.k8s.io"} <= groups
    assert "v1" in cluster.get("/api")["versions"]
    batch = {each["name"]: each for each in cluster.get("/apis/batch/v1")["resources"]}
    assert batch["jobs"]["kind"] == "Job"
    assert batch["jobs"]["namespaced"] is True
    assert {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"} <= set(
        batch["jobs"]["verbs"]
    )
    assert "jobs/status" in batch
    core = {each["name"] for each in cluster.get("/api/v1")["resources"]}
    assert {"pods", "pods/log", "pods/status", "services/proxy", "namespaces", "secrets"} <= core


@pytest.mark.parametrize("authorization", ["", "Bearer not-a-token"])
def test_a_request_without_a_good_token_is_unauthorized(cluster: Cluster, authorization: str) -> None:
    pool = type(cluster)(cluster.kubeconfig, real=cluster.real)
    pool.configuration.api_key = {}
    pool.pool.connection_pool_kw.update(cert_file=None, key_file=None)
    answer = pool.call("GET", "/api/v1/namespaces/default/secrets", headers={"Authorization": authorization})
    # A cluster may let anonymous users in and then forbid them everything.
    assert answer.code == 401 if authorization else answer.code in (401, 403)
    assert answer.json["kind"] == "Status"


def test_create_fills_in_the_metadata(space: Space) -> None:
    made = space.create(config_map("a", {"k": "v"}, labels={"team": "x"}, annotations={"note": "y"}))
    metadata = made["metadata"]
    assert (made["kind"], made["apiVersion"], made["data"]) == ("ConfigMap", "v1", {"k": "v"})
    assert metadata["namespace"] == space.name
    assert str(uuid.UUID(metadata["uid"])) == metadata["uid"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["creationTimestamp"])
    assert int(metadata["resourceVersion"]) > 0
    assert (metadata["labels"], metadata["annotations"]) == ({"team": "x"}, {"note": "y"})
    assert space.get("configmaps", "a") == made


def test_generate_name_adds_a_random_suffix(space: Space) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "run-"}}
    names = {space.create(body)["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(re.fullmatch(r"run-[a-z0-9]{5}", name) for name in names)


def test_creating_an_existing_name_is_already_exists(space: Space) -> None:
    first = space.create(config_map("a"))
    status = space.cluster.refused(409, "AlreadyExists", "POST", space.path("configmaps"), config_map("a", {"k": "v"}))
    assert status["message"] == 'configmaps "a" already exists'
    assert status["details"] == {"name": "a", "kind": "configmaps"}
    assert space.get("configmaps", "a") == first


def test_an_existing_job_is_already_exists_with_its_group(space: Space) -> None:
    space.create(job("a", "true", {"suspend": True}))
    status = space.cluster.refused(409, "AlreadyExists", "POST", space.path("jobs"), job("a", "true"))
    assert status["message"] == 'jobs.batch "a" already exists'
    assert status["details"] == {"name": "a", "group": "batch", "kind": "jobs"}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_name_is_not_found(space: Space, method: str) -> None:
    status = space.cluster.refused(404, "NotFound", method, space.path("jobs", "none"))
    assert status["message"] == 'jobs.batch "none" not found'
    assert status["details"] == {"name": "none", "group": "batch", "kind": "jobs"}


def test_updating_an_unknown_name_is_not_found(space: Space) -> None:
    space.cluster.refused(
        404, "NotFound", "PATCH", space.path("secrets", "none"), {}, content_type="application/merge-patch+json"
    )
    body = job("none", "true", {"suspend": True})
    body["metadata"]["resourceVersion"] = "1"
    answer = space.cluster.call("PUT", space.path("jobs", "none"), body)
    assert answer.code in (404, 409)


@pytest.mark.parametrize("path", ["/apis/batch/v1/namespaces/default/wishes", "/apis/nothing.example/v1", "/nothing"])
def test_an_unknown_path_is_not_found(cluster: Cluster, path: str) -> None:
    assert cluster.call("GET", path).code == 404


def test_listing_in_an_unknown_namespace_is_empty(cluster: Cluster) -> None:
    assert cluster.list(path_of("jobs", "no-such-namespace")) == []


def test_creating_in_an_unknown_namespace_is_not_found(cluster: Cluster) -> None:
    status = cluster.refused(404, "NotFound", "POST", path_of("configmaps", "no-such-namespace"), config_map("a"))
    assert status["message"] == 'namespaces "no-such-namespace" not found'


def _nameless_container() -> Object:
    body = pod("a", "true")
    body["spec"]["containers"][0]["name"] = ""
    return body


INVALID: list[tuple[str, Object, str]] = [
    ("a name with capitals", config_map("Not-A-Name"), "metadata.name"),
    ("no name at all", config_map(""), "metadata.name"),
    ("a bad label", config_map("a", labels={"ok": "not ok!"}), "metadata.labels"),
    ("a pod without containers", pod("a", "true", {"containers": []}), "spec.containers"),
    ("an unknown restart policy", pod("a", "true", {"restartPolicy": "Perhaps"}), "spec.restartPolicy"),
    ("a container without a name", _nameless_container(), "spec.containers[0].name"),
    ("a container without an image", pod("a", "true", image=""), "spec.containers[0].image"),
    (
        "requests over limits",
        pod("a", "true", resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
        "spec.containers[0].resources.requests",
    ),
    (
        "a mount of no volume",
        pod("a", "true", volumeMounts=[{"name": "none", "mountPath": "/x"}]),
        "spec.containers[0].volumeMounts[0].name",
    ),
    (
        "a job that always restarts",
        job("a", "true", pod={"restartPolicy": "Always"}),
        "spec.template.spec.restartPolicy",
    ),
    ("a negative back-off limit", job("a", "true", {"backoffLimit": -1}), "spec.backoffLimit"),
    (
        "an indexed job without completions",
        job("a", "true", {"completionMode": "Indexed", "parallelism": 2}),
        "spec.completions",
    ),
    (
        "a failure policy with restarts",
        job(
            "a",
            "true",
            {"podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}]}},
            {"restartPolicy": "OnFailure"},
        ),
        "spec.template.spec.restartPolicy",
    ),
]


@pytest.mark.parametrize(("body", "field"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID])
def test_an_invalid_object_is_422_and_names_the_field(space: Space, body: Object, field: str) -> None:
    resource = {"ConfigMap": "configmaps", "Pod": "pods", "Job": "jobs"}[body["kind"]]
    status = space.cluster.refused(422, "Invalid", "POST", space.path(resource), body)
    assert field in [cause["field"] for cause in status["details"]["causes"]]
    assert f"{body['kind']}" in status["message"]
    assert "is invalid: " in status["message"]
    assert space.names(resource, labelSelector="app") == []


def test_every_bad_field_is_named_at_once(space: Space) -> None:
    body = pod("a", "true", {"restartPolicy": "Perhaps"}, image="")
    status = space.cluster.refused(422, "Invalid", "POST", space.path("pods"), body)
    fields = {cause["field"] for cause in status["details"]["causes"]}
    assert {"spec.restartPolicy", "spec.containers[0].image"} <= fields


def test_a_body_that_is_not_json_is_a_bad_request(space: Space) -> None:
    space.cluster.refused(400, "BadRequest", "POST", space.path("configmaps"), b'{"kind": "Conf')


def test_a_body_of_another_kind_is_a_bad_request(space: Space) -> None:
    space.cluster.refused(400, "BadRequest", "POST", space.path("configmaps"), secret("a", {}))


def test_a_body_for_another_namespace_is_a_bad_request(space: Space) -> None:
    body = config_map("a", namespace="default")
    status = space.cluster.refused(400, "BadRequest", "POST", space.path("configmaps"), body)
    assert "namespace" in status["message"]


UNREADABLE: list[tuple[str, Object, str]] = [
    ("a quantity", pod("a", "true", resources={"requests": {"cpu": "lots"}}), "quantities must match"),
    ("base64", {**secret("a", {}), "data": {"k": "!!"}}, "illegal base64 data"),
    ("text", pod("a", "true", env=[{"name": "A", "value": 5}]), "cannot unmarshal"),
    ("a list", pod("a", "true", {"containers": "x"}), "cannot unmarshal"),
]


@pytest.mark.parametrize(("body", "why"), [row[1:] for row in UNREADABLE], ids=[row[0] for row in UNREADABLE])
def test_a_value_that_is_not_of_its_type_is_a_bad_request(space: Space, body: Object, why: str) -> None:
    status = space.cluster.refused(400, "BadRequest", "POST", space.path(resource_of(body)), body)
    assert why in status["message"]


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_an_object_over_1_mib_is_invalid(space: Space, kind: str) -> None:
    body = config_map("a", {"k": "x" * 1_100_000}) if kind == "ConfigMap" else secret("a", {"k": "x" * 1_100_000})
    status = space.cluster.refused(422, "Invalid", "POST", space.path(resource_of(body)), body)
    assert "Too long: may not be more than 1048576 bytes" in status["message"]


def test_an_unknown_content_type_is_unsupported(space: Space) -> None:
    space.cluster.refused(
        415, "UnsupportedMediaType", "POST", space.path("configmaps"), b"hello", content_type="text/plain"
    )


def test_an_update_bumps_the_resource_version(space: Space) -> None:
    made = space.create(config_map("a", {"k": "1"}))
    changed = space.cluster.replace(space.path("configmaps", "a"), {**made, "data": {"k": "2"}})
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]
    assert changed["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]


def test_an_update_that_changes_nothing_keeps_the_resource_version(space: Space) -> None:
    made = space.create(config_map("a", {"k": "1"}))
    same = space.cluster.replace(space.path("configmaps", "a"), made)
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_an_update_from_a_stale_version_is_a_conflict(space: Space) -> None:
    made = space.create(config_map("a", {"k": "1"}))
    path = space.path("configmaps", "a")
    space.cluster.replace(path, {**made, "data": {"k": "2"}})
    status = space.cluster.refused(409, "Conflict", "PUT", path, {**made, "data": {"k": "3"}})
    assert "the object has been modified" in status["message"]
    assert space.get("configmaps", "a")["data"] == {"k": "2"}


def test_an_update_without_a_version_overwrites(space: Space) -> None:
    space.create(config_map("a", {"k": "1"}))
    changed = space.cluster.replace(space.path("configmaps", "a"), config_map("a", {"k": "2"}))
    assert changed["data"] == {"k": "2"}


def test_an_update_may_not_change_the_name_or_the_uid(space: Space) -> None:
    made = space.create(config_map("a"))
    path = space.path("configmaps", "a")
    space.cluster.refused(400, "BadRequest", "PUT", path, config_map("b"))
    other = {**made, "metadata": {**made["metadata"], "uid": str(uuid.uuid4())}}
    assert space.cluster.call("PUT", path, other).code in (409, 422)


def test_generation_counts_changes_of_the_spec_only(space: Space) -> None:
    made = space.create(job("a", "true", {"suspend": True}))
    assert made["metadata"]["generation"] == 1
    labelled = space.patch("jobs", "a", {"metadata": {"labels": {"x": "y"}}})
    assert labelled["metadata"]["generation"] == 1
    changed = space.patch("jobs", "a", {"spec": {"parallelism": 2}})
    assert changed["metadata"]["generation"] == 2


def test_the_status_is_written_through_its_subresource_only(space: Space) -> None:
    body = job("a", "true", {"suspend": True})
    made = space.create({**body, "status": {"failed": 7}})
    assert "failed" not in made["status"]
    ignored = space.patch("jobs", "a", {"status": {"failed": 7}})
    assert "failed" not in ignored["status"]
    path = space.path("deployments", "d", "status")
    space.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d"},
            "spec": {**_paused_deployment_spec(), "replicas": 0},
        }
    )
    written = space.cluster.patch(path, {"spec": {"replicas": 5}, "status": {"collisionCount": 3}})
    assert written["status"]["collisionCount"] == 3
    assert written["spec"]["replicas"] == 0


def test_a_dry_run_answers_but_stores_nothing(space: Space) -> None:
    made = space.create(config_map("a", {"k": "v"}), dryRun="All")
    assert made["metadata"]["uid"]
    assert made["metadata"]["namespace"] == space.name
    space.cluster.refused(404, "NotFound", "GET", space.path("configmaps", "a"))


def test_a_dry_run_validates_and_changes_nothing(space: Space) -> None:
    space.cluster.refused(422, "Invalid", "POST", space.path("configmaps"), config_map("A"), dryRun="All")
    made = space.create(config_map("a", {"k": "1"}))
    assert space.patch("configmaps", "a", {"data": {"k": "2"}}, dryRun="All")["data"] == {"k": "2"}
    space.delete("configmaps", "a", dryRun="All")
    assert space.get("configmaps", "a") == made
    space.cluster.refused(409, "AlreadyExists", "POST", space.path("configmaps"), config_map("a"), dryRun="All")


def test_defaults_are_filled_in_on_create(space: Space) -> None:
    body = pod("a", "true", resources={"limits": {"cpu": "1", "memory": "1Gi"}})
    del body["spec"]["restartPolicy"], body["spec"]["terminationGracePeriodSeconds"]
    spec = space.create(body, dryRun="All")["spec"]
    assert spec["restartPolicy"] == "Always"
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["serviceAccountName"] == "default"
    assert spec["containers"][0]["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}


def test_a_job_gets_its_defaults_selector_and_labels(space: Space) -> None:
    body = job("a", "true", {"suspend": True})
    del body["spec"]["backoffLimit"]
    made = space.create(body)
    spec = made["spec"]
    assert (spec["parallelism"], spec["completions"], spec["backoffLimit"]) == (1, 1, 6)
    assert spec["completionMode"] == "NonIndexed"
    labels = spec["template"]["metadata"]["labels"]
    uid = made["metadata"]["uid"]
    assert labels["batch.kubernetes.io/controller-uid"] == labels["controller-uid"] == uid
    assert labels["batch.kubernetes.io/job-name"] == labels["job-name"] == "a"
    assert labels["app"] == "a"
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


def test_a_job_without_labels_takes_those_of_its_pods(space: Space) -> None:
    made = space.create(job("a", "true", {"suspend": True}))
    assert made["metadata"]["labels"] == made["spec"]["template"]["metadata"]["labels"]
    body = job("b", "true", {"suspend": True})
    body["metadata"]["labels"] = {"mine": "yes"}
    assert space.create(body)["metadata"]["labels"] == {"mine": "yes"}


def test_the_data_of_a_secret_is_base64_and_string_data_is_write_only(space: Space) -> None:
    made = space.create(secret("a", {"token": "s3cr3t"}))
    assert made["data"] == {"token": "czNjcjN0"}
    assert "stringData" not in made
    assert made["type"] == "Opaque"


def test_a_list_has_a_version_and_items_without_kinds(space: Space) -> None:
    for name in ("b", "a"):
        space.create(config_map(name, labels={"mine": "yes"}))
    answer = space.cluster.get(space.path("configmaps"), labelSelector="mine")
    assert (answer["kind"], answer["apiVersion"]) == ("ConfigMapList", "v1")
    assert int(answer["metadata"]["resourceVersion"]) >= max(
        int(item["metadata"]["resourceVersion"]) for item in answer["items"]
    )
    assert [item["metadata"]["name"] for item in answer["items"]] == ["a", "b"]
    assert "kind" not in answer["items"][0]


def test_a_list_over_all_namespaces_holds_every_one(space: Space, other_space: Space) -> None:
    label = {"across": space.name}
    space.create(config_map("a", labels=label))
    other_space.create(config_map("a", labels=label))
    found = space.cluster.list(path_of("configmaps"), labelSelector=f"across={space.name}")
    assert {item["metadata"]["namespace"] for item in found} == {space.name, other_space.name}


def test_a_table_has_columns_and_partial_objects(space: Space) -> None:
    space.create(job("a", "true", {"suspend": True}))
    space.wait("jobs", "a", holds("Suspended"), "suspended")
    table = space.cluster.get(space.path("jobs"), headers={"Accept": TABLE})
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    columns = [column["name"] for column in table["columnDefinitions"]]
    assert columns[:5] == ["Name", "Status", "Completions", "Duration", "Age"]
    row = table["rows"][0]
    assert len(row["cells"]) == len(columns)
    assert row["cells"][:3] == ["a", "Suspended", "0/1"]
    assert row["object"]["metadata"]["name"] == "a"
    assert "spec" not in row["object"]


def test_partial_metadata_leaves_out_spec_and_status(space: Space) -> None:
    space.create(job("a", "true", {"suspend": True}))
    one = space.cluster.get(space.path("jobs", "a"), headers={"Accept": PARTIAL})
    assert (one["kind"], one["metadata"]["name"]) == ("PartialObjectMetadata", "a")
    assert "spec" not in one
    many = space.cluster.get(space.path("jobs"), headers={"Accept": PARTIAL_LIST})
    assert many["kind"] == "PartialObjectMetadataList"
    assert [item["metadata"]["name"] for item in many["items"]] == ["a"]
    assert "spec" not in many["items"][0]


def test_the_caller_can_ask_what_it_may_do(space: Space) -> None:
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {
            "resourceAttributes": {"namespace": space.name, "verb": "create", "group": "batch", "resource": "jobs"}
        },
    }
    answer = space.cluster.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    assert answer["status"]["allowed"] is True


def test_the_nodes_say_what_they_can_hold(cluster: Cluster) -> None:
    nodes = cluster.list(path_of("nodes"))
    assert nodes
    for node in nodes:
        assert {"cpu", "memory", "pods"} <= set(node["status"]["allocatable"])
        assert "kubernetes.io/hostname" in node["metadata"]["labels"]
    assert any(
        each["type"] == "Ready" and each["status"] == "True" for node in nodes for each in node["status"]["conditions"]
    )


def _paused_deployment_spec() -> Object:
    body = pod("d", "true", {"restartPolicy": "Always"})
    return {
        "paused": True,
        "selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": body["metadata"] | {"name": ""}, "spec": body["spec"]},
    }
