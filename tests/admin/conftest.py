"""A platform admin, and as much of everything as a test asks for. Models are imported when they are needed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.admin.forms import Admin


@pytest.fixture
def root(db: None) -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model().objects.create_superuser("root", password="x")


@pytest.fixture
def admin(root: Any) -> Admin:
    client = Client()
    client.force_login(root)
    return Admin(client)


@pytest.fixture
def fill(db: None) -> Callable[[int], None]:
    """So many rows of everything that the admin site shows, with all that hangs on each."""

    def fill(number: int) -> None:
        _fill(number)

    return fill


def _fill(number: int) -> None:
    from allauth.mfa.models import Authenticator
    from django.contrib.auth import get_user_model

    from jobs.services import job_submit
    from tenants import audit, models
    from tenants.context import TenantContext
    from tenants.services import member_set, notify, quota_request_create, tenant_create, token_create

    now = timezone.now()
    issuer = models.TrustedIssuer.objects.create(name="issuer-all", issuer="https://ci.example.com/all", audience="ml")
    crowded = tenant_create(slug="crowded", name="Crowded")
    person = get_user_model().objects.create_user("everywhere", password="x")
    for i in range(number):
        center = models.CostCenter.objects.create(code=f"cc-{i}", name=f"Center {i}", monthly_budget=1000)
        user = get_user_model().objects.create_user(f"user-{i}", password="x", email=f"user-{i}@example.com")
        tenant = tenant_create(slug=f"team-{i}", name=f"Team {i}", cost_center=center.code)
        member_set(tenant=tenant, user=user, role="member")
        member_set(tenant=crowded, user=user, role="viewer", source="idp")
        member_set(tenant=tenant, user=person, role="lead")
        ctx = TenantContext(tenant=tenant, role="lead", user=user)
        account = models.ServiceAccount.objects.create(tenant=tenant, name=f"ci-{i}", created_by=user)
        models.ServiceAccount.objects.create(tenant=crowded, name=f"ci-{i}")
        for kind in ("team", "personal"):
            token_create(ctx=ctx, name=f"{kind}-{i}", kind=kind)
        token_create(ctx=ctx, name=f"service-{i}", kind="service", service_account=account)
        offered = models.InstanceType.objects.create(name=f"type-{i}", cpu_cores=1, memory_gb=1)
        offered.tenants.add(tenant, crowded)
        models.RoleRule.objects.create(provider="idp", group=f"group-{i}", tenant=tenant, role="member")
        own = models.TrustedIssuer.objects.create(
            name=f"issuer-{i}", issuer=f"https://ci.example.com/{i}", audience="ml"
        )
        for one in (own, issuer):
            models.IssuerRule.objects.create(issuer=one, claims={"sub": "repo:*"}, service_account=account)
        quota_request_create(ctx=ctx, wanted={"cpu": 200, "gpus": 20}, reason="A large model")
        notify(users=[user], message=f"Message {i}")
        job_submit(ctx=ctx, payload={"name": f"job-{i}", "compute": {"cpu_cores": 90, "memory_gb": 10}})
        models.UserSession.objects.create(user=user, session_key=f"key-{i}", browser="Firefox", address="10.0.0.1")
        models.UserSession.objects.create(user=person, session_key=f"everywhere-{i}", browser="Firefox")
        Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": "hidden"})
        models.SigningKey.objects.create(kid=f"key-{i}", public_jwk={}, private_key=b"hidden")
        models.ClusterContact.objects.create(name=f"contact-{i}", seen_at=now, error="gone" if i % 2 else "")
        audit.record(
            audit.PLATFORM, "tenant.change", tenant=tenant, target=tenant.slug, before={"a": 1}, after={"a": 2}
        )
        models.Tenant.objects.filter(pk=tenant.pk).update(
            apply_error="quota exceeded" if i % 2 else "", drift_at=now - timedelta(hours=1)
        )
