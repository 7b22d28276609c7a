"""Who is signed in from where, and who administers the platform because an identity provider says so."""

from django.conf import settings
from django.db import models
from django.utils import timezone


class UserSession(models.Model):
    """A browser in which a person is signed in. The session itself is Django's; this row makes it visible and ends with it."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="sessions")
    session_key = models.CharField(max_length=40, unique=True, editable=False)
    address = models.GenericIPAddressField(null=True)
    browser = models.CharField(max_length=200, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = (models.Index(fields=("user", "-seen_at"), name="session_of_user"),)
        ordering = ("-seen_at",)

    def __str__(self) -> str:
        return f"{self.user} from {self.address or 'somewhere'}"


class GrantedAdmin(models.Model):
    """The person is a platform admin because this provider's groups say so. Whom a person made one has no such row."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="granted_admin")
    provider = models.CharField(max_length=100)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("user", "provider"), name="granted_admin_once"),)

    def __str__(self) -> str:
        return f"{self.user} by {self.provider}"
