"""The submit form: what is typed becomes the API's payload, what is wrong is said beside the field, and nothing is lost."""

import io
import re
import zipfile
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from jobs import forms, sources
from jobs.models import SourceArchive, TrainingJob
from tenants.models import InstanceType
from tests.pages.conftest import MakeJob
from tests.personas import Team

NEW = "/t/ours/jobs/new"
MACHINES = [
    InstanceType(name="cpu-1x", cpu_cores=1, memory_gb=4),
    InstanceType(name="cpu-4x", cpu_cores=4, memory_gb=16),
]
IMAGE = {"source_kind": "image", "name": "alpha", "instance_type": "cpu-1x"}


def upload(name: str = "train.py", content: bytes = b"print(1)\n") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def errors(page: str) -> dict[str, str]:
    """What stands beside each field."""
    return dict(re.findall(r'<p class="field-error" id="id_(\w+)_error">([^<]*)</p>', page))


def payload_of(data: dict[str, str], source: SourceArchive | None = None) -> tuple[dict[str, Any], Any]:
    form = forms.SubmitForm(data, machines=MACHINES)
    form.is_valid()
    return form.payload(source), form.errors


def test_an_upload_a_name_and_a_machine_are_enough(ours: Team) -> None:
    data = {"name": "alpha", "source_kind": "upload", "file": upload(), "instance_type": "cpu-1x", "key": "k"}
    answer = ours.client("member").post(NEW, data)
    job = TrainingJob.objects.get()
    assert answer["Location"] == f"/t/ours/jobs/{job.pk}"
    assert job.source is not None and job.source.filename == "train.py"
    assert (job.instance_type, job.owner, job.spec["entrypoint"]) == (
        "cpu-1x",
        ours.people["member"],
        "python train.py",
    )


@pytest.mark.parametrize(
    ("filename", "typed", "entrypoint"),
    [
        ("train.py", "", "python train.py"),
        ("fit model.py", "", "python 'fit model.py'"),
        ("fit.py", "python -u fit.py", "python -u fit.py"),
    ],
)
def test_a_single_file_is_what_runs_unless_a_command_is_given(
    ours: Team, filename: str, typed: str, entrypoint: str
) -> None:
    ours.client("member").post(
        NEW, {"name": "a", "source_kind": "upload", "file": upload(filename), "entrypoint": typed}
    )
    assert TrainingJob.objects.get().spec["entrypoint"] == entrypoint


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ({}, {"compute": "cpu-1x"}),
        ({"instance_type": ""}, {"compute": "cpu-4x"}),
        (
            {"instance_type": "custom", "cpu_cores": "2", "memory_gb": "", "gpu_count": "3"},
            {"compute": {"type": "cpu", "cpu_cores": 2}},
        ),
        (
            {"instance_type": "custom", "compute_type": "gpu", "gpu_count": "2", "gpu_type": "nvidia-a100"},
            {"compute": {"type": "gpu", "gpu_count": 2, "gpu_type": "nvidia-a100"}},
        ),
        ({"instance_type": "custom", "cpu_cores": "many"}, {"compute": {"type": "cpu", "cpu_cores": "many"}}),
        ({"docker_image": " a/b:1 "}, {"docker_image": "a/b:1"}),
        (
            {"hyperparameters": "lr=0.01\n\n# a remark\nlayers=[1, 2]\nname=resnet 50\nflag=true\nurl=a=b\nn=NaN"},
            {
                "hyperparameters": {
                    "lr": 0.01, "layers": [1, 2], "name": "resnet 50", "flag": True, "url": "a=b", "n": "NaN"
                }
            },
        ),
        ({"hyperparameters": '{"a": {"b": [1]}}'}, {"hyperparameters": {"a": {"b": [1]}}}),
        ({"env_vars": "A=1\nB=x=y\nC="}, {"env_vars": {"A": "1", "B": "x=y", "C": ""}}),
        (
            {"source_kind": "git", "code_repo": "https://h/r.git", "code_commit": "v1"},
            {"code_repo": "https://h/r.git", "code_commit": "v1"},
        ),
        ({"source_kind": "image", "code_repo": "https://h/r.git"}, {}),
    ],
)  # fmt: skip
def test_what_is_typed_becomes_the_payload(typed: dict[str, str], expected: dict[str, Any]) -> None:
    payload, found = payload_of(IMAGE | typed)
    assert found == {}
    assert payload == {"name": "alpha", "compute": "cpu-1x"} | expected


@pytest.mark.parametrize(
    ("typed", "field", "sentence"),
    [
        ({"name": ""}, "name", "Name is required."),
        ({"name": "Bad Name"}, "name", "Name must consist of lower-case letters"),
        ({"name": "x" * 51}, "name", "at most 50 characters"),
        ({"source_kind": "git"}, "code_repo", "Repository is required"),
        ({"source_kind": "git", "code_repo": "ftp://x"}, "code_repo", "Repository must be a git URL"),
        (
            {"source_kind": "git", "code_repo": "https://h/r", "code_commit": "a b"},
            "code_commit",
            "must be a commit hash",
        ),
        ({"source_kind": "upload"}, "file", "File is required"),
        ({"instance_type": "custom", "cpu_cores": "97"}, "cpu_cores", "CPU cores must be a whole number from 1 to 96."),
        ({"instance_type": "custom", "memory_gb": "lots"}, "memory_gb", "Memory (GB) must be a whole number"),
        ({"instance_type": "custom", "compute_type": "gpu", "gpu_count": "9"}, "gpu_count", "from 1 to 8"),
        ({"instance_type": "custom", "compute_type": "gpu", "gpu_type": "a b"}, "gpu_type", "GPU model must be a name"),
        ({"instance_type": "cpu-99x"}, "instance_type", "Machine names no instance type"),
        ({"docker_image": "UPPER"}, "docker_image", "Container image must be an image reference"),
        ({"data_path": "ftp://x"}, "data_path", "Data must begin with one of"),
        ({"hyperparameters": "lr"}, "hyperparameters", "Line 1 is not of the form NAME=value: lr"),
        ({"hyperparameters": "a=1\na=2"}, "hyperparameters", "Line 2 gives a a second time."),
        ({"hyperparameters": "{bad"}, "hyperparameters", "This is not valid JSON"),
        ({"hyperparameters": "a-b=1\na_b=2"}, "hyperparameters", "becomes HYPERPARAM_A_B"),
        ({"env_vars": "1A=x"}, "env_vars", "1A must be named with letters"),
        ({"env_vars": "WORKSPACE=x"}, "env_vars", "is set by the platform"),
        ({"model_output_path": "nowhere"}, "model_output_path", "Output must begin with one of"),
        ({"entrypoint": "a\x00b"}, "entrypoint", "Null characters are not allowed"),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_on_top(
    ours: Team, typed: dict[str, str], field: str, sentence: str
) -> None:
    answer = ours.client("member").post(NEW, IMAGE | typed)
    page = answer.content.decode()
    assert answer.status_code == 400
    assert list(errors(page)) == [field]
    assert sentence in errors(page)[field].replace("&#x27;", "'").replace("&quot;", '"')
    assert f'<a href="#id_{field}">' in page
    assert 'id="summary" tabindex="-1" role="alert" autofocus' in page
    assert re.search(rf'id="id_{field}"|aria-describedby="[^"]*id_{field}_error', page)
    assert not TrainingJob.objects.exists()


def test_every_error_is_said_at_once_whoever_found_it(ours: Team) -> None:
    typed = {"name": "Bad", "source_kind": "upload", "env_vars": "x", "data_path": "ftp://x", "docker_image": "UP"}
    page = ours.client("member").post(NEW, typed).content.decode()
    assert set(errors(page)) == {"name", "file", "env_vars", "data_path", "docker_image"}


def test_nothing_typed_is_lost_and_the_upload_is_kept(ours: Team) -> None:
    typed = {
        "name": "Bad Name", "source_kind": "upload", "instance_type": "custom", "compute_type": "gpu", "cpu_cores": "7",
        "memory_gb": "9", "gpu_count": "2", "gpu_type": "nvidia-a100", "entrypoint": "python x.py --a", "docker_image": "a/b:1",
        "data_path": "s3://b/d", "hyperparameters": "lr=0.5\nbad", "env_vars": "A=1", "model_output_path": "s3://b/o",
    }  # fmt: skip
    client = ours.client("member")
    page = client.post(NEW, typed | {"file": upload(content=b"print(12345)\n")}).content.decode()
    for name, value in typed.items():
        if name in ("source_kind", "instance_type", "compute_type"):
            assert re.search(rf'value="{value}" (checked|selected)', page), name
        else:
            assert value in page, name
    assert "<strong>train.py</strong>, uploaded, 13 bytes" in page
    kept = re.search(r'name="source" value="([^"]+)"', page)
    assert kept is not None
    fixed = typed | {"name": "good", "hyperparameters": "lr=0.5", "source": kept[1]}
    assert client.post(NEW, fixed).status_code == 302
    job = TrainingJob.objects.get()
    assert job.source is not None and str(job.source.pk) == kept[1]
    assert job.spec["hyperparameters"] == {"lr": 0.5}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("train.py", b"", "empty"),
        ("notes.txt", b"x", "zip"),
        ("bad.zip", b"PK\x03\x04nonsense", "zip"),
    ],
)
def test_a_file_that_is_no_source_is_refused_beside_the_field(
    ours: Team, name: str, content: bytes, sentence: str
) -> None:
    data = {"name": "a", "source_kind": "upload", "file": upload(name, content)}
    answer = ours.client("member").post(NEW, data)
    assert answer.status_code == 400
    assert sentence in errors(answer.content.decode())["file"]
    assert not SourceArchive.objects.exists()


def test_an_archive_that_leaves_the_workspace_is_refused(ours: Team) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../etc/passwd", "x")
    data = {"name": "a", "source_kind": "upload", "file": upload("a.zip", packed.getvalue())}
    assert "file" in errors(ours.client("member").post(NEW, data).content.decode())


def test_an_upload_of_another_team_is_not_taken(ours: Team, theirs: Team) -> None:
    file = io.BytesIO(b"secret")
    digest, size = sources.digest_of(file)
    foreign = sources.source_upload(ctx=theirs.ctx, file=file, filename="theirs.py", digest=digest, size=size)
    answer = ours.client("member").post(NEW, {"name": "a", "source_kind": "upload", "source": str(foreign.pk)})
    assert answer.status_code == 400
    assert "theirs.py" not in answer.content.decode()


def test_a_body_larger_than_the_platform_takes_is_refused_before_it_is_read(ours: Team, settings) -> None:
    settings.SOURCE_MAX_BYTES = -4 * 1024 * 1024
    answer = ours.client("member").post(NEW, IMAGE)
    assert answer.status_code == 413
    assert "too large" in answer.content.decode()


def test_two_clicks_make_one_job(ours: Team) -> None:
    client = ours.client("member")
    data = {"name": "alpha", "source_kind": "upload", "key": "same"}
    first = client.post(NEW, data | {"file": upload()})
    second = client.post(NEW, data | {"file": upload()})
    assert first["Location"] == second["Location"]
    assert TrainingJob.objects.count() == 1


def test_going_back_and_changing_something_makes_another_job(ours: Team) -> None:
    client = ours.client("member")
    client.post(NEW, IMAGE | {"key": "same"})
    assert client.post(NEW, IMAGE | {"key": "same", "name": "beta"}).status_code == 302
    assert TrainingJob.objects.count() == 2


def test_a_taken_name_is_said_beside_the_name(ours: Team, make_job: MakeJob) -> None:
    make_job("alpha")
    answer = ours.client("member").post(NEW, IMAGE | {"key": "k"})
    assert answer.status_code == 409
    assert "another job of this team" in errors(answer.content.decode())["name"]


def test_the_form_suggests_a_valid_name_and_tells_what_is_left(ours: Team, make_job: MakeJob) -> None:
    make_job()
    page = ours.client("member").get(NEW).content.decode()
    found = re.search(r'name="name" value="([a-z]+-[a-z]+)"', page)
    assert found is not None
    lefts = re.findall(r'<dt class="clip">([^<]+)</dt><dd>(\d+) <small>of (\d+) left', page)
    assert lefts[:3] == [("CPU", "98", "100"), ("Memory", "192", "200"), ("GPUs", "10", "10")]


def test_run_again_with_changes_brings_everything_back(ours: Team, make_job: MakeJob) -> None:
    file = io.BytesIO(b"print(2)")
    digest, size = sources.digest_of(file)
    source = sources.source_upload(ctx=ours.ctx, file=file, filename="fit.py", digest=digest, size=size)
    spec = {
        "source": str(source.pk), "entrypoint": "python fit.py", "hyperparameters": {"lr": 0.1, "note": "a b", "deep": [1, 2]},
        "env_vars": {"A": "1"}, "data_path": "s3://b/d", "compute": {"type": "gpu", "gpu_count": 2, "cpu_cores": 3},
    }  # fmt: skip
    job = make_job("alpha", spec=spec)
    client = ours.client("member")
    page = client.get(f"/t/ours/jobs/{job.pk}/edit").content.decode()
    assert "<strong>fit.py</strong>, uploaded, 8 bytes" in page
    form = forms.SubmitForm(initial=forms.initial_of(job.spec, job.spec["compute"], ()), machines=MACHINES)
    data = {name: form[name].value() or "" for name in form.fields if name != "file"} | {"name": "alpha-2", "key": "k"}
    assert 'value="alpha-2"' in page
    assert client.post(NEW, data).status_code == 302
    again = TrainingJob.objects.get(name="alpha-2")
    same = ("source", "entrypoint", "hyperparameters", "env_vars", "data_path", "compute", "docker_image")
    assert {key: again.spec[key] for key in same} == {key: job.spec[key] for key in same}


@pytest.mark.parametrize(
    "values",
    [
        {"a": "1"}, {"a": " x"}, {"a": "x\ny"}, {"#a": 1}, {"a=b": 1}, {" a": 1}, {"a": "true"}, {"a": True}, {"a": None},
        {"a": {"b": [1, "x"]}}, {"a": ""}, {"a": "{"}, {"a": 1.5, "b": "text"}, {"{": 1}, {"a": "x\u2028y"}, {"a": "ü"}, {},
    ],
)  # fmt: skip
def test_hyperparameters_survive_being_shown_and_sent_back(values: dict[str, Any]) -> None:
    shown = forms.initial_of({"hyperparameters": values}, {}, ())["hyperparameters"]
    payload, found = payload_of(IMAGE | {"hyperparameters": shown})
    assert found == {}
    assert payload.get("hyperparameters", {}) == values


def test_the_preview_is_the_request_as_curl_valid_or_not(ours: Team) -> None:
    client = ours.client("member")
    data = IMAGE | {"name": "Not Yet", "hyperparameters": "lr=0.1\nbad line"}
    page = client.post(f"{NEW}/preview", data).content.decode()
    assert "/v1/jobs/training" in page and "Not Yet" in page and "$ML_PLATFORM_TOKEN" in page
    assert "/v1/sources" in client.post(f"{NEW}/preview", data | {"source_kind": "upload"}).content.decode()
    assert not TrainingJob.objects.exists()
