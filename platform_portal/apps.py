from django.apps import AppConfig


class PlatformPortalConfig(AppConfig):
    name = "platform_portal"
    verbose_name = "Platform"

    def ready(self) -> None:
        from platform_portal import checks  # noqa: F401 - registers them; needs the models
