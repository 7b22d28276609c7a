"""Who may do what: tokens for ServiceAccounts, and what Roles give them."""

from __future__ import annotations

import pytest

from .api import Cluster, Object, Space, path_of
from .objects import config_map

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
RBAC = "rbac.authorization.k8s.io"


def account(name: str = "worker") -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


def role(rules: list[Object], name: str = "reads") -> Object:
    return {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules}


def binding(space: Space, subject: Object, name: str = "reads") -> Object:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "reads"},
        "subjects": [subject],
    }


def worker(space: Space) -> Object:
    return {"kind": "ServiceAccount", "name": "worker", "namespace": space.name}


def token_of(space: Space, name: str = "worker", **spec: object) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    answer = space.cluster.create(space.path("serviceaccounts", name, "token"), body)
    return str(answer["status"]["token"])


def may(cluster: Cluster, verb: str, resource: str, namespace: str = "", group: str = "", name: str = "") -> bool:
    plural, _, subresource = resource.partition("/")
    asked = {"verb": verb, "group": group, "resource": plural, "namespace": namespace, "name": name}
    if subresource:
        asked["subresource"] = subresource
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    return bool(cluster.create(REVIEWS, body)["status"]["allowed"])


@pytest.fixture
def bound(space: Space) -> Cluster:
    """A cluster as the account sees it that may read config maps, and one of the secrets, in its namespace."""
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["mine"]},
        {"apiGroups": ["batch"], "resources": ["*"], "verbs": ["create"]},
    ]
    space.create(account())
    space.create(role(rules))
    space.create(binding(space, worker(space)))
    seen = space.cluster.with_token(token_of(space))
    seen.until(lambda: may(seen, "get", "configmaps", space.name), bool, "the binding")
    return seen


def test_a_token_opens_what_its_account_s_role_gives_and_nothing_else(space: Space, bound: Cluster) -> None:
    space.create(config_map("a", {"k": "v"}))
    assert bound.get(space.path("configmaps", "a"))["data"] == {"k": "v"}
    assert "a" in [each["metadata"]["name"] for each in bound.list(space.path("configmaps"))]
    user = f"system:serviceaccount:{space.name}:worker"
    status = bound.refused(403, "Forbidden", "POST", space.path("configmaps"), config_map("b"))
    assert status["message"] == (
        f'configmaps is forbidden: User "{user}" cannot create resource "configmaps" in API group ""'
        f' in the namespace "{space.name}"'
    )
    assert status["details"] == {"kind": "configmaps"}
    status = bound.refused(403, "Forbidden", "DELETE", space.path("configmaps", "a"))
    assert status["message"] == (
        f'configmaps "a" is forbidden: User "{user}" cannot delete resource "configmaps" in API group ""'
        f' in the namespace "{space.name}"'
    )
    assert status["details"] == {"name": "a", "kind": "configmaps"}
    status = bound.refused(403, "Forbidden", "GET", path_of("deployments"))
    assert status["message"] == (
        f'deployments.apps is forbidden: User "{user}" cannot list resource "deployments" in API group "apps"'
        " at the cluster scope"
    )


ANSWERS: list[tuple[str, str, str, str, bool]] = [
    ("get", "configmaps", "", "", True),
    ("watch", "configmaps", "", "", True),
    ("update", "configmaps", "", "", False),
    ("get", "secrets", "", "mine", True),
    ("get", "secrets", "", "other", False),
    ("list", "secrets", "", "", False),
    ("create", "jobs", "batch", "", True),
    ("create", "jobs/status", "batch", "", True),
    ("create", "jobs", "", "", False),
    ("*", "configmaps", "", "", False),
]


def test_a_review_says_beforehand_what_is_allowed(space: Space, bound: Cluster) -> None:
    for verb, resource, group, name, allowed in ANSWERS:
        assert may(bound, verb, resource, space.name, group, name) is allowed, (verb, resource, group, name)
        assert may(space.cluster, verb, resource, space.name, group, name), "the administrator"


def test_a_role_ends_at_its_namespace(space: Space, other_space: Space, bound: Cluster) -> None:
    for namespace in (other_space.name, ""):
        assert not may(bound, "get", "configmaps", namespace)
    bound.refused(403, "Forbidden", "GET", other_space.path("configmaps"))


@pytest.mark.parametrize(
    "subject",
    [
        {"kind": "Group", "apiGroup": RBAC, "name": "system:serviceaccounts:{space}"},
        {"kind": "Group", "apiGroup": RBAC, "name": "system:authenticated"},
        {"kind": "User", "apiGroup": RBAC, "name": "system:serviceaccount:{space}:worker"},
    ],
    ids=lambda subject: f"{subject['kind']} {subject['name']}",
)
def test_a_role_is_given_to_groups_and_users_too(space: Space, subject: Object) -> None:
    space.create(account())
    space.create(role([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]))
    space.create(binding(space, {**subject, "name": subject["name"].format(space=space.name)}))
    seen = space.cluster.with_token(token_of(space))
    seen.until(lambda: may(seen, "delete", "secrets", space.name), bool, "the binding")


def test_a_role_that_is_taken_away_gives_nothing_any_more(space: Space, bound: Cluster) -> None:
    space.delete("rolebindings", "reads")
    bound.until(lambda: may(bound, "get", "configmaps", space.name), lambda allowed: not allowed, "the end")


def test_a_token_ends_with_its_account(space: Space, bound: Cluster) -> None:
    space.delete("serviceaccounts", "worker")
    bound.until(lambda: bound.call("GET", space.path("configmaps")).code, lambda code: code == 401, "401")
    space.create(account())
    assert bound.call("GET", space.path("configmaps")).code == 401, "another account of the name"


def test_a_token_says_how_long_it_is_good(space: Space) -> None:
    space.create(account())
    path = space.path("serviceaccounts", "worker", "token")
    answer = space.cluster.create(path, {"spec": {"expirationSeconds": 600}})
    assert answer["kind"] == "TokenRequest" and answer["spec"]["expirationSeconds"] == 600
    assert answer["status"]["expirationTimestamp"] > answer["metadata"]["creationTimestamp"]
    status = space.cluster.refused(422, "Invalid", "POST", path, {"spec": {"expirationSeconds": 60}})
    assert "may not specify a duration less than 10 minutes" in status["message"]
    space.cluster.refused(404, "NotFound", "POST", space.path("serviceaccounts", "nobody", "token"), {"spec": {}})


@pytest.mark.parametrize("token", ["x", "a.b.c", "e30.e30.", ""])
def test_a_token_that_nobody_made_is_a_401(cluster: Cluster, token: str) -> None:
    assert cluster.with_token(token).call("GET", path_of("namespaces")).code in (401, 403)


def test_a_token_that_was_changed_is_a_401(space: Space) -> None:
    space.create(account())
    head, claims, signature = token_of(space).split(".")
    assert (
        space.cluster.with_token(f"{head}.{claims[:-2]}AA.{signature}").call("GET", path_of("namespaces")).code == 401
    )
