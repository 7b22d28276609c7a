"""The submit form: what people type, turned into the API's payload, and the API's errors put beside what they typed.

The rules of a spec are in ``jobs.spec``. Decided here is only what the API does not know: how lines of text become objects, and
that a chosen source of code has to be given.
"""

import json
import re
import secrets
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from django import forms

from jobs import presenters, spec
from jobs.models import SourceArchive
from platform_portal import safejson
from platform_portal.errors import DomainError
from tenants.models import InstanceType

CUSTOM = "custom"
UPLOAD, GIT, IMAGE = "upload", "git", "image"
DEFAULT_INSTANCE = "cpu-4x"

# Which field of the form shows an error of this path, and how the field is called in a sentence.
_FIELD_OF = {
    "source": "file",
    "file": "file",
    "compute": "instance_type",
    "compute.type": "compute_type",
    "compute.cpu_cores": "cpu_cores",
    "compute.memory_gb": "memory_gb",
    "compute.gpu_count": "gpu_count",
    "compute.gpu_type": "gpu_type",
}
_FIRST = (
    "amber", "brisk", "calm", "clear", "crisp", "deft", "eager", "early", "fair", "fleet", "gentle", "keen",
    "late", "light", "lucid", "mellow", "neat", "patient", "plain", "quick", "quiet", "silver", "steady",
    "still", "swift", "tidy", "vivid", "warm", "wise",
)  # fmt: skip
_SECOND = (
    "badger", "beacon", "birch", "brook", "cedar", "comet", "condor", "delta", "ember", "falcon", "fjord",
    "harbor", "heron", "island", "lark", "lynx", "maple", "meadow", "otter", "pebble", "pine", "plover",
    "raven", "reef", "ridge", "robin", "spruce", "summit", "willow",
)  # fmt: skip


class SubmitForm(forms.Form):
    """Fields are all optional for Django: what is missing is said by the rules, in the same words as the API's."""

    key = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)
    name = forms.CharField(
        required=False,
        max_length=500,
        help_text="Lower-case letters, digits and “-”; unique in the team.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}),
    )
    source_kind = forms.ChoiceField(
        label="Code",
        required=False,
        initial=UPLOAD,
        choices={UPLOAD: "Upload a file", GIT: "Git repository", IMAGE: "In the image"},
        widget=forms.RadioSelect,
    )
    source = forms.CharField(required=False, max_length=100, widget=forms.HiddenInput)
    file = forms.FileField(
        label="File",
        required=False,
        allow_empty_file=True,
        max_length=255,
        help_text="A single .py, or a .zip or .tar.gz of the project, at most 50 MiB. It becomes the working directory.",
        widget=forms.FileInput(attrs={"accept": ".py,.zip,.tar.gz,.tgz"}),
    )
    code_repo = forms.CharField(
        label="Repository",
        required=False,
        widget=forms.TextInput(
            attrs={"placeholder": "https://git.example.com/team/project.git", "spellcheck": "false"}
        ),
    )
    code_commit = forms.CharField(
        label="Commit, tag or branch",
        required=False,
        help_text="Empty: the default branch as it is when the job starts.",
        widget=forms.TextInput(attrs={"spellcheck": "false"}),
    )
    # Whether a machine may be chosen is a rule; the list only offers.
    instance_type = forms.CharField(label="Machine", required=False, widget=forms.Select)
    compute_type = forms.CharField(
        label="Type", required=False, widget=forms.Select(choices=[(kind, kind.upper()) for kind in spec.COMPUTE_TYPES])
    )
    cpu_cores = forms.CharField(
        label="CPU cores",
        required=False,
        initial=str(spec.DEFAULT_CPU_CORES),
        widget=forms.TextInput(attrs={"inputmode": "numeric"}),
    )
    memory_gb = forms.CharField(
        label="Memory (GB)",
        required=False,
        initial=str(spec.DEFAULT_MEMORY_GB),
        widget=forms.TextInput(attrs={"inputmode": "numeric"}),
    )
    gpu_count = forms.CharField(label="GPUs", required=False, widget=forms.TextInput(attrs={"inputmode": "numeric"}))
    gpu_type = forms.CharField(
        label="GPU model", required=False, widget=forms.TextInput(attrs={"placeholder": "nvidia-a100"})
    )
    queue = forms.BooleanField(
        label="Wait in the team's queue if the quota is full",
        required=False,
        help_text="It then starts by itself, by priority and age. Otherwise it is refused while the quota is full.",
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )
    entrypoint = forms.CharField(
        label="Command",
        required=False,
        help_text="Run by /bin/sh -c in the working directory. Empty: python train.py, or the .py file that you upload.",
        widget=forms.TextInput(attrs={"placeholder": spec.DEFAULT_ENTRYPOINT, "spellcheck": "false"}),
    )
    docker_image = forms.CharField(
        label="Container image",
        required=False,
        help_text="Empty: the platform's training image.",
        widget=forms.TextInput(attrs={"spellcheck": "false"}),
    )
    data_path = forms.CharField(
        label="Data",
        required=False,
        help_text="The program finds it in DATA_PATH.",
        widget=forms.TextInput(attrs={"placeholder": "s3://bucket/train.csv", "spellcheck": "false"}),
    )
    hyperparameters = forms.CharField(
        required=False,
        help_text="One a line, such as lr=0.01; or one JSON object. Each becomes HYPERPARAM_<NAME>.",
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "placeholder": "lr=0.01\nepochs=20"}),
    )
    env_vars = forms.CharField(
        label="Environment variables",
        required=False,
        help_text="One a line, NAME=value. No secrets: everybody in the team can read them.",
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
    )
    model_output_path = forms.CharField(
        label="Output",
        required=False,
        help_text="Empty: a folder of its own in the team's storage. The program finds it in MODEL_OUTPUT_PATH.",
        widget=forms.TextInput(attrs={"placeholder": "s3://bucket/models/", "spellcheck": "false"}),
    )

    priority = forms.CharField(
        required=False,
        help_text="The team's queue goes by priority, then by age. Empty: 0. Only a lead may go above 0.",
        widget=forms.TextInput(attrs={"placeholder": "0", "autocomplete": "off"}),
    )

    MORE = ("entrypoint", "docker_image", "data_path", "hyperparameters", "env_vars", "model_output_path", "priority")

    def __init__(self, *args: Any, machines: Sequence[InstanceType], **kwargs: Any) -> None:
        """``machines`` are those that the team may use."""
        super().__init__(*args, **kwargs)
        self.sizes = {machine.name: machine.compute for machine in machines}
        names = list(self.sizes)
        self.default_machine = DEFAULT_INSTANCE if DEFAULT_INSTANCE in names else (names or [CUSTOM])[0]
        choices = [(machine.name, presenters.machine_text(machine)) for machine in machines]
        self.fields["instance_type"].initial = self.default_machine
        self.fields["instance_type"].widget = forms.Select(choices=[*choices, (CUSTOM, "Custom …")])
        for field in self.fields.values():
            kind = "form-select" if isinstance(field.widget, forms.Select) else "form-control"
            if not isinstance(field.widget, forms.RadioSelect | forms.HiddenInput | forms.CheckboxInput):
                field.widget.attrs["class"] = kind

    def payload(self, source: SourceArchive | None) -> dict[str, Any]:
        """What the API would get. Call it after ``is_valid``; text that is no object is noted as an error of its field."""
        typed = {name: value for name, value in self.cleaned_data.items() if isinstance(value, str)}
        payload: dict[str, Any] = {"name": typed.get("name", "")}
        payload |= self._code(typed, source)
        payload["compute"] = self.compute()
        for name in ("entrypoint", "docker_image", "data_path", "model_output_path"):
            if typed.get(name):
                payload[name] = typed[name]
        for name, as_json in (("hyperparameters", True), ("env_vars", False)):
            if typed.get(name):
                payload[name] = self._object(name, typed[name], as_json)
        return payload | self.place_in_queue()

    def place_in_queue(self) -> dict[str, Any]:
        """Whether the job may wait, and before whom."""
        found: dict[str, Any] = {"queue": True} if self["queue"].value() else {}
        if given := self._given("priority"):
            found["priority"] = _whole(given)
        return found

    def compute(self) -> Any:
        """The machine that is chosen, as the API takes it: a name, or the sizes. Also of a form that nobody has sent yet."""
        chosen = self._given("instance_type") or self.default_machine
        if chosen != CUSTOM:
            return chosen
        compute: dict[str, Any] = {"type": self._given("compute_type") or "cpu"}
        for name in ("cpu_cores", "memory_gb", "gpu_count"):
            if given := self._given(name):
                compute[name] = _whole(given)
        if given := self._given("gpu_type"):
            compute["gpu_type"] = given
        if compute["type"] != "gpu":
            # The GPU's fields are out of sight then; what was typed before is no wish.
            compute.pop("gpu_count", None)
            compute.pop("gpu_type", None)
        return compute

    def add_domain_error(self, error: DomainError) -> None:
        """Puts what the rules said beside the fields it is about; what is about none of them goes on top."""
        if not error.fields and error.message:
            self.add_error(None, error.message)
        for path, sentences in error.fields.items():
            name, part = self._field_of(path)
            for sentence in sentences:
                if name is None:
                    self.add_error(None, f"{path}: {sentence}")
                else:
                    self.add_error(name, _sentence(part or str(self[name].label), sentence))

    @property
    def more_is_open(self) -> bool:
        """Whether the folded part holds something that the person has to see."""
        return any(self[name].value() or self[name].errors for name in self.MORE)

    def sentences(self, error: DomainError) -> str:
        """What the rules said, in the form's own words and one after the other."""
        found = []
        for path, sentences in error.fields.items():
            name, part = self._field_of(path)
            found += [_sentence(part or (str(self[name].label) if name else path), sentence) for sentence in sentences]
        return " ".join(found) or error.message

    def mark_errors(self) -> None:
        """Frames the fields that are wrong, once all errors are known."""
        for name in self.errors:
            if name in self.fields and "class" in self.fields[name].widget.attrs:
                self.fields[name].widget.attrs["class"] += " is-invalid"

    def _given(self, name: str) -> str:
        """What stands in a field, right or wrong."""
        return str(self[name].value() or "").strip()

    def _code(self, typed: dict[str, str], source: SourceArchive | None) -> dict[str, Any]:
        kind = typed.get("source_kind") or UPLOAD
        if kind == GIT:
            if not typed.get("code_repo"):
                self.add_error("code_repo", "Repository is required, unless the code comes another way.")
                return {}
            return {name: typed[name] for name in ("code_repo", "code_commit") if typed.get(name)}
        if kind == IMAGE:
            return {}
        if source is None:
            if not self.has_error("file"):
                self.add_error("file", "File is required, unless the code comes another way.")
            return {}
        found: dict[str, Any] = {"source": str(source.pk)}
        if source.kind == SourceArchive.Kind.FILE and source.filename != "train.py" and not typed.get("entrypoint"):
            found["entrypoint"] = f"python {shlex.quote(source.filename)}"
        return found

    def _object(self, name: str, text: str, as_json: bool) -> dict[str, Any]:
        if text.lstrip().startswith("{"):
            try:
                return dict(safejson.loads(text.encode("utf-8", "surrogatepass")))
            except safejson.BadJSON as exc:
                self.add_error(name, str(exc).replace("The body", "This"))
                return {}
        found: dict[str, Any] = {}
        for count, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            key, sign, value = line.partition("=")
            key = key.strip()
            if not sign or not key:
                self.add_error(name, f"Line {count} is not of the form NAME=value: {line.strip()[:60]}")
            elif key in found:
                self.add_error(name, f"Line {count} gives {key[:60]} a second time.")
            else:
                found[key] = _json_or_text(value.strip()) if as_json else value.strip()
        return found

    def _field_of(self, path: str) -> tuple[str | None, str]:
        """(field of the form, the part of it that is meant)."""
        if path in _FIELD_OF:
            return _FIELD_OF[path], ""
        name, _, part = path.partition(".")
        return (name, part) if name in self.fields else (None, "")


def initial_of(request: Mapping[str, Any], sizes: Mapping[str, Any], offered: Collection[str]) -> dict[str, Any]:
    """The form's values for a request, so that a job can be run again with changes.

    A machine that is not ``offered`` any more becomes its ``sizes``, those that the job had.
    """
    initial: dict[str, Any] = {
        name: request[name]
        for name in ("name", "source", "code_repo", "code_commit", "entrypoint", "docker_image", "data_path")
        if request.get(name)
    }
    initial["model_output_path"] = request.get("model_output_path", "")
    initial["source_kind"] = UPLOAD if request.get("source") else GIT if request.get("code_repo") else IMAGE
    initial["hyperparameters"] = _lines(request.get("hyperparameters") or {}, as_json=True)
    initial["env_vars"] = _lines(request.get("env_vars") or {}, as_json=False)
    initial |= {"queue": bool(request.get("queue")), "priority": str(request.get("priority") or "")}
    compute = request.get("compute")
    if isinstance(compute, str) and compute in offered:
        return initial | {"instance_type": compute}
    given = compute if isinstance(compute, Mapping) else sizes
    initial |= {"instance_type": CUSTOM, "compute_type": given.get("type", "cpu")}
    initial |= {name: given[name] for name in ("cpu_cores", "memory_gb", "gpu_count", "gpu_type") if given.get(name)}
    return initial


def suggested_name() -> str:
    """Two words that are easy to tell apart and to say."""
    return f"{secrets.choice(_FIRST)}-{secrets.choice(_SECOND)}"


def new_key() -> str:
    """What makes two clicks on the same form one submission."""
    return secrets.token_urlsafe(16)


def source_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _lines(values: dict[str, Any], as_json: bool) -> str:
    """Lines that ``_object`` reads back as the same values, or one JSON object where lines could not say it."""
    lines = []
    for key, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        read_back = _json_or_text(text) if as_json else text
        plain = key == key.strip() and key and "=" not in key and not key.startswith(("#", "{"))
        if not plain or len(f"{key}={text}".splitlines()) != 1 or text != text.strip() or read_back != value:
            return json.dumps(values, indent=2, ensure_ascii=False)
        lines.append(f"{key}={text}")
    return "\n".join(lines)


def _json_or_text(text: str) -> Any:
    try:
        return safejson.loads(text.encode("utf-8", "surrogatepass"))
    except safejson.BadJSON:
        return text


def _whole(text: str) -> Any:
    """A number where it is one; anything else goes to the rules as it is, and they say what is wrong."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text


def _sentence(subject: str, rest: str) -> str:
    whole = f"{subject} {rest}".strip()
    return whole if whole.endswith((".", "!", "?")) else f"{whole}."
