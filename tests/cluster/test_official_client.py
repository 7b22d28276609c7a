"""The official Python client: its models read what the server says, its watch and its log stream work."""

from __future__ import annotations

import datetime

import pytest
from kubernetes import client, watch

from .api import Space
from .objects import config_map, job


@pytest.fixture
def api(space: Space) -> client.ApiClient:
    return client.ApiClient(space.cluster.configuration)


def test_a_job_is_made_watched_and_read(space: Space, api: client.ApiClient) -> None:
    batch = client.BatchV1Api(api)
    made = batch.create_namespaced_job(space.name, job("a", "echo hello"))
    assert isinstance(made.metadata.creation_timestamp, datetime.datetime)
    seen = []
    watcher = watch.Watch()
    for event in watcher.stream(
        batch.list_namespaced_job,
        space.name,
        resource_version=made.metadata.resource_version,
        timeout_seconds=int(space.cluster.patience),
    ):
        seen.append(event["object"])
        if event["object"].status.succeeded:
            watcher.stop()
    assert seen[-1].status.succeeded == 1
    core = client.CoreV1Api(api)
    (only,) = core.list_namespaced_pod(space.name, label_selector="job-name=a").items
    assert only.status.container_statuses[0].state.terminated.exit_code == 0
    # The client would decode the text by way of repr().
    log = core.read_namespaced_pod_log(only.metadata.name, space.name, _preload_content=False)
    assert log.data == b"hello\n"
    assert list(watch.Watch().stream(core.read_namespaced_pod_log, only.metadata.name, space.name)) == ["hello"]


def test_refusals_are_api_exceptions(space: Space, api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    with pytest.raises(client.ApiException) as missing:
        core.read_namespaced_config_map("none", space.name)
    assert missing.value.status == 404
    core.create_namespaced_config_map(space.name, config_map("a"))
    with pytest.raises(client.ApiException) as taken:
        core.create_namespaced_config_map(space.name, config_map("a"))
    assert (taken.value.status, taken.value.reason) == (409, "Conflict")


def test_objects_are_applied_with_the_clients_content_type(space: Space, api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    made = core.patch_namespaced_config_map(
        "a",
        space.name,
        config_map("a", {"k": "v"}),
        field_manager="platform",
        _content_type="application/apply-patch+yaml",
    )
    assert made.data == {"k": "v"}


def test_a_job_is_deleted_with_a_policy(space: Space, api: client.ApiClient) -> None:
    batch = client.BatchV1Api(api)
    batch.create_namespaced_job(space.name, job("a", "true"))
    batch.delete_namespaced_job("a", space.name, propagation_policy="Background")
    space.wait_gone("jobs", "a")


def test_the_version_is_read(space: Space, api: client.ApiClient) -> None:
    assert client.VersionApi(api).get_code().git_version.startswith("v1.")
