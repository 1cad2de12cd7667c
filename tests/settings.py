"""The real settings on a database and a data folder of the test run's own."""

import os
import tempfile

os.environ.setdefault("PLACET_DATA_DIR", tempfile.mkdtemp(prefix="placet-test-"))
os.environ.setdefault("PLACET_SECRET_KEY", "only-for-tests-" + "x" * 50)

from config.settings import *  # noqa: F403  the environment comes first
from config.settings import DATABASES, INSTALLED_APPS

DATABASES["default"]["OPTIONS"]["init_command"] = (
    # Nothing is lost when a test machine loses its power.
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
)
INSTALLED_APPS = [*INSTALLED_APPS, "tests.shop"]
if "demo" not in INSTALLED_APPS:
    INSTALLED_APPS.append("demo")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
