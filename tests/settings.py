"""The real settings on a database and a data folder of the test run's own.

SQLite, or with PLACET_TEST_ON=postgresql the server at TEST_DATABASE_URL, where Django
makes a database `test_…` beside the named one and drops it at the end.
"""

import os
import tempfile

from . import servers

os.environ.setdefault("PLACET_DATA_DIR", tempfile.mkdtemp(prefix="placet-test-"))
os.environ.setdefault("PLACET_SECRET_KEY", "only-for-tests-" + "x" * 50)
# What the shell names is somebody's own. And the processes that tests start have data
# of their own: they must not find the address of ours.
os.environ.pop("DATABASE_URL", None)
os.environ.pop("REDIS_URL", None)
if servers.ON_POSTGRESQL:
    os.environ["PLACET_POOL"] = "30"  # of two runners in one process, and their tests
    os.environ["DATABASE_URL"] = servers.DATABASE_URL

from config import settings as real
from config.settings import *  # noqa: F403  all that is not changed below

os.environ.pop("DATABASE_URL", None)

# Nothing is lost when a test machine loses its power.
if servers.ON_POSTGRESQL:
    real.DATABASES["default"]["ENGINE"] = "tests.postgresql"
    real.DATABASES["default"]["OPTIONS"]["options"] += " -c synchronous_commit=off"
else:
    real.DATABASES["default"]["ENGINE"] = "tests.sqlite"
    FAST = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
    real.DATABASES["default"]["OPTIONS"]["init_command"] = FAST
MIDDLEWARE = [
    "tests.static_files.FoundOnce" if name.startswith("servestatic.") else name
    for name in real.MIDDLEWARE
]
INSTALLED_APPS = list(dict.fromkeys([*real.INSTALLED_APPS, "demo", "tests.shop"]))
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
