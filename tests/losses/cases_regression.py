"""Losses of real-valued predictions."""

from functools import partial

import mpmath
import numpy as np
import torch
import torch.nn.functional as F

from companion import losses
from tests.losses.case import Case


def draw_errors(rng, lead):
    return 2 * rng.standard_normal((*lead, 7, 4)), rng.standard_normal((*lead, 7, 4))


def hard_errors():
    """Predictions far and near, and a few bits from their targets; targets of 0 and errors of
    any size, to the ends of float32.
    """
    rng = np.random.default_rng(0)
    target = (10.0 ** rng.uniform(-3, 3, 60) * rng.choice([-1, 1], 60)).astype(np.float32)
    near = np.concatenate([[1e-6, 1e-3, 0.3, 1, 30], 10.0 ** rng.uniform(-6, 3, 55)])
    sizes = np.concatenate([10.0 ** np.arange(-21, 5), 10.0 ** rng.uniform(-3, 2, 40)])
    errors = np.concatenate([sizes * s for s in (-1, 1)]).astype(np.float32)
    prediction = np.concatenate([(target * (1 + near)).astype(np.float32), errors])
    return prediction.astype(float), np.append(target, np.zeros_like(errors)).astype(float)


def of_error(loss, exact, peer=None):
    return Case(loss, lambda z, t: exact(z[0] - float(t)), draw_errors, hard_errors, peer)


def exact_smooth_l1(beta):
    return lambda e: e * e / (2 * beta) if abs(e) < beta else abs(e) - mpmath.mpf(beta) / 2


def exact_pinball(quantile):
    return lambda e: (1 - mpmath.mpf(quantile)) * e if e > 0 else -mpmath.mpf(quantile) * e


def exact_log_cosh(e):
    return mpmath.log1p(2 * mpmath.sinh(e / 2) ** 2)


def pinball(quantile):
    """The formula of Koenker and Bassett, as a maximum of two lines."""

    def peer(prediction, target, *, reduction):
        error = target - prediction
        loss = torch.maximum(quantile * error, (quantile - 1) * error)
        return loss if reduction == "none" else getattr(loss, reduction)()

    return peer


def log_cosh(prediction, target, *, reduction):
    loss = torch.log(torch.cosh(prediction - target))
    return loss if reduction == "none" else getattr(loss, reduction)()


def draw_mean_and_log_var(rng, lead):
    return rng.standard_normal((*lead, 7, 2)), rng.standard_normal((*lead, 7))


def hard_mean_and_log_var():
    rng = np.random.default_rng(0)
    log_var = np.concatenate([[-1e4, -300, -80, -1, 0, 1e-3, 80, 300, 1e4], rng.normal(size=30)])
    error = np.array([0, 1e-15, 1e-3, 0.5, -2, 1e3])
    pairs = np.array(np.meshgrid(error, log_var)).reshape(2, -1).T
    target = np.tile([0.0, 0.25], len(pairs))[: len(pairs)]
    pairs[:, 0] += target
    return pairs.astype(np.float32).astype(float), target


def exact_gaussian(full):
    constant = mpmath.log(2 * mpmath.pi) / 2 if full else 0

    def exact(z, t):
        return (z[1] + (z[0] - float(t)) ** 2 * mpmath.exp(-z[1])) / 2 + constant

    return exact


def gaussian(full):
    def peer(p, t, *, reduction):
        return F.gaussian_nll_loss(p[..., 0], t, p[..., 1].exp(), full=full, reduction=reduction)

    return peer


def nll(full):
    return Case(
        partial(losses.gaussian_nll_loss_with_log_var, full=full),
        exact_gaussian(full),
        draw_mean_and_log_var,
        hard_mean_and_log_var,
        gaussian(full),
        core=1,
    )


CASES = {
    "mse_loss": of_error(losses.mse_loss, lambda e: e * e, F.mse_loss),
    "l1_loss": of_error(losses.l1_loss, abs, F.l1_loss),
    "log_cosh_loss": of_error(losses.log_cosh_loss, exact_log_cosh, log_cosh),
    "gaussian_nll_loss_with_log_var": nll(full=False),
    "gaussian_nll_loss_with_log_var full": nll(full=True),
}
for beta in (1.0, 1e-6, 3.0):
    CASES[f"smooth_l1_loss {beta}"] = of_error(
        partial(losses.smooth_l1_loss, beta=beta),
        exact_smooth_l1(beta),
        partial(F.smooth_l1_loss, beta=beta),
    )
for delta in (1.0, 0.25):
    CASES[f"huber_loss {delta}"] = of_error(
        partial(losses.huber_loss, delta=delta),
        lambda e, delta=delta: delta * exact_smooth_l1(delta)(e),
        partial(F.huber_loss, delta=delta),
    )
for quantile in (0.5, 0.9, 2.0**-20):
    CASES[f"quantile_loss {quantile}"] = of_error(
        partial(losses.quantile_loss, quantile=quantile), exact_pinball(quantile), pinball(quantile)
    )
