"""Columns of JSON whose shape a validator decides, also of what is empty."""

from typing import Any

from django.db import models


class ShapedJSONField(models.JSONField):
    """Django asks no validator about an empty value, and so takes ``[]`` or ``""`` where an object belongs; this asks. ``None``
    stands for what the column has by default."""

    empty_values: list[Any] = []

    def clean(self, value: Any, model_instance: models.Model | None) -> Any:
        return super().clean(self.get_default() if value is None else value, model_instance)

    def deconstruct(self) -> Any:
        """As Django's own: to the database there is no difference."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs
