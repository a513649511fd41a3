"""Recurrent layers: against torch.nn, their equations, and wrong versions."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from companion import backend, initializers
from companion.backend import array, to_numpy
from companion.layers import LSTM, RNN, Flatten, Linear, Tanh
from companion.layers.recurrent import _Recurrent
from companion.network import Sequential
from tests.layer_checks import (
    check_autograd,
    check_differences,
    check_one_graph,
    check_replicas,
    check_standard,
    check_without_input_grad,
    draw,
    passes,
    tensor,
)

nn = torch.nn
KINDS = (RNN, LSTM)
every_kind = pytest.mark.parametrize("kind", KINDS)
#: Samples, steps, features; hidden units.
SHAPES = {"usual": ((4, 6, 3), 5), "one step": ((3, 1, 2), 4), "one unit": ((1, 5, 1), 1)}
every_shape = pytest.mark.parametrize("shape", SHAPES)
some = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def network(kind, shape="usual"):
    shape, n_hidden = SHAPES[shape]
    return Sequential(kind(shape[-1], n_hidden)), shape


# The same as torch.nn -----------------------------------------------------------------------


def check_parity(kind, shape, n_hidden, seed=0):
    """Hold values and gradients to those of torch's module, whose second bias is 0."""
    net = Sequential(kind(shape[-1], n_hidden))
    theirs = getattr(nn, kind.__name__)(shape[-1], n_hidden, batch_first=True).to(torch.float64)
    theta, x, dy, how = draw(net, shape, seed)
    weight_ih, weight_hh, bias = map(tensor, net.unpack(theta).values())
    values = (weight_ih.mT, weight_hh.mT, bias, torch.zeros_like(bias))
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    theirs.load_state_dict(dict(zip(names, values, strict=True)))
    own = tensor(x).requires_grad_()
    want, _ = theirs(own)
    want.backward(tensor(dy))
    y, dx, dtheta = passes(net, theta, x, dy, how)
    assert y.shape == tuple(want.shape) == net.row.output_shape(shape)
    assert_allclose(y, want.detach().numpy(), rtol=1e-10, atol=1e-12)
    assert_allclose(dx, own.grad.numpy(), rtol=1e-10, atol=1e-12)
    for name, grad in zip(names, net.unpack(array(dtheta)).values(), strict=False):
        expected = theirs.get_parameter(name).grad
        expected = expected.mT if expected.ndim == 2 else expected
        assert_allclose(to_numpy(grad), expected.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)


@every_kind
@every_shape
def test_parity_with_torch_nn(created, kind, shape):
    check_parity(kind, *SHAPES[shape])


sizes = st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 4))


@every_kind
@given(shape=sizes, n_hidden=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
@some
def test_parity_for_any_shape(created, kind, shape, n_hidden, seed):
    check_parity(kind, shape, n_hidden, seed)


def sigma(x):
    return 1 / (1 + np.exp(-x))


def equations(kind, params, x):
    """Return the states of one sequence by the equations, step by step and gate by gate."""
    weight_ih, weight_hh, bias = params
    h = c = np.zeros(len(weight_hh))
    states = []
    for step in x:
        a = step @ weight_ih + h @ weight_hh + bias
        if kind is RNN:
            h = np.tanh(a)
        else:
            i, f, g, o = a.reshape(4, -1)
            c = sigma(f) * c + sigma(i) * np.tanh(g)
            h = sigma(o) * np.tanh(c)
        states.append(h)
    return np.array(states)


@every_kind
def test_forward_is_its_equations(created, kind):
    net, shape = network(kind)
    theta, x, _, _ = draw(net, shape)
    params = [to_numpy(v) for v in net.unpack(theta).values()]
    for sequence, got in zip(to_numpy(x), to_numpy(net.forward(theta, x)[0]), strict=True):
        assert_allclose(got, equations(kind, params, sequence), rtol=1e-12)


# The derivative -----------------------------------------------------------------------------


@every_kind
@every_shape
@pytest.mark.parametrize("replicas", [(), (3,), (2, 2)], ids=str)
def test_backward_is_the_derivative(created, kind, shape, replicas):
    net, shape = network(kind, shape)
    for shared in (False, True):
        one = draw(net, shape, 2, replicas, shared)
        check_autograd(net, *one)
        check_differences(net, *one)
    check_replicas(net, *draw(net, shape, 3, replicas))


def language_model():
    """Return a network with an output at every step, as a model of characters has it."""
    return Sequential(LSTM(3, 5), Linear(5, 4), Tanh(), RNN(4, 3), Linear(3, 2))


@given(shape=sizes, seed=st.integers(0, 2**32 - 1), replicas=st.sampled_from([(), (2,), (2, 2)]))
@some
def test_a_whole_network(created, shape, seed, replicas):
    shape = (*shape[:2], 3)
    net = language_model()
    one = draw(net, shape, seed, replicas)
    assert tuple(one[2].shape) == (*replicas, *shape[:2], 2)
    check_autograd(net, *one)
    check_differences(net, *one)
    check_replicas(net, *one)


def test_features_of_all_steps_make_one_answer(created):
    net = Sequential(LSTM(3, 4), Flatten(-2), Linear(24, 2))
    one = draw(net, (4, 6, 3), 0, (2,))
    assert tuple(one[2].shape) == (2, 4, 2)
    check_autograd(net, *one)
    check_replicas(net, *one)


@every_kind
def test_a_gradient_reaches_earlier_steps_only(created, kind):
    net, shape = network(kind)
    theta, x, dy, _ = draw(net, shape)
    _, cache = net.forward(theta, x)
    only = np.zeros(shape[1])
    only[3] = 1.0
    dx = to_numpy(net.backward(cache, dy * array(only)[:, None])[0])
    assert (dx[:, 4:] == 0).all()
    assert (dx[:, :4] != 0).all()


@every_kind
def test_without_the_gradient_in_the_input(created, kind):
    check_without_input_grad(*network(kind))


# Numbers and arrays -------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_and_inputs_are_left_alone(created, kind, dtype):
    backend.use(dtype=dtype)
    net, shape = network(kind)
    theta, x, dy, _ = draw(net, shape, replicas=(2,))
    before = [to_numpy(a).copy() for a in (theta, x, dy)]
    y, cache = net.forward(theta, x)
    dx, dtheta = net.backward(cache, dy)
    assert all(a.dtype == theta.dtype for a in (y, dx, dtheta))
    again = net.backward(cache, dy)  # nor does a backward pass change the cache
    assert_array_equal(to_numpy(again[1]), to_numpy(dtheta))
    for a, b in zip((theta, x, dy), before, strict=True):
        assert_array_equal(to_numpy(a), b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gates_that_are_shut_or_open_have_their_small_gradient(created, dtype):
    # from 17 on sigma(1 - sigma) is 0 in float32, and 1 - tanh^2 from 9 on
    backend.use(dtype=dtype)
    lstm, zero = LSTM(1, 1), np.zeros((1, 4))
    a = np.array([20.0, 0.0, 0.5, 20.0])
    params = [array(v) for v in (zero, zero, a)]
    x, dy = array(np.ones((1, 1, 1))), array(np.ones((1, 1, 1)))
    _, (_, _, dbias) = lstm.backward(lstm.forward(params, x)[1], dy)
    slope = np.exp(-20.0) / (1 + np.exp(-20.0)) ** 2
    g, i = np.tanh(0.5), sigma(20.0)
    c = i * g
    want = [(1 - np.tanh(c) ** 2) * g * slope, 0.0, (1 - np.tanh(c) ** 2) * (1 - g**2)]
    want = [want[0] * i, 0.0, want[2] * i * i, np.tanh(c) * slope]
    assert_allclose(to_numpy(dbias), want, rtol=1e-6 if dtype == "float32" else 1e-12)
    rnn = RNN(1, 1)
    params = [array(v) for v in (zero[:, :1], zero[:, :1], [12.0])]
    _, (_, _, dbias) = rnn.backward(rnn.forward(params, x)[1], dy)
    want = 4 * np.exp(-24.0) / (1 + np.exp(-24.0)) ** 2
    assert_allclose(to_numpy(dbias), [want], rtol=1e-6 if dtype == "float32" else 1e-12)


@every_kind
@pytest.mark.filterwarnings("error")
def test_large_inputs_saturate_and_warn_of_nothing(created, kind):
    net, shape = network(kind)
    theta, x, dy, _ = draw(net, shape)
    y, cache = net.forward(theta, 1e6 * x)
    assert np.isfinite(to_numpy(y)).all()
    assert all(np.isfinite(to_numpy(a)).all() for a in net.backward(cache, dy))


@every_kind
def test_the_array_api_standard_suffices(kind):
    check_standard(kind(3, 4), (5, 6, 3))


@every_kind
def test_an_empty_batch(created, kind):
    net, (_, steps, features) = network(kind)
    theta = net.init(np.random.default_rng(0), 2)
    y, cache = net.forward(theta, array(np.empty((0, steps, features))))
    dx, dtheta = net.backward(cache, y)
    assert tuple(dx.shape) == (2, 0, steps, features)
    assert_array_equal(to_numpy(dtheta), np.zeros(dtheta.shape))


@every_kind
def test_what_is_kept_for_the_backward_pass(created, kind):
    layer = kind(3, 4)
    params = tuple(map(array, layer.init(np.random.default_rng(0))))
    x = array(np.random.default_rng(0).standard_normal((5, 6, 3)))
    y, (own, given_, *kept) = layer.forward(params, x)
    assert own is params
    assert given_ is x
    assert kept[-1] is y
    # beside what the neighbours keep too: each pre-activation, and a cell for each unit
    numbers = sum(to_numpy(a).size for a in kept[:-1])
    assert numbers == 5 * 6 * 4 * (1 if kind is RNN else 5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_passes_are_one_graph(dtype, device):
    check_one_graph(language_model(), (2, 4, 3), dtype, device)


# Initial values and words -------------------------------------------------------------------


@every_kind
def test_initial_values(created, kind):
    rng = np.random.default_rng
    net = Sequential(kind(30, 50))
    weight_ih, weight_hh, bias = (to_numpy(v) for v in net.unpack(net.init(rng(0))).values())
    drawn = rng(0)
    for weight in (weight_ih, weight_hh):
        assert_array_equal(weight, initializers.lecun_normal(weight.shape, rng=drawn))
    if kind is RNN:
        assert_array_equal(bias, np.zeros(50))
    else:
        assert_array_equal(bias.reshape(4, 50), np.outer([0, 1, 0, 0], np.ones(50)))
    net = Sequential(kind(30, 50, init=initializers.xavier_uniform, gain=5 / 3))
    weight = to_numpy(net.unpack(net.init(rng(0)))["0.weight_ih"])
    assert_array_equal(weight, initializers.xavier_uniform(weight.shape, rng=rng(0), gain=5 / 3))


def test_the_forget_bias_is_the_memory_of_the_start(created):
    # what is left of dc after ten steps of gates at their start: f^10
    for forget_bias, left in ((0.0, 0.5**10), (1.0, sigma(1.0) ** 10)):
        lstm = LSTM(1, 1, forget_bias=forget_bias)
        bias = lstm.init(np.random.default_rng(0))[2]
        params = tuple(map(array, (np.zeros((1, 4)), np.zeros((1, 4)), bias)))
        params[0][0, 2] = 1e-4  # so small that tanh is linear
        x = np.zeros((1, 11, 1))
        x[0, 0, 0] = 1.0
        y = to_numpy(lstm.forward(params, array(x))[0])[0, :, 0]
        assert y[-1] / y[0] == pytest.approx(left, rel=1e-6)


def test_print_shows_shapes_and_counts():
    assert str(Sequential(LSTM(3, 5), RNN(5, 2))).splitlines() == [
        "Sequential, 196 parameters",
        "  0  LSTM(3, 5)  weight_ih (3, 20), weight_hh (5, 20), bias (20,)  180",
        "  1  RNN(5, 2)   weight_ih (5, 2), weight_hh (2, 2), bias (2,)      16",
    ]


# Bad input ----------------------------------------------------------------------------------


@every_kind
def test_bad_input_is_named(created, kind):
    for args, message in (
        ((0, 2), "n_in must be a positive number of features; got 0"),
        ((2, 0), "n_hidden must be a positive number of features; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            kind(*args)
    layer = kind(3, 4)
    params = tuple(map(array, layer.init(np.random.default_rng(0))))
    expected = rf"{kind.__name__}\(3, 4\) expects x of shape \(..., n, t, 3\) with t at least 1"
    for shape, said in (
        ((5, 6, 2), r"got \(5, 6, 2\)"),
        ((6, 3), r"got \(6, 3\)"),
        ((2, 5, 6, 3), r"got \(2, 5, 6, 3\)"),
        ((5, 0, 3), r"got \(5, 0, 3\)"),
    ):
        with pytest.raises(ValueError, match=f"{expected}; {said}"):
            layer.forward(params, array(np.ones(shape)))


# Planted mistakes ---------------------------------------------------------------------------

BACKWARD, GRADIENTS, FORWARD = LSTM.backward, _Recurrent._gradients, _Recurrent._from_input


def no_forget_gradient(self, params, x, h, da, input_grad):
    keep = np.ones(4 * self.n_hidden)
    keep[self.n_hidden : 2 * self.n_hidden] = 0.0
    return GRADIENTS(self, params, x, h, [d * keep for d in da], input_grad)


def state_of_the_same_step(self, params, x, h, da, input_grad):
    dx, (dih, _, dbias) = GRADIENTS(self, params, x, h, da, input_grad)
    stacked = np.stack(da, axis=-2)
    return dx, (dih, np.einsum("nth,ntk->hk", h, stacked), dbias)


def first_step_forgotten(self, params, x, h, da, input_grad):
    return GRADIENTS(self, params, x, h, [0 * da[0], *da[1:]], input_grad)


def steps_in_reverse(self, params, x, h, da, input_grad):
    return GRADIENTS(self, params, x, h, da[::-1], input_grad)


def bias_of_the_last_step(self, params, x, h, da, input_grad):
    dx, (dih, dhh, _) = GRADIENTS(self, params, x, h, da, input_grad)
    return dx, (dih, dhh, da[-1].sum(axis=-2))


def without_memory(self, cache, dy, *, input_grad=True):
    params, *rest = cache
    cut = (params[0], 0 * params[1], params[2])
    return KINDS_BACKWARD[type(self)](self, (cut, *rest), dy, input_grad=input_grad)


def cell_not_carried(self, cache, dy, *, input_grad=True):
    # a forget gate that is shut on the way back: the constant path of the gradient is cut
    params, x, a, c, h = cache
    a = a.copy()
    a[..., self.n_hidden : 2 * self.n_hidden] = -1e9
    return BACKWARD(self, (params, x, a, c, h), dy, input_grad=input_grad)


KINDS_BACKWARD = {kind: kind.backward for kind in KINDS}


@pytest.mark.parametrize(
    ("kind", "name", "mutant"),
    [
        (LSTM, "_gradients", no_forget_gradient),
        (LSTM, "backward", cell_not_carried),
        *((kind, "backward", without_memory) for kind in KINDS),
        *(
            (kind, "_gradients", mutant)
            for kind in KINDS
            for mutant in (
                state_of_the_same_step,
                first_step_forgotten,
                steps_in_reverse,
                bias_of_the_last_step,
            )
        ),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_wrong_backward_is_caught(on_numpy, monkeypatch, kind, name, mutant):
    net, shape = network(kind)
    one = draw(net, shape)
    check_autograd(net, *one)
    monkeypatch.setattr(kind, name, mutant)
    for check in (check_autograd, check_differences):
        with pytest.raises(AssertionError):
            check(net, *one)
    with pytest.raises(AssertionError):
        check_parity(kind, *SHAPES["usual"])


def one_step_late(self, params, x):
    return np.roll(FORWARD(self, params, x), 1, axis=-2)


def gates_in_another_order(self, params, x):
    i, f, g, o = np.split(FORWARD(self, params, x), 4, axis=-1)
    return np.concatenate([i, g, f, o], axis=-1)


@pytest.mark.parametrize(
    ("kind", "mutant"),
    [(RNN, one_step_late), (LSTM, one_step_late), (LSTM, gates_in_another_order)],
)
def test_a_wrong_forward_is_caught(on_numpy, monkeypatch, kind, mutant):
    monkeypatch.setattr(kind, "_from_input", mutant)
    with pytest.raises(AssertionError):
        check_parity(kind, *SHAPES["usual"])
