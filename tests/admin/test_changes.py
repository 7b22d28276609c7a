"""Whatever is changed on the admin site stands in the audit log: who, what, before and after, and never a secret."""

import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from tests.admin.forms import Admin, Form
from tests.personas import Team, team


@pytest.fixture
def ours(db: None) -> Team:
    return team("ours")


def last(action: str) -> Any:
    from tenants.models import AuditEntry

    found = AuditEntry.objects.filter(action=action).first()
    assert found is not None, [one.action for one in AuditEntry.objects.all()]
    assert (found.actor, found.via) == ("root", "admin")
    return found


def told() -> str:
    """Everything that the log holds, as text."""
    from tenants.models import AuditEntry

    return json.dumps(list(AuditEntry.objects.values("target", "before", "after")))


def test_a_cost_center_keeps_its_code_and_goes_only_when_nobody_uses_it(admin: Admin, ours: Team) -> None:
    from tenants.models import CostCenter

    assert admin.save("tenants/costcenter/add/", code="cc-9", name="Nine", monthly_budget="500.50").status_code == 302
    assert last("cost-center.create").after["monthly_budget"] == "500.50"
    path = "tenants/costcenter/cc-9/change/"
    assert admin.save(path, code="cc-10", monthly_budget="900").status_code == 302
    line = last("cost-center.change")
    assert (line.before, line.after) == ({"monthly_budget": "500.50"}, {"monthly_budget": "900.00"})
    assert "protected" in admin.text("tenants/costcenter/cc-1/delete/")
    assert admin.post("tenants/costcenter/cc-9/delete/", {"post": "yes"}).status_code == 302
    assert last("cost-center.delete").before["name"] == "Nine"
    assert admin.get("tenants/costcenter/unassigned/delete/").status_code == 403
    admin.act("tenants/costcenter/", "delete_selected", ["unassigned"], post="yes")
    assert CostCenter.objects.filter(pk="unassigned").exists() and not CostCenter.objects.filter(pk="cc-9").exists()


def test_a_machine_is_described_offered_and_retired(admin: Admin, ours: Team) -> None:
    from tenants.models import InstanceType

    path = "tenants/instancetype/gpu-1x-v100/change/"
    bad = admin.save(path, tolerations='[{"who": "gpu"}]', node_selector="{")
    assert bad.status_code == 200 and "Enter a valid JSON" in bad.content.decode()
    bad = admin.save(path, tolerations='[{"who": "gpu"}]')
    assert "effect" in bad.content.decode() and "errorlist" in bad.content.decode()
    good = '[{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]'
    assert admin.save(path, tolerations=good, tenants=[str(ours.tenant.pk)], price_per_hour="2.5").status_code == 302
    line = last("instance-type.change")
    assert line.after["tenants"] == ["ours"] and line.before["tenants"] == []
    assert line.after["tolerations"][0]["key"] == "gpu" and line.after["price_per_hour"] == "2.5000"
    admin.act("tenants/instancetype/", "retire", ["gpu-1x-v100", "cpu-1x"])
    assert InstanceType.objects.filter(is_active=False).count() == 2
    assert last("instance-type.change").after == {"is_active": False}
    admin.act("tenants/instancetype/", "offer", ["cpu-1x"])
    assert InstanceType.objects.get(pk="cpu-1x").is_active


def test_a_role_rule_gives_one_thing(admin: Admin, ours: Team) -> None:
    both = admin.save(
        "tenants/rolerule/add/", provider="idp", group="a", tenant=str(ours.tenant.pk), role="lead", platform_admin="on"
    )
    assert both.status_code == 200 and "Choose a team and a role, or platform admin" in both.content.decode()
    assert admin.save("tenants/rolerule/add/", provider="idp", group="a", platform_admin="on").status_code == 302
    assert last("role-rule.create").after["platform_admin"] is True


DEEP = "[" * 20_000


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("tenants/tenant/{}/change/", "labels"),
        ("tenants/instancetype/cpu-1x/change/", "node_selector"),
        ("tenants/instancetype/cpu-1x/change/", "tolerations"),
        ("tenants/instancetype/add/", "tolerations"),
    ],
)
@pytest.mark.parametrize("value", [DEEP, DEEP + "]" * 20_000, "[" * 40 + "]" * 40, "9" * 5000])
def test_json_that_cannot_be_kept_is_an_error_of_its_field(
    admin: Admin, ours: Team, path: str, field: str, value: str
) -> None:
    answer = admin.save(path.format(ours.tenant.pk), **{field: value})
    assert answer.status_code == 200 and answer.context["adminform"].form.errors[field]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("tenants/rolerule/add/", "tenant"),
        ("tenants/membership/add/", "user"),
        ("tenants/serviceaccount/add/", "tenant"),
        ("tenants/instancetype/add/", "tenants"),
        ("tenants/tenant/add/", "cost_center"),
    ],
)
@pytest.mark.parametrize("key", ["x", "1\x00", "9" * 30])
def test_a_key_that_is_none_is_an_error_of_its_field(admin: Admin, ours: Team, path: str, field: str, key: str) -> None:
    answer = admin.save(path, **{field: key})
    assert answer.status_code == 200 and answer.context["adminform"].form.errors[field]


def test_an_issuers_rules_are_written_down_one_by_one(admin: Admin, ours: Team) -> None:
    from tenants.models import IssuerRule, ServiceAccount, TrustedIssuer

    account = ServiceAccount.objects.create(tenant=ours.tenant, name="ci")
    rule = {
        "rules-TOTAL_FORMS": "1",
        "rules-0-claims": '{"sub": "repo:org/app:*"}',
        "rules-0-service_account": str(account.pk),
        "rules-0-scopes": ["read", "submit"],
        "rules-0-order": "10",
        "rules-0-is_active": "on",
    }
    values = {"name": "github", "issuer": "https://ci.example.com", "audience": "ml"}
    deep = admin.save("tenants/trustedissuer/add/", **values, **rule | {"rules-0-claims": DEEP})
    assert deep.status_code == 200 and b"nested" in deep.content and not TrustedIssuer.objects.exists()
    open_door = admin.save("tenants/trustedissuer/add/", **values, **rule | {"rules-0-claims": '{"sub": ""}'})
    assert open_door.status_code == 200 and "at least one claim" in open_door.content.decode()
    assert admin.save("tenants/trustedissuer/add/", **values, **rule).status_code == 302
    issuer, made = TrustedIssuer.objects.get(), IssuerRule.objects.get()
    line = last("issuer-rule.create")
    assert line.tenant_slug == "ours" and line.after["scopes"] == ["read", "submit"]
    path = f"tenants/trustedissuer/{issuer.pk}/change/"
    assert admin.save(path, **{"rules-0-scopes": ["read"]}).status_code == 302
    line = last("issuer-rule.change")
    assert (line.before, line.after) == ({"scopes": ["read", "submit"]}, {"scopes": ["read"]})
    assert admin.save(path, **{"rules-0-DELETE": "on"}).status_code == 302
    assert last("issuer-rule.delete").target_id == str(made.pk) and not IssuerRule.objects.exists()


def test_tokens_are_revoked_and_no_secret_is_shown(admin: Admin, ours: Team) -> None:
    from tenants.models import ApiToken

    token = ApiToken.objects.get(tenant=ours.tenant)
    for path in ("tenants/apitoken/", f"tenants/apitoken/{token.pk}/change/"):
        assert token.digest not in admin.text(path)
    assert admin.get("tenants/apitoken/add/").status_code == 403
    admin.act("tenants/apitoken/", "revoke", [token.pk])
    token.refresh_from_db()
    assert token.revoked_at is not None and last("token.revoke").target == token.name


def test_a_signing_keys_private_half_is_never_shown(admin: Admin) -> None:
    from tenants.models import SigningKey

    SigningKey.objects.create(kid="one", public_jwk={"x": "y"}, private_key=b"half-a-secret")
    assert "half-a-secret" not in admin.text("tenants/signingkey/") + admin.text("tenants/signingkey/one/change/")


def test_people_are_changed_but_nobody_locks_themselves_out(admin: Admin, root: Any) -> None:
    member = get_user_model().objects.create_user("grace", password="x")
    path = f"auth/user/{member.pk}/change/"
    assert admin.save(path, is_superuser="on", email="grace@example.com").status_code == 302
    member.refresh_from_db()
    assert member.is_superuser and member.is_staff
    line = last("person.change")
    assert line.before == {"is_superuser": False, "email": ""}
    own = admin.opened(f"auth/user/{root.pk}/change/")
    own.pop("is_superuser")
    assert "another platform admin can" in admin.save(f"auth/user/{root.pk}/change/", own).content.decode()
    admin.act("auth/user/", "deactivate", [root.pk, member.pk])
    root.refresh_from_db()
    member.refresh_from_db()
    assert root.is_active and not member.is_active


def test_a_new_password_is_written_down_without_it(admin: Admin) -> None:
    member = get_user_model().objects.create_user("grace", password="x")
    new = "correct-horse-battery"
    answer = admin.post(
        f"auth/user/{member.pk}/password/", {"password1": new, "password2": new, "usable_password": "true"}
    )
    assert answer.status_code == 302, answer.content.decode()
    member.refresh_from_db()
    assert member.check_password(new)
    assert last("person.password").target == "grace"
    assert new not in told() and member.password not in told()
    assert member.password.rsplit("$", 1)[1][:6] not in admin.text(f"auth/user/{member.pk}/change/")


def test_a_new_person_is_written_down_without_their_password(admin: Admin) -> None:
    new = "correct-horse-battery"
    answer = admin.save("auth/user/add/", username="grace", password1=new, password2=new, usable_password="true")
    assert answer.status_code == 302, answer.content.decode()
    assert last("person.create").after["password"] == "set" and "$" not in told()


def test_second_factors_and_sessions_of_a_lost_device_end(admin: Admin) -> None:
    from allauth.mfa.models import Authenticator

    from tenants.models import UserSession

    member = get_user_model().objects.create_user("grace", password="x")
    Authenticator.objects.create(user=member, type=Authenticator.Type.TOTP, data={"secret": "hidden-seed"})
    UserSession.objects.create(user=member, session_key="abc", browser="Firefox")
    assert "hidden-seed" not in admin.text(f"auth/user/{member.pk}/change/")
    admin.act("auth/user/", "remove_factors", [member.pk])
    assert not Authenticator.objects.exists() and not UserSession.objects.filter(user=member).exists()
    assert last("person.factors-removed").before == {"factors": ["totp"]} and "hidden-seed" not in told()


def test_members_come_and_go_by_the_service(admin: Admin, ours: Team) -> None:
    from tenants.models import Membership

    grace = get_user_model().objects.create_user("grace", password="x")
    assert (
        admin.save("tenants/membership/add/", tenant=str(ours.tenant.pk), user=str(grace.pk), role="viewer").status_code
        == 302
    )
    known = Membership.objects.get(user=grace)
    assert last("member.add").tenant_slug == "ours"
    assert admin.save(f"tenants/membership/{known.pk}/change/", role="lead").status_code == 302
    assert last("member.change").after == {"role": "lead"}
    assert admin.post(f"tenants/membership/{known.pk}/delete/", {"post": "yes"}).status_code == 302
    assert last("member.remove").before == {"role": "lead"}
    Membership.objects.create(tenant=ours.tenant, user=grace, role="lead", source="idp")
    by_group = Membership.objects.get(user=grace)
    assert (
        "comes from a group at idp"
        in admin.save(f"tenants/membership/{by_group.pk}/change/", role="viewer").content.decode()
    )


def test_a_request_is_granted_in_part_until_a_date_or_declined_with_a_note(admin: Admin, ours: Team) -> None:
    from tenants.services import quota_request_create

    first = quota_request_create(ctx=ours.context("member"), wanted={"cpu": 200, "gpus": 16}, reason="A large model")
    path = f"tenants/quotarequest/{first.pk}/change/"
    form = admin.opened(path)
    assert (form["limit-0"], form["limit-1"]) == (["200"], ["16"])
    refused = admin.post(path, form | {"decision": "decline"})
    assert refused.status_code == 200 and "say why" in refused.content.decode()
    refused = admin.post(path, form | {"limit-0": "9000", "decision": "grant"})
    assert refused.status_code == 200 and "up to what was asked for, 200" in refused.content.decode()
    assert (
        admin.post(
            path, form | {"limit-0": "150", "limit-1": "", "decision": "grant", "until": "2099-01-01"}
        ).status_code
        == 200
    )
    assert admin.post(path, form | {"limit-0": "150", "limit-1": "", "decision": "grant"}).status_code == 302
    ours.tenant.refresh_from_db()
    assert (ours.tenant.quota_cpu, ours.tenant.quota_gpus) == (150, 10)
    assert last("quota.grant").after == {"cpu": 150}
    second = quota_request_create(ctx=ours.context("member"), wanted={"gpus": 16}, reason="Still")
    path = f"tenants/quotarequest/{second.pk}/change/"
    assert admin.post(path, {"decision": "decline", "note": "Next year"}).status_code == 302
    assert last("quota.decline").after["note"] == "Next year"
    text = admin.text("tenants/quotarequest/")
    assert "state-pending" not in text and "state-declined" in text and "state-granted" in text
    assert Form(admin.text(path)).values.get("decision") is None and "Next year" in admin.text(path)


def test_the_history_of_a_thing_is_what_the_log_says_of_it(admin: Admin, ours: Team) -> None:
    admin.save("tenants/costcenter/cc-1/change/", name="Renamed")
    assert "name Research → Renamed" in admin.text("tenants/costcenter/cc-1/history/")
    assert "tenant.create" in admin.text(f"tenants/tenant/{ours.tenant.pk}/history/")
