"""Muon against torch.optim.Muon and its orthogonalisation against singular values."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion import layers, network, optimizers
from companion.backend import array, to_numpy
from companion.optimizers import SGD, Adam, Muon, Nesterov, newton_schulz
from tests.optimizers.parity import NET, check_parity

REST = {"lr": 0.01, "betas": (0.8, 0.9)}


def torchs(**options):
    """Return the peer of torch.optim.Muon for the weights and Adam for the biases."""

    def peer(start):
        rows = [
            {n: torch.tensor(v.T.copy() if v.ndim == 2 else v) for n, v in NET.unpack(row).items()}
            for row in start
        ]
        steps = [torch.optim.Muon([v for v in r.values() if v.ndim == 2], **options) for r in rows]
        steps += [torch.optim.Adam([v for v in r.values() if v.ndim == 1], **REST) for r in rows]

        def step(grad):
            for row, own in zip(rows, grad, strict=True):
                for name, value in NET.unpack(own).items():
                    row[name].grad = torch.tensor(value.T.copy() if value.ndim == 2 else value)
            for optimizer in steps:
                optimizer.step()
            return np.stack(
                [np.concatenate([v.numpy().T.ravel() for v in r.values()]) for r in rows]
            )

        return step

    return peer


@pytest.fixture
def in_full_precision(monkeypatch):
    """Have torch multiply in the dtype of the parameters and not in bfloat16."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nesterov": False, "momentum": 0.5},
        {"weight_decay": 0.0, "ns_steps": 3},
        {"adjust_lr_fn": "match_rms_adamw"},
    ],
    ids=str,
)
def test_muon_is_torchs(created, in_full_precision, options):
    check_parity(Muon(0.02, NET, Adam(**REST), **options), torchs(lr=0.02, **options), steps=200)


def polynomial(s):
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return s


@pytest.mark.parametrize("shape", [(4, 4), (3, 6), (6, 3), (1, 5), (2, 3, 5, 4)])
def test_singular_vectors_stay_and_values_follow_the_polynomial(created, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    s = polynomial(s / np.sqrt((s**2).sum(-1, keepdims=True)))
    assert_allclose(to_numpy(newton_schulz(array(x))), (u * s[..., None, :]) @ vt, atol=1e-12)


def test_the_band_that_is_stated():
    s = polynomial(np.linspace(0.002, 1, 10**5))
    assert 0.68 < s.min() < 0.69
    assert 1.20 < s.max() < 1.21


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-7, 1e100])
def test_size_does_not_matter(created, size):
    x = size * np.eye(3)
    found = to_numpy(newton_schulz(array(x)))
    assert np.isfinite(found).all()
    if size >= 1e-7:
        assert_allclose(found, to_numpy(newton_schulz(array(np.eye(3)))), rtol=1e-10)
    else:
        assert abs(found).max() <= polynomial(1e-5)


def test_named_matrices_and_the_rest(created):
    net = network.Sequential(layers.Embedding(5, 3), layers.Linear(3, 2))
    theta = net.init(np.random.default_rng(0), replicas=2)
    opt = Muon(0.1, net, SGD(lr=1.0), matrices=("1.weight",), weight_decay=0.0)
    moved, _ = opt.update(theta, theta, opt.init(theta))
    moved = {name: to_numpy(value) for name, value in net.unpack(moved).items()}
    start = {name: to_numpy(value) for name, value in net.unpack(theta).items()}
    assert_array_equal(moved["0.weight"], 0)
    lengths = np.linalg.svd((start["1.weight"] - moved["1.weight"]) / 0.1, compute_uv=False)
    assert ((lengths > 0.68) & (lengths < 1.21)).all()


def test_no_rest_at_all(created):
    net = network.Sequential(layers.Embedding(5, 3))
    theta = net.init(np.random.default_rng(0))
    opt = Muon(0.1, net, SGD(lr=1.0))
    assert opt.update(theta, theta, opt.init(theta))[0].shape == theta.shape


def test_rates_of_replicas_and_schedules_reach_both_parts(created):
    theta = NET.init(np.random.default_rng(0), replicas=2)
    rates = np.array([[0.1], [0.2]])
    both = Muon(lambda t: rates * 0.5**t, NET, SGD(lr=lambda t: rates / (t + 1)))
    state, ends = both.init(theta), []
    whole = theta
    for _ in range(3):
        whole, state = both.update(whole, whole, state)
    for i, rate in enumerate(rates[:, 0]):
        row, state = theta[i], None
        for t in range(3):
            one = Muon(rate * 0.5**t, NET, SGD(lr=rate / (t + 1)))
            state = one.init(row) if state is None else state
            row, state = one.update(row, row, state)
        ends.append(to_numpy(row))
    assert_allclose(to_numpy(whole), ends, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1}, "lr must not be negative"),
        ({"momentum": 1.0}, "momentum must be at least 0 and less than 1"),
        ({"weight_decay": -1}, "weight_decay must not be negative"),
        ({"adjust_lr_fn": "rms"}, "adjust_lr_fn must be one of"),
        ({"matrices": ("0.bias",)}, "matrices must be among 0.weight, 2.weight; got 0.bias"),
        ({"rest": 0.1}, "rest must be an optimizer; got 0.1"),
        ({"rest": Nesterov(0.1)}, "rest must take its gradient at theta; got Nesterov"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Muon(**{"lr": 0.1, "net": NET, "rest": Adam()} | options)


def test_another_networks_parameters_are_refused():
    with pytest.raises(ValueError, match=r"theta must have shape \(..., 32\)"):
        Muon(0.1, NET, Adam()).init(np.zeros(5))


# Planted mistakes ---------------------------------------------------------------------------


def wrong_matrix(mistake):
    def orthogonal(self, flat, shape):
        n_in, n_out = shape
        ratio = max(1.0, n_out / n_in) ** 0.5
        if mistake == "shapes exchanged":
            ratio = max(1.0, n_in / n_out) ** 0.5
        matrix = flat.reshape(*flat.shape[:-1], *shape)
        if mistake == "one matrix of all replicas":
            matrix = matrix / np.linalg.norm(matrix) * np.sqrt(len(matrix))
            return ratio * matrix.reshape(flat.shape)
        if mistake == "vector instead of matrix":
            return ratio * flat / np.linalg.norm(flat, axis=-1, keepdims=True)
        return ratio * newton_schulz(matrix, self.ns_steps).reshape(flat.shape)

    return orthogonal


@pytest.mark.parametrize(
    "mistake", ["shapes exchanged", "one matrix of all replicas", "vector instead of matrix"]
)
def test_a_wrong_step_is_caught(on_numpy, in_full_precision, monkeypatch, mistake):
    opt, peer = Muon(0.02, NET, Adam(**REST)), torchs(lr=0.02)
    monkeypatch.setattr(Muon, "_orthogonal", wrong_matrix(None))
    check_parity(opt, peer, ["quadratic"], steps=20)
    monkeypatch.setattr(Muon, "_orthogonal", wrong_matrix(mistake))
    with pytest.raises(AssertionError):
        check_parity(opt, peer, ["quadratic"], steps=20)


def test_a_wrong_polynomial_is_caught(on_numpy, in_full_precision, monkeypatch):
    monkeypatch.setattr(optimizers.muon, "COEFFICIENTS", (1.875, -1.25, 0.375))
    with pytest.raises(AssertionError):
        check_parity(Muon(0.02, NET, Adam(**REST)), torchs(lr=0.02), ["quadratic"], steps=20)
