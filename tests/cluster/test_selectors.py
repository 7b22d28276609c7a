"""Choosing objects by labels and fields."""

from __future__ import annotations

import pytest

from .api import Space
from .objects import config_map, pod

OBJECTS = {
    "plain": {},
    "red": {"colour": "red"},
    "green": {"colour": "green"},
    "big-red": {"colour": "red", "ml-platform/size": "big"},
}

LABEL_SELECTORS = [
    ("colour=red", ["big-red", "red"]),
    ("colour==red", ["big-red", "red"]),
    ("colour!=red,colour", ["green"]),
    ("colour", ["big-red", "green", "red"]),
    ("!colour,set", ["plain"]),
    ("colour in (red,green)", ["big-red", "green", "red"]),
    ("colour in (blue)", []),
    ("colour notin (red),set", ["green", "plain"]),
    ("colour=red,ml-platform/size=big", ["big-red"]),
    ("colour=red,!ml-platform/size", ["red"]),
    ("colour=", []),
]


@pytest.mark.parametrize(("selector", "expected"), LABEL_SELECTORS, ids=[row[0] for row in LABEL_SELECTORS])
def test_a_label_selector_finds_exactly_its_objects(space: Space, selector: str, expected: list[str]) -> None:
    for name, labels in OBJECTS.items():
        space.create(config_map(name, labels={**labels, "set": "yes"}))
    assert space.names("configmaps", labelSelector=selector) == expected


@pytest.mark.parametrize("selector", ["a b", "colour in red", "=red", "colour in (red"])
def test_a_malformed_label_selector_is_a_bad_request(space: Space, selector: str) -> None:
    space.cluster.refused(400, "BadRequest", "GET", space.path("configmaps"), labelSelector=selector)


def test_the_name_and_namespace_of_every_kind_are_selectable_fields(space: Space, other_space: Space) -> None:
    for each in (space, other_space):
        each.create(config_map("a", labels={"by": space.name}))
        each.create(config_map("b", labels={"by": space.name}))
    assert space.names("configmaps", fieldSelector="metadata.name=a") == ["a"]
    assert space.names("configmaps", fieldSelector="metadata.name!=a", labelSelector="by") == ["b"]
    everywhere = space.cluster.list(
        "/api/v1/configmaps",
        fieldSelector=f"metadata.namespace={other_space.name}",
        labelSelector=f"by={space.name}",
    )
    assert {item["metadata"]["namespace"] for item in everywhere} == {other_space.name}
    assert len(everywhere) == 2


def test_pods_are_selectable_by_phase_and_node(space: Space) -> None:
    space.run(pod("good", "true"))
    bad = space.run(pod("bad", "exit 1"))
    assert space.names("pods", fieldSelector="status.phase=Succeeded") == ["good"]
    assert space.names("pods", fieldSelector="status.phase!=Succeeded") == ["bad"]
    node = bad["spec"]["nodeName"]
    assert space.names("pods", fieldSelector=f"spec.nodeName={node},status.phase=Failed") == ["bad"]
    assert space.names("pods", fieldSelector="spec.nodeName=") == []


@pytest.mark.parametrize("selector", ["spec.colour=red", "nonsense"])
def test_an_unsupported_field_selector_is_a_bad_request(space: Space, selector: str) -> None:
    answer = space.cluster.call("GET", space.path("pods"), fieldSelector=selector)
    assert answer.code == 400
    assert answer.json["kind"] == "Status"


def test_a_collection_is_deleted_by_selector(space: Space) -> None:
    for name, labels in OBJECTS.items():
        space.create(config_map(name, labels={**labels, "set": "yes"}))
    space.cluster.delete(space.path("configmaps"), labelSelector="colour=red")
    assert space.names("configmaps", labelSelector="set") == ["green", "plain"]
