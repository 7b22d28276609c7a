"""Deployments and Services: readiness, rolling updates without a gap, scale, and the way in through the API server."""

from __future__ import annotations

from .api import STRATEGIC_PATCH, Object, Space, condition, path_of
from .objects import deployment, service


def _ready(space: Space, name: str = "d", replicas: int = 1) -> Object:
    return space.wait(
        "deployments",
        name,
        lambda obj: (
            obj["status"].get("availableReplicas", 0) == replicas
            and obj["status"].get("updatedReplicas", 0) == replicas
            and obj["status"].get("replicas", 0) == replicas
            and obj["status"]["observedGeneration"] == obj["metadata"]["generation"]
        ),
        f"with {replicas} ready",
    )


def _answer(space: Space, path: str = "/", method: str = "GET", body: object = None) -> str:
    return _proxy(space, path, method, body)[1]


def _proxy(space: Space, path: str = "/", method: str = "GET", body: object = None) -> tuple[int, str]:
    answer = space.cluster.call(
        method, space.path("services", "d:http", "proxy") + path, body, headers={"Accept": "*/*"}
    )
    return answer.code, answer.text


def _serve(space: Space, answer: str = "v1", **spec: object) -> None:
    body = deployment("d", spec=spec or None)
    body["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "ANSWER", "value": answer})
    space.create(body)
    space.create(service("d"))
    _ready(space)
    # Endpoints follow readiness a moment later.
    space.cluster.until(lambda: _proxy(space)[0], lambda code: code == 200, "answered through the service")


def _version(answer: str) -> Object:
    container = {"name": "main", "env": [{"name": "ANSWER", "value": answer}]}
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def test_a_deployment_becomes_available(space: Space) -> None:
    space.create(deployment("d", 2))
    done = _ready(space, replicas=2)
    assert done["status"]["readyReplicas"] == 2
    assert condition(done, "Available")["status"] == "True"
    assert condition(done, "Available")["reason"] == "MinimumReplicasAvailable"
    progressing = space.wait(
        "deployments", "d", lambda obj: condition(obj, "Progressing").get("reason") == "NewReplicaSetAvailable", "done"
    )
    assert condition(progressing, "Progressing")["status"] == "True"
    assert progressing["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"


def test_its_pods_belong_to_a_replica_set_of_its_own(space: Space) -> None:
    made = space.create(deployment("d"))
    _ready(space)
    (replica_set,) = space.list("replicasets")
    assert replica_set["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    (only,) = space.list("pods")
    digest = only["metadata"]["labels"]["pod-template-hash"]
    assert replica_set["metadata"]["name"] == f"d-{digest}"
    assert only["metadata"]["ownerReferences"][0]["name"] == f"d-{digest}"
    assert only["metadata"]["name"].startswith(f"d-{digest}-")


def test_a_service_passes_method_path_query_and_body_on(space: Space) -> None:
    _serve(space)
    assert _answer(space) == "GET / v1 "
    assert _answer(space, "/deep/path?x=1&y=a%20b") == "GET /deep/path?x=1&y=a%20b v1 "
    assert _answer(space, "/predict", "POST", {"rows": [1]}) == 'POST /predict v1 {"rows": [1]}'
    answer = space.cluster.call("GET", space.path("services", "d:80", "proxy") + "/")
    assert answer.code == 200
    assert answer.headers["X-Served-By"] == "test"


def test_the_way_to_a_service_ends_in_a_slash(space: Space) -> None:
    _serve(space)
    path = space.path("services", "d:http", "proxy")
    answer = space.cluster.call("GET", path)
    assert answer.code == 301
    assert answer.headers["Location"] == path + "/"


def test_a_pod_is_reached_by_its_port(space: Space) -> None:
    _serve(space)
    (only,) = space.list("pods")
    path = space.path("pods", f"{only['metadata']['name']}:8080", "proxy") + "/x"
    assert space.cluster.call("GET", path).text == "GET /x v1 "


def test_a_service_without_ready_pods_is_unavailable(space: Space) -> None:
    space.create(service("d"))
    path = space.path("services", "d:http", "proxy") + "/"
    # The API server learns of a new service a moment later.
    space.cluster.until(lambda: space.cluster.call("GET", path).code, lambda code: code == 503, "unavailable")
    status = space.cluster.refused(503, "ServiceUnavailable", "GET", path)
    assert 'no endpoints available for service "d"' in status["message"]


def test_a_pod_that_is_not_ready_gets_no_traffic(space: Space) -> None:
    _serve(space)
    assert _ready_addresses(space) == 1
    _proxy(space, "/break", "POST", {})
    space.cluster.until(lambda: _ready_addresses(space), lambda count: count == 0, "no ready address")
    down = space.wait("deployments", "d", lambda obj: obj["status"].get("availableReplicas", 0) == 0, "unavailable")
    assert down["status"]["unavailableReplicas"] == 1
    space.wait("deployments", "d", lambda obj: condition(obj, "Available")["status"] == "False", "unavailable")
    space.cluster.until(lambda: _proxy(space)[0], lambda code: code == 503, "no endpoint")


def test_a_new_version_takes_over_without_a_gap(space: Space) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    _serve(space, strategy=strategy)
    path = space.path("deployments")
    version = space.cluster.get(path)["metadata"]["resourceVersion"]
    space.patch("deployments", "d", _version("v2"), STRATEGIC_PATCH)
    available = []
    with space.cluster.watch(path, resourceVersion=version) as watch:
        for event in watch:
            status = event["object"]["status"]
            available.append(status.get("availableReplicas", 0))
            if condition(event["object"], "Progressing").get("reason") == "NewReplicaSetAvailable" and (
                status["observedGeneration"] == 2 and status.get("updatedReplicas") == status["replicas"] == 1
            ):
                break
    assert min(available) >= 1
    space.cluster.until(lambda: _answer(space), lambda text: " v2 " in text, "answered by the new version")
    done = space.get("deployments", "d")
    assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    sets = {
        each["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: each for each in space.list("replicasets")
    }
    assert sets["1"]["spec"]["replicas"] == 0
    assert sets["2"]["spec"]["replicas"] == 1


def test_a_new_version_that_never_gets_ready_leaves_the_old_one_serving(space: Space) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    _serve(space, strategy=strategy, progressDeadlineSeconds=2)
    broken = _version("v2")
    broken["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = {
        "exec": {"command": ["false"]},
        "httpGet": None,
    }
    space.patch("deployments", "d", broken, STRATEGIC_PATCH)
    stuck = space.wait(
        "deployments",
        "d",
        lambda obj: condition(obj, "Progressing").get("reason") == "ProgressDeadlineExceeded",
        "stuck",
    )
    assert condition(stuck, "Progressing")["status"] == "False"
    assert stuck["status"]["availableReplicas"] == 1
    assert " v1 " in _answer(space)
    # Going back is writing the old template again; its replica set is taken up again under a new revision.
    back = _version("v1")
    back["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = {
        "exec": None,
        "httpGet": {"path": "/ready", "port": 8080},
    }
    space.patch("deployments", "d", back, STRATEGIC_PATCH)
    restored = _ready(space)
    assert restored["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert len(space.list("replicasets")) == 2


def test_a_paused_deployment_waits_with_its_new_version(space: Space) -> None:
    _serve(space)
    space.patch("deployments", "d", {"spec": {"paused": True}})
    space.patch("deployments", "d", _version("v2"), STRATEGIC_PATCH)
    space.wait("deployments", "d", lambda obj: obj["status"]["observedGeneration"] == 3, "seen")
    assert len(space.list("replicasets")) == 1
    space.patch("deployments", "d", {"spec": {"paused": False}})
    _ready(space)
    space.cluster.until(lambda: _answer(space), lambda text: " v2 " in text, "answered by the new version")


def test_the_scale_can_be_read_and_written(space: Space) -> None:
    space.create(deployment("d"))
    _ready(space)
    path = space.path("deployments", "d", "scale")
    scale = space.cluster.get(path)
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"] == {"replicas": 1, "selector": "app=d"}
    written = space.cluster.patch(path, {"spec": {"replicas": 2}})
    assert written["spec"]["replicas"] == 2
    _ready(space, replicas=2)
    space.cluster.replace(path, {**space.cluster.get(path), "spec": {"replicas": 0}})
    space.wait_list("pods", lambda pods: not pods, "gone")
    space.wait("deployments", "d", lambda obj: not obj["status"].get("replicas"), "scaled to nothing")


def test_a_killed_pod_is_replaced(space: Space) -> None:
    space.create(deployment("d"))
    _ready(space)
    (old,) = space.names("pods")
    space.delete("pods", old, {"gracePeriodSeconds": 0})
    space.wait_list("pods", lambda pods: any(each["metadata"]["name"] != old for each in pods), "replaced")
    _ready(space)


def test_deleting_a_deployment_takes_its_replica_sets_and_pods(space: Space) -> None:
    space.create(deployment("d"))
    _ready(space)
    space.delete("deployments", "d")
    space.wait_gone("deployments", "d")
    space.wait_list("replicasets", lambda found: not found, "gone")
    space.wait_list("pods", lambda found: not found, "gone")


def test_a_deployments_selector_cannot_be_changed(space: Space) -> None:
    space.create(deployment("d", 0))
    patch = {
        "spec": {
            "selector": {"matchLabels": {"app": "other"}},
            "template": {"metadata": {"labels": {"app": "other"}}},
        }
    }
    path = space.path("deployments", "d")
    status = space.cluster.refused(422, "Invalid", "PATCH", path, patch, content_type="application/merge-patch+json")
    assert "field is immutable" in status["message"]


def test_a_selector_that_misses_its_own_pods_is_invalid(space: Space) -> None:
    body = deployment("d", 0)
    body["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    status = space.cluster.refused(422, "Invalid", "POST", space.path("deployments"), body)
    assert "spec.template.metadata.labels" in [cause["field"] for cause in status["details"]["causes"]]


def test_an_autoscaler_raises_its_deployment_to_the_minimum(space: Space) -> None:
    space.create(deployment("d", 1))
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "d"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "minReplicas": 2,
            "maxReplicas": 3,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
                }
            ],
        },
    }
    space.create(body)
    space.wait("deployments", "d", lambda obj: obj["spec"]["replicas"] == 2, "raised to two replicas")


def test_rollouts_tell_their_story_in_events(space: Space) -> None:
    made = space.create(deployment("d"))
    event = space.wait_event(made, "ScalingReplicaSet")
    assert "Scaled up replica set d-" in event["message"]


def _ready_addresses(space: Space) -> int:
    slices = space.cluster.list(path_of("endpointslices", space.name), labelSelector="kubernetes.io/service-name=d")
    return sum(
        1 for each in slices for endpoint in each.get("endpoints") or [] if endpoint.get("conditions", {}).get("ready")
    )
