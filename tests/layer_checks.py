"""What the tests of layers share: passes in training, held to other ways."""

import array_api_strict
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion import backend
from companion.backend import array, to_numpy


def each(f, nested):
    """Apply f to every array of what `sample_noise` returned."""
    if isinstance(nested, list | tuple):
        return type(nested)(each(f, part) for part in nested)
    return None if nested is None else f(nested)


def draw(net, shape, seed=0, replicas=(), shared=False):
    """Return theta away from its start, a batch of `shape`, a gradient of y, and how to train."""
    rng = np.random.default_rng(seed)
    theta = to_numpy(net.init(rng, replicas))
    theta = array(theta + 0.3 * rng.standard_normal(theta.shape))
    x = array(rng.standard_normal(shape if shared else (*replicas, *shape)))
    how = {"training": True, "noise": net.sample_noise(rng, x, replicas)}
    y, _ = net.forward(theta, x, **how)
    return theta, x, array(rng.standard_normal(tuple(y.shape))), how


def inference(net, theta, seed=0):
    """Return how to infer, with running statistics that have run."""
    state = to_numpy(net.init_state(tuple(theta.shape[:-1])))
    rng = np.random.default_rng(seed)
    return {"training": False, "state": array(state + rng.uniform(0, 2, state.shape))}


def passes(net, theta, x, dy, how):
    """Return y, dx and dtheta as NumPy arrays."""
    y, cache = net.forward(theta, x, **how)
    return [to_numpy(a) for a in (y, *net.backward(cache, dy))]


def check_autograd(net, theta, x, dy, how):
    """Hold backward to torch's derivative of forward."""
    _, dx, dtheta = passes(net, theta, x, dy, how)
    t, s, d = (torch.tensor(to_numpy(a)) for a in (theta, x, dy))
    own = s.expand(dx.shape).clone().requires_grad_()
    how = {name: v if isinstance(v, bool) else each(tensor, v) for name, v in how.items()}
    y, _ = net.forward(t.requires_grad_(), own, **how)
    want = torch.autograd.grad(y, (t, own), d, allow_unused=True, materialize_grads=True)
    for got, expected in zip((dtheta, dx), want, strict=True):
        assert_allclose(got, expected.numpy(), rtol=1e-10, atol=1e-10)


def check_differences(net, theta, x, dy, how):
    """Hold backward to central differences along random directions."""
    rng = np.random.default_rng(1)
    xp = backend.namespace(theta)

    def loss(theta, x):
        return float(xp.sum(net.forward(theta, x, **how)[0] * dy))

    _, dx, dtheta = passes(net, theta, x, dy, how)
    h = 1e-6
    v, w = (array(rng.standard_normal(tuple(a.shape))) for a in (theta, x))
    in_theta = (loss(theta + h * v, x) - loss(theta - h * v, x)) / (2 * h)
    in_x = (loss(theta, x + h * w) - loss(theta, x - h * w)) / (2 * h)
    for grad, direction, slope in ((dtheta, v, in_theta), (dx, w, in_x)):
        terms = grad * to_numpy(direction)
        assert terms.sum() == pytest.approx(slope, abs=1e-6 * (1 + np.abs(terms).sum()))


def check_replicas(net, theta, x, dy, how):
    """Hold a network of replicas to a loop over networks; x, masks and state are each one's own."""
    together = passes(net, theta, x, dy, how)
    for i in np.ndindex(tuple(theta.shape[:-1])):
        own = {
            name: v if isinstance(v, bool) else each(lambda a, i=i: a[i], v)
            for name, v in how.items()
        }
        for got, want in zip(together, passes(net, theta[i], x[i], dy[i], own), strict=True):
            assert_allclose(got[i], want, rtol=1e-12, atol=1e-12)


def check_without_input_grad(net, shape):
    """Hold the gradient in theta to be the same where nobody asks for the one in x."""
    theta, x, dy, _ = draw(net, shape)
    _, cache = net.forward(theta, x)
    dx, dtheta = net.backward(cache, dy, input_grad=False)
    assert dx is None
    assert_array_equal(to_numpy(dtheta), to_numpy(net.backward(cache, dy)[1]))


def check_standard(layer, shape):
    """Hold both passes of two replicas on the bare standard to those on NumPy."""
    rng = np.random.default_rng(0)
    params = tuple(rng.standard_normal((2, *s)) for s in layer.shapes.values())
    x = rng.standard_normal((2, *shape))
    dy = rng.standard_normal((2, *layer.output_shape(shape)))

    def run(asarray):
        y, cache = layer.forward(tuple(map(asarray, params)), asarray(x))
        dx, grads = layer.backward(cache, asarray(dy))
        return [np.asarray(a) for a in (y, dx, *grads)]

    for got, want in zip(run(array_api_strict.asarray), run(np.asarray), strict=True):
        assert_allclose(got, want, rtol=1e-13, atol=1e-13)


def check_one_graph(net, shape, dtype, device):
    """Hold both passes, compiled as one graph, to those that are not."""
    theta, x, dy = (
        torch.tensor(to_numpy(a), dtype=getattr(torch, dtype), device=device)
        for a in draw(net, shape, replicas=(2,))[:3]
    )

    def both(theta, x, dy):
        y, cache = net.forward(theta, x, training=True)
        return (y, *net.backward(cache, dy))

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    eps = torch.finfo(theta.dtype).eps
    for got, want in zip(compiled(theta, x, dy), both(theta, x, dy), strict=True):
        torch.testing.assert_close(got, want, rtol=100 * eps, atol=100 * eps)


def tensor(x):
    return torch.tensor(to_numpy(x))
