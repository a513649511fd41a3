"""The built site, served on this machine, and a browser that reaches nothing else."""

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "_build/html"
FLAGS = [
    "--no-sandbox",  # Chromium refuses to run as root with it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="session")
def built():
    """Folder of the built site."""
    if not (ROOT / "index.html").is_file():
        message = "needs the built site: run `make book` first"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return ROOT


@pytest.fixture(scope="session")
def address(built):
    """Address of the site on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(built)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser(chromium):
    """A Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser, address, request):
    """A page of the width and theme asked for, with what went wrong in `tab.problems`."""
    width, theme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport={"width": width, "height": 900})
    context.add_init_script(
        f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
    )
    page = context.new_page()
    page.problems = []

    def guard(route):
        url = route.request.url
        if url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            page.problems.append(f"outside request {url}")
            route.abort()

    context.route("**/*", guard)
    page.on("pageerror", lambda error: page.problems.append(f"error {error}"))
    page.on(
        "console",
        lambda message: message.type == "error" and page.problems.append(f"console {message.text}"),
    )
    yield page
    context.close()
