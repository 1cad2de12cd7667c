"""Searches of the conversations that people put by under a name."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError
from django.utils import timezone

from .. import codec
from ..errors import ViewRefused
from ..models import SavedView
from ..transactions import attempt, write

MOST_VIEWS = 50


@write
def save_view(by: User, name: str, query: str) -> SavedView:
    """Put `query` by under `name`. Raises ViewRefused: too many, or no name of its own.

    The person's row is locked, so that two pages do not save the last one twice.
    """
    User.objects.select_for_update().get(pk=by.pk)
    if by.saved_views.count() >= MOST_VIEWS:
        raise ViewRefused(f"You have {MOST_VIEWS} saved views; delete one first.")
    view = SavedView(
        owner=by, name=codec.storable(name), query=query, created_at=timezone.now()
    )
    _save(view)
    return view


@write
def rename_view(view_id: UUID, name: str, *, by: User) -> SavedView:
    """Give the view another name. Raises ViewRefused, SavedView.DoesNotExist."""
    view = by.saved_views.get(pk=view_id)
    view.name = codec.storable(name)
    _save(view)
    return view


@write
def delete_view(view_id: UUID, *, by: User) -> None:
    """Delete the view; nothing happens when it is gone already."""
    by.saved_views.filter(pk=view_id).delete()


def _save(view: SavedView) -> None:
    try:
        with attempt():
            view.save()
    except IntegrityError as error:
        raise ViewRefused("You have a view of that name; choose another.") from error
