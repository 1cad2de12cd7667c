"""What people choose for themselves, and what the pages make of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals.forms.preferences import zones
from approvals.models import Preferences
from approvals.services import save_preferences
from tests.factories import ada, bob, make_user
from tests.runs.test_steps import make_call, proposed

pytestmark = pytest.mark.django_db

CHOSEN = {"keys": "on", "theme": "dark", "time_zone": "Asia/Kathmandu"}


def signed_in(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


@pytest.fixture
def mail_is_on(settings: Any) -> None:
    settings.PLACET_MAIL_FROM = "placet@example.com"
    settings.EMAIL_HOST = "mail.example.com"


def test_strangers_are_sent_to_sign_in() -> None:
    assert Client().get("/settings/").status_code == 302
    assert Client().post("/settings/", CHOSEN).status_code == 302
    assert not Preferences.objects.exists()


def test_looking_writes_nothing() -> None:
    page = signed_in(ada()).get("/settings/")

    assert page.status_code == 200
    assert not Preferences.objects.exists()


def test_what_is_chosen_is_kept_and_shown() -> None:
    person = ada()
    client = signed_in(person)

    page = client.post("/settings/", {**CHOSEN, "browser": "on"}, follow=True)

    kept = Preferences.objects.get()
    assert kept.person == person
    assert (kept.theme, kept.time_zone) == ("dark", "Asia/Kathmandu")
    assert (kept.keys, kept.browser, kept.email) == (True, True, False)
    text = page.content.decode()
    assert "Saved." in text
    assert 'data-theme="dark"' in text
    assert 'name="color-scheme" content="dark"' in text
    assert 'value="Asia/Kathmandu" selected' in text
    assert 'data-keys="on"' in text
    assert "desk/notices" in text


def test_single_keys_can_be_switched_off() -> None:
    client = signed_in(ada())
    assert 'data-keys="on"' in client.get("/").content.decode()

    client.post("/settings/", {"theme": "light"})

    text = client.get("/").content.decode()
    assert 'data-keys="off"' in text
    assert 'data-theme="light"' in text
    assert "desk/notices" not in text


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"time_zone": "Mars/Olympus"}, "no time zone"),
        ({"time_zone": "../../etc/passwd"}, "no time zone"),
        ({"theme": '"><script>'}, "no such colours"),
        ({"theme": ""}, "Choose the colours"),
    ],
)
def test_what_cannot_be_is_refused_and_what_was_typed_stays(
    wrong: dict[str, str], why: str
) -> None:
    page = signed_in(ada()).post("/settings/", {"browser": "on", **CHOSEN, **wrong})

    text = page.content.decode()
    assert page.status_code == 422
    assert why in text
    assert 'name="browser" checked' in text
    assert "<script>" not in text.replace("<script src", "")
    assert not Preferences.objects.exists()


def test_nobody_changes_another_persons() -> None:
    other = bob()
    save_preferences(other, theme="dark")

    signed_in(ada()).post("/settings/", {"theme": "light", "person": other.pk})

    assert Preferences.objects.get(person=other).theme == "dark"


def test_times_are_told_by_the_persons_clock() -> None:
    proposed(make_call())
    person = ada()
    client = signed_in(person)
    assert " UTC" in client.get("/").content.decode()

    save_preferences(person, time_zone="Asia/Kathmandu")

    text = client.get("/").content.decode()
    assert " +0545" in text
    assert " UTC" not in text
    assert timezone.get_current_timezone_name() == "UTC"


def test_a_zone_that_went_is_the_sites() -> None:
    person = ada()
    Preferences.objects.create(person=person, time_zone="Gone/Away")

    assert signed_in(person).get("/").status_code == 200


def test_a_page_costs_one_query_more_at_most() -> None:
    person, client = ada(), Client()
    client.force_login(person)
    save_preferences(person, theme="dark", time_zone="Asia/Kathmandu")

    with CaptureQueriesContext(connection) as asked:
        client.get("/")

    told = [query for query in asked if "approvals_preferences" in query["sql"]]
    assert len(told) == 1


def test_who_is_not_signed_in_costs_none() -> None:
    with CaptureQueriesContext(connection) as asked:
        Client().get("/sign-in/")

    assert len(asked) == 0


# Mail


def test_mail_cannot_be_chosen_where_none_is_sent() -> None:
    person = make_user("cyd", "reviewers", email="cyd@example.com")

    page = signed_in(person).post("/settings/", {**CHOSEN, "email": "on"}, follow=True)

    assert not Preferences.objects.get().email
    assert "sends no mail yet" in page.content.decode()


@pytest.mark.usefixtures("mail_is_on")
def test_mail_cannot_be_chosen_without_an_address() -> None:
    page = signed_in(ada()).post("/settings/", {**CHOSEN, "email": "on"}, follow=True)

    assert not Preferences.objects.get().email
    assert "no mail address" in page.content.decode()


@pytest.mark.usefixtures("mail_is_on")
def test_mail_and_a_digest_are_chosen_with_its_hour() -> None:
    person = make_user("cyd", "reviewers", email="cyd@example.com")
    client = signed_in(person)
    chosen = {**CHOSEN, "email": "on", "digest": "on", "digest_hour": "6"}

    assert client.post("/settings/", chosen).status_code == 302

    kept = Preferences.objects.get()
    assert kept.email
    assert kept.digest_at is not None
    assert timezone.localtime(kept.digest_at, kept.zone).hour == 6
    assert kept.digest_at > timezone.now()
    assert 'value="6" selected' in client.get("/settings/").content.decode()

    client.post("/settings/", {**chosen, "digest": ""})
    assert Preferences.objects.get().digest_at is None


@pytest.mark.usefixtures("mail_is_on")
@pytest.mark.parametrize("hour", ["24", "-1", "eight"])
def test_an_hour_is_one_of_a_day(hour: str) -> None:
    person = make_user("cyd", "reviewers", email="cyd@example.com")

    page = signed_in(person).post("/settings/", {**CHOSEN, "digest_hour": hour})

    assert page.status_code == 422
    assert "no hour of a day" in page.content.decode()


# The password


def test_the_password_is_changed_by_who_knows_it() -> None:
    person = ada()
    client = signed_in(person)
    assert "Change your password" in client.get("/settings/").content.decode()
    new = "correct horse battery staple"
    asked = {"old_password": "ada", "new_password1": new, "new_password2": new}

    wrong = client.post("/settings/password/", {**asked, "old_password": "bob"})
    assert wrong.status_code == 422
    done = client.post("/settings/password/", asked, follow=True)

    assert "Your password is changed." in done.content.decode()
    person.refresh_from_db()
    assert person.check_password(new)


def test_who_signs_in_without_a_password_has_none_to_change() -> None:
    person = ada()
    person.set_unusable_password()
    person.save()

    text = signed_in(person).get("/settings/").content.decode()
    assert "Change your password" not in text


def test_the_zones_are_those_of_the_world() -> None:
    names = dict(zones())

    assert names["America/New_York"] == "America/New York"
    assert "localtime" not in names
