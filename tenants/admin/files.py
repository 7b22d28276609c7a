"""Import and export of rows: a file is tried first, told row by row, and written as a whole or not at all.

Between the trial and its confirmation the file travels signed in the form, so that it may be confirmed at another web process and
nothing is left behind. What is exported opens in a spreadsheet as text, never as a formula.
"""

from typing import Any

from django import forms
from django.contrib import messages
from django.core import signing
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from import_export.fields import Field
from import_export.formats.base_formats import CSV, JSON
from import_export.resources import ModelResource
from import_export.results import Error
from import_export.tmp_storages import BaseStorage
from unfold.contrib.import_export.forms import ImportForm, SelectableFieldsExportForm

from platform_portal import safejson, spreadsheet
from tenants import audit
from tenants.models import Tenant

MOST_BYTES = 512 * 1024
MOST_ROWS = 2000
CONFIRM_WITHIN_SECONDS = 3600
SALT = "tenants.admin.import"


class SafeCSV(CSV):
    """Comma-separated, with cells that a spreadsheet would run as formulas written as text."""

    def export_data(self, dataset: Any, **kwargs: Any) -> Any:
        for index in range(len(dataset)):
            dataset[index] = tuple(spreadsheet.guarded(cell) for cell in dataset[index])
        return super().export_data(dataset, **kwargs)

    def create_dataset(self, in_stream: Any, **kwargs: Any) -> Any:
        dataset = super().create_dataset(in_stream, **kwargs)
        for index in range(len(dataset)):
            dataset[index] = tuple(spreadsheet.plain(cell) for cell in dataset[index])
        return dataset


FORMATS = (SafeCSV, JSON)


class InTheForm(BaseStorage):
    """What was uploaded, signed and compressed, is its own name."""

    def save(self, data: Any) -> None:
        self.name = signing.dumps(
            data.decode("utf-8-sig") if isinstance(data, bytes) else data, salt=SALT, compress=True
        )

    def read(self) -> Any:
        return signing.loads(self.name, salt=SALT, max_age=CONFIRM_WITHIN_SECONDS)

    def remove(self) -> None:
        """Nothing was left anywhere."""


class FileForm(ImportForm):
    def clean_import_file(self) -> Any:
        file = self.cleaned_data["import_file"]
        if file.size > MOST_BYTES:
            raise forms.ValidationError(f"The file has {file.size} bytes; at most {MOST_BYTES} are taken at once.")
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise forms.ValidationError("The file is not text in UTF-8.") from exc
        finally:
            file.seek(0)
        if problem := safejson.text_problem(text):
            raise forms.ValidationError(f"The file {problem}.")
        return file


class Problem(Error):
    """What went wrong with a row, without the program's insides."""

    traceback = ""


class AuditedResource(ModelResource):
    """Rows of a file, each checked as a form would and written into the audit log. ``kind`` as in ``AuditedAdmin``."""

    kind = ""

    class Meta:
        clean_model_instances = True
        skip_unchanged = True
        report_skipped = True
        use_transactions = True
        store_instance = True

    @classmethod
    def get_error_result_class(cls) -> type[Error]:
        return Problem

    def before_import(self, dataset: Any, **kwargs: Any) -> None:
        if len(dataset) > MOST_ROWS:
            raise forms.ValidationError(f"The file has {len(dataset)} rows; at most {MOST_ROWS} are taken at once.")
        unknown = set(dataset.headers or ()) - {field.column_name for field in self.get_import_fields()}
        if unknown:
            known = ", ".join(field.column_name for field in self.get_import_fields())
            raise forms.ValidationError(f"No such column: {', '.join(sorted(map(str, unknown)))}. Columns are {known}.")

    def state_of(self, instance: models.Model) -> dict[str, Any]:
        return {name: field.export(instance) for name, field in self.fields.items()}

    def after_init_instance(self, instance: Any, new: bool, row: Any, **kwargs: Any) -> None:
        instance._state_before = {} if new else self.state_of(instance)

    def after_save_instance(self, instance: Any, row: Any, **kwargs: Any) -> None:
        before, after = audit.changes(instance._state_before, self.state_of(instance))
        tenant = instance if isinstance(instance, Tenant) else getattr(instance, "tenant", None)
        audit.record(
            audit.actor_of(kwargs.get("user")),
            f"{self.kind}.{'change' if instance._state_before else 'create'}",
            tenant=tenant,
            target=str(instance),
            target_id=instance.pk,
            before=before if instance._state_before else None,
            after={**after, "from": kwargs.get("file_name") or "a file"},
        )


class FilesAdmin:
    """Beside ``ImportExportMixin``, before it in the bases."""

    import_form_class = FileForm
    export_form_class = SelectableFieldsExportForm
    tmp_storage_class = InTheForm
    skip_admin_log = True
    show_change_form_export = False
    import_error_display = ("message", "row")

    def get_import_formats(self) -> list[Any]:
        return list(FORMATS)

    def get_export_formats(self) -> list[Any]:
        return list(FORMATS)

    def get_import_data_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        return {"rollback_on_validation_errors": True}

    def process_import(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            return super().process_import(request, **kwargs)  # type: ignore[misc]
        except signing.BadSignature:
            messages.error(request, "This was shown too long ago; choose the file again.")
            return redirect(self._address("import"))

    def process_result(self, result: Any, request: HttpRequest) -> HttpResponse:
        """Between the trial and now somebody may have changed what the file builds on: then nothing of it was written."""
        if result.has_errors() or result.has_validation_errors():
            messages.error(request, "Nothing was imported: the file does not fit any more. Choose it again to see why.")
            return redirect(self._address("import"))
        return super().process_result(result, request)  # type: ignore[misc]

    def get_export_data(self, file_format: Any, request: HttpRequest, queryset: Any, **kwargs: Any) -> Any:
        data = super().get_export_data(file_format, request, queryset, **kwargs)  # type: ignore[misc]
        what = {"format": file_format.get_title()}
        audit.record(audit.actor_of(request.user), f"{self.kind}.export", after=what)  # type: ignore[attr-defined]
        return data

    def _address(self, page: str) -> str:
        opts = self.opts  # type: ignore[attr-defined]
        return reverse(f"admin:{opts.app_label}_{opts.model_name}_{page}")


__all__ = ["AuditedResource", "Field", "FilesAdmin"]
