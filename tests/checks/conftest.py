"""One server for all the checks, and one browser."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.conftest import chromium

from .house import Desk, House, Person

# The waits are for events; this only bounds them.
PATIENCE_MS = 20_000
# playwright's sync side runs a loop; Django would take it for an async caller.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

OpenPage = Callable[..., Page]


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"))
    house.start()
    yield house
    assert house.stop() == 0


@pytest.fixture
def desk(house: House, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """The check's own people; the number is in its name."""
    found = re.match(r"test_check_(\d\d)_", request.node.name)
    assert found, request.node.name
    desk = Desk(house, int(found[1]))
    yield desk
    desk.leave()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Of this package: playwright's loop counts as running as long as it lives."""
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(house: House, browser: Browser) -> Iterator[OpenPage]:
    """Return a function that gives a signed-in person's page."""
    contexts: list[BrowserContext] = []

    def open_it(person: Person, **options: object) -> Page:
        context = browser.new_context(base_url=house.url, **options)  # type: ignore[arg-type]  # passed on as they are
        context.set_default_timeout(PATIENCE_MS)
        context.add_cookies(
            [{"name": "sessionid", "value": person.session, "url": house.url}]
        )
        contexts.append(context)
        return context.new_page()

    yield open_it
    for context in contexts:
        context.close()
