"""The real settings on a database and a data folder of the test run's own."""

import os
import tempfile

os.environ.setdefault("PLACET_DATA_DIR", tempfile.mkdtemp(prefix="placet-test-"))
os.environ.setdefault("PLACET_SECRET_KEY", "only-for-tests-" + "x" * 50)

from config import settings as real
from config.settings import *  # noqa: F403  all that is not changed below

# Nothing is lost when a test machine loses its power.
FAST = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
real.DATABASES["default"]["OPTIONS"]["init_command"] = FAST
INSTALLED_APPS = list(dict.fromkeys([*real.INSTALLED_APPS, "demo", "tests.shop"]))
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
