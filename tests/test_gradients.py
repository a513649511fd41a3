"""Checks of gradients, clipping and noise: against exact values, torch and planted errors."""

import inspect
import itertools
import math

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from companion import backend, gradients, layers, losses
from companion.backend import array, to_numpy
from companion.gradients import (
    Noise,
    clip_grad_norm,
    clip_grad_value,
    clipping,
    curvature,
    grad_norm,
    gradient_check,
    gradient_variance,
    noise,
    noise_scale,
    numerical_gradient,
    sharpness,
    update_ratio,
)
from companion.network import Sequential

finite = st.floats(-100, 100).filter(lambda v: v == 0 or abs(v) > 1e-3)


def small_net():
    """Return a loss of a network of 35 parameters, where it is taken, and the right gradient."""
    net = Sequential(layers.Linear(4, 4), layers.Tanh(), layers.Linear(4, 3))
    rng = np.random.default_rng(0)
    theta, x = net.init(rng), array(rng.standard_normal((6, 4)))
    labels = np.arange(6) % 3
    y, cache = net.forward(theta, x)
    _, grad = net.backward(cache, losses.cross_entropy_grad(y, labels))
    return (lambda t: losses.cross_entropy(net.forward(t, x)[0], labels)), theta, grad


def test_central_differences_of_a_cube_are_off_by_the_square_of_the_step(created):
    x = array([[1.0, -2.0], [0.5, 3.0]])
    for h in (0.5, 0.125):  # (x + h)^3 - (x - h)^3 = 2h (3x^2 + h^2), exactly
        grad = numerical_gradient(lambda x: (x**3).sum(), x, h=h)
        assert_allclose(to_numpy(grad), 3 * to_numpy(x) ** 2 + h**2, rtol=1e-13)


@given(a=finite, b=finite, c=finite, x=finite)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_of_a_parabola_only_rounding_is_left(a, b, c, x):
    x = np.array(x)
    size = abs(a) * x**2 + abs(b * x) + abs(c)
    grad = numerical_gradient(lambda x: a * x**2 + b * x + c, x)
    step = np.finfo(float).eps ** (1 / 3) * max(1, abs(x))
    assert grad == pytest.approx(2 * a * x + b, abs=1e-14 * (1 + size) / step)


def test_agrees_with_autograd(created):
    f, theta, grad = small_net()
    numerical = numerical_gradient(f, theta)
    assert type(numerical) is type(theta)
    assert numerical.dtype == theta.dtype
    backend.use("torch", device="cpu")  # the fixture sets it back
    f, theta, _ = small_net()
    f(theta.requires_grad_()).backward()
    assert_allclose(to_numpy(numerical), theta.grad.numpy(), atol=1e-9)
    assert_allclose(to_numpy(grad), theta.grad.numpy(), atol=1e-14)


def test_float32(created):
    backend.use(dtype="float32")  # the fixture sets it back
    f, theta, grad = small_net()
    assert "float32" in str(numerical_gradient(f, theta).dtype)
    assert_allclose(to_numpy(numerical_gradient(f, theta)), to_numpy(grad), atol=3e-4)
    assert gradient_check(f, theta, grad, rng=np.random.default_rng(0)) < 1e-3


def test_the_step_that_rounding_left_is_the_one_divided_by():
    x = np.array([1000.0], np.float32)  # x + h moves in steps of 6e-5
    assert numerical_gradient(lambda x: x.sum(), x, h=1e-4) == 1


@pytest.mark.parametrize(("shape", "scale"), [((), 1), ((7,), 0.1), ((2, 3), 1e8), ((5000,), 1)])
def test_a_right_gradient_passes_at_any_size(created, shape, scale):
    x = array(scale * np.random.default_rng(0).standard_normal(shape))
    error = gradient_check(lambda x: (x**4).sum(), x, 4 * x**3, rng=np.random.default_rng(1))
    assert error < 1e-6


def test_inputs_are_left_as_they_are(created):
    f, theta, grad = small_net()
    before = [to_numpy(a).copy() for a in (theta, grad)]
    numerical_gradient(f, theta)
    gradient_check(f, theta, grad, rng=np.random.default_rng(0))
    for a, b in zip((theta, grad), before, strict=True):
        np.testing.assert_array_equal(to_numpy(a), b)


@pytest.mark.parametrize("size", [1e-4, 0.01, 1.0])
def test_estimates_the_norm_of_the_error(created, size):
    f, theta, grad = small_net()
    e = np.random.default_rng(2).standard_normal(theta.shape)
    e *= size * np.linalg.norm(to_numpy(grad)) / np.linalg.norm(e)
    wrong = array(to_numpy(grad) + e)
    norms = [np.linalg.norm(to_numpy(g)) for g in (wrong, grad)]
    error = gradient_check(f, theta, wrong, rng=np.random.default_rng(3), directions=2000)
    # the relative standard deviation of a mean of 2,000 squares of normals, halved by the root
    assert error == pytest.approx(np.linalg.norm(e) / max(norms), rel=5 / math.sqrt(2 * 2000))


@pytest.mark.parametrize("entry", range(35))
def test_one_wrong_entry_is_enough(entry):
    f, theta, grad = small_net()
    wrong = grad.copy()
    wrong[entry] += 1e-3
    assert gradient_check(f, theta, wrong, rng=np.random.default_rng(entry)) > 1e-5


def test_gradients_of_zero():
    x, rng = np.ones(4), np.random.default_rng(0)
    assert gradient_check(lambda x: 3.0, x, 0 * x, rng=rng) == 0
    assert gradient_check(lambda x: x.sum(), x, 0 * x, rng=rng) == pytest.approx(1)
    assert gradient_check(lambda x: 3.0, x, x, rng=rng, directions=500) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("size", [1e-170, 1e155, 1e300])
def test_gradients_whose_square_is_no_number(created, size):
    x = array(np.ones(3))
    for factor, want in ((1.0, 0), (-7.0, 8 / 7), (0.5, 0.5)):
        error = gradient_check(
            lambda x: (x * size).sum(),
            x,
            array(np.full(3, factor * size)),
            rng=np.random.default_rng(0),
            directions=1000,
        )
        assert error == pytest.approx(want, rel=0.1, abs=1e-9)


def test_where_x_is_large(created):
    x = array(np.array([3e200, 4e200]))
    error = gradient_check(lambda x: x.sum(), x, 0 * x + 1, rng=np.random.default_rng(0))
    assert error < 1e-9


def test_empty_gradients_are_the_same():
    for shape in ((0,), (2, 0)):
        x = np.ones(shape)
        assert gradient_check(lambda x: x.sum(), x, x, rng=np.random.default_rng(0)) == 0


def test_a_step_must_move_the_entries():
    """Each of 10,000 entries goes a hundredth of h."""
    x, rng = np.ones(10_000), np.random.default_rng(0)
    for h in (2e-16, 5e-15):
        with pytest.raises(ValueError, match=r"h must be large enough to change every"):
            gradient_check(lambda x: x.sum(), x, x, rng=rng, h=h)
    assert gradient_check(lambda x: x.sum(), x, x, rng=rng, h=1e-4) < 1e-6


def test_bad_input_is_named():
    x, rng = np.ones(3), np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"f must return one number; got shape \(3,\)"):
        numerical_gradient(lambda x: x, x)
    with pytest.raises(ValueError, match="f must return one number"):
        gradient_check(lambda x: x, x, x, rng=rng)
    with pytest.raises(ValueError, match="h must be positive"):
        numerical_gradient(lambda x: x.sum(), x, h=0.0)
    for h in (1e-20, 1e-17):
        with pytest.raises(ValueError, match=f"h must be large enough to change every.*got {h}"):
            numerical_gradient(lambda x: x.sum(), x, h=h)
        with pytest.raises(ValueError, match="h must be large enough to change every"):
            gradient_check(lambda x: x.sum(), x, x, rng=rng, h=h)
    with pytest.raises(ValueError, match=r"grad must have shape \(3,\); got \(2,\)"):
        gradient_check(lambda x: x.sum(), x, np.ones(2), rng=rng)
    with pytest.raises(ValueError, match="directions must be positive; got 0"):
        gradient_check(lambda x: x.sum(), x, x, rng=rng, directions=0)
    with pytest.raises(TypeError, match="x must be real"):
        numerical_gradient(lambda x: x.sum(), np.ones(3, complex))
    with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator; got 0"):
        gradient_check(lambda x: x.sum(), x, x, rng=0)


def forward_difference(f, x, *, h):
    at = to_numpy(x)
    steps = h * np.eye(at.size).reshape(at.size, *at.shape)
    slopes = [float(f(array(at + step)) - f(x)) / h for step in steps]
    return array(np.reshape(slopes, at.shape))


def without_the_half(f, x, *, h):
    return 2 * gradients.numerical_gradient(f, x, h=h)


@pytest.mark.parametrize("mutant", [forward_difference, without_the_half])
def test_mutants_of_the_difference(monkeypatch, created, mutant):
    monkeypatch.setitem(globals(), "numerical_gradient", mutant)
    with pytest.raises(AssertionError):
        test_central_differences_of_a_cube_are_off_by_the_square_of_the_step(created)


def with_unit_directions(f, x, grad, *, rng, directions):
    """Forget that a unit direction sees only a share of the error."""
    v = rng.standard_normal((directions, *x.shape))
    v /= np.linalg.norm(v, axis=-1, keepdims=True)
    slopes = [float(f(x + 1e-5 * d) - f(x - 1e-5 * d)) / 2e-5 for d in v]
    return float(np.sqrt(np.mean((v @ grad - slopes) ** 2)) / np.linalg.norm(grad))


def with_one_direction_for_all(f, x, grad, *, rng, directions):
    return gradients.gradient_check(f, x, grad, rng=rng, directions=1)


@pytest.mark.parametrize("mutant", [with_unit_directions, with_one_direction_for_all])
def test_mutants_of_the_estimate(monkeypatch, mutant):
    monkeypatch.setitem(globals(), "gradient_check", mutant)
    with pytest.raises(AssertionError):
        test_estimates_the_norm_of_the_error(None, 0.01)


# Clipping -------------------------------------------------------------------------------------

NET = Sequential(layers.Linear(4, 5), layers.Tanh(), layers.Linear(5, 3))  # 25 and 18 parameters
SIZES = np.array([[1e-3], [0.2], [1.0], [100.0]])


def some_gradients():
    return SIZES * np.random.default_rng(7).standard_normal((4, NET.size))


def by_torch(clip, gradient, bound, cuts=(20, 25, 40)):
    """Clip one gradient, in parts, with a function of torch.nn.utils."""
    parts = [torch.nn.Parameter(torch.zeros(p.shape)) for p in np.split(gradient, cuts)]
    for part, value in zip(parts, np.split(gradient, cuts), strict=True):
        part.data = part.data.to(torch.float64)
        part.grad = torch.tensor(value)
    clip(parts, float(bound))
    return np.concatenate([part.grad for part in parts])


def check_clip_norm():
    grads, limits = some_gradients(), np.array([[1.0], [1.0], [0.5], [2.0]])
    theirs = torch.nn.utils.clip_grad_norm_
    for limit in (1.0, limits):
        bounds = np.broadcast_to(limit, (4, 1))[:, 0]
        got = to_numpy(clipping.clip_grad_norm(array(grads), limit))
        want = np.stack([by_torch(theirs, g, c) for g, c in zip(grads, bounds, strict=True)])
        assert_allclose(got, want, rtol=1e-13)
        assert (np.linalg.norm(got, axis=-1) <= bounds).all()
        exact = to_numpy(clipping.clip_grad_norm(array(grads), limit, eps=0.0))
        norms = np.linalg.norm(grads, axis=-1, keepdims=True)
        assert_allclose(exact, grads * np.minimum(1, bounds[:, None] / norms), rtol=1e-13)
    layered = to_numpy(clipping.clip_grad_norm(array(grads), 0.7, net=NET))
    for own in (slice(0, 25), slice(25, None)):
        want = np.stack([by_torch(theirs, g[own], 0.7, (3,)) for g in grads])
        assert_allclose(layered[:, own], want, rtol=1e-13)


def check_extremes():
    """The result is representable where the square of the norm, or the norm, is not."""
    unit = np.array([0.6, 0.8, 0.0])
    for size in (1e-320, 1e-200, 1e-3, 1e19, 1e200, 1.7e308):
        got = to_numpy(clipping.clip_grad_norm(array(size * unit), 1.0))
        want = unit if size > 1 else size * unit  # below the bound as it was, to the last bit
        np.testing.assert_allclose(got, want, rtol=2e-6 if size == 1e19 else 1e-15, atol=0)
        if size < 1e307:
            norm = to_numpy(clipping.grad_norm(array(size * unit)))
            assert norm == pytest.approx(size, rel=1e-3 if size < 1e-307 else 1e-15)
    many = np.full(10_000, 1.7e308)  # a norm of 1.7e310
    assert_allclose(to_numpy(clipping.clip_grad_norm(array(many), 1.0)), 0.01, rtol=1e-14)
    tiny = to_numpy(clipping.clip_grad_norm(array(1e-200 * unit), 1e-202, eps=0.0))
    assert_allclose(tiny, 1e-202 * unit, rtol=1e-14)
    for eps in (0.0, 1e-6):
        for bound in (0.0, 1.0):
            still = clipping.clip_grad_norm(array(np.zeros((2, 3))), bound, eps=eps)
            np.testing.assert_array_equal(to_numpy(still), np.zeros((2, 3)))
    wrong = array([[1.0, math.inf], [math.nan, 1.0], [3.0, 4.0]])
    got = to_numpy(clipping.clip_grad_norm(wrong, 1.0))
    assert np.isnan(got[:2]).all()
    assert_allclose(got[2], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(to_numpy(clipping.grad_norm(wrong)), [math.inf, math.nan, 5.0])


def check_clip_value():
    grads, limits = some_gradients(), np.array([[0.5], [0.1], [1.0], [30.0]])
    theirs = torch.nn.utils.clip_grad_value_
    for limit in (0.3, limits):
        bounds = np.broadcast_to(limit, (4, 1))[:, 0]
        got = to_numpy(clipping.clip_grad_value(array(grads), limit))
        want = [by_torch(theirs, g, c) for g, c in zip(grads, bounds, strict=True)]
        np.testing.assert_array_equal(got, want)
    ends = clipping.clip_grad_value(array([math.inf, -math.inf, math.nan, -0.0]), 2)
    np.testing.assert_array_equal(to_numpy(ends), [2, -2, math.nan, 0])


def test_clipping_by_norm_is_that_of_torch_and_of_the_paper(created):
    check_clip_norm()


def test_norms_neither_overflow_nor_underflow(created):
    check_extremes()


def test_clipping_by_value_is_that_of_torch(created):
    check_clip_value()


def test_clipped_in_float32_and_in_half(created):
    grad = array([3e30, 4e30], dtype="float32")
    got = clip_grad_norm(grad, 1.0)
    assert "float32" in str(got.dtype)
    assert_allclose(to_numpy(got), [0.6, 0.8], rtol=1e-6)
    half = torch.tensor([300.0, 400.0], dtype=torch.bfloat16)  # 400 squared is beyond float16
    assert clip_grad_norm(half, 5.0).dtype == torch.bfloat16
    assert_allclose(clip_grad_norm(half.half(), 5.0).float(), [3, 4], rtol=1e-3)
    assert_allclose(clip_grad_norm([3, 4], 1), [0.6, 0.8], rtol=1e-6)


def test_clipping_on_the_standard():
    x = array_api_strict.asarray(some_gradients())
    for function, bound in ((clip_grad_norm, 0.5), (clip_grad_value, 0.5)):
        got = function(x, bound)
        want = function(some_gradients(), bound)
        assert_allclose(np.asarray(got), want, rtol=1e-15)
    assert_allclose(np.asarray(grad_norm(x)), np.linalg.norm(some_gradients(), axis=1))


def test_autograd_through_clipping():
    def jacobian(function, at):
        return torch.autograd.functional.jacobian(function, torch.tensor(at, dtype=torch.float64))

    def by_norm(g):
        return clip_grad_norm(g, 1.0)

    assert_allclose(jacobian(by_norm, [0.0, 0.0]), np.eye(2))
    assert_allclose(jacobian(by_norm, [0.3, 0.4]), np.eye(2))
    # g c/(|g| + e): c/(n + e) (I - g gᵀ/(n (n + e)))
    g, n, e = np.array([3.0, 4.0]), 5.0, 1e-6
    want = (np.eye(2) - np.outer(g, g) / (n * (n + e))) / (n + e)
    assert_allclose(jacobian(by_norm, g), want, rtol=1e-12)
    by_value = jacobian(lambda g: clip_grad_value(g, 1.0), [0.5, -3.0])
    assert_allclose(by_value, np.diag([1.0, 0.0]))


def test_clipping_leaves_its_input(created):
    grad = array(some_gradients())
    for function in (clip_grad_norm, clip_grad_value):
        function(grad, 1e-3)
        np.testing.assert_array_equal(to_numpy(grad), some_gradients())


@pytest.mark.parametrize("bound", [-1, math.nan, np.array([[1.0], [-1.0]]), [-1.0]])
def test_bad_bounds_are_named(created, bound):
    grad = array(np.ones((2, 3)))
    with pytest.raises(ValueError, match="max_norm must not be negative; got"):
        clip_grad_norm(grad, bound)
    with pytest.raises(ValueError, match="clip_value must not be negative; got"):
        clip_grad_value(grad, bound)
    with pytest.raises(ValueError, match="eps must not be negative; got -1"):
        clip_grad_norm(grad, 1.0, eps=-1)
    with pytest.raises(ValueError, match="theta must have shape"):
        clip_grad_norm(grad, 1.0, net=NET)


@pytest.mark.parametrize("bound", [(2, 1), (4, 1), (1, 1), (1, 3, 1)])
def test_a_bound_leaves_the_gradient_its_shape(created, bound):
    grad, bound = array(np.ones(3)), array(np.ones(bound))
    for clip, name in ((clip_grad_norm, "max_norm"), (clip_grad_value, "clip_value")):
        with pytest.raises(
            ValueError, match=rf"{name} must broadcast into grad's shape \(3,\); got"
        ):
            clip(grad, bound)
    with pytest.raises(ValueError, match=r"eps must broadcast into grad's shape \(3,\); got"):
        clip_grad_norm(grad, 1.0, eps=bound)
    with pytest.raises(ValueError, match=r"clip_value must .* shape \(2, 3\); got shape \(2,\)"):
        clip_grad_value(array(np.ones((2, 3))), np.ones(2))


@pytest.mark.parametrize("bound", ["1", None, np.array(["1"]), [1j]])
def test_a_bound_that_is_no_number_is_named(created, bound):
    grad = array(np.ones((2, 3)))
    with pytest.raises(TypeError, match="eps must be real"):
        clip_grad_norm(grad, 1.0, eps=bound)
    with pytest.raises(TypeError, match="max_norm must be real"):
        clip_grad_norm(grad, bound)
    with pytest.raises(TypeError, match="clip_value must be real"):
        clip_grad_value(grad, bound)


def test_a_norm_for_each_entry_would_turn_the_gradient(created):
    grad = array(np.full((2, 3), 3.0))
    for bound in (np.ones(3), array(np.ones((2, 3))), [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match=r"max_norm must be a number or have shape \(..., 1\)"):
            clip_grad_norm(grad, bound)
    assert clip_grad_value(grad, np.arange(3.0)).shape == (2, 3)
    for one in (
        np.float32(1),
        np.int64(1),
        np.array(1.0),
        [[1], [1]],
        (1,),
        array(np.ones((2, 1))),
    ):
        assert_allclose(to_numpy(grad_norm(clip_grad_norm(grad, one))), 1, rtol=1e-6)


def check_blocks():
    """What the network has as one layer is clipped as one, whatever is inside."""
    net = Sequential(
        layers.Attention(4, 2),
        layers.Residual(layers.Linear(4, 4), layers.Tanh(), layers.Linear(4, 4)),
        layers.Linear(4, 3),
    )
    grad = np.random.default_rng(0).standard_normal((2, net.size))
    got = to_numpy(clipping.clip_grad_norm(array(grad), 0.7, eps=0.0, net=net))
    ends = np.cumsum([0, 80, 40, 15])
    for start, stop in itertools.pairwise(ends):
        own = grad[:, start:stop]
        want = 0.7 * own / np.linalg.norm(own, axis=-1, keepdims=True)
        assert_allclose(got[:, start:stop], want, rtol=1e-13)


def test_a_block_is_clipped_as_one(created):
    check_blocks()


def test_empty_gradients(created):
    for shape in ((0,), (2, 0), (0, 3)):
        empty = array(np.ones(shape))
        assert clip_grad_norm(empty, 1.0).shape == shape
        np.testing.assert_array_equal(to_numpy(grad_norm(empty)), np.zeros(shape[:-1]))


def test_lists_are_taken(created):
    x = array([1.0, 2.0])
    assert gradient_check(lambda x: (x**2).sum(), x, [2, 4], rng=np.random.default_rng(0)) < 1e-8
    net = Sequential(layers.Linear(1, 2))
    for before in (array([3.0, 4.0, 1.0, 0.0]), [3, 4, 1, 0]):
        ratios = update_ratio(net, before, [3.0, 4.5, 1.0, 1.0])
        assert [float(r) for r in ratios.values()] == pytest.approx([0.1, 1.0])
    value, vector = sharpness(lambda x: array([1.0, 5.0]) * x, x, [1, 1])
    assert float(value) == pytest.approx(5)
    assert type(vector) is type(x)


def test_update_ratio(created):
    rng = np.random.default_rng(0)
    before, step = rng.standard_normal((2, NET.size)), 1e-3 * rng.standard_normal((2, NET.size))
    before[1, 20:25], step[1, 20:25] = 0, [1, 0, 0, 0, 0]
    ratios = update_ratio(NET, array(before), array(before + step))
    assert list(ratios) == list(NET.unpack(array(before)))
    for (name, got), old in zip(ratios.items(), NET.unpack(before).values(), strict=True):
        new = NET.unpack(before + step)[name]
        for k in range(2):
            size = np.linalg.norm(old[k])
            want = np.linalg.norm(new[k] - old[k]) / size if size else math.inf
            assert to_numpy(got)[k] == pytest.approx(want, rel=1e-12)
    rest = update_ratio(NET, array(0 * before), array(0 * before))
    assert np.isnan(to_numpy(rest["0.bias"])).all()
    huge = update_ratio(NET, array(1e200 * np.ones(NET.size)), array(1.5e200 * np.ones(NET.size)))
    assert to_numpy(huge["2.weight"]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="after must have shape"):
        update_ratio(NET, array(before), array(before[0]))


def test_the_second_argument_is_made_like_the_first(created):
    start, other = array(np.ones(4), dtype="float32"), array(np.full(4, 2.0), dtype="float64")
    ratios = update_ratio(Sequential(layers.Linear(1, 2)), start, other)
    value, vector = sharpness(lambda x: 3 * x, start, other, steps=2)
    for found in (*ratios.values(), value, vector):
        assert found.dtype == start.dtype


# Noise ----------------------------------------------------------------------------------------


def check_noise():
    """All pairs of four samples, drawn independently: expectations without any chance."""
    g = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5], [2.0, 2.0]])
    mean, trace = g.mean(axis=0), ((g - g.mean(axis=0)) ** 2).sum() / 4
    pairs = np.array([[a, b] for a in g for b in g])
    variances = [to_numpy(noise.gradient_variance(array(pair))) for pair in pairs]
    assert np.mean(variances) == pytest.approx(trace, rel=1e-14)
    squares = (g**2).sum() / 4, (pairs.mean(axis=1) ** 2).sum() / 16
    found = noise.noise_scale(tuple(array(np.array([s])) for s in squares), (1, 2))
    assert to_numpy(found.trace)[0] == pytest.approx(trace, rel=1e-14)
    assert to_numpy(found.square)[0] == pytest.approx((mean**2).sum(), rel=1e-14)
    assert to_numpy(found.scale)[0] == pytest.approx(trace / (mean**2).sum(), rel=1e-14)


def test_estimates_of_noise_have_no_bias(created):
    check_noise()


def test_two_sizes_and_the_variance_say_the_same(created):
    """If the large batch is made of the small ones, B times the variance is the trace."""
    grads = np.random.default_rng(3).standard_normal((8, 3, 20)) + 0.5
    squares = (grads**2).sum(axis=-1).mean(axis=0), (grads.mean(axis=0) ** 2).sum(axis=-1)
    found = noise_scale(tuple(map(array, squares)), (16, 128))
    assert isinstance(found, Noise)
    assert_allclose(to_numpy(found.trace), 16 * to_numpy(gradient_variance(array(grads))))
    assert to_numpy(found.scale).shape == (3,)


def test_bad_input_of_noise_is_named():
    with pytest.raises(ValueError, match=r"grads must be two or more.*got shape \(1, 3\)"):
        gradient_variance(np.ones((1, 3)))
    for grads in (3.0, np.ones(3)):
        with pytest.raises(
            ValueError, match=r"grads must be two or more, \(k, ..., P\); got shape"
        ):
            gradient_variance(grads)
    for sizes in ((4, 4), (8, 4), (0, 4)):
        with pytest.raises(ValueError, match="batch_sizes must be positive and increase"):
            noise_scale((1.0, 0.5), sizes)


# Curvature ------------------------------------------------------------------------------------


def check_sharpness():
    """Of two replicas; in one it is negative."""
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    values = np.array([[9.0, 4.0, 3.0, 2.0, 1.0, -1.0], [2.0, 1.0, 0.5, 0.1, 0.0, -7.0]])
    hessian = array(turn * values[:, None, :] @ turn.T)

    def gradient(x):
        return (hessian @ x[..., None])[..., 0]

    # one replica far away, where a step of 6e-6 would be lost in rounding
    x = array(np.array([[1.0], [1e8]]) * rng.standard_normal((2, 6)))
    v = array(rng.standard_normal((2, 6)))
    value, vector = curvature.sharpness(gradient, x, v, steps=60)
    assert_allclose(to_numpy(value), [9, -7], rtol=1e-8)
    assert_allclose(abs(to_numpy(vector) @ turn)[[0, 1], [0, 5]], 1, rtol=1e-8)
    again, _ = curvature.sharpness(gradient, x, vector, steps=1)
    assert_allclose(to_numpy(again), [9, -7], rtol=1e-8)


def test_sharpness_is_the_largest_eigenvalue(created):
    check_sharpness()


def test_sharpness_where_the_hessian_is_zero(created):
    start = np.array([[0.0, 3.0, 4.0], [1.0, 2.0, 2.0], [1.0, 2.0, 2.0]])
    slopes = array(np.array([[7.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 5.0, 0.0]]))
    value, vector = sharpness(lambda x: slopes * x, array(np.zeros((3, 3))), array(start))
    assert_allclose(to_numpy(value), [0, 0, 5], rtol=1e-14)
    assert_allclose(to_numpy(vector), [[0, 0.6, 0.8], [1 / 3, 2 / 3, 2 / 3], [0, 1, 0]], rtol=1e-14)


def test_sharpness_of_a_network_is_that_of_torchs_hessian(created):
    _, theta, _ = small_net()
    net = Sequential(layers.Linear(4, 4), layers.Tanh(), layers.Linear(4, 3))
    x = array(np.random.default_rng(3).standard_normal((6, 4)))

    def gradient(theta):
        y, cache = net.forward(theta, x)
        return net.backward(cache, losses.cross_entropy_grad(y, np.arange(6) % 3))[1]

    start = array(np.random.default_rng(1).standard_normal(net.size))
    got, _ = sharpness(gradient, theta, start, steps=200)
    backend.use("torch", device="cpu")  # the fixture sets it back
    x, theta = array(to_numpy(x)), array(to_numpy(theta))

    def loss(theta):
        return losses.cross_entropy(net.forward(theta, x)[0], np.arange(6) % 3)

    values = np.linalg.eigvalsh(torch.autograd.functional.hessian(loss, theta))
    assert float(got) == pytest.approx(values[np.abs(values).argmax()], rel=1e-6)


def test_sharpness_takes_its_step_from_the_dtype(created):
    theta, seen = array(np.zeros(2), dtype="float32"), []

    def gradient(x):
        seen.append(float(x[0]))
        return x

    sharpness(gradient, theta, array([1.0, 0.0], dtype="float32"), steps=1)
    assert seen[0] == pytest.approx(np.finfo(np.float32).eps ** (1 / 3), rel=1e-6)


def test_bad_input_of_sharpness_is_named():
    with pytest.raises(ValueError, match=r"vector must have shape \(3,\); got \(2,\)"):
        sharpness(lambda x: x, np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="steps must be positive; got 0"):
        sharpness(lambda x: x, np.ones(3), np.ones(3), steps=0)
    for vector in (np.zeros(3), [0, 0, 0]):
        with pytest.raises(ValueError, match="vector must not be 0 in any replica; got"):
            sharpness(lambda x: x, np.ones(3), vector)
    with pytest.raises(ValueError, match="vector must not be 0 in any replica; got"):
        sharpness(lambda x: x, np.ones((2, 3)), [[0, 0, 0], [0, 0, 1]])


# file, right, wrong, which check sees it
MUTANTS = {
    "the norm of all replicas": (clipping, "largest(xp.abs(x), keepdims=True)", "xp.max(xp.abs(x))",
                                 "total(u * u, keepdims=True)", "xp.sum(u * u)", check_clip_norm),
    "no small number": (clipping, "m * root + eps", "m * root", "", "", check_clip_norm),
    "each array alone": (clipping, 'item[0].partition(".")[0]', "item[0]", "", "",
                         check_clip_norm),
    "each part of a block alone": (clipping, 'item[0].partition(".")[0]',
                                   'item[0].rpartition(".")[0]', "", "", check_blocks),
    "also made longer": (clipping, "~(length >= m) & (top != 0)", "top != 0", "", "",
                         check_clip_norm),
    "squares that overflow": (clipping, "u = x / xp.where(top == 0, 1, top)",
                              "u, top = x, xp.where(top == 0, top, 1)", "", "", check_extremes),
    "a product that overflows": (clipping, "bound / (root + eps / m)",
                                 "bound * (m / (m * root + eps))", "", "", check_extremes),
    "what is not finite left": (clipping, "~(length >= m)", "(length < m)", "", "",
                                check_extremes),
    "nothing below": (clipping, "xp.where(grad < -bound, -bound, grad)", "grad", "", "",
                      check_clip_value),
    "the variance with bias": (noise, "axis=0) / (k - 1)", "axis=0) / k", "", "", check_noise),
    "sizes swapped": (noise, "(B * large - b * small)", "(b * large - B * small)", "", "",
                      check_noise),
    "no difference of inverses": (noise, "(1 / b - 1 / B)", "(1 / b)", "", "", check_noise),
    "no sign": (curvature, "total(vector * product)", "grad_norm(product)", "", "",
                check_sharpness),
    "a step whatever theta": (curvature, "grad_norm(theta), like", "0 * grad_norm(theta), like",
                              "", "", check_sharpness),
    "a difference over h": (curvature, "/ (2 * h)", "/ h", "", "", check_sharpness),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MUTANTS)
def test_mutants_of_clipping_and_noise(monkeypatch, on_numpy, mistake):
    module, right, wrong, also, instead, check = MUTANTS[mistake]
    text = inspect.getsource(module)
    assert right in text
    assert also in text
    text = text.replace(right, wrong)
    planted = {"__name__": module.__name__}
    exec(text.replace(also, instead) if also else text, planted)
    check()
    for name in ("clip_grad_norm", "clip_grad_value", "grad_norm", "gradient_variance"):
        if name in planted and hasattr(module, name):
            monkeypatch.setattr(module, name, planted[name])
    for name, owner in (("noise_scale", noise), ("sharpness", curvature)):
        if module is owner:
            monkeypatch.setattr(module, name, planted[name])
    with pytest.raises(AssertionError):
        check()
