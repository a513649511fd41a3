"""Claims about Adam that its section does not tell as experiments."""

import inspect

import numpy as np
import optax
import torch

from companion.backend import array, to_numpy
from companion.optimizers import Adam, RMSprop
from companion.teaching.claims import load


def steps(rule, gradients):
    """Steps of one parameter from 0."""
    theta = array([0.0])
    state, found = rule.init(theta), []
    for g in gradients:
        new, state = rule.update(theta, array([float(g)]), state)
        found.append(float(to_numpy(theta - new)[0]))
        theta = 0 * new
    return np.array(found)


def test_what_adam_stands_for(ledger):
    assert "kingma2015" in load()["OPT-22"].cite
    ledger("OPT-22")


def test_momentum_and_rmsprop(ledger):
    gradients = np.random.default_rng(0).standard_normal(200)

    def root(t):  # of the correction, which RMSProp does not have
        return (1 - 0.999 ** (t + 1)) ** 0.5

    adam = steps(Adam(0.1, betas=(0.0, 0.999)), gradients)
    rule = RMSprop(lambda t: 0.1 * root(t), alpha=0.999, eps=lambda t: 1e-8 * root(t))
    rmsprop = steps(rule, gradients)
    # with beta2 = 0 and one impulse the divisor is epsilon: what is left is the first mean
    impulse = steps(Adam(1.0, betas=(0.9, 0.0), eps=1.0), [0.0] * 300 + [1e-9, 0, 0])[-3:]
    ledger(
        "OPT-23",
        holds=np.allclose(adam, rmsprop, rtol=1e-12, atol=0)
        and np.allclose(impulse, 1e-9 * np.array([0.1, 0.09, 0.081]), rtol=1e-6),
        measured=r"with $\beta_1=0$ and without the correction Adam's steps are RMSProp's; an "
        r"impulse enters $m$ with the factor $1-\beta_1=0.1$ and decays as $0.9^t$",
    )


def test_where_epsilon_is(ledger):
    sizes = (1e-4, 1e-5, 1e-6)
    outside = [steps(Adam(1.0), [g] * 3)[-1] for g in sizes]
    inside = [g / (g * g + 1e-8) ** 0.5 for g in sizes]
    parameters = [torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in sizes]
    optimizer = torch.optim.Adam(parameters, lr=1.0)
    for parameter, g in zip(parameters, sizes, strict=True):
        parameter.grad = torch.full_like(parameter, g)
    optimizer.step()
    torchs = [-float(parameter.detach()[0]) for parameter in parameters]
    texts = [", ".join(f"{s:.4f}" for s in found) for found in (outside, inside)]
    ledger(
        "OPT-26",
        holds=np.allclose(outside, torchs, rtol=1e-9)
        and np.allclose(outside, np.array(sizes) / (np.array(sizes) + 1e-8), rtol=1e-9)
        and inside[2] < 0.011,
        measured="step in rates for gradients of 1e-4, 1e-5, 1e-6: "
        f"{texts[0]} with $\\epsilon=10^{{-8}}$ outside the root, as in PyTorch, "
        f"{texts[1]} with it inside",
    )


def test_usual_values(ledger):
    ours = Adam()
    torchs = inspect.signature(torch.optim.Adam).parameters
    optaxs = inspect.signature(optax.adam).parameters
    same = [torchs[name].default for name in ("lr", "betas", "eps")]
    ledger(
        "OPT-27",
        holds=same == [ours.lr, ours.betas, ours.eps] == [1e-3, (0.9, 0.999), 1e-8]
        and [optaxs[name].default for name in ("b1", "b2", "eps")] == [0.9, 0.999, 1e-8],
        measured="defaults of torch.optim.Adam and of ours: rate 0.001, betas 0.9 and 0.999, "
        r"$\epsilon=10^{-8}$; optax has the same betas and $\epsilon$",
    )
