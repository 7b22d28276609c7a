"""Import and export: a trial first, errors by row, all or nothing, written down; and no formula leaves in a CSV file."""

import csv
import io
import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from platform_portal import spreadsheet
from tests.admin.forms import Admin, Form
from tests.personas import Team, team

CSV, JSON = "0", "1"
MODELS = [f"tenants/{name}" for name in ("tenant", "costcenter", "instancetype", "rolerule", "membership")]


@pytest.fixture
def ours(db: None) -> Team:
    return team("ours")


def upload(admin: Admin, model: str, text: str | bytes, kind: str = CSV) -> Any:
    """The answer to the trial."""
    content = text.encode() if isinstance(text, str) else text
    form = admin.opened(f"{model}/import/")
    return admin.post(
        f"{model}/import/", form | {"format": kind, "import_file": SimpleUploadedFile("rows.csv", content)}
    )


def confirm(admin: Admin, model: str, tried: Any) -> Any:
    values = {name: value for name, value in Form(tried.content.decode()).values.items() if name != "import_file"}
    assert "import_file_name" in values, tried.content.decode()[-3000:]
    return admin.post(f"{model}/process_import/", values)


def export(admin: Admin, model: str, kind: str = CSV) -> str:
    form = admin.opened(f"{model}/export/")
    answer = admin.post(f"{model}/export/", form | {"format": kind})
    assert "attachment" in answer["Content-Disposition"]
    return str(answer.content.decode())


def actions() -> list[str]:
    from tenants.models import AuditEntry

    return list(AuditEntry.objects.filter(actor="root").order_by("id").values_list("action", flat=True))


def test_quotas_are_tried_confirmed_and_written_down(admin: Admin, ours: Team) -> None:
    from tenants.models import AuditEntry, Tenant

    tried = upload(
        admin,
        "tenants/tenant",
        'slug,name,cost_center,quota_cpu,quota_gpu_types\nours,Ours,cc-1,321,"{""nvidia-a100"": 2}"\nnew-one,New,cc-1,5,{}\n',
    )
    assert tried.status_code == 200
    ours.tenant.refresh_from_db()
    assert ours.tenant.quota_cpu == 100 and Tenant.objects.count() == 1 and actions() == []
    assert confirm(admin, "tenants/tenant", tried).status_code == 302
    ours.tenant.refresh_from_db()
    assert (ours.tenant.quota_cpu, ours.tenant.quota_gpu_types) == (321, {"nvidia-a100": 2})
    assert Tenant.objects.get(slug="new-one").quota_cpu == 5
    assert actions() == ["tenant.change", "tenant.create"]
    line: Any = AuditEntry.objects.get(action="tenant.change")
    assert (line.before["quota_cpu"], line.after["quota_cpu"]) == (100, 321)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slug,quota_cpu\nours,many\n", "ours"),
        ("slug,quota_cpu\nours,-5\n", "greater than or equal to 0"),
        ("slug,cost_center\nours,nothing\n", "There is no cost center nothing"),
        ("slug,name,cost_center\nNot A Slug,New,cc-1\n", "slug"),
        ("slug,quota_cpus\nours,5\n", "No such column: quota_cpus"),
        ("quota_cpu\n5\n", "slug"),
        ('slug,quota_gpu_types\nours,"{""a"": -1}"\n', "GPU types with whole numbers"),
        (b"slug,name\nours,\xff\xfe\n", "not text in UTF-8"),
        ("slug,name\nours,a\x00b\n", "NUL"),
        ("slug\n" + "x\n" * 2001, "at most 2000"),
        ("slug\n" + "x" * 600_000 + "\n", "at most 524288"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_and_nothing_is_written(
    admin: Admin, ours: Team, text: str | bytes, says: str
) -> None:
    tried = upload(admin, "tenants/tenant", text)
    page = tried.content.decode()
    assert tried.status_code == 200 and says in page and "Traceback" not in page
    assert "import_file_name" not in Form(page).values and actions() == []


def test_one_bad_row_keeps_all_rows_out(admin: Admin, ours: Team) -> None:
    tried = upload(admin, "tenants/costcenter", "code,name,currency\ncc-7,Seven,EUR\ncc-8,Eight,euros\n")
    page = tried.content.decode()
    assert "ISO 4217" in page and "import_file_name" not in Form(page).values


def test_a_file_that_does_not_fit_any_more_is_not_half_written(admin: Admin, ours: Team) -> None:
    from tenants.models import CostCenter, Tenant

    tried = upload(admin, "tenants/tenant", "slug,name,cost_center\nours,Renamed,cc-1\nlater,Later,cc-2\n")
    assert "There is no cost center cc-2" in tried.content.decode()
    CostCenter.objects.create(code="cc-2", name="Two")
    tried = upload(admin, "tenants/tenant", "slug,name,cost_center\nours,Renamed,cc-1\nlater,Later,cc-2\n")
    CostCenter.objects.filter(code="cc-2").delete()
    assert confirm(admin, "tenants/tenant", tried).status_code == 302
    assert Tenant.objects.get(slug="ours").name == "Ours" and actions() == []


def test_what_was_tried_cannot_be_exchanged_on_its_way_back(admin: Admin, ours: Team) -> None:
    from tenants.models import CostCenter

    tried = upload(admin, "tenants/costcenter", "code,name\ncc-7,Seven\n")
    values = {name: value[0] for name, value in Form(tried.content.decode()).values.items() if name != "import_file"}
    values["import_file_name"] = values["import_file_name"][:-3] + "abc"
    assert admin.post("tenants/costcenter/process_import/", values).status_code == 302
    assert not CostCenter.objects.filter(code="cc-7").exists()


@pytest.mark.parametrize(
    "model", ["tenants/tenant", "tenants/costcenter", "tenants/instancetype", "tenants/rolerule", "tenants/membership"]
)
@pytest.mark.parametrize("kind", [CSV, JSON])
def test_what_was_exported_can_be_imported_again_and_changes_nothing(
    admin: Admin, ours: Team, model: str, kind: str
) -> None:
    from tenants.models import InstanceType, RoleRule

    RoleRule.objects.create(provider="idp", group="=cmd|' /C calc'!A0", tenant=ours.tenant, role="lead")
    RoleRule.objects.create(provider="*", group="admins", platform_admin=True)
    InstanceType.objects.get(pk="cpu-1x").tenants.add(ours.tenant)
    text = export(admin, model, kind)
    rows = len(json.loads(text)) if kind == JSON else len(list(csv.reader(io.StringIO(text)))) - 1
    assert rows > 0
    page = upload(admin, model, text, kind).content.decode()
    assert page.count('class="skip ') == rows, text
    assert actions()[0].endswith(".export")


def test_a_cell_that_a_spreadsheet_would_run_leaves_as_text(admin: Admin, ours: Team) -> None:
    from tenants.services import tenant_update

    tenant_update(slug="ours", name="=HYPERLINK(1)")
    rows = list(csv.DictReader(io.StringIO(export(admin, "tenants/tenant"))))
    assert rows[0]["name"] == "'=HYPERLINK(1)" and rows[0]["quota_cpu"] == "100"


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\tx", "\r=1", "\n=1"])
def test_formulas_are_text_and_come_back(text: str) -> None:
    assert spreadsheet.guarded(text) == f"'{text}" and spreadsheet.plain(f"'{text}") == text


@pytest.mark.parametrize("cell", ["-5", "+1.5", "text", "'quoted", "", 5, None, "a=b"])
def test_what_is_no_formula_stays_as_it_is(cell: object) -> None:
    assert spreadsheet.guarded(cell) == cell


def test_a_machine_for_a_team_that_there_is_not_is_refused(admin: Admin, ours: Team) -> None:
    tried = upload(admin, "tenants/instancetype", 'name,cpu_cores,memory_gb,tenants\nbig,8,32,"ours,ghost"\n')
    assert "There is no team ghost" in tried.content.decode()
    tried = upload(admin, "tenants/instancetype", "name,cpu_cores,memory_gb,tenants\nbig,8,32,ours\n")
    assert confirm(admin, "tenants/instancetype", tried).status_code == 302
    from tenants.models import AuditEntry, InstanceType

    assert [one.slug for one in InstanceType.objects.get(pk="big").tenants.all()] == ["ours"]
    line: Any = AuditEntry.objects.get(action="instance-type.create")
    assert line.after["from"] == "rows.csv"


def test_members_come_by_file_but_not_over_what_a_group_gave(admin: Admin, ours: Team) -> None:
    from django.contrib.auth import get_user_model

    from tenants.models import Membership

    get_user_model().objects.create_user("grace", password="x")
    tried = upload(admin, "tenants/membership", "tenant,user,role\nours,grace,lead\n")
    assert confirm(admin, "tenants/membership", tried).status_code == 302
    assert Membership.objects.get(user__username="grace").role == "lead" and "member.add" in actions()
    Membership.objects.filter(user__username="grace").update(source="idp")
    tried = upload(admin, "tenants/membership", "tenant,user,role\nours,grace,viewer\n")
    assert "comes from a group at idp" in tried.content.decode()
    tried = upload(admin, "tenants/membership", "tenant,user,role\nours,nobody,viewer\n")
    assert "There is no user nobody" in tried.content.decode()
