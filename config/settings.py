"""Settings: wiring only. Every variable of the environment is read here."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF

from . import env

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env.text("PLACET_DATA_DIR", str(BASE_DIR / "data"))).resolve()

DEBUG = env.boolean("PLACET_DEBUG", False)
SECRET_KEY = env.secret_key(DATA_DIR)
ALLOWED_HOSTS = env.words("PLACET_ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("PLACET_ORIGINS", "")

# Behind HTTPS: cookies over TLS only, plain requests are sent there, HSTS for a year.
HTTPS = env.boolean("PLACET_HTTPS", False)
SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "runs",  # first: its `runserver` says what Daphne's does not
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "django_htmx",
    "template_partials",
    "approvals",
]
if env.boolean("PLACET_DEMO", False):
    INSTALLED_APPS.append("demo")
INSTALLED_APPS += env.words("PLACET_APPS", "")

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "approvals.middleware.PreferencesMiddleware",
]

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
        "connect-src": [SELF],
    }
}

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
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
            ],
        },
    }
]

# One machine: SQLite. IMMEDIATE: a deferred transaction that upgrades to a write fails
# at once, whatever the timeout. FULL: NORMAL may lose the last commits when the power
# goes, and a decision is never lost.
SQLITE: dict[str, Any] = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": DATA_DIR / "placet.sqlite3",
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    },
    "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
}
# Many machines: PostgreSQL.
POSTGRESQL = env.postgresql(
    "DATABASE_URL",
    pool={
        "min_size": 1,
        "max_size": env.pool_size("PLACET_POOL", 16),
        "timeout": 20,
    },
)
if POSTGRESQL:
    # Whoever holds a lock and is stopped, or cut off, does not hold up the others.
    POSTGRESQL["OPTIONS"]["options"] = (
        "-c lock_timeout=10s -c idle_in_transaction_session_timeout=30s"
    )
DATABASES: dict[str, Any] = {"default": POSTGRESQL or SQLITE}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
if POSTGRESQL:
    INSTALLED_APPS.append("procrastinate.contrib.django")

# Without Redis a poke reaches this process alone; pages of others look every 2 s.
REDIS_URL = env.text("REDIS_URL", "")
CHANNEL_LAYERS: dict[str, Any] = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            "hosts": [REDIS_URL],
            # Two Placets on one Redis do not hear each other.
            "prefix": env.text("PLACET_REDIS_PREFIX", "placet"),
        },
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
    )
]
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "sign_in"

LANGUAGE_CODE = "en"
TIME_ZONE = env.text("PLACET_TIME_ZONE", "UTC")
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_AUTOREFRESH = DEBUG

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "runs.log_lines.InertFormatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.text("PLACET_LOG_LEVEL", "INFO")},
    "loggers": {
        "daphne": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        # Says four lines about each job that is done well.
        "procrastinate": {"level": "WARNING"},
    },
}

# What `runs` asks about approvals; the one port between the two apps.
PLACET_GATE = "approvals.gate.DatabaseGate"
# How a runner is told to look at a run: where `runs.dispatch` finds `wake`.
PLACET_DISPATCH = f"runs.dispatch.{'procrastinate' if POSTGRESQL else 'embedded'}"
PLACET_LEASE = timedelta(seconds=env.number("PLACET_LEASE_S", 30))
PLACET_SWEEP_EVERY = timedelta(seconds=env.number("PLACET_SWEEP_S", 0.5))
# What a started tool may still take: once its run is stopped, and once the process is
# asked to leave.
PLACET_STOP_GRACE = timedelta(seconds=env.number("PLACET_STOP_GRACE_S", 30))
PLACET_LEAVE_GRACE = timedelta(seconds=env.number("PLACET_LEAVE_GRACE_S", 10))
PLACET_CONCURRENCY = int(env.number("PLACET_CONCURRENCY", 200))
# How many runs are worked on at once over all workers, and how many may be queued
# before no new one is started; 0 is no limit. An agent's own limit: `register`.
PLACET_MAX_RUNNING = int(env.number("PLACET_MAX_RUNNING", 0))
PLACET_MAX_QUEUED = int(env.number("PLACET_MAX_QUEUED", 100_000))
# Whether traces hold what was said: arguments, outputs and the model's input.
PLACET_TRACE_CONTENT = env.boolean("PLACET_TRACE_CONTENT", False)
# Mail to people whom requests wait for: off without a sender and a server.
PLACET_MAIL_FROM = env.text("PLACET_MAIL_FROM", "")
PLACET_MAIL_SECURITY = env.text("PLACET_MAIL_SECURITY", "starttls")
EMAIL_HOST = env.text("PLACET_MAIL_HOST", "")
EMAIL_PORT = int(env.number("PLACET_MAIL_PORT", 587))
EMAIL_HOST_USER = env.text("PLACET_MAIL_USER", "")
EMAIL_HOST_PASSWORD = env.text("PLACET_MAIL_PASSWORD", "")
EMAIL_USE_TLS = PLACET_MAIL_SECURITY == "starttls"
EMAIL_USE_SSL = PLACET_MAIL_SECURITY == "tls"
EMAIL_TIMEOUT = 10
# How long a request waits before its reviewers are sent a mail.
PLACET_MAIL_AFTER = timedelta(minutes=env.number("PLACET_MAIL_AFTER_MIN", 5))
# Whether mails hold what a tool is to be called with.
PLACET_MAIL_ARGUMENTS = env.boolean("PLACET_MAIL_ARGUMENTS", False)
# Where links in mails lead.
PLACET_SITE = env.text(
    "PLACET_SITE", next(iter(CSRF_TRUSTED_ORIGINS), "http://127.0.0.1:8000")
).rstrip("/")
PLACET_WEBHOOK_MAX_BYTES = 1_000_000
