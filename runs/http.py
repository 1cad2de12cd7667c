"""What the views of all apps share: requests with a person, fragments, ways back."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast
from urllib.parse import quote, urlsplit

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HTMX_STOP_POLLING, HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

P = ParamSpec("P")


class PageRequest(HttpRequest):
    """A request of a signed-in person."""

    user: User
    htmx: HtmxDetails


View = Callable[Concatenate[PageRequest, P], HttpResponseBase]


def signed_in(view: View[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """Send strangers to sign in, also when htmx asked for a fragment only."""
    plain = login_required(view)

    @wraps(view)
    def check(
        request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs
    ) -> HttpResponseBase:
        htmx: HtmxDetails | None = getattr(request, "htmx", None)
        if htmx and not request.user.is_authenticated:
            page = urlsplit(htmx.current_url_abs_path or "/").path
            away = HttpResponseClientRedirect(redirect_to_login(page).url)
            if request.method == "GET":
                away.status_code = HTMX_STOP_POLLING
            return away
        return plain(cast(PageRequest, request), *args, **kwargs)

    return check


def announce(response: HttpResponse, text: str) -> HttpResponse:
    """Have the page say `text` in its live region.

    In a header, not out of band: the socket may have replaced the element that asked
    before the answer comes, and htmx then has no page to put the answer's parts in.
    """
    response["Placet-Announce"] = quote(text)
    return response


def local_path(request: HttpRequest, default: str) -> str:
    """Return the posted `next` when it is a path of this site, else `default`."""
    path = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(path, allowed_hosts=None)
    return path if safe and path.startswith("/") else default
