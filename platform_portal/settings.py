"""Settings, read from the environment; ``docs/settings.md`` lists every variable.

``PLATFORM_MODE`` is ``production`` unless the laptop's start-up (``make run``) or the tests say ``laptop``. Only the laptop has
defaults for secrets; a production start without them is stopped by ``platform_portal.checks``.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from platform_portal import env, oidc
from platform_portal.admin_theme import UNFOLD as UNFOLD

BASE_DIR = Path(__file__).resolve().parent.parent
MODE = env.text("PLATFORM_MODE", "production")
if MODE not in {"production", "laptop"}:
    raise ImproperlyConfigured(f"PLATFORM_MODE must be production or laptop; it is {MODE!r}.")
LAPTOP = MODE == "laptop"
VAR_DIR = Path(env.text("PLATFORM_VAR", str(BASE_DIR / "var")))

DEBUG = False
SECRET_KEY = env.text("SECRET_KEY", "laptop-only-key-never-used-in-production-0123456789abcdef" if LAPTOP else "")
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1],testserver,.internal" if LAPTOP else "")
PORT = env.number("PORT", 8000)
# What people and scripts type, and what a training pod reaches (the same unless the cluster has another way in).
PLATFORM_URL = env.text("PLATFORM_URL", f"http://127.0.0.1:{PORT}" if LAPTOP else "").rstrip("/")
PLATFORM_INTERNAL_URL = env.text("PLATFORM_INTERNAL_URL", PLATFORM_URL).rstrip("/")
if LAPTOP and (pods_see := urlsplit(PLATFORM_INTERNAL_URL).hostname):
    ALLOWED_HOSTS.append(pods_see)
# How many proxies of ours stand before the portal and add to X-Forwarded-For; 0 believes nobody.
TRUSTED_PROXIES = env.number("TRUSTED_PROXIES", 0 if LAPTOP else 1)
CSRF_TRUSTED_ORIGINS = [PLATFORM_URL] if PLATFORM_URL else []

INSTALLED_APPS = [
    # The admin site and its look; the theme's templates come before those they replace.
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.import_export",
    "import_export",
    "platform_portal.admin_app.PlatformAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "bootstrap",
    "csp",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "platform_portal",
    "tenants",
    "jobs",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "platform_portal.origin.OriginMiddleware",
    "platform_portal.rate_limits.RateLimitMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "tenants.accounts.sessions.SessionAgeMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "platform_portal.middleware.DomainErrorMiddleware",
]
ROOT_URLCONF = "platform_portal.urls"
WSGI_APPLICATION = "platform_portal.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "tenants.context_processors.tenancy",
            ]
        },
    }
]

DATABASE_URL = env.text("DATABASE_URL")
if not DATABASE_URL and LAPTOP:
    from platform_portal import embedded_postgres

    DATABASE_URL = embedded_postgres.url(VAR_DIR / "postgres")
DATABASES = {"default": env.database(DATABASE_URL) if DATABASE_URL else {"ENGINE": "django.db.backends.dummy"}}
if DATABASE_URL:
    DATABASES["default"] |= {"CONN_MAX_AGE": env.number("DATABASE_CONN_MAX_AGE", 600), "CONN_HEALTH_CHECKS": True}

# What all web processes must count together: failed sign-ins. The laptop has no Redis, and shares by its database.
CACHE_URL = env.text("CACHE_URL")
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": CACHE_URL, "KEY_PREFIX": "ml"}
    if CACHE_URL
    else {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "platform_cache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}

# Where the cluster is. Unset: in-cluster credentials in production, localcluster's own file on the laptop.
KUBECONFIG = env.text("KUBECONFIG") or (str(VAR_DIR / "cluster" / "kubeconfig") if LAPTOP else "")
CLUSTER_IS_LOCAL = LAPTOP and not env.text("KUBECONFIG")
KUBE_TIMEOUT_SECONDS = env.number("KUBE_TIMEOUT_SECONDS", 10)
KUBE_CONNECTIONS = env.number("KUBE_CONNECTIONS", 16)

# Files: source archives and, unless a tenant has an artifact root of its own, what jobs write.
STORAGE_ROOT = env.text("STORAGE_ROOT", (VAR_DIR / "storage").as_uri() if LAPTOP else "").rstrip("/")
SOURCE_MAX_BYTES = env.number("SOURCE_MAX_BYTES", 50 * 1024 * 1024)
JOB_LOG_HEAD_BYTES = env.number("JOB_LOG_HEAD_BYTES", 10 * 1024 * 1024)
JOB_LOG_TAIL_BYTES = env.number("JOB_LOG_TAIL_BYTES", 90 * 1024 * 1024)
PRICE_CURRENCY = env.currency("PRICE_CURRENCY", "EUR")
DEFAULT_TRAINING_IMAGE = env.text("DEFAULT_TRAINING_IMAGE", "python:3.11-slim")
FETCH_IMAGE = env.text("FETCH_IMAGE", "python:3.11-slim")
GIT_IMAGE = env.text("GIT_IMAGE", "alpine/git:latest")
# The taint/label key that GPU nodes carry their model under; what GPU operators set differs from cloud to cloud.
GPU_NODE_LABEL = env.text("GPU_NODE_LABEL", "cloud.google.com/gke-accelerator")
GPU_RESOURCE = env.text("GPU_RESOURCE", "nvidia.com/gpu")
TPU_RESOURCE = env.text("TPU_RESOURCE", "google.com/tpu")
# What the namespaces of teams enforce: the version of the Pod Security Standards, and networks that pods must not reach. By
# default the addresses at which clouds hand out a node's own credentials; the cluster's pod network is worth adding.
POD_SECURITY_VERSION = env.text("POD_SECURITY_VERSION", "latest")
EGRESS_DENIED_NETWORKS = env.networks(
    "EGRESS_DENIED_NETWORKS", env.words("EGRESS_DENIED_NETWORKS", "169.254.169.254/32,fd00:ec2::254/128")
)
# The web tier's upload cap; a JSON body has its own, smaller one in the API.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024
FILE_UPLOAD_PERMISSIONS = 0o600

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_ADAPTER = "tenants.accounts.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["email", "username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
# The laptop's browser stays signed in when it is closed; in production the cookie goes with the browser.
ACCOUNT_SESSION_REMEMBER = LAPTOP
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = env.number("REAUTHENTICATION_SECONDS", 300)
# Failed sign-ins: of one account, whoever tries, and from one address, whatever is tried there.
ACCOUNT_RATE_LIMITS = {"login_failed": "30/5m/ip,5/5m/key", "login": "60/m/ip", "reauthenticate": "10/m/user"}
MFA_ADAPTER = "tenants.accounts.adapters.MFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "ML Platform"
MFA_RECOVERY_CODES_SHOW_ONCE = True
# Accounts are made by administrators: an address that nobody has verified is no reason against a second factor.
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = LAPTOP

# Identity providers; what is wrong with them is told by platform_portal.checks.
OIDC, OIDC_PROBLEMS = oidc.read(env.text("OIDC_PROVIDERS"))
OIDC_LINK_BY_EMAIL = env.flag("OIDC_LINK_BY_EMAIL")
SOCIALACCOUNT_ADAPTER = "tenants.accounts.single_sign_on.SocialAdapter"
SOCIALACCOUNT_EMAIL_REQUIRED = False
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"

# A session ends after this long without activity, and after this long in any case.
SESSION_IDLE_SECONDS = env.number("SESSION_IDLE_SECONDS", 12 * 3600 if LAPTOP else 30 * 60)
SESSION_MAX_SECONDS = SESSION_COOKIE_AGE = env.number("SESSION_MAX_SECONDS", 7 * 86400 if LAPTOP else 12 * 3600)
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
if not LAPTOP:
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = env.flag("SECURE_SSL_REDIRECT", True)
    # Probes and Prometheus come to the pod itself, without TLS.
    SECURE_REDIRECT_EXEMPT = [r"^v1/health$", r"^v1/ready$", r"^metrics$"]
    SECURE_HSTS_SECONDS = env.number("SECURE_HSTS_SECONDS", 31536000)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# Mail: none unless a server is named. What people are told stands in the portal either way.
EMAIL_URL = env.text("EMAIL_URL")
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text("EMAIL_FROM", "ml-platform@localhost")
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_URL else 'dummy'}.EmailBackend"
if EMAIL_URL:
    mail = env.mail_server(EMAIL_URL)
    EMAIL_HOST, EMAIL_PORT, EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = mail.host, mail.port, mail.user, mail.password
    EMAIL_USE_TLS, EMAIL_USE_SSL, EMAIL_TIMEOUT = mail.starttls, mail.tls, 20

# Keys for scripts: the longest life a token can be given, and the age at which the key that signs JWTs is replaced.
TOKEN_MAX_DAYS = env.number("TOKEN_MAX_DAYS", 365)
JWT_KEY_DAYS = env.number("JWT_KEY_DAYS", 30)
# How often one may ask the API; empty for as often as one likes. Memory counts for each web process by itself.
RATE_LIMIT_STORAGE_URL = env.text("RATE_LIMIT_STORAGE_URL", CACHE_URL or ("memory://" if LAPTOP else ""))
RATE_LIMIT_ADDRESS = env.rates("RATE_LIMIT_ADDRESS", "1200/minute")
RATE_LIMIT_TOKEN = env.rates("RATE_LIMIT_TOKEN", "600/minute")
RATE_LIMIT_JOB_TOKEN = env.rates("RATE_LIMIT_JOB_TOKEN", "6000/minute")
RATE_LIMIT_AUTH_FAILURES = env.rates("RATE_LIMIT_AUTH_FAILURES", "30/minute")

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": VAR_DIR / "media"}},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# As WhiteNoise has it, and source maps: large, and fetched by developers' tools only.
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = [
    *("jpg", "jpeg", "png", "gif", "webp", "zip", "gz", "tgz", "bz2", "tbz", "xz", "br", "swf", "flv", "woff", "woff2"),
    *("3gp", "3gpp", "asf", "avi", "m4v", "mov", "mp4", "mpeg", "mpg", "webm", "wmv", "map"),
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tenants.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["tenants.api.permissions.HasTenant"],
    "DEFAULT_RENDERER_CLASSES": ["platform_portal.api.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["platform_portal.api.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "platform_portal.errors.api_exception_handler",
    "UNAUTHENTICATED_USER": None,
}
API_MAX_BODY_BYTES = env.number("API_MAX_BODY_BYTES", 1024 * 1024)
SPECTACULAR_SETTINGS = {
    "TITLE": "ML platform API",
    "VERSION": "1",
    "DESCRIPTION": "Train models on shared machines. Authenticate with `Authorization: Bearer TOKEN`.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {"TokenStateEnum": ["active", "expired", "revoked"]},
}

CELERY_BROKER_URL = env.text("CELERY_BROKER_URL", "filesystem://localhost/" if LAPTOP else "")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_DEFAULT_EXPIRES = 600
if CELERY_BROKER_URL.startswith("filesystem://"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(VAR_DIR / "celery" / "queue"),
        "data_folder_out": str(VAR_DIR / "celery" / "queue"),
        "control_folder": str(VAR_DIR / "celery" / "control"),
        "polling_interval": 0.2,
    }
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "celery" / "beat-schedule")
CELERY_BEAT_SCHEDULE = {
    "jobs-collect-logs": {"task": "jobs.collect_due_logs", "schedule": 5.0, "options": {"expires": 5}},
    "tenants-send-mail": {"task": "tenants.send_mail", "schedule": 60.0, "options": {"expires": 60}},
    "jobs-clean-up": {"task": "jobs.clean_up", "schedule": 600.0, "options": {"expires": 600}},
}

LOG_LEVEL = env.text("LOG_LEVEL", "INFO").upper()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {name: {"level": LOG_LEVEL} for name in ("platform_portal", "tenants", "jobs", "django.security")},
}
