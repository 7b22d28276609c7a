"""The one way to a cluster, against a server that answers as it is told: what each kind of trouble becomes."""

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import InterfaceError
from django.test import Client
from pytest_django import Settings

from platform_portal import health
from platform_portal.kube import client as kube_client
from platform_portal.kube import cluster as kube_cluster
from platform_portal.kube.errors import (
    ClusterError,
    Conflict,
    Expired,
    NotFound,
    Refused,
    Unavailable,
    from_response,
)
from platform_portal.kube.resources import RESOURCES, path
from tests.platform.api_server import ApiServer, cut, listed, pod, refuse, reply, silent, stream

JOB = {"kind": "Job", "metadata": {"namespace": "ml-a", "name": "x", "labels": {"id": "1"}}}


def test_a_request_carries_the_token_and_what_it_is_about(server: ApiServer) -> None:
    server.script["PATCH"] = [reply({"kind": "Namespace", "metadata": {"name": "ml-a"}})]
    made = server.cluster().apply({"kind": "Namespace", "metadata": {"name": "ml-a"}})
    assert made["metadata"]["name"] == "ml-a"
    (asked,) = server.asked
    assert asked == (
        "PATCH", "/api/v1/namespaces/ml-a", {"fieldManager": "ml-platform", "force": "true"},
        {"kind": "Namespace", "metadata": {"name": "ml-a"}},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "BadRequest", Refused), (401, "Unauthorized", Unavailable), (403, "Forbidden", Refused),
        (404, "NotFound", NotFound), (405, "MethodNotAllowed", Refused), (408, "Timeout", Unavailable),
        (409, "Conflict", Conflict), (410, "Expired", Expired), (413, "RequestEntityTooLarge", Refused),
        (415, "UnsupportedMediaType", Refused), (422, "Invalid", Refused), (429, "TooManyRequests", Unavailable),
        (500, "InternalError", Unavailable), (502, "", Unavailable), (503, "ServiceUnavailable", Unavailable),
        (504, "Timeout", Unavailable),
    ],
)  # fmt: skip
def test_every_status_becomes_one_of_five_errors(server: ApiServer, status: int, reason: str, kind: type) -> None:
    server.script["GET"] = [refuse(status, reason, "because")]
    with pytest.raises(ClusterError) as failed:
        server.client().request("GET", "/version")
    assert type(failed.value) is kind
    assert (failed.value.status, failed.value.reason, failed.value.message) == (status, reason, "because")


@pytest.mark.parametrize(
    "body", [b"", b"<html>bad gateway</html>", b"[1, 2]", b'"x"', b'{"message": 5, "details": []}', b"\xff\xfe"]
)
def test_an_error_without_a_status_document_is_still_that_error(body: bytes) -> None:
    error = from_response(502, body)
    assert isinstance(error, Unavailable) and error.message and error.retry_after is None


@pytest.mark.parametrize(
    ("details", "seconds"),
    [
        ({"retryAfterSeconds": 7}, 7.0),
        ({}, None),
        ({"retryAfterSeconds": "soon"}, None),
        ({"retryAfterSeconds": -1}, None),
        ("text", None),
    ],
)
def test_how_long_to_wait_is_taken_from_the_answer(details: Any, seconds: float | None) -> None:
    assert Unavailable(429, "TooManyRequests", "", {"details": details}).retry_after == seconds


@pytest.mark.parametrize("body", [b"<html>captive portal</html>", b"{", b"\xff"])
def test_an_answer_that_is_no_json_says_nothing_about_the_object(server: ApiServer, body: bytes) -> None:
    server.script["GET"] = [reply(body)]
    with pytest.raises(Unavailable, match="not JSON"):
        server.client().request("GET", "/version")


def test_an_empty_answer_is_an_empty_object(server: ApiServer) -> None:
    server.script["DELETE"] = [reply(b"")]
    assert server.client().request("DELETE", "/x") == {}


def test_a_server_that_says_nothing_is_given_up_after_the_time_limit(server: ApiServer) -> None:
    server.script["GET"] = [silent]
    began = time.monotonic()
    with pytest.raises(Unavailable, match="does not answer"):
        server.client(timeout=0.3).request("GET", "/version")
    assert 0.2 < time.monotonic() - began < 2


def test_an_answer_cut_in_the_middle_is_no_answer(server: ApiServer) -> None:
    server.script["GET"] = [cut()]
    with pytest.raises(Unavailable):
        server.client().request("GET", "/version")


def test_nobody_there_is_unavailable() -> None:
    with ApiServer() as gone:
        client = gone.client()
    with pytest.raises(Unavailable) as failed:
        client.request("GET", "/version")
    assert failed.value.status == 0


def test_an_open_stream_that_is_refused_raises_the_same_errors(server: ApiServer) -> None:
    server.script["GET"] = [refuse(403, "Forbidden"), cut(b"x", 5000, status=500)]
    with pytest.raises(Refused):
        server.client().stream("/x", idle_timeout=1)
    with pytest.raises(Unavailable):
        server.client().stream("/x", idle_timeout=1)


def test_a_silent_stream_ends_in_an_error_not_in_waiting(server: ApiServer) -> None:
    server.script["GET"] = [stream(b"hello")]
    response = server.client().stream("/x", idle_timeout=0.3)
    assert response.read1(100) == b"hello"
    with pytest.raises(Exception, match="timed out"):
        response.read1(100)
    response.close()


def test_threads_share_a_client(server: ApiServer) -> None:
    server.script["GET"] = [reply({"ok": True})]
    client, answers = server.client(), list[Any]()

    def ask() -> None:
        answers.extend(client.request("GET", "/version") for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [{"ok": True}] * 80


# ---- Cluster


def test_a_create_names_its_manager_and_gives_the_object(server: ApiServer) -> None:
    server.script["POST"] = [reply(JOB, 201)]
    assert server.cluster().create(JOB, identity="id") == JOB
    assert server.asked[0][1:3] == ("/apis/batch/v1/namespaces/ml-a/jobs", {"fieldManager": "ml-platform"})


def test_a_repeated_create_finds_its_own_object(server: ApiServer) -> None:
    server.script["POST"] = [refuse(409, "AlreadyExists")]
    server.script["GET"] = [reply(JOB)]
    assert server.cluster().create(JOB, identity="id") == JOB


@pytest.mark.parametrize("labels", [{"id": "2"}, {}, None])
def test_a_create_never_takes_another_s_object_for_its_own(server: ApiServer, labels: Any) -> None:
    server.script["POST"] = [refuse(409, "AlreadyExists")]
    server.script["GET"] = [reply({"kind": "Job", "metadata": {"name": "x", "labels": labels}})]
    with pytest.raises(Conflict) as failed:
        server.cluster().create(JOB, identity="id")
    assert failed.value.reason == "AlreadyExists"


def test_a_create_that_meets_an_object_that_vanishes_may_be_tried_again(server: ApiServer) -> None:
    server.script["POST"] = [refuse(409, "AlreadyExists")]
    server.script["GET"] = [refuse(404, "NotFound")]
    with pytest.raises(Unavailable):
        server.cluster().create(JOB, identity="id")


def test_a_conflict_at_the_quota_s_counters_is_no_name_that_is_taken(server: ApiServer) -> None:
    server.script["POST"] = [refuse(409, "Conflict", "Operation cannot be fulfilled on resourcequotas")]
    with pytest.raises(Conflict) as failed:
        server.cluster().create(JOB, identity="id")
    assert failed.value.reason == "Conflict" and server.kinds() == ["POST"]


def test_a_deletion_takes_the_dependents_first_and_names_the_object_it_means(server: ApiServer) -> None:
    server.script["DELETE"] = [reply({"kind": "Status"})]
    server.cluster().delete("Job", "ml-a", "x", uid="u-1")
    assert server.asked[0][3] == {"propagationPolicy": "Foreground", "preconditions": {"uid": "u-1"}}


def test_absent_already_is_deleted_and_another_object_is_left_alone(server: ApiServer) -> None:
    server.script["DELETE"] = [refuse(404, "NotFound"), refuse(409, "Conflict", "uid differs")]
    server.cluster().delete("Job", "ml-a", "x")
    server.cluster().delete("Job", "ml-a", "x", uid="u-1")
    with pytest.raises(Conflict):
        server.cluster().delete("Job", "ml-a", "x")


def test_get_gives_none_only_when_the_server_says_so(server: ApiServer) -> None:
    server.script["GET"] = [refuse(404, "NotFound"), refuse(503), reply(JOB)]
    cluster = server.cluster()
    assert cluster.get("Job", "ml-a", "x") is None
    with pytest.raises(Unavailable):
        cluster.get("Job", "ml-a", "x")
    assert cluster.get("Job", "ml-a", "x") == JOB


def test_a_list_goes_through_its_pages(server: ApiServer) -> None:
    server.script["list"] = [listed(pod("a"), more="t1"), listed(pod("b"), more="t2"), listed(pod("c"))]
    assert [item["metadata"]["uid"] for item in server.cluster().list("Pod", "ml-a", "x=y")] == ["a", "b", "c"]
    assert [query.get("continue") for _, _, query, _ in server.asked] == [None, "t1", "t2"]
    assert {query["labelSelector"] for _, _, query, _ in server.asked} == {"x=y"}


def test_a_list_that_took_too_long_says_so_instead_of_half_of_it(server: ApiServer) -> None:
    server.script["list"] = [listed(pod("a"), more="t1"), refuse(410, "Expired")]
    with pytest.raises(Expired):
        server.cluster().list("Pod")


@pytest.mark.parametrize("kind", RESOURCES)
def test_every_kind_has_its_place(kind: str) -> None:
    resource = RESOURCES[kind]
    group = f"/apis/{resource.api_version}" if "/" in resource.api_version else f"/api/{resource.api_version}"
    namespace = "/namespaces/ml-a" if resource.namespaced else ""
    assert path(kind, "ml-a", "x", "log") == f"{group}{namespace}/{resource.plural}/x/log"
    assert path(kind) == f"{group}/{resource.plural}"


def test_ready_says_what_does_not_answer(server: ApiServer, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_cluster, "default", lambda: server.cluster())
    server.script["GET"] = [reply({"gitVersion": "v1"}), refuse(500)]
    well, ill = (Client().get("/v1/ready") for _ in range(2))
    assert (well.status_code, well.json()) == (200, {"status": "ready"})
    assert (ill.status_code, ill.json()["detail"]) == (503, "Not ready: the cluster does not answer.")
    monkeypatch.setattr(health, "connection", Away())
    both = Client().get("/v1/ready").json()
    assert (
        both["problems"] == {"database": "does not answer", "cluster": "does not answer"}
        and both["code"] == "not_ready"
    )


class Away:
    """A database that does not answer."""

    def cursor(self) -> None:
        raise InterfaceError("connection already closed")


# ---- configuration


def test_a_configuration_that_cannot_be_read_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for kubeconfig in (str(tmp_path / "missing"), ""):
        with pytest.raises(Unavailable, match="configuration cannot be read"):
            kube_client.load(kubeconfig)
    broken = tmp_path / "broken"
    for text in ("", "{", "a: [", "[]", "clusters: 5"):
        broken.write_text(text)
        with pytest.raises(Unavailable):
            kube_client.load(str(broken))


def test_a_kubeconfig_is_enough(server: ApiServer, tmp_path: Path) -> None:
    server.script["GET"] = [reply({"gitVersion": "v1"})]
    file = tmp_path / "kubeconfig"
    file.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: secret}}]\n"
        f"clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{server.server_port}'}}}}]\n"
    )
    assert kube_client.load(str(file)).request("GET", "/version") == {"gitVersion": "v1"}


def test_whether_a_cluster_was_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    settings.KUBECONFIG = ""
    assert not kube_client.configured()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert kube_client.configured()
    settings.KUBECONFIG = "/x"
    assert kube_client.configured()


def test_the_port_of_a_server_that_never_accepts_is_given_up(settings: Settings) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with ApiServer() as server:
            client = server.client(timeout=0.3)
            client._host = f"http://127.0.0.1:{closed.getsockname()[1]}"
            with pytest.raises(Unavailable):
                client.request("GET", "/version")
