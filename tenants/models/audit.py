"""What happened: the audit log, which only grows, and what people are told."""

from django.conf import settings
from django.db import models
from django.utils import timezone


class AuditEntry(models.Model):
    """Who did what to what, from where. The database refuses to change or delete a row (a trigger).

    Nothing here is a foreign key: an entry outlives what it tells of.
    """

    at = models.DateTimeField(default=timezone.now)
    # The person's or program's name, and what it is: user, token, service-account, platform.
    actor = models.CharField(max_length=200)
    actor_kind = models.CharField(max_length=20)
    user_id = models.BigIntegerField(null=True)
    tenant_id = models.BigIntegerField(null=True)
    tenant_slug = models.CharField(max_length=63, blank=True)
    # <kind of object>.<what was done>, such as quota.change or member.remove.
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=200, blank=True)
    target_id = models.CharField(max_length=64, blank=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    # page, api, admin, command, sign-in or reconciler; and the address that the request came from.
    via = models.CharField(max_length=20)
    address = models.GenericIPAddressField(null=True)

    class Meta:
        indexes = (
            models.Index(fields=("-at", "-id"), name="audit_newest"),
            models.Index(fields=("tenant_id", "-at", "-id"), name="audit_newest_of_tenant"),
        )
        ordering = ("-at", "-id")
        verbose_name_plural = "audit log"

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.target}"


class Notification(models.Model):
    """A sentence for one person, shown in the portal until it is read; sent by mail as well where mail is configured."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notifications")
    at = models.DateTimeField(default=timezone.now)
    message = models.CharField(max_length=500)
    url = models.CharField(max_length=300, blank=True)
    read_at = models.DateTimeField(null=True)
    # When the next attempt to send it by mail is due; empty where there is no mail, once it was sent, and when it was given up.
    mail_due_at = models.DateTimeField(null=True)
    mail_attempts = models.PositiveSmallIntegerField(default=0)

    class Meta:
        indexes = (
            models.Index(fields=("user", "-at"), name="notification_newest"),
            models.Index(fields=("user",), name="notification_unread", condition=models.Q(read_at__isnull=True)),
            models.Index(
                fields=("mail_due_at",), name="notification_mail_due", condition=models.Q(mail_due_at__isnull=False)
            ),
        )
        ordering = ("-at",)

    def __str__(self) -> str:
        return self.message
