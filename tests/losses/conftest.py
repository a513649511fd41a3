"""Each test of the losses has the compiler to itself."""

import sys

import pytest


@pytest.fixture(autouse=True)
def fresh_compiler():
    """Forget what was compiled: the losses share the code of their wrappers, which counts."""
    yield
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()
