"""Cleans up old states from the command line, as the admin does."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from runs.services import prune

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def age(text: str) -> timedelta:
    """Return `text`, as 30d, 12h or 2w. Raises ArgumentTypeError on anything else."""
    match = re.fullmatch(r"([0-9]{1,5})([hdw])", text)
    if match is None or not int(match[1]):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an age; write hours, days or weeks as 12h, 30d or 2w."
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


class Command(BaseCommand):
    help = (
        "Deletes the states (messages, tool calls and outputs) of ended runs in "
        "conversations without anything newer, and states that programs have saved by "
        "themselves. Runs, requests and decisions stay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", type=age, required=True, help="Such as 30d, 12h or 2w."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Say how many, and change nothing."
        )

    def handle(self, *, older_than: timedelta, dry_run: bool, **options: Any) -> None:
        if dry_run:
            count = prune.count_prunable(older_than)
            self.stdout.write(f"{count} states would be deleted.")
            return
        self.stdout.write(f"{prune.prune_states(older_than)} states deleted.")
