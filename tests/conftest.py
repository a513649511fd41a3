"""Options that all tests share.

    pytest --backend torch --device cuda

runs the tests that take the fixture `library` on that backend alone; without the options they run
on each library, on the CPU.
"""

import functools
import os
import shutil

import pytest

LIBRARIES = ("numpy", "torch")


def pytest_addoption(parser):
    group = parser.getgroup("companion")
    group.addoption("--backend", choices=LIBRARIES, help="run on this library only (default: each)")
    group.addoption("--device", default="cpu", help="device of the arrays (default: cpu)")


def pytest_configure(config):
    library, device = config.getoption("--backend"), config.getoption("--device")
    if device != "cpu" and library is None:
        raise pytest.UsageError(f"--device {device} needs --backend torch")
    if library is not None:
        from companion import backend

        try:
            backend.use(library, device=device)
        except (ImportError, ValueError, RuntimeError) as error:
            raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc):
    if "library" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--backend")
        metafunc.parametrize("library", [chosen] if chosen else LIBRARIES)


@pytest.fixture(scope="session")
def device(request):
    """The device asked for with `--device`."""
    return request.config.getoption("--device")


@pytest.fixture
def created(library, device):
    """Have `companion.backend` create float64 arrays of the library under test."""
    from companion import backend

    old = backend.current()
    yield backend.use(library, device=device, dtype="float64")
    backend.use(old.library, device=old.device, dtype=old.dtype)


@pytest.fixture
def on_numpy():
    """Have `companion.backend` create NumPy arrays, for a mistake planted in NumPy's words."""
    from companion import backend

    old = backend.current()
    yield backend.use("numpy", dtype="float64")
    backend.use(old.library, device=old.device, dtype=old.dtype)


@pytest.fixture
def on_torch(device, monkeypatch):
    """Have `companion.backend` create tensors, and `fit` compile its step without a C++ compiler.

    That is the graph's business and not ours; it must be one graph.
    """
    import torch

    from companion import backend
    from companion.training import loop

    old = backend.current()
    one_graph = functools.partial(torch.compile, fullgraph=True, backend="aot_eager")
    monkeypatch.setattr(loop, "compiled", one_graph)
    yield backend.use("torch", device=device, dtype="float64")
    backend.use(old.library, device=old.device, dtype=old.dtype)


def _program(what, *names):
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        message = f"needs {what}: {', '.join(names)} not found"
        # CI has to have it; a reader need not.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return found


@pytest.fixture(scope="session")
def compiler():
    """Path of a C++ compiler, which torch.compile calls."""
    return _program("a C++ compiler", os.environ.get("CXX", "g++"), "clang++")


@pytest.fixture(scope="session")
def chromium():
    """Path of a Chromium for the browser tests."""
    return _program("Chromium", "chromium", "chromium-browser", "google-chrome")
