"""Two browsers, a server of its own, and a model's server over real HTTP."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    StorageState,
    expect,
    sync_playwright,
)

from tests.fake_openai import FakeOpenAI, Script

from .site import Site

# The pages' waits are for events; this only bounds them.
PATIENCE_MS = 60_000
# playwright's sync side runs a loop; Django would take it for an async caller.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

SignIn = Callable[..., Page]


def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.fail("These tests need Chromium; install it: apt-get install -y chromium")


@pytest.fixture(scope="package")
def browsers() -> Iterator[tuple[Browser, Browser]]:
    """Two browser processes: one for each person.

    Of this package, not of the session: playwright's loop counts as running as long as
    it lives, and the async tests of other packages would find it.
    """
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    with sync_playwright() as playwright:
        launch = partial(
            playwright.chromium.launch, executable_path=chromium(), args=arguments
        )
        first, second = launch(), launch()
        yield first, second
        first.close()
        second.close()


class Model:
    """The model's server; each test says what it answers.

    A test leaves no run that still asks: it would take the next test's answers.
    """

    def __init__(self, server: FakeOpenAI) -> None:
        self.server = server

    def answers(self, script: Script) -> None:
        self.server.use(script)


@pytest.fixture(scope="package")
def model_server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def model(model_server: FakeOpenAI) -> Model:
    return Model(model_server)


@pytest.fixture(scope="package")
def running_site(
    model_server: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"), model_server.base_url)
    site.start()
    yield site
    assert site.stop() == 0


@pytest.fixture
def site(running_site: Site) -> Site:
    return running_site


@pytest.fixture(scope="package")
def signed_in(running_site: Site) -> dict[str, StorageState]:
    """What a browser keeps of each person who has signed in once."""
    return {}


@pytest.fixture
def sign_in(
    site: Site, browsers: tuple[Browser, Browser], signed_in: dict[str, StorageState]
) -> Iterator[SignIn]:
    """Return a function that gives a person's page: ada's browser is not bob's.

    The first time they sign in; that takes a server half a second of its work.
    """
    contexts: list[BrowserContext] = []

    def sign(name: str, **options: object) -> Page:
        browser = browsers[0] if name == "ada" else browsers[1]
        kept = signed_in.get(name)
        context = browser.new_context(
            base_url=site.url,
            storage_state=kept,
            **options,  # type: ignore[arg-type]  # passed on as they are
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        if kept:
            return page
        page.goto("/sign-in/")
        page.fill("input[name=username]", name)
        page.fill("input[name=password]", name)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/")
        signed_in[name] = context.storage_state()
        return page

    yield sign
    for context in contexts:
        context.close()


def arrives(page: Page, row: Locator) -> None:
    """Wait until the queue shows the row: at once, or behind what is said to be new."""
    new = page.locator("#arrived:visible:not([data-busy])")
    while not row.is_visible():
        expect(row.or_(new).first).to_be_visible(timeout=PATIENCE_MS)
        if not row.is_visible():
            # Not a click of the mouse: an empty list shows what is new by itself.
            page.locator("#arrived").dispatch_event("click")
