"""The running studio, and a browser that forgives nothing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from gradio_client import Client
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from studio.settings import ROOT
from tests.tiny import make_little_world

START_SECONDS = 90
PATIENCE_MS = 60_000
"""For one expectation, on a machine that has other work."""

LOG_CHARACTERS = 6000

Visit = Callable[..., Page]
logs: list[Path] = []
"""Of the studios that run now."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure comes with what the studios wrote last."""
    report = yield
    if report.failed:
        for log in logs:
            written = log.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS:]
            report.sections.append((f"log of {log.parent.name}", written))
    return report


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The studio's own models, or a tiny one of random weights where they are not there."""
    if (ROOT / "models" / "little-world" / "model_index.json").is_file():
        return ROOT / "models"
    folder = tmp_path_factory.mktemp("models")
    make_little_world(folder / "little-world")
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the page answers; fail with what the studio wrote if it ends or takes too long."""
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the studio did not start:\n{log.read_text(encoding='utf-8')}")


@contextmanager
def running_studio(
    models: Path, folder: Path, port: int, **variables: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A studio that keeps its things in `folder`: its address, once it answers, and its process."""
    log = folder / "log.txt"
    own = {
        "STUDIO_PORT": str(port),
        "STUDIO_DEVICE": "cpu",
        "STUDIO_MODELS_DIR": str(models),
        "STUDIO_DATA_DIR": str(folder / "outputs"),
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    logs.append(log)
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=os.environ | own, stdout=out, stderr=out)
    try:
        address = f"http://127.0.0.1:{port}/"
        _wait(address, process, log)
        yield address, process
    finally:
        process.terminate()
        process.wait(timeout=20)
        logs.remove(log)


@pytest.fixture(scope="session")
def url(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a studio that runs for all tests."""
    with running_studio(models, tmp_path_factory.mktemp("studio"), free_port()) as (address, _):
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    """A program that uses the studio of a file's tests."""
    client = Client(url, verbose=False)
    yield client
    client.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Without one there is nothing to test, except where tests decide about a merge."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        message = "these tests drive a browser, and no chromium is installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@contextmanager
def strict_page(browser: Browser, url: str, forgiven: tuple[str, ...], **options: object) -> Iterator[Page]:
    """A page of a fresh browser profile; any error or foreign request on it fails the test at the end."""
    faults: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(words in message.text for words in forgiven):
            faults.append(f"console: {message.text}")

    def asked(request: Request) -> None:
        if not request.url.startswith((url, "data:", "blob:")):
            faults.append(f"foreign request: {request.url}")

    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.on("console", heard)
    page.on("pageerror", lambda error: faults.append(f"page: {error}"))
    page.on("request", asked)
    try:
        yield page
    finally:
        context.close()
    assert faults == []


def open_tab(page: Page, name: str) -> None:
    """Open a tab of the page, from the menu of those that have no room where it is there."""
    tab = page.get_by_role("tab", name=name, exact=True).locator("visible=true")
    if not tab.count():
        page.locator(".studio-tabs .overflow-menu button").locator("visible=true").first.click()
        tab = page.locator(".overflow-dropdown button", has_text=name).locator("visible=true").first
    tab.click()


@pytest.fixture
def visit(browser: Browser, url: str) -> Iterator[Visit]:
    """Open the studio: visit(query, forgiven, **options of the browser)."""
    expect.set_options(timeout=PATIENCE_MS)
    with ExitStack() as stack:

        def open_page(query: str = "", forgiven: tuple[str, ...] = (), **options: object) -> Page:
            page = stack.enter_context(strict_page(browser, url, forgiven, **options))
            page.goto(url + query)
            expect(page.locator("#generate")).to_be_visible()
            expect(page.locator("#generate")).to_be_enabled()
            return page

        yield open_page
