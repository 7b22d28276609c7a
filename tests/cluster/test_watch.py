"""Watches: nothing lost between a list and its watch, honest ends, and a way back after every one of them."""

from __future__ import annotations

import threading

from .api import Cluster, Object, Space, path_of
from .objects import config_map, job, pod


def _brief(event: Object) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"]["name"]


def test_changes_after_a_list_come_in_order_with_their_versions(space: Space) -> None:
    path = space.path("configmaps")
    version = space.cluster.get(path)["metadata"]["resourceVersion"]
    space.create(config_map("a", {"k": "1"}))
    space.patch("configmaps", "a", {"data": {"k": "2"}})
    space.create(config_map("b"))
    space.delete("configmaps", "a")
    with space.cluster.watch(path, resourceVersion=version) as watch:
        events = watch.take(4)
    assert [_brief(event) for event in events] == [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("ADDED", "b"),
        ("DELETED", "a"),
    ]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert versions[0] > int(version)
    assert events[0]["object"]["kind"] == "ConfigMap"
    assert events[0]["object"]["data"] == {"k": "1"}
    assert events[3]["object"]["data"] == {"k": "2"}


def test_a_change_reaches_an_open_watch_at_once(space: Space) -> None:
    path = space.path("configmaps")
    version = space.cluster.get(path)["metadata"]["resourceVersion"]
    with space.cluster.watch(path, resourceVersion=version) as watch:
        writer = threading.Timer(0.1, lambda: space.create(config_map("a")))
        writer.start()
        (event,) = watch.take(1)
        writer.join()
    assert _brief(event) == ("ADDED", "a")


def test_a_watch_resumes_from_the_last_version_seen(space: Space) -> None:
    path = space.path("configmaps")
    version = space.cluster.get(path)["metadata"]["resourceVersion"]
    for name in "abcd":
        space.create(config_map(name))
    with space.cluster.watch(path, resourceVersion=version) as watch:
        seen = watch.take(2)
    last = seen[-1]["object"]["metadata"]["resourceVersion"]
    with space.cluster.watch(path, resourceVersion=last) as watch:
        rest = watch.take(2)
    assert [_brief(event)[1] for event in seen + rest] == ["a", "b", "c", "d"]


def test_without_a_version_a_watch_begins_with_what_exists(space: Space) -> None:
    path = space.path("configmaps")
    space.create(config_map("a", labels={"mine": "yes"}))
    space.create(config_map("b", labels={"mine": "yes"}))
    with space.cluster.watch(path, labelSelector="mine") as watch:
        existing = watch.take(2)
        space.patch("configmaps", "a", {"data": {"k": "v"}})
        (changed,) = watch.take(1)
    assert sorted(map(_brief, existing)) == [("ADDED", "a"), ("ADDED", "b")]
    assert _brief(changed) == ("MODIFIED", "a")


def test_an_object_that_enters_or_leaves_the_selector_is_added_or_deleted(space: Space) -> None:
    path = space.path("configmaps")
    version = space.cluster.get(path)["metadata"]["resourceVersion"]
    space.create(config_map("a"))
    space.patch("configmaps", "a", {"metadata": {"labels": {"mine": "yes"}}})
    space.patch("configmaps", "a", {"data": {"k": "v"}})
    space.patch("configmaps", "a", {"metadata": {"labels": {"mine": None}}})
    space.create(config_map("b", labels={"mine": "yes"}))
    with space.cluster.watch(path, resourceVersion=version, labelSelector="mine=yes") as watch:
        events = watch.take(4)
    assert [_brief(event) for event in events] == [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
        ("ADDED", "b"),
    ]


def test_one_object_is_watched_by_its_name(space: Space) -> None:
    path = space.path("configmaps")
    version = space.cluster.get(path)["metadata"]["resourceVersion"]
    for name in "ab":
        space.create(config_map(name))
    with space.cluster.watch(path, resourceVersion=version, fieldSelector="metadata.name=b") as watch:
        (event,) = watch.take(1)
    assert _brief(event) == ("ADDED", "b")


def test_a_watch_over_all_namespaces_sees_each(space: Space, other_space: Space) -> None:
    path = path_of("configmaps")
    selector = f"by={space.name}"
    version = space.cluster.get(path, labelSelector=selector)["metadata"]["resourceVersion"]
    for each in (space, other_space):
        each.create(config_map("a", labels={"by": space.name}))
    with space.cluster.watch(path, resourceVersion=version, labelSelector=selector) as watch:
        events = watch.take(2)
    assert [event["object"]["metadata"]["namespace"] for event in events] == [space.name, other_space.name]


def test_the_events_of_all_namespaces_are_watched(space: Space) -> None:
    path = path_of("events")
    version = space.cluster.get(path, limit=1)["metadata"]["resourceVersion"]
    with space.cluster.watch(path, resourceVersion=version) as watch:
        made = space.create(pod("a", "true"))
        reasons = []
        for event in watch:
            about = event["object"]["involvedObject"]
            if about.get("uid") == made["metadata"]["uid"]:
                reasons.append(event["object"]["reason"])
            if reasons and reasons[-1] == "Started":
                break
    assert reasons[0] == "Scheduled"


def test_a_watch_ends_cleanly_at_its_timeout(space: Space) -> None:
    path = space.path("configmaps")
    version = space.cluster.get(path)["metadata"]["resourceVersion"]
    with space.cluster.watch(path, resourceVersion=version, timeoutSeconds=1) as watch:
        assert [event for event in watch if event["type"] != "BOOKMARK"] == []


def test_a_bookmark_comes_before_the_timeout_and_can_be_resumed_from(space: Space, other_space: Space) -> None:
    path = space.path("configmaps")
    version = space.cluster.get(path)["metadata"]["resourceVersion"]
    # Changes elsewhere move the cluster on while this watch sees nothing.
    other_space.create(config_map("elsewhere"))
    with space.cluster.watch(path, resourceVersion=version, timeoutSeconds=4, allowWatchBookmarks=True) as watch:
        bookmarks = []
        for event in watch:
            assert event["type"] == "BOOKMARK"
            bookmarks.append(event["object"])
            break
    assert bookmarks
    assert bookmarks[0]["kind"] == "ConfigMap"
    mark = bookmarks[0]["metadata"]["resourceVersion"]
    assert int(mark) >= int(version)
    space.create(config_map("a"))
    with space.cluster.watch(path, resourceVersion=mark) as watch:
        (event,) = watch.take(1)
    assert _brief(event) == ("ADDED", "a")


def test_a_watch_without_bookmarks_gets_none(space: Space) -> None:
    path = space.path("configmaps")
    version = space.cluster.get(path)["metadata"]["resourceVersion"]
    with space.cluster.watch(path, resourceVersion=version, timeoutSeconds=3) as watch:
        assert list(watch) == []


def test_a_version_too_old_is_410_expired(cluster: Cluster, space: Space) -> None:
    # Version 1 is before the start of any cluster's history of changes.
    answer = cluster.call("GET", space.path("configmaps"), watch=True, resourceVersion="1", timeoutSeconds=5)
    assert answer.code in (200, 410)
    status = answer.json["object"] if answer.code == 200 else answer.json
    if answer.code == 200:
        assert answer.json["type"] == "ERROR"
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
    assert "too old resource version" in status["message"]


def test_a_version_that_is_no_number_is_refused(space: Space) -> None:
    answer = space.cluster.call("GET", space.path("configmaps"), watch=True, resourceVersion="old")
    assert answer.code >= 400
    assert answer.json["kind"] == "Status"
    assert "resourceVersion: Invalid value" in answer.json["message"]


def test_the_life_of_a_pod_is_seen_step_by_step(space: Space) -> None:
    path = space.path("pods")
    version = space.cluster.get(path)["metadata"]["resourceVersion"]
    with space.cluster.watch(path, resourceVersion=version) as watch:
        space.create(pod("a", "sleep 2.2"))
        phases: list[str] = []
        for event in watch:
            phases.append(event["object"]["status"]["phase"])
            if phases[-1] in ("Succeeded", "Failed"):
                break
    assert list(dict.fromkeys(phases)) == ["Pending", "Running", "Succeeded"]


def test_the_end_of_a_job_is_seen_by_a_watch_on_jobs(space: Space) -> None:
    path = space.path("jobs")
    version = space.cluster.get(path)["metadata"]["resourceVersion"]
    space.create(job("a", "true"))
    with space.cluster.watch(path, resourceVersion=version) as watch:
        for event in watch:
            conditions = event["object"]["status"].get("conditions", [])
            if any(each["type"] == "Complete" and each["status"] == "True" for each in conditions):
                break
        else:
            raise AssertionError("the watch ended before the job did")
    assert event["object"]["status"]["succeeded"] == 1
