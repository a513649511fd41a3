"""Steps 1 and 2 on one in 2,039 of all float32 inputs; ``make exhaustive`` takes every one."""

from dataclasses import replace

import pytest

from benchmarks import read
from benchmarks.exhaustive import END, MAIN, check, passed
from companion import activations as act
from companion.registry import REGISTRY

STRIDE = 2039  # a prime: every exponent and all kinds of mantissas come up


@pytest.mark.parametrize("name", [name for name, row in REGISTRY.items() if row.elementwise])
def test_float32_inputs(name):
    result = check(name, 0, END, STRIDE)
    assert passed(result), result


def test_a_wrong_derivative_is_caught(monkeypatch):
    row = replace(REGISTRY["sigmoid"], grad=lambda x: act.sigmoid(x) * (1 - act.sigmoid(x)))
    monkeypatch.setitem(REGISTRY, "sigmoid", row)
    assert not passed(check("sigmoid", 0, END, 64 * STRIDE))


@pytest.mark.parametrize("name", MAIN)
def test_all_inputs_were_checked_once(name):
    entry = read("exhaustive")[name]
    assert entry["checked"] == END
    assert entry["passed"]
