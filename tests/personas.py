"""Three personas for every test: the owner, another member of the team, and an outsider with a team of their own."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.test import Client
from rest_framework.test import APIClient

from tenants.context import TenantContext
from tenants.models import CostCenter, Role, Tenant
from tenants.services import member_set, tenant_create, token_create


@dataclass
class Team:
    """A tenant with people in every role, and its token."""

    tenant: Tenant
    token: str
    people: dict[str, Any]

    @property
    def ctx(self) -> TenantContext:
        return self.context("member")

    def context(self, role: str) -> TenantContext:
        return TenantContext(tenant=self.tenant, role=role, user=self.people[role])

    @property
    def api(self) -> APIClient:
        return api_client(self.token)

    def client(self, role: str) -> Client:
        client = Client()
        client.force_login(self.people[role])
        return client


def team(slug: str) -> Team:
    CostCenter.objects.get_or_create(code="cc-1", defaults={"name": "Research"})
    tenant = tenant_create(slug=slug, name=slug.title(), cost_center="cc-1")
    people = {}
    for role in Role:
        people[role.value] = get_user_model().objects.create_user(f"{slug}-{role.value}", password="x")
        member_set(tenant=tenant, user=people[role.value], role=role)
    _, secret = token_create(tenant=tenant, name="ci")
    return Team(tenant, secret, people)


def api_client(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client
