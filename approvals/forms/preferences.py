"""What a person chooses for themselves."""

from __future__ import annotations

import functools
import zoneinfo

from django import forms
from django.conf import settings
from django.forms.models import model_to_dict
from django.http import QueryDict

from ..models import Preferences
from ..models.people import DIGEST_HOUR
from ..notices import are_mailed, has_address

NO_ZONE = "That is no time zone; choose one."
HOURS = [(hour, f"{hour:02}:00") for hour in range(24)]


class PreferencesForm(forms.Form):
    """All of it at once. What cannot be chosen stays as it is, whatever is posted."""

    keys = forms.BooleanField(required=False)
    theme = forms.ChoiceField(
        choices=Preferences.Theme.choices,
        error_messages={
            "required": "Choose the colours.",
            "invalid_choice": "There are no such colours; choose others.",
        },
    )
    time_zone = forms.ChoiceField(required=False)
    browser = forms.BooleanField(required=False)
    email = forms.BooleanField(required=False)
    digest = forms.BooleanField(required=False)
    digest_hour = forms.TypedChoiceField(
        coerce=int,
        choices=HOURS,
        required=False,
        empty_value=str(DIGEST_HOUR),
        error_messages={"invalid_choice": "That is no hour of a day; choose one."},
    )

    def __init__(self, data: QueryDict | None, *, kept: Preferences) -> None:
        super().__init__(data, initial=model_to_dict(kept, fields=[*self.base_fields]))
        chosen = f"The site's: {settings.TIME_ZONE}"
        zone = forms.ChoiceField(choices=[("", chosen), *zones()], required=False)
        zone.error_messages["invalid_choice"] = NO_ZONE
        self.fields["time_zone"] = zone
        if not (are_mailed() and has_address(kept.person)):
            for name in ("email", "digest", "digest_hour"):
                self.fields[name].disabled = True


@functools.cache
def zones() -> list[tuple[str, str]]:
    """Return the time zones a person may choose from, each with its name in words."""
    names = sorted(zoneinfo.available_timezones() - {"localtime", "Factory"})
    return [(name, name.replace("_", " ")) for name in names]
