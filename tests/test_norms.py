"""Normalisation: against torch.nn, its definition, and wrong versions."""

from fractions import Fraction

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from companion import backend
from companion.backend import array, to_numpy
from companion.layers import BatchNorm, GroupNorm, LayerNorm, Linear, RMSNorm, norms
from companion.network import Sequential
from tests.layer_checks import (
    check_autograd,
    check_differences,
    check_replicas,
    draw,
    inference,
    tensor,
)

nn = torch.nn
#: Our layer, torch's module, the shape of a batch.
PAIRS = {
    "batch, features": (BatchNorm(4), nn.BatchNorm1d(4), (7, 4)),
    "batch, images": (BatchNorm(3), nn.BatchNorm2d(3), (4, 3, 2, 5)),
    "batch, sequences": (BatchNorm(3, axis=-1), nn.BatchNorm1d(3), (4, 6, 3)),
    "batch, options": (
        BatchNorm(4, eps=0.1, momentum=0.3), nn.BatchNorm1d(4, eps=0.1, momentum=0.3), (7, 4)
    ),
    "layer, features": (LayerNorm(5), nn.LayerNorm(5), (4, 5)),
    "layer, sequences": (LayerNorm(5, eps=0.1), nn.LayerNorm(5, eps=0.1), (4, 6, 5)),
    "layer, images": (LayerNorm((3, 2, 5)), nn.LayerNorm((3, 2, 5)), (4, 3, 2, 5)),
    "rms, features": (RMSNorm(5), nn.RMSNorm(5), (4, 5)),
    "rms, sequences": (RMSNorm(5, eps=0.1), nn.RMSNorm(5, eps=0.1), (4, 6, 5)),
    "rms, images": (RMSNorm((3, 2, 5)), nn.RMSNorm((3, 2, 5)), (4, 3, 2, 5)),
    "group, features": (GroupNorm(2, 6), nn.GroupNorm(2, 6), (4, 6)),
    "group, images": (GroupNorm(2, 6, eps=0.1), nn.GroupNorm(2, 6, eps=0.1), (4, 6, 2, 5)),
    "group, one": (GroupNorm(1, 4), nn.GroupNorm(1, 4), (4, 4, 2, 3)),
    "group, instance": (GroupNorm(4, 4), nn.GroupNorm(4, 4), (4, 4, 2, 3)),
}  # fmt: skip
every_norm = pytest.mark.parametrize("name", PAIRS)


def alone(layer, shape):
    """Return a network of one layer for batches of `shape`."""
    return Sequential(layer, input_ndim=len(shape))


def to_torch(layer, x):
    """Move the features of sequences to where torch's BatchNorm1d has them, and back."""
    return x.movedim(-1, 1) if getattr(layer, "axis", 1) == -1 else x


def from_torch(layer, x):
    return x.movedim(1, -1) if getattr(layer, "axis", 1) == -1 else x


# The same as torch.nn -----------------------------------------------------------------------


def check_parity(name):
    """Hold values and gradients, in training and after it, to those of torch's module."""
    ours, theirs, shape = PAIRS[name]
    net, theirs = alone(ours, shape), theirs.to(torch.float64)
    theta, _, _, _ = draw(net, shape)
    theirs.load_state_dict({k[2:]: tensor(v) for k, v in net.unpack(theta).items()}, strict=False)
    theirs.train()
    if isinstance(ours, BatchNorm):
        theirs.reset_running_stats()
    state = net.init_state()
    rng = np.random.default_rng(1)
    for step in range(8):
        if step == 5:
            theirs.eval()
        x, dy = (array(3 * rng.standard_normal(shape) + 2) for _ in range(2))
        y, cache = net.forward(theta, x, training=step < 5, state=state)
        dx, dtheta = net.backward(cache, dy)
        if step < 5:
            state = net.advance(state, cache)
        own = tensor(x).requires_grad_()
        theirs.zero_grad()
        want = from_torch(ours, theirs(to_torch(ours, own)))
        want.backward(tensor(dy))
        assert_allclose(to_numpy(y), want.detach().numpy(), rtol=1e-10, atol=1e-12)
        assert_allclose(to_numpy(dx), own.grad.numpy(), rtol=1e-10, atol=1e-12)
        for key, grad in net.unpack(dtheta).items():
            expected = theirs.get_parameter(key[2:]).grad.numpy()
            assert_allclose(to_numpy(grad), expected, rtol=1e-10, atol=1e-12)
        if isinstance(ours, BatchNorm):
            running = torch.cat([theirs.running_mean, theirs.running_var]).numpy()
            assert_allclose(to_numpy(state), running, rtol=1e-12)


@every_norm
def test_parity_with_torch_nn(created, name):
    check_parity(name)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (BatchNorm(4), nn.BatchNorm1d(4)),
        (LayerNorm(4), nn.LayerNorm(4)),
        (RMSNorm(4), nn.RMSNorm(4)),
        (GroupNorm(2, 4), nn.GroupNorm(2, 4)),
    ],
    ids=repr,
)
def test_defaults_and_start_are_those_of_torch(ours, theirs):
    assert ours.eps == theirs.eps
    if isinstance(ours, BatchNorm):
        assert ours.momentum == theirs.momentum
    for name, value in zip(ours.shapes, ours.init(None), strict=True):
        assert_array_equal(value, theirs.get_parameter(name).detach().numpy())
    for name, value in zip(ours.state_shapes, ours.init_state(), strict=True):
        assert_array_equal(value, theirs.get_buffer(name).numpy())


# The derivative -----------------------------------------------------------------------------


def both_modes(net, theta, how):
    return (how, inference(net, theta)) if net.state_size else (how,)


@every_norm
@pytest.mark.parametrize("replicas", [(), (3,), (2, 2)], ids=str)
def test_backward_is_the_derivative(created, name, replicas):
    layer, _, shape = PAIRS[name]
    net = alone(layer, shape)
    for shared in (False, True):
        theta, x, dy, how = draw(net, shape, 2, replicas, shared)
        for mode in both_modes(net, theta, how):
            check_autograd(net, theta, x, dy, mode)
            check_differences(net, theta, x, dy, mode)


@every_norm
@pytest.mark.parametrize("replicas", [(3,), (2, 2)], ids=str)
def test_replicas_equal_a_loop(created, name, replicas):
    layer, _, shape = PAIRS[name]
    net = alone(layer, shape)
    theta, x, dy, how = draw(net, shape, 3, replicas)
    for mode in both_modes(net, theta, how):
        check_replicas(net, theta, x, dy, mode)


@pytest.mark.parametrize("name", [n for n in PAIRS if n.startswith("batch")])
def test_running_statistics_of_replicas_equal_a_loop(created, name):
    layer, _, shape = PAIRS[name]
    net = alone(layer, shape)
    theta, x, _, how = draw(net, shape, 4, (2, 2))
    state = inference(net, theta)["state"]
    before = to_numpy(state).copy()
    new = net.advance(state, net.forward(theta, x, **how)[1])
    assert_array_equal(to_numpy(state), before)
    assert new.shape == state.shape
    for i in np.ndindex(2, 2):
        want = net.advance(state[i], net.forward(theta[i], x[i], training=True)[1])
        assert_allclose(to_numpy(new[i]), to_numpy(want), rtol=1e-13)


@every_norm
def test_without_the_gradient_in_the_input(created, name):
    layer, _, shape = PAIRS[name]
    net = alone(layer, shape)
    theta, x, dy, how = draw(net, shape)
    for mode in both_modes(net, theta, how):
        _, cache = net.forward(theta, x, **mode)
        dx, dtheta = net.backward(cache, dy, input_grad=False)
        assert dx is None
        assert_array_equal(to_numpy(dtheta), to_numpy(net.backward(cache, dy)[1]))


# Numbers and arrays -------------------------------------------------------------------------


def exactly_standardized(x, eps):
    """Standardise the columns of x with exact means and variances."""
    columns = []
    for column in x.T:
        values = [Fraction(float(v)) for v in column]
        mean = sum(values) / len(values)
        rest = [v - mean for v in values]
        var = sum(v * v for v in rest) / len(values)
        columns.append(np.array([float(v) for v in rest]) / np.sqrt(float(var) + eps))
    return np.stack(columns, axis=1), np.sqrt(float(var) + eps)


def check_large_offset(dtype, offset):
    """Hold a batch far from 0 to exact sums: a few roundings of the result, none of the offset."""
    rng = np.random.default_rng(0)
    values = (offset + rng.standard_normal((100, 2))).astype(dtype)
    grads = rng.standard_normal((100, 2)).astype(dtype)
    xhat, _ = exactly_standardized(values, 1e-5)
    _, std = exactly_standardized(values[:, 1:], 1e-5)
    g = grads.astype(np.float64)
    want = (g - g.mean(0) - xhat * (g * xhat).mean(0))[:, 1] / std
    eps = np.finfo(dtype).eps
    for layer, flip in ((BatchNorm(2), False), (LayerNorm(100), True), (GroupNorm(1, 100), True)):
        net = alone(layer, (100, 2))
        theta = array(net.init(np.random.default_rng(0)), dtype)
        x, dy = (array(a.T.copy() if flip else a, dtype) for a in (values, grads))
        y, cache = net.forward(theta, x, training=True)
        assert y.dtype == x.dtype
        y, dx = (to_numpy(a) for a in (y, net.backward(cache, dy)[0]))
        y, dx = (y.T, dx.T) if flip else (y, dx)
        assert np.abs(y - xhat).max() < 16 * eps * np.abs(xhat).max()
        assert np.abs(dx[:, 1] - want).max() < 16 * eps * np.abs(want).max()


@pytest.mark.parametrize(("dtype", "offset"), [("float32", 1e4), ("float64", 1e10)])
def test_a_large_offset_costs_no_digits(created, dtype, offset):
    check_large_offset(dtype, offset)


@every_norm
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_and_inputs_are_left_alone(created, name, dtype):
    layer, _, shape = PAIRS[name]
    net = alone(layer, shape)
    backend.use(dtype=dtype)
    theta, x, dy, how = draw(net, shape, replicas=(2,))
    for mode in both_modes(net, theta, how):
        given_ = [a for a in (theta, x, dy, mode.get("state")) if a is not None]
        before = [to_numpy(a).copy() for a in given_]
        y, cache = net.forward(theta, x, **mode)
        assert all(a.dtype == theta.dtype for a in (y, *net.backward(cache, dy)))
        if mode["training"] and net.state_size:
            assert net.advance(net.init_state(2), cache).dtype == theta.dtype
        for a, b in zip(given_, before, strict=True):
            assert_array_equal(to_numpy(a), b)


@every_norm
def test_the_array_api_standard_suffices(name):
    layer, _, shape = PAIRS[name]
    rng = np.random.default_rng(0)
    params = tuple(rng.standard_normal(s) for s in layer.shapes.values())
    state = tuple(rng.uniform(0.5, 2, s) for s in layer.state_shapes.values())
    x, dy = rng.standard_normal((2, *shape))

    def run(asarray, how):
        own = tuple(map(asarray, params))
        if layer.has_modes:
            how = how | {"state": tuple(map(asarray, state))}
        y, cache = layer.forward(own, asarray(x), **how)
        dx, grads = layer.backward(cache, asarray(dy))
        new = layer.advance(how["state"], cache) if how.get("training") else ()
        return [np.asarray(a) for a in (y, dx, *grads, *new)]

    modes = ({"training": True}, {"training": False}) if layer.has_modes else ({},)
    for how in modes:
        pairs = zip(run(array_api_strict.asarray, how), run(np.asarray, how), strict=True)
        for got, want in pairs:
            assert_allclose(got, want, rtol=1e-13, atol=1e-13)


@every_norm
def test_an_empty_batch(created, name):
    layer, _, shape = PAIRS[name]
    net = alone(layer, shape)
    theta = net.init(np.random.default_rng(0), 2)
    x = array(np.empty((2, 0, *shape[1:])))
    y, cache = net.forward(theta, x, state=net.init_state(2) if net.state_size else None)
    dx, dtheta = net.backward(cache, y)
    assert tuple(dx.shape) == tuple(y.shape) == tuple(x.shape)
    assert_array_equal(to_numpy(dtheta), np.zeros(dtheta.shape))


# Properties ---------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(2, 9), st.integers(2, 6)),
    scale=st.floats(0.1, 10),
    shift=st.floats(-100, 100),
)
def test_what_normalisation_promises(seed, shape, scale, shift):
    rng = np.random.default_rng(seed)
    x, dy = rng.standard_normal((2, *shape))
    for layer, axis in ((BatchNorm(shape[1], eps=1e-30), 0), (LayerNorm(shape[1], eps=1e-30), 1)):
        net = alone(layer, shape)
        theta = to_numpy(net.init(rng))
        y, cache = net.forward(theta, x, training=True)
        dx, _ = net.backward(cache, dy)
        assert_allclose(y.mean(axis), 0, atol=1e-12)
        assert_allclose((y**2).mean(axis), 1, rtol=1e-12)
        # a shift and a scale of x change nothing, so the gradient has no part along 1 and x
        moved, _ = net.forward(theta, scale * x + shift, training=True)
        assert_allclose(moved, y, rtol=1e-8, atol=1e-8)
        size = np.abs(dx).max() + 1
        assert_allclose(dx.sum(axis) / size, 0, atol=1e-11)
        assert_allclose((dx * y).sum(axis) / size, 0, atol=1e-11)


def test_groups_are_layers_and_instances(created):
    x = array(np.random.default_rng(0).standard_normal((4, 6, 2, 5)))
    start = [alone(norm, x.shape) for norm in (GroupNorm(1, 6), LayerNorm((6, 2, 5)))]
    a, b = (net.forward(net.init(np.random.default_rng(0)), x)[0] for net in start)
    assert_allclose(to_numpy(a), to_numpy(b), rtol=1e-13, atol=1e-13)
    net = alone(GroupNorm(6, 6), x.shape)
    each_map, _ = net.forward(net.init(np.random.default_rng(0)), x)
    want = nn.functional.instance_norm(tensor(x)).numpy()
    assert_allclose(to_numpy(each_map), want, rtol=1e-10, atol=1e-12)


def test_rms_is_the_layer_without_its_mean(created):
    x = np.random.default_rng(0).standard_normal((4, 6))
    x = array(x - x.mean(axis=1, keepdims=True))
    nets = [alone(norm, x.shape) for norm in (RMSNorm(6, eps=1e-5), LayerNorm(6))]
    a, b = (net.forward(net.init(np.random.default_rng(0)), x)[0] for net in nets)
    assert_allclose(to_numpy(a), to_numpy(b), rtol=1e-13)


def test_momentum_1_takes_the_batch_and_0_the_state(created):
    x = array(np.random.default_rng(0).standard_normal((5, 2)))
    for momentum in (0, 1):
        net = Sequential(BatchNorm(2, momentum=momentum))
        state = array([7.0, 8.0, 9.0, 10.0])
        cache = net.forward(net.init(np.random.default_rng(0)), x, training=True)[1]
        values = to_numpy(x)
        batch = [*values.mean(axis=0), *values.var(axis=0, ddof=1)]
        want = batch if momentum else to_numpy(state)
        assert_allclose(to_numpy(net.advance(state, cache)), want, rtol=1e-13)


def test_print_shows_shapes_and_counts():
    net = Sequential(BatchNorm(4), GroupNorm(2, 4), LayerNorm(4), LayerNorm((4,)), RMSNorm(4))
    assert str(net).splitlines() == [
        "Sequential, 36 parameters",
        "  0  BatchNorm(4)     weight (4,), bias (4,)  8",
        "  1  GroupNorm(2, 4)  weight (4,), bias (4,)  8",
        "  2  LayerNorm(4)     weight (4,), bias (4,)  8",
        "  3  LayerNorm(4)     weight (4,), bias (4,)  8",
        "  4  RMSNorm(4)       weight (4,)             4",
    ]
    assert repr(LayerNorm((3, 2))) == "LayerNorm((3, 2))"


# Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchNorm(0), "num_features must be positive; got 0"),
        (lambda: BatchNorm(3, eps=0.0), r"eps must be positive; got 0.0"),
        (lambda: BatchNorm(3, momentum=1.5), r"momentum must be in \[0, 1\]; got 1.5"),
        (lambda: LayerNorm(()), r"normalized_shape must name at least one axis; got \(\)"),
        (lambda: LayerNorm((3, 0)), "normalized_shape must be positive; got 0"),
        (lambda: LayerNorm(3, eps=-1.0), "eps must be positive; got -1.0"),
        (lambda: RMSNorm(3, eps=0.0), "eps must be positive; got 0.0"),
        (lambda: GroupNorm(4, 6), "num_channels must be a multiple of num_groups; got 6 .* 4"),
        (lambda: GroupNorm(0, 6), "num_groups must be positive; got 0"),
    ],
)
def test_bad_layers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (BatchNorm(3), (5, 4), r"BatchNorm\(3\) expects 3 entries on axis 1 of x.*\(2, 5, 4\)"),
        (BatchNorm(3, axis=2), (5, 3), r"expects 3 entries on axis 2 of x, 0 being the samples"),
        (BatchNorm(5, axis=-2), (5, 3), "expects 5 entries on axis -2 of x, 0 being the samples"),
        (BatchNorm(5, axis=0), (5, 3), "expects 5 entries on axis 0 of x, 0 being the samples"),
        (BatchNorm(3), (1, 3), r"needs at least 2 values of every feature in training.*1, 3\)"),
        (GroupNorm(2, 4), (5, 3), r"GroupNorm\(2, 4\) expects 4 entries on axis 1 of x"),
        (LayerNorm(3), (5, 4), r"LayerNorm\(3\) expects x of shape \(..., n, 3\); got .*5, 4\)"),
        (LayerNorm((5, 4)), (5, 4), r"expects x of shape \(..., n, 5, 4\); got \(2, 5, 4\)"),
        (RMSNorm(3), (5, 4), r"RMSNorm\(3\) expects x of shape \(..., n, 3\)"),
    ],
)
def test_bad_shapes_are_named(created, layer, shape, message):
    net = alone(layer, shape)
    with pytest.raises(ValueError, match=message):
        net.forward(net.init(np.random.default_rng(0), 2), array(np.ones(shape)), training=True)


def test_a_batch_norm_without_its_state_is_told(created):
    net = Sequential(Linear(2, 3), BatchNorm(3))
    theta, x = net.init(np.random.default_rng(0), 2), array(np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"BatchNorm\(3\) reads its running statistics when not"):
        net.forward(theta, x)
    with pytest.raises(ValueError, match=r"state must have the leading axes of theta, \(2,\); got"):
        net.forward(theta, x, state=net.init_state())
    _, cache = net.forward(theta, x, state=net.init_state(2))
    with pytest.raises(ValueError, match=r"cache must be that of a forward pass .* training=True"):
        net.advance(net.init_state(2), cache)
    _, cache = net.forward(theta, x, training=True)
    with pytest.raises(ValueError, match=r"state must have the leading axes of theta"):
        net.advance(net.init_state(), cache)


# Planted mistakes ---------------------------------------------------------------------------


def batch_backward(terms):
    def backward(self, cache, dy, *, input_grad=True):
        xhat, scale, axes, shape, (_, _, m) = cache
        dbias, dweight = ((a).sum(axes, keepdims=True) for a in (dy, dy * xhat))
        dx, dweight, dbias = terms(dy, xhat, scale, dweight, dbias, m)
        return dx, (dweight.reshape(shape), dbias.reshape(shape))

    return backward


@pytest.mark.parametrize(
    "wrong",
    {
        "none": lambda dy, xhat, s, dw, db, m: (s * (dy - db / m - xhat * dw / m), dw, db),
        "statistics as constants": lambda dy, xhat, s, dw, db, m: (s * dy, dw, db),
        "no mean": lambda dy, xhat, s, dw, db, m: (s * (dy - xhat * dw / m), dw, db),
        "no variance": lambda dy, xhat, s, dw, db, m: (s * (dy - db / m), dw, db),
        "unbiased": lambda dy, xhat, s, dw, db, m: (
            s * (dy - db / m - xhat * dw / (m - 1)), dw, db
        ),
        "weight averaged": lambda dy, xhat, s, dw, db, m: (
            s * (dy - db / m - xhat * dw / m), dw / m, db
        ),
        "bias averaged": lambda dy, xhat, s, dw, db, m: (
            s * (dy - db / m - xhat * dw / m), dw, db / m
        ),
    }.items(),
    ids=lambda item: item[0],
)  # fmt: skip
def test_a_wrong_batch_norm_backward_is_caught(monkeypatch, on_numpy, wrong):
    what, terms = wrong
    monkeypatch.setattr(BatchNorm, "backward", batch_backward(terms))
    net = Sequential(BatchNorm(3))
    theta, x, dy, how = draw(net, (6, 3), replicas=(2,))
    for check in (check_autograd, check_differences):
        if what == "none":
            check(net, theta, x, dy, how)
            continue
        with pytest.raises(AssertionError):
            check(net, theta, x, dy, how)


def standardized(mean=np.mean, var=np.var, root=lambda v, eps: np.sqrt(v + eps)):
    """Make a version of `_standardized` with something wrong in it."""

    def wrong(x, axes, eps):
        mu, v = mean(x, axis=axes, keepdims=True), var(x, axis=axes, keepdims=True)
        return (x - mu) / root(v, eps), 1 / root(v, eps), mu, v

    return wrong


@pytest.mark.parametrize(
    ("wrong", "caught"),
    [
        (standardized(), False),
        (standardized(var=lambda x, **how: np.var(x, ddof=1, **how)), True),
        (standardized(root=lambda v, eps: np.sqrt(v) + eps), True),
        (standardized(root=lambda v, eps: np.sqrt(v)), True),
        (standardized(mean=lambda x, **how: 0 * np.mean(x, **how) + np.mean(x)), True),
    ],
    ids=["none", "unbiased in training", "eps outside the root", "no eps", "one mean"],
)
def test_wrong_statistics_are_caught(monkeypatch, on_numpy, wrong, caught):
    monkeypatch.setattr(norms, "_standardized", wrong)
    if not caught:
        check_parity("batch, images")
        return
    with pytest.raises(AssertionError):
        check_parity("batch, images")


def one_pass(x, **how):
    return np.mean(x * x, **how) - np.mean(x, **how) ** 2


@pytest.mark.parametrize("var", [one_pass, np.var], ids=["one pass", "mean rounded once"])
def test_a_variance_that_loses_digits_is_caught(monkeypatch, on_numpy, var):
    monkeypatch.setattr(norms, "_standardized", standardized(var=var))
    with np.errstate(invalid="ignore"), pytest.raises(AssertionError):
        check_large_offset("float32", 1e4)


def advance(rule):
    def wrong(self, state, cache):
        mean, var, m = cache[-1]
        return tuple(rule(a, b, m) for a, b in zip(state, (mean, var), strict=True))

    return wrong


@pytest.mark.parametrize(
    ("rule", "caught"),
    [
        (lambda old, new, m: 0.9 * old + 0.1 * new, False),
        (lambda old, new, m: 0.1 * old + 0.9 * new, True),
        (lambda old, new, m: 0.9 * old + 0.1 * new * (m - 1) / m, True),
        (lambda old, new, m: new, True),
        (lambda old, new, m: old, True),
    ],
    ids=["none", "momentum is the old one's", "biased", "the last batch", "never"],
)
def test_wrong_running_statistics_are_caught(monkeypatch, on_numpy, rule, caught):
    monkeypatch.setattr(BatchNorm, "advance", advance(rule))
    if not caught:
        check_parity("batch, features")
        return
    with pytest.raises(AssertionError):
        check_parity("batch, features")


def test_statistics_of_the_wrong_mode_are_caught(monkeypatch, on_numpy):
    forward = BatchNorm.forward

    def always_training(self, params, x, *, training, noise, state):
        return forward(self, params, x, training=True, noise=noise, state=state)

    monkeypatch.setattr(BatchNorm, "forward", always_training)
    with pytest.raises(AssertionError):
        check_parity("batch, features")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda dy, xhat, rstd, axes: rstd * dy,
        lambda dy, xhat, rstd, axes: rstd * (dy - dy.mean(axes, keepdims=True)),
        lambda dy, xhat, rstd, axes: rstd * (dy - xhat * (dy * xhat).mean(axes, keepdims=True)),
    ],
    ids=["constants", "no variance", "no mean"],
)
@pytest.mark.parametrize("name", ["layer, sequences", "group, images"])
def test_a_wrong_derivative_of_standardizing_is_caught(monkeypatch, on_numpy, wrong, name):
    layer, _, shape = PAIRS[name]
    net = alone(layer, shape)
    case = draw(net, shape)
    check_autograd(net, *case)
    monkeypatch.setattr(norms, "_standardized_vjp", wrong)
    for check in (check_autograd, check_differences):
        with pytest.raises(AssertionError):
            check(net, *case)


def test_replicas_that_share_their_statistics_are_caught(monkeypatch, on_numpy):
    net = Sequential(BatchNorm(3))
    case = draw(net, (6, 3), replicas=(2,))
    check_replicas(net, *case)
    right = norms._standardized
    monkeypatch.setattr(norms, "_standardized", lambda x, axes, eps: right(x, (0, *axes), eps))
    with pytest.raises((AssertionError, ValueError)):
        check_replicas(net, *case)


def test_a_wrong_derivative_of_the_root_mean_square_is_caught(monkeypatch, on_numpy):
    def constant(self, cache, dy, *, input_grad=True):
        xhat, scale, weight, replicas = cache
        return scale * dy * weight, (self._summed(dy * xhat, replicas),)

    net = Sequential(RMSNorm(5))
    case = draw(net, (4, 5))
    monkeypatch.setattr(RMSNorm, "backward", constant)
    for check in (check_autograd, check_differences):
        with pytest.raises(AssertionError):
            check(net, *case)


def test_groups_of_the_wrong_channels_are_caught(monkeypatch, on_numpy):
    def interleaved(self, x, samples):
        shape = (*x.shape[: samples + 1], -1, self.num_groups, *x.shape[samples + 2 :])
        x = np.moveaxis(x.reshape(shape), samples + 2, samples + 1)
        return x.reshape(*x.shape[: samples + 2], -1)

    monkeypatch.setattr(GroupNorm, "_grouped", interleaved)
    with pytest.raises(AssertionError):
        check_parity("group, images")


@pytest.mark.parametrize("name", ["layer, features", "rms, sequences"])
def test_averaged_gradients_of_parameters_are_caught(monkeypatch, on_numpy, name):
    layer, _, shape = PAIRS[name]
    net = alone(layer, shape)
    case = draw(net, shape)
    summed = type(layer)._summed
    monkeypatch.setattr(
        type(layer), "_summed", lambda self, x, replicas: summed(self, x, replicas) / len(x)
    )
    for check in (check_autograd, check_differences):
        with pytest.raises(AssertionError):
            check(net, *case)
