"""Step 4: torch's own functions agree with ours where they are right, and where not it is shown."""

import json

import numpy as np
import pytest
import torch

from companion.registry import REGISTRY
from tests.ladder import checks, reference
from tests.ladder.peers import PEERS, RECORD, peer_grad, peer_value
from tests.ladder.reference import WIDTH

pytestmark = pytest.mark.filterwarnings("error")

ELEMENTWISE = [case for case in PEERS if REGISTRY[case[0]].elementwise]
GROUPS = [case for case in PEERS if not REGISTRY[case[0]].elementwise]


def test_every_row_that_names_a_torch_function_has_it_as_peer():
    named = {name for name, row in REGISTRY.items() if row.torch}
    assert named == {name for name, _ in PEERS}
    for row in REGISTRY.values():
        assert bool(row.torch) != ("parity" in row.not_applicable), row.name
        if row.torch:
            assert eval(row.torch, {"torch": torch}), row.torch


@pytest.mark.parametrize(("name", "setting"), ELEMENTWISE)
def test_torch_agrees(name, setting, library, device):
    row = REGISTRY[name]
    # beyond, torch's softplus returns x; float64 hardsigmoid and celu keep float32 constants
    x = np.clip(np.random.default_rng(4).normal(size=500) * 5, -15, 15)
    rtol = 1e-7 if name in ("hardsigmoid", "celu") else 1e-10
    at = {"library": library, "device": device, **row.parameters[setting]}
    np.testing.assert_allclose(
        checks.call(row.function, x, **at), peer_value(name, setting, x), rtol=1e-10, atol=1e-14
    )
    if "autograd" not in row.not_applicable:
        np.testing.assert_allclose(
            checks.call(row.grad, x, **at), peer_grad(name, setting, x), rtol=rtol, atol=1e-14
        )


@pytest.mark.parametrize(("name", "setting"), GROUPS)
def test_torch_agrees_on_an_axis(name, setting, library, device):
    row = REGISTRY[name]
    rng = np.random.default_rng(5)
    x = rng.normal(size=(50, WIDTH)) * 3
    at = {"library": library, "device": device, **row.parameters[setting]}
    y = checks.call(row.function, x, **at)
    dy = rng.normal(size=y.shape)
    np.testing.assert_allclose(y, peer_value(name, setting, x), rtol=1e-10)
    np.testing.assert_allclose(
        checks.call(row.grad, dy, x, **at), peer_grad(name, setting, x, dy), rtol=1e-10, atol=1e-14
    )


@pytest.mark.parametrize(
    "name", [n for n, s in ELEMENTWISE if s == 0 and REGISTRY[n].kinks and n != "heaviside"]
)
def test_kinks_are_torchs(name):
    row = REGISTRY[name]
    np.testing.assert_allclose(
        peer_grad(name, 0, np.array(list(row.kinks))), list(row.kinks.values()), rtol=1e-7
    )


def test_a_tie_of_maxout_is_shared_by_torch():
    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(torch.amax(x), x)[0].tolist() == [0.5, 0.5]


#: (row, setting, order, dtype, from, to, at least so many ULP off in torch)
WORSE = [
    ("sigmoid", 0, 1, "float32", 18, 80, 1e6),
    ("sigmoid", 0, 1, "float64", 38, 700, 1e15),
    ("tanh", 0, 1, "float32", 9.5, 40, 1e6),
    ("hardsigmoid", 0, 1, "float64", -2.9, 2.9, 1e8),
    ("softsign", 0, 1, "float32", 1e3, 1e4, 1e3),
    ("softplus", 0, 0, "float64", 20, 21, 1e5),
    ("softplus", 0, 1, "float64", 20, 21, 1e7),
    ("gelu", 0, 0, "float32", -12, -6, 1e6),
    ("gelu", 0, 0, "float64", -35, -8.5, 1e15),
    ("gelu", 0, 1, "float64", -35, -8.5, 1e13),
    ("gelu", 1, 0, "float32", -9, -6, 1e6),
    ("gelu", 1, 0, "float64", -20, -9, 1e15),
    ("gelu", 1, 1, "float64", -20, -9, 1e15),
]


@pytest.mark.parametrize(("name", "setting", "order", "dtype", "low", "high", "least"), WORSE)
def test_torch_is_worse(name, setting, order, dtype, low, high, least, library, device):
    row = REGISTRY[name]
    exact = reference.truth(row, setting, dtype, order)
    exact = exact.at((exact.x > low) & (exact.x < high))
    function, peer = ((row.function, peer_value), (row.grad, peer_grad))[order]
    ours = checks.call(function, exact.x, library=library, device=device, **row.parameters[setting])
    ours = reference.ulps(ours, exact, dtype, row.flush) / (1 + exact.kappa)
    theirs = reference.ulps(peer(name, setting, exact.x), exact, dtype, row.flush)
    assert ours.max() <= 4, f"{name}: ours {ours.max():.3g}"
    assert theirs.max() >= least, f"{name}: torch is off by {theirs.max():.3g} ULP only"


def test_gelu_of_torch_is_17_percent_off_at_minus_5():
    x = np.full(64, -5.0, "float32")  # enough of them for torch's vectorised path
    exact = -5 * 2.866515718791939e-07
    ours = checks.call(REGISTRY["gelu"].function, x, library="torch")[0]
    theirs = peer_value("gelu", 0, x)[0]
    assert abs(ours / exact - 1) < 1e-5
    assert 0.16 < abs(theirs / exact - 1) < 0.18


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("dtype", "least"), [("float32", 30), ("float64", 200)])
def test_torch_is_worse_on_numpy_bars(name, dtype, least):
    row = REGISTRY[name]
    exact, _ = reference.vector_truth(row, 0, dtype)
    ours = reference.ulps(row.function(exact.x), exact, dtype, row.flush)
    theirs = reference.ulps(peer_value(name, 0, exact.x), exact, dtype, row.flush)
    assert ours.max() <= 8
    assert theirs.max() >= least


@pytest.mark.parametrize("name", ["silu", "hardswish", "mish", "gelu"])
def test_torch_is_nan_at_minus_infinity(name):
    x = np.array([-np.inf])
    assert checks.call(REGISTRY[name].function, x, library="torch")[0] == 0
    assert np.isnan(peer_value(name, 0, x)).all()


def test_the_gradient_of_a_saturated_log_softmax_is_0_in_torch():
    x, dy = np.array([40.0, 0.0]), np.array([1.0, 0.0])
    exact = np.exp(-40)
    for library in ("numpy", "torch"):
        got = checks.call(REGISTRY["log_softmax"].grad, dy, x, library=library)
        np.testing.assert_allclose(got, [exact, -exact], rtol=1e-12)
    assert peer_grad("log_softmax", 0, x, dy)[0] == 0


def test_the_record_of_the_figure():
    record = json.loads(RECORD.read_text("utf-8"))
    assert set(record) >= {"date", "versions", "functions"}
    for label, row in record["functions"].items():
        for by_dtype in row.values():
            for e in by_dtype.values():
                assert e["numpy"] <= 8, label
                if e["torch"] is not None:
                    assert e["ours on torch"] <= 1.01 * e["torch"] + 2, label
