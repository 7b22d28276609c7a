"""What every page of the admin site stands on.

``AuditedAdmin`` writes each addition, change and deletion into the audit log, with what was changed before and after and never a
secret; refuses to overwrite silently what somebody else has changed since the form was opened; shows the audit log as an object's
history; and asks a constant number of queries whatever the number of rows. ``ReadOnlyAdmin`` is for looking,
``InfinitePaginator`` for tables too long to be counted.
"""

import json
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import wraps
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import NestedObjects, unquote
from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Page, Paginator
from django.db import models, router, transaction
from django.forms.models import BaseModelFormSet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget

from platform_portal import safejson
from tenants import audit
from tenants.models import AuditEntry, Tenant

HISTORY_SHOWN = 100
PROTECTED_SHOWN = 20


def shown_once(column: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """What a page shows of an object, asked for once: the theme's templates look at each value several times."""

    @wraps(column)
    def remembering(self: Any, obj: Any) -> Any:
        kept = obj.__dict__.setdefault("_shown", {})
        if column.__name__ not in kept:
            kept[column.__name__] = column(self, obj)
        return kept[column.__name__]

    return remembering


class JSONField(forms.JSONField):
    """JSON that can be stored: nested too deeply, it is an error of the field and not the end of the request."""

    def to_python(self, value: Any) -> Any:
        try:
            found = super().to_python(value)
        except RecursionError:
            raise ValidationError(f"must not be nested deeper than {safejson.MAX_DEPTH} levels") from None
        except ValueError:
            # Python reads no whole number of thousands of digits.
            raise ValidationError("must not hold a whole number of more than 300 digits") from None
        if why := safejson.problem(found):
            raise ValidationError(why)
        return found

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except (RecursionError, ValueError):
            return forms.fields.InvalidJSONInput(data)

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return super().has_changed(initial, data)
        except (RecursionError, ValueError, ValidationError):
            return True


class _AnyChoice:
    """Shows a form again that came with a key which cannot be one; the field says that it is no choice."""

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        to_python = self.choices.queryset.model._meta.pk.to_python  # type: ignore[attr-defined]
        return super().optgroups(name, [one for one in value if _reads(to_python, one)], attr)  # type: ignore[misc]


class OneOfMany(_AnyChoice, AutocompleteSelect):
    """A search for one."""


class SomeOfMany(_AnyChoice, AutocompleteSelectMultiple):
    """A search for several."""


class GuardedForm(forms.ModelForm):
    """A form that knows what its user saw: each field carries the value it was opened with.

    Where somebody else has changed a field since, an unchanged one keeps their value, and one that was changed here too is
    an error that says what it is now. Saving again then is a decision.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance._state.adding:
            return
        for field in self.fields.values():
            field.show_hidden_initial = not field.disabled

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        values = self.cleaned_data if cleaned is None else cleaned
        for name, field in self.fields.items():
            if not field.show_hidden_initial or name not in values:
                continue
            bound = self[name]
            seen = field.hidden_widget().value_from_datadict(self.data, self.files, bound.html_initial_name)
            seen = seen.replace("\r\n", "\n") if isinstance(seen, str) else seen
            if seen is None:
                self.add_error(name, "This page is incomplete; open it again.")
            elif not field.has_changed(bound.initial, seen):
                continue
            elif name in self.changed_data:
                shown = field.prepare_value(bound.initial)
                self.add_error(
                    name, f"Somebody else has changed this meanwhile: it is {shown} now. Save again to replace that."
                )
                # The second time it is not by accident.
                data: Any = self.data
                self.data = data = data.copy()
                data[bound.html_initial_name] = shown
            else:
                values[name] = field.clean(field.prepare_value(bound.initial))
        return cleaned


class LockedFormSet(BaseModelFormSet):
    """The rows that are saved are locked while they are compared with what was seen."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.is_bound and self.queryset is not None:
            self.queryset = self.queryset.select_for_update(of=("self",), no_key=True)


class CountlessPage(Page):
    def has_next(self) -> bool:
        return bool(self.paginator.more)  # type: ignore[attr-defined]


class InfinitePaginator(Paginator):
    """Reads one row more than a page shows, to know whether there is another page, and counts nothing.

    The theme's templates know by the name that there is no number of results to be told.
    """

    template_name = "admin/countless.html"
    more = False

    @cached_property
    def count(self) -> int:
        return 10**12

    def page(self, number: Any) -> CountlessPage:
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        rows = list(self.object_list[start : start + self.per_page + 1])
        self.more = len(rows) > self.per_page
        return CountlessPage(rows[: self.per_page], number, self)


class AuditedAdmin(ModelAdmin):
    """``kind`` is the first half of the audit log's action: ``cost-center`` gives ``cost-center.change``."""

    is_audited = True
    kind = ""
    form = GuardedForm
    # Of these the log says that they changed, and not how.
    secret: tuple[str, ...] = ()
    # What is not anybody's decision.
    unaudited: tuple[str, ...] = ()
    list_per_page = 50
    warn_unsaved_form = False
    list_filter_submit = True
    formfield_overrides = {
        models.JSONField: {
            "form_class": JSONField,
            "widget": UnfoldAdminTextareaWidget(attrs={"rows": 3, "class": "code", "spellcheck": "false"}),
        }
    }

    # ---- the audit log

    def state_of(self, obj: Any) -> dict[str, Any]:
        """The object as the log tells of it: foreign keys by name where that costs nothing, lists in order."""
        found: dict[str, Any] = {}
        for field in obj._meta.concrete_fields:
            if field.name not in self.unaudited and not field.primary_key:
                value = field.value_from_object(obj)
                found[field.name] = ("set" if value else "none") if field.name in self.secret else value
        for field in obj._meta.many_to_many:
            found[field.name] = sorted(str(one) for one in getattr(obj, field.name).all())
        return found

    def tenant_of(self, obj: Any) -> Tenant | None:
        """Whose audit log the line joins."""
        found = obj if isinstance(obj, Tenant) else getattr(obj, "tenant", None)
        return found if isinstance(found, Tenant) else None

    def record(self, request: HttpRequest, verb: str, obj: Any, **what: Any) -> None:
        audit.record(
            audit.actor_of(request.user),
            f"{self.kind}.{verb}",
            tenant=self.tenant_of(obj),
            target=str(obj),
            target_id=obj.pk,
            **what,
        )

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            obj._state_before = self.state_of(type(obj)._base_manager.get(pk=obj.pk))
        super().save_model(request, obj, form, change)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        after = {name: value for name, value in self.state_of(obj).items() if value not in ("", None, [], {})}
        self.record(request, "create", obj, after=after)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        # Read again: what was typed as 900 is 900.00 in the database.
        now = self.state_of(type(obj)._base_manager.get(pk=obj.pk))
        before, after = audit.changes(getattr(obj, "_state_before", {}), now)
        if after:
            self.record(request, "change", obj, before=before, after=after)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Any]) -> None:
        for obj in queryset:
            self.record(request, "delete", obj, before=self.state_of(obj))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """What the audit log says of this object, newest first."""
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        request.current_app = self.admin_site.name
        context = self.admin_site.each_context(request) | {
            "title": f"History of {obj}",
            "entries": [(entry, change_of(entry)) for entry in self.history_of(obj)[:HISTORY_SHOWN]],
            "shown": HISTORY_SHOWN,
            "opts": self.opts,
            "object": obj,
        }
        return TemplateResponse(request, "admin/object_history.html", context)

    def history_of(self, obj: Any) -> "models.QuerySet[AuditEntry]":
        return AuditEntry.objects.filter(action__startswith=f"{self.kind}.", target_id=str(obj.pk))

    # ---- forms that hold what no form of ours sent

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", OneOfMany(db_field, self.admin_site, using=kwargs.get("using")))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", SomeOfMany(db_field, self.admin_site, using=kwargs.get("using")))
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    # ---- several at once

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """While it is being saved the row is locked, so that what it is compared with stays."""
        obj = super().get_object(request, object_id, from_field)
        if obj is None or request.method != "POST":
            return obj
        type(obj)._base_manager.select_for_update(no_key=True).only("pk").get(pk=obj.pk)
        return super().get_object(request, object_id, from_field)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """An action, or the rows edited in place, is one transaction with its lines in the log."""
        with transaction.atomic() if request.method == "POST" else nullcontext():
            return super().changelist_view(request, extra_context)

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        return super().get_changelist_form(request, **{"form": GuardedForm, **kwargs})

    def get_changelist_formset(self, request: HttpRequest, **kwargs: Any) -> Any:
        return super().get_changelist_formset(request, **{"formset": LockedFormSet, **kwargs})

    # ---- a constant number of queries

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """What goes with them is counted and not named: each name could be a query of its own."""
        collector = NestedObjects(using=router.db_for_write(self.model))
        collector.collect(objs)
        objects: dict[Any, Any] = collector.model_objs
        named = {model: rows for model, rows in objects.items() if not model._meta.auto_created}
        counts = {str(model._meta.verbose_name_plural): len(rows) for model, rows in named.items()}
        protected = [str(one) for one in list(collector.protected)[:PROTECTED_SHOWN]]
        if len(collector.protected) > PROTECTED_SHOWN:
            protected.append(f"and {len(collector.protected) - PROTECTED_SHOWN} more")
        return [str(one) for one in objs], counts, set(), protected


def moment(name: str, title: str) -> Callable[[Any, Any], str]:
    """A column of a list with a moment in time, in UTC and on one line."""

    @admin.display(description=title, ordering=name)
    def shown(self: Any, obj: Any) -> str:
        at = getattr(obj, name)
        if at is None:
            return ""
        return format_html('<time class="nowrap" datetime="{}">{}</time>', at.isoformat(), f"{at:%Y-%m-%d %H:%M}")

    shown.__name__ = f"{name}_shown"
    return shown


class ReadOnlyAdmin(AuditedAdmin):
    """To look at: what happens here happens elsewhere."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def change_of(entry: AuditEntry) -> str:
    """``quota_cpu 100 → 200, name x → y``, cut to a line."""
    before, after = entry.before or {}, entry.after or {}
    parts = []
    for key in {**before, **after}:
        was, now = _short(before.get(key)), _short(after.get(key))
        parts.append(
            f"{key} {was} → {now}" if key in before and key in after else f"{key} {now if key in after else was}"
        )
    text = ", ".join(parts)
    return text if len(text) <= 120 else text[:119] + "…"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def _reads(to_python: Callable[[Any], Any], value: Any) -> bool:
    try:
        to_python(value)
    except ValidationError:
        return False
    return "\x00" not in str(value)
