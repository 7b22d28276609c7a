"""The admin site as an installed app: Django's, with our site in place of the default one."""

from django.contrib.admin.apps import AdminConfig


class PlatformAdminConfig(AdminConfig):
    default = False
    default_site = "platform_portal.admin_site.PlatformAdminSite"
