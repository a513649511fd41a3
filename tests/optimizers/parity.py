"""Four problems, and optimizers from elsewhere to be held to on them.

A peer is a function of the start, a NumPy array, that returns a function from a gradient to the
parameters after the step. Ours and the peer get the same gradients, at the peer's parameters, so
that two correct rules differ by rounding alone, however chaotic the training.
"""

import numpy as np
import torch
from numpy.testing import assert_allclose

from companion import layers, losses, network
from companion.backend import array, to_numpy

#: Replicas in each problem.
REPLICAS = 3
#: Has a matrix, a bias, and statistics of neither; rules that need shapes are made for it.
NET = network.Sequential(layers.Linear(3, 5), layers.Tanh(), layers.Linear(5, 2))


def quadratic(theta, rng):
    """A bowl with curvatures from 0.01 to 1, and noise of every size."""
    curvature = np.geomspace(0.01, 1.0, theta.shape[-1])
    noise = 10.0 ** rng.uniform(-3, 1) * rng.standard_normal(theta.shape)
    return curvature * (theta - 1) + noise


def rosenbrock(theta, rng):
    """Rosenbrock's valley in pairs of parameters, made flat enough for one rate in all problems.

    With some noise: where a gradient comes to rest at 0, its sign is a matter of rounding, of
    which rules that divide by its size make a step.
    """
    x, y = theta[..., ::2], theta[..., 1::2]
    grad = np.empty_like(theta)
    grad[..., ::2] = 2 * (x - 1) - 400 * x * (y - x**2)
    grad[..., 1::2] = 200 * (y - x**2)
    return grad / 500 + 0.01 * rng.standard_normal(theta.shape)


def logistic(theta, rng):
    """The gradient of logistic regression on a batch of 8; every fourth feature is rare."""
    x = rng.standard_normal((8, theta.shape[-1]))
    x[:, ::4] *= rng.uniform(size=x[:, ::4].shape) < 0.05
    y = (x.sum(axis=1) + rng.standard_normal(8) > 0).astype(float)
    p = 1 / (1 + np.exp(-theta @ x.T))
    return (p - y) @ x / len(x)


def small_network(theta, rng):
    """The gradient of a small classifier on a batch of 4."""
    x = rng.standard_normal((4, 3))
    labels = (x[:, 0] * x[:, 1] > 0).astype(int)
    prediction, cache = NET.forward(theta, x)
    return NET.backward(cache, losses.cross_entropy_grad(prediction, labels))[1]


def extremes(theta, rng):
    """Gradients that are mostly 0, huge or tiny; for rules whose steps are not of their size."""
    grad = rng.choice([0.0, 0.0, 1e-12, -1e-6, 1.0, -1e6, 1e12], size=theta.shape)
    grad[..., 0] = 0  # a parameter that nobody ever asks
    return grad


#: Gradients by name; each also takes the generator that its noise or its batches come from.
PROBLEMS = {f.__name__: f for f in (quadratic, rosenbrock, logistic, small_network)}
#: These and the one that not every rule survives.
ALL_PROBLEMS = PROBLEMS | {"extremes": extremes}


def torchs(name, **options):
    """Return the peer that is torch.optim's optimizer of this name; a function is a schedule."""

    def now(t):
        return {n: v(t) if callable(v) else v for n, v in options.items()}

    def peer(start):
        parameter, t = torch.tensor(start, requires_grad=True), 0
        theirs = getattr(torch.optim, name)([parameter], **now(0))

        def step(grad):
            nonlocal t
            theirs.param_groups[0].update(now(t))
            t += 1
            parameter.grad = torch.tensor(grad)
            old = torch.get_default_dtype()
            torch.set_default_dtype(torch.float64)  # of the numbers in the state
            theirs.step()
            torch.set_default_dtype(old)
            return parameter.detach().numpy().copy()

        return step

    return peer


def written(rule):
    """Return the peer of a published update, ``rule(theta, grad, memory, t) -> theta``.

    The rule is on NumPy arrays, keeps what it likes in the dictionary `memory`, empty before the
    first step, t = 1.
    """

    def peer(start):
        theta, memory, t = start, {}, 0

        def step(grad):
            nonlocal theta, t
            t += 1
            theta = rule(theta, grad, memory, t)
            return theta

        return step

    return peer


def adabounds(
    amsbound=False,
    lr=1e-3,
    betas=(0.9, 0.999),
    final_lr=0.1,
    gamma=1e-3,
    eps=1e-8,
    weight_decay=0,
    base_lr=None,
):
    """Return the peer that is the update of Luo et al. (2019), as their program writes it.

    The rate may be a schedule, of the steps from 0.
    """
    if base_lr is None:
        base_lr = lr(0) if callable(lr) else lr
    beta1, beta2 = betas

    def rule(theta, grad, memory, t):
        now = lr(t - 1) if callable(lr) else lr
        if weight_decay != 0:
            grad = grad + weight_decay * theta
        memory["exp_avg"] = memory.get("exp_avg", 0) * beta1 + (1 - beta1) * grad
        memory["exp_avg_sq"] = memory.get("exp_avg_sq", 0) * beta2 + (1 - beta2) * grad**2
        denom = memory["exp_avg_sq"]
        if amsbound:
            denom = memory["top"] = np.maximum(memory.get("top", 0), denom)
        denom = np.sqrt(denom) + eps
        step_size = now * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        final = final_lr * now / base_lr
        lower_bound = final * (1 - 1 / (gamma * t + 1))
        upper_bound = final * (1 + 1 / (gamma * t))
        return theta - np.clip(step_size / denom, lower_bound, upper_bound) * memory["exp_avg"]

    return written(rule)


def optaxs(transform):
    """Return the peer that is an optax transformation, in float64."""
    import jax
    import optax

    def peer(start):
        with jax.enable_x64(True):
            theta = jax.numpy.asarray(start)
            state = transform.init(theta)
            update = jax.jit(transform.update)

        def step(grad):
            nonlocal theta, state
            with jax.enable_x64(True):
                change, state = update(jax.numpy.asarray(grad), state, theta)
                theta = optax.apply_updates(theta, change)
            return np.asarray(theta)

        return step

    return peer


def check_parity(opt, peer, problems=PROBLEMS, steps=500, rtol=1e-10, atol=1e-12):
    """Hold an optimizer to a peer for some steps of each problem."""
    for name in problems:
        rng = np.random.default_rng(0)
        start = rng.standard_normal((REPLICAS, NET.size))
        step = peer(start)
        theta, theirs = array(start), start
        state = opt.init(theta)
        for t in range(steps):
            grad = ALL_PROBLEMS[name](theirs, rng)
            theirs = step(grad)
            theta, state = opt.update(theta, array(grad), state)
            message = f"{opt}, step {t} of {name}"
            assert np.isfinite(theirs).all(), message
            assert_allclose(to_numpy(theta), theirs, rtol=rtol, atol=atol, err_msg=message)
