"""`python -m tests.chaos`: kill, and report. Exit code 1 when something was wrong."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import django

from tests import servers

from . import databases
from .report import table

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "config.settings",
    "PLACET_APPS": "tests.chaos",
    "PLACET_SECRET_KEY": "only-for-tests-" + "x" * 50,
    "PLACET_LEASE_S": "1.5",
    "PLACET_SWEEP_S": "0.1",
    "PLACET_STOP_GRACE_S": "5",
    "PLACET_POOL": "10",
    "PLACET_LOG_LEVEL": "WARNING",
    "REDIS_URL": "",
}


def main() -> int:
    options = _options()
    print(f"chaos: seed {options.seed}", flush=True)
    if options.database != "both":
        return _one(options)
    with tempfile.TemporaryDirectory(prefix="placet-chaos-") as folder:
        return _both(options, Path(folder))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--database", choices=[*databases.KINDS, "both"], default="both"
    )
    parser.add_argument("--kills", type=int, default=200, help="On each database.")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--story", default="", help="Only this one, or storm.")
    parser.add_argument("--report", type=Path, help="Where to write JSON to.")
    return parser.parse_args()


def _both(options: argparse.Namespace, folder: Path) -> int:
    """Run one process a database at the same time, and print what they report."""
    paths = {kind: folder / f"{kind}.json" for kind in databases.KINDS}
    processes = [
        start(kind, options.kills, options.seed, path, options.story)
        for kind, path in paths.items()
    ]
    codes = [process.wait() for process in processes]
    reports = [json.loads(path.read_text()) for path in paths.values() if path.exists()]
    if options.report:
        options.report.write_text(json.dumps(reports))
    print(table(reports))
    for report in reports:
        for line in [*report["violations"], *report["logs"]]:
            print(f"{report['database']}: {line}")
        for place in report["missed"]:
            print(f"{report['database']}: not reached again: {place}")
    return max(codes)


def start(
    kind: str,
    kills: int,
    seed: int,
    report: Path,
    story: str = "",
    environment: Mapping[str, str] = os.environ,
) -> subprocess.Popen[bytes]:
    """Start the harness on one database in a process of its own."""
    command = [sys.executable, "-m", "tests.chaos", "--database", kind]
    return subprocess.Popen(
        [
            *command,
            f"--kills={kills}",
            f"--seed={seed}",
            f"--report={report}",
            f"--story={story}",
        ],
        env=environment,
        cwd=ROOT,
    )


def _one(options: argparse.Namespace) -> int:
    kind: str = options.database
    folder = Path(tempfile.mkdtemp(prefix=f"placet-chaos-{kind}-"))
    data = folder / "data"
    data.mkdir()
    os.environ |= {**ENVIRONMENT, "PLACET_DATA_DIR": str(data)}
    os.environ["DATABASE_URL"] = ""
    with contextlib.ExitStack() as stack:
        if kind == databases.POSTGRESQL:
            if fault := servers.postgresql_fault():
                return _left_out(fault)
            os.environ["DATABASE_URL"] = stack.enter_context(databases.postgresql())
        django.setup()
        from .harness import run  # its imports need the settings

        done = run(folder, options.kills, options.seed, options.story)
    if options.report:
        done.save(options.report)
    if done.violations:
        print(f"{kind}: {len(done.violations)} violations; see {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _left_out(fault: str) -> int:
    print(f"chaos: PostgreSQL is left out. {fault}")
    return int(servers.REQUIRED)


if __name__ == "__main__":
    sys.exit(main())
