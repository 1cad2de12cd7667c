"""The two groups every installation has, and what their members may do."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission

ROLES = {
    "reviewers": (
        "approvals.decide_request",
        "approvals.view_approvalrequest",
        "runs.follow_run",
    ),
    "operators": (
        "runs.start_run",
        "runs.follow_run",
        "approvals.view_approvalrequest",
    ),
}


def ensure_groups(**_: Any) -> None:
    """Make the groups that are missing; one that an admin has changed stays as it is.

    Connected to `post_migrate`, because the permissions exist only then.
    """
    for name, granted in ROLES.items():
        group, made = Group.objects.get_or_create(name=name)
        if made:
            group.permissions.set(_permissions(granted))


def _permissions(granted: tuple[str, ...]) -> list[Permission]:
    pairs = [permission.split(".") for permission in granted]
    return [
        Permission.objects.get(content_type__app_label=app, codename=codename)
        for app, codename in pairs
    ]
