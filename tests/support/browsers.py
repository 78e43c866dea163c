"""A real browser for tests of pages: chromium, driven by playwright; a skip, saying so, where one is absent."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def browser() -> Iterator[Any]:
    """A browser that runs while the block does."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    if find_spec("playwright") is None:
        pytest.skip("playwright is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        running = started.chromium.launch(executable_path=program, args=list(_FLAGS))
        yield running
        running.close()


@dataclass
class Seen:
    """An open page, the addresses that it asked for besides its own, and what went wrong in it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        """What a reader sees there."""
        return str(self.page.inner_text(selector))

    def until(self, condition: str, seconds: float = 10) -> None:
        """Wait for a condition; asked from outside, as the page lets nobody evaluate a text."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, condition
            time.sleep(0.02)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function of the page gives."""
        return self.page.evaluate(script, *arguments)


@contextmanager
def opened(running: Any, path: Path, *, width: int = 1280, scheme: str = "light") -> Iterator[Seen]:
    """A card from the disk, drawn to its end; afterwards nothing was asked for and nothing failed."""
    context = running.new_context(viewport={"width": width, "height": 1100}, color_scheme=scheme)
    page = context.new_page()
    seen = Seen(page)
    own = path.resolve().as_uri()

    def asked(request: Any) -> None:
        if request.url != own:
            seen.requests.append(request.url)

    def said(message: Any) -> None:
        if message.type in ("error", "warning"):
            seen.errors.append(message.text)

    page.on("request", asked)
    page.on("console", said)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("dialog", lambda dialog: seen.errors.append(dialog.message) or dialog.dismiss())
    page.goto(own)
    page.wait_for_selector("body[data-map=ready]", timeout=60_000)
    yield seen
    context.close()
    assert seen.requests == []
    assert seen.errors == []
