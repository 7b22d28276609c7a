"""Long lists come in pages that together are one consistent list."""

from __future__ import annotations

from .api import Space
from .objects import config_map


def _make(space: Space, count: int) -> list[str]:
    names = [f"item-{number}" for number in range(count)]
    for name in names:
        space.create(config_map(name, labels={"paged": "yes"}))
    return names


def test_pages_follow_each_other_without_gap_or_repetition(space: Space) -> None:
    names = _make(space, 5)
    seen: list[str] = []
    query = {"limit": 2, "labelSelector": "paged"}
    path = space.path("configmaps")
    page = space.cluster.get(path, **query)
    sizes = []
    while True:
        sizes.append(len(page["items"]))
        seen += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue")
        if not token:
            break
        page = space.cluster.get(path, **query, **{"continue": token})
    assert seen == names
    assert sizes == [2, 2, 1]


def test_a_list_that_fits_has_no_continuation(space: Space) -> None:
    # A selector is applied after the limit, so a page that it leaves short may be followed by an empty one.
    total = len(_make(space, 2)) + len(space.names("configmaps", labelSelector="!paged"))
    page = space.cluster.get(space.path("configmaps"), limit=total)
    assert len(page["items"]) == total
    assert not page["metadata"].get("continue")


def test_the_pages_show_the_state_at_the_first_page(space: Space) -> None:
    _make(space, 4)
    path = space.path("configmaps")
    first = space.cluster.get(path, limit=2, labelSelector="paged")
    space.create(config_map("item-2a", labels={"paged": "yes"}))
    space.delete("configmaps", "item-3")
    rest = space.cluster.get(path, limit=500, labelSelector="paged", **{"continue": first["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in rest["items"]] == ["item-2", "item-3"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_pages_go_on_over_all_namespaces(space: Space, other_space: Space) -> None:
    selector = f"paged={space.name}"
    for each in (space, other_space):
        for number in range(2):
            each.create(config_map(f"item-{number}", labels={"paged": space.name}))
    seen = []
    token = ""
    while True:
        query = {"continue": token} if token else {}
        page = space.cluster.get("/api/v1/configmaps", limit=3, labelSelector=selector, **query)
        seen += [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            break
    assert sorted(seen) == sorted((each.name, f"item-{number}") for each in (space, other_space) for number in range(2))


def test_the_number_of_items_left_is_told(space: Space) -> None:
    for number in range(4):
        space.create(config_map(f"item-{number}"))
    total = len(space.names("configmaps"))
    page = space.cluster.get(space.path("configmaps"), limit=1)
    assert page["metadata"]["remainingItemCount"] == total - 1


def test_a_forged_continuation_is_a_bad_request(space: Space) -> None:
    space.cluster.refused(400, "BadRequest", "GET", space.path("configmaps"), limit=1, **{"continue": "forged"})


def test_a_watch_can_start_at_the_version_of_a_paged_list(space: Space) -> None:
    _make(space, 3)
    path = space.path("configmaps")
    first = space.cluster.get(path, limit=1, labelSelector="paged")
    space.create(config_map("late", labels={"paged": "yes"}))
    version = first["metadata"]["resourceVersion"]
    with space.cluster.watch(path, labelSelector="paged", resourceVersion=version) as watch:
        (event,) = watch.take(1)
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "late")
