"""Convolution and pooling: against torch.nn, their definition, and wrong versions."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from companion import backend, initializers
from companion.backend import array, to_numpy
from companion.layers import GELU, AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, Tanh, convolution
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
#: Options and the shape of a batch: overlapping windows, windows apart, left-over rows, one pixel.
CASES = {
    "plain": ({"kernel_size": 3}, (2, 3, 6, 5)),
    "padded": ({"kernel_size": 3, "stride": 1, "padding": 1}, (2, 3, 4, 6)),
    "strided": ({"kernel_size": 3, "stride": 2, "padding": 1}, (3, 2, 7, 8)),
    "side by side": ({"kernel_size": 2, "stride": 2}, (2, 3, 7, 6)),
    "apart": ({"kernel_size": 2, "stride": 3}, (2, 3, 8, 9)),
    "not square": (
        {"kernel_size": (2, 5), "stride": (3, 1), "padding": (1, 2)}, (2, 3, 6, 5)
    ),
    "one pixel": ({"kernel_size": 1, "stride": 1}, (2, 3, 4, 4)),
    "whole image": ({"kernel_size": (4, 5)}, (2, 3, 4, 5)),
}  # fmt: skip
KINDS = (Conv2d, MaxPool2d, AvgPool2d)
every_case = pytest.mark.parametrize("case", CASES)
every_kind = pytest.mark.parametrize("kind", KINDS)
some = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def make(kind, options, channels=3, out_channels=4):
    """Return our layer, and torch's of the same name."""
    args = (channels, out_channels) if kind is Conv2d else ()
    return kind(*args, **options), getattr(nn, kind.__name__)(*args, **options).to(torch.float64)


def network(kind, case, channels=None):
    options, shape = CASES[case]
    return Sequential(make(kind, options, channels or shape[1])[0]), shape


def small_network():
    """Return a convolutional network for images (3, 9, 8), and the same of torch's modules."""
    ours = Sequential(
        Conv2d(3, 4, 3, padding=1),
        Tanh(),
        MaxPool2d(3, stride=2, padding=1),
        Conv2d(4, 5, (3, 2), stride=(2, 1)),
        GELU(),
        AvgPool2d((1, 2)),
        Flatten(),
        Linear(10, 6),
    )
    theirs = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Tanh(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(4, 5, (3, 2), stride=(2, 1)),
        nn.GELU(),
        nn.AvgPool2d((1, 2)),
        nn.Flatten(-3),
        nn.Linear(10, 6),
    )
    return ours, theirs.to(torch.float64)


# The same as torch.nn -----------------------------------------------------------------------


def turned(value):
    """Transpose a weight of Linear, the only one of two axes; the others lie as torch's do."""
    return value.mT if value.ndim == 2 else value


def check_parity(net, theirs, shape, seed=0):
    """Hold values and gradients to those of torch's modules."""
    theta, x, dy, how = draw(net, shape, seed)
    names = [name for name, _ in theirs.named_parameters()]
    values = net.unpack(theta).values()
    theirs.load_state_dict({name: turned(tensor(v)) for name, v in zip(names, values, strict=True)})
    theirs.zero_grad()
    own = tensor(x).requires_grad_()
    want = theirs(own)
    want.backward(tensor(dy))
    y, dx, dtheta = passes(net, theta, x, dy, how)
    assert y.shape == tuple(want.shape) == net.row.output_shape(shape)
    assert_allclose(y, want.detach().numpy(), rtol=1e-10, atol=1e-12)
    assert_allclose(dx, own.grad.numpy(), rtol=1e-10, atol=1e-12)
    for name, grad in zip(names, net.unpack(array(dtheta)).values(), strict=True):
        expected = turned(theirs.get_parameter(name).grad).numpy()
        assert_allclose(to_numpy(grad), expected, rtol=1e-10, atol=1e-12, err_msg=name)


@every_kind
@every_case
def test_parity_with_torch_nn(created, kind, case):
    options, shape = CASES[case]
    ours, theirs = make(kind, options, shape[1])
    check_parity(Sequential(ours), theirs, shape)


@st.composite
def cases(draw):
    """Draw windows and a batch that they fit in."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    options = {
        "kernel_size": kernel,
        "stride": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
    }
    n, c, h, w = (draw(st.integers(1, most)) for most in (3, 3, 7, 7))
    padded = zip((h, w), options["padding"], kernel, strict=True)
    assume(all(size + 2 * p >= k for size, p, k in padded))
    return options, (n, c, h, w)


@given(case=cases(), seed=st.integers(0, 2**32 - 1), out_channels=st.integers(1, 4))
@some
def test_parity_for_any_windows(created, case, seed, out_channels):
    options, shape = case
    for kind in KINDS:
        ours, theirs = make(kind, options, shape[1], out_channels)
        check_parity(Sequential(ours), theirs, shape, seed)


def test_parity_of_a_whole_network(created):
    ours, theirs = small_network()
    check_parity(ours, theirs, (5, 3, 9, 8))


def convolved(x, weight, bias, stride, padding):
    """Convolve one image by the formula, with one loop for each index."""
    (o, c, kh, kw), (_, h, w) = weight.shape, x.shape
    rows, columns = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    y = np.empty((o, rows, columns))
    for k, u, v in np.ndindex(y.shape):
        y[k, u, v] = bias[k]
        for channel, i, j in np.ndindex(c, kh, kw):
            row, column = u * stride + i - padding, v * stride + j - padding
            if 0 <= row < h and 0 <= column < w:
                y[k, u, v] += weight[k, channel, i, j] * x[channel, row, column]
    return y


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (1, 2)])
def test_convolution_is_its_definition(created, stride, padding):
    net = Sequential(Conv2d(2, 3, (3, 2), stride, padding))
    theta, x, _, _ = draw(net, (2, 2, 5, 4))
    weight, bias = (to_numpy(v) for v in net.unpack(theta).values())
    y, _ = net.forward(theta, x)
    for image, got in zip(to_numpy(x), to_numpy(y), strict=True):
        assert_allclose(got, convolved(image, weight, bias, stride, padding), rtol=1e-12)


# The derivative -----------------------------------------------------------------------------


@every_kind
@every_case
@pytest.mark.parametrize("replicas", [(), (3,), (2, 2)], ids=str)
def test_backward_is_the_derivative(created, kind, case, replicas):
    net, shape = network(kind, case)
    for shared in (False, True):
        one = draw(net, shape, 2, replicas, shared)
        check_autograd(net, *one)
        check_differences(net, *one)


@every_kind
@every_case
@pytest.mark.parametrize("replicas", [(3,), (2, 2)], ids=str)
def test_replicas_equal_a_loop(created, kind, case, replicas):
    net, shape = network(kind, case)
    check_replicas(net, *draw(net, shape, 3, replicas))


@given(case=cases(), seed=st.integers(0, 2**32 - 1), replicas=st.sampled_from([(), (3,), (2, 2)]))
@some
def test_the_derivative_for_any_windows(created, case, seed, replicas):
    options, shape = case
    for kind in KINDS:
        net = Sequential(make(kind, options, shape[1])[0], Flatten())
        one = draw(net, shape, seed, replicas)
        check_autograd(net, *one)
        check_differences(net, *one)
        check_replicas(net, *one)


@pytest.mark.parametrize("replicas", [(), (2, 2)], ids=str)
def test_the_derivative_of_a_whole_network(created, replicas):
    net, _ = small_network()
    for shared in (False, True):
        one = draw(net, (4, 3, 9, 8), 4, replicas, shared)
        check_autograd(net, *one)
        check_differences(net, *one)
    check_replicas(net, *draw(net, (4, 3, 9, 8), 4, replicas))


@pytest.mark.parametrize("layer", [Conv2d(3, 2, 3), MaxPool2d(2), AvgPool2d(2)], ids=repr)
def test_without_the_gradient_in_the_input(created, layer):
    check_without_input_grad(Sequential(layer), (2, 3, 4, 4))


def test_the_transpose_of_gathering_is_scattering(created):
    # <A x, y> = <x, A' y> for the linear map A of a convolution without bias
    net = Sequential(Conv2d(2, 3, 3, stride=2, padding=1))
    theta, x, dy, _ = draw(net, (2, 2, 6, 7))
    net.unpack(theta)["0.bias"][:] = 0.0
    y, cache = net.forward(theta, x)
    dx, _ = net.backward(cache, dy)
    assert float((y * dy).sum()) == pytest.approx(float((x * dx).sum()), rel=1e-12)


def test_a_moved_image_has_a_moved_map(created):
    net = Sequential(Conv2d(1, 2, 3))
    theta, x, _, _ = draw(net, (2, 1, 9, 9))
    whole = net.forward(theta, x)[0]
    part = net.forward(theta, x[:, :, 2:, 3:])[0]
    assert_allclose(to_numpy(part), to_numpy(whole[:, :, 2:, 3:]), rtol=1e-12)


# Ties and nan -------------------------------------------------------------------------------


def check_ties(options, values):
    """Hold the gradient of equal values to the first of each window, and to torch's."""
    pool, theirs = make(MaxPool2d, options)
    y, cache = pool.forward((), array(values))
    dy = array(np.random.default_rng(0).standard_normal(tuple(y.shape)))
    own = torch.tensor(values, requires_grad=True)
    theirs(own).backward(tensor(dy))
    got = to_numpy(pool.backward(cache, dy)[0])
    assert_allclose(got, own.grad.numpy(), rtol=1e-13)
    return got, to_numpy(dy)


def test_a_tie_goes_to_the_first_as_in_torch(created):
    ones = np.ones((2, 3, 6, 6))
    got, dy = check_ties({"kernel_size": 2}, ones)
    assert_array_equal(got[..., ::2, ::2], dy)
    assert np.count_nonzero(got) == dy.size
    whole_numbers = np.random.default_rng(1).integers(0, 3, (2, 3, 7, 8)).astype(float)
    for options in ({"kernel_size": 3, "stride": 1}, {"kernel_size": 3, "padding": 1}):
        check_ties(options, whole_numbers)


def test_a_window_of_more_entries_than_a_byte_counts(created):
    x = np.zeros((1, 1, 20, 30))
    x[..., 15:, 25:] = 1.0
    got, dy = check_ties({"kernel_size": (20, 30)}, x)
    assert got[0, 0, 15, 25] == dy.item()


def test_nan_is_the_largest_as_in_torch(created):
    x = np.random.default_rng(0).standard_normal((2, 1, 6, 6))
    x[0, 0, 2, 3] = x[1, 0, 0, 0] = x[1, 0, 5, 5] = np.nan
    for options in ({"kernel_size": 3, "stride": 1}, {"kernel_size": 2}):
        pool, theirs = make(MaxPool2d, options)
        want = theirs(torch.tensor(x)).numpy()
        assert_array_equal(to_numpy(pool.forward((), array(x))[0]), want)


def test_padding_counts_in_the_mean_and_not_in_the_maximum(created):
    x = array(np.full((1, 1, 2, 2), -4.0))
    mean, largest = (
        to_numpy(kind(2, 2, padding=1).forward((), x)[0]) for kind in (AvgPool2d, MaxPool2d)
    )
    assert_array_equal(mean, np.full((1, 1, 2, 2), -1.0))
    assert_array_equal(largest, np.full((1, 1, 2, 2), -4.0))


# Numbers and arrays -------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_and_inputs_are_left_alone(created, kind, dtype):
    backend.use(dtype=dtype)
    net, shape = network(kind, "strided")
    theta, x, dy, _ = draw(net, shape, replicas=(2,))
    before = [to_numpy(a).copy() for a in (theta, x, dy)]
    y, cache = net.forward(theta, x)
    for _ in range(2):  # nor does a backward pass change the cache
        dx, dtheta = net.backward(cache, dy)
        assert all(a.dtype == theta.dtype for a in (y, dx, dtheta))
        want = net.backward(net.forward(theta, x)[1], dy)
        assert_array_equal(to_numpy(dx), to_numpy(want[0]))
    for a, b in zip((theta, x, dy), before, strict=True):
        assert_array_equal(to_numpy(a), b)


def test_layout_in_memory_does_not_matter(created):
    net, _ = small_network()
    theta, x, dy, how = draw(net, (4, 3, 9, 8))
    xp = backend.namespace(x)
    other = xp.moveaxis(xp.moveaxis(x, 0, -1) + 0, -1, 0)
    for got, want in zip(
        passes(net, theta, other, dy, how), passes(net, theta, x, dy, how), strict=True
    ):
        assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@every_kind
@every_case
def test_the_array_api_standard_suffices(kind, case):
    options, shape = CASES[case]
    check_standard(make(kind, options, shape[1])[0], shape)


def test_an_empty_batch(created):
    net, _ = small_network()
    theta = net.init(np.random.default_rng(0), 2)
    y, cache = net.forward(theta, array(np.empty((0, 3, 9, 8))))
    dx, dtheta = net.backward(cache, y)
    assert tuple(y.shape) == (2, 0, 6)
    assert tuple(dx.shape) == (2, 0, 3, 9, 8)
    assert_array_equal(to_numpy(dtheta), np.zeros(dtheta.shape))


def test_what_is_kept_for_the_backward_pass(created):
    x = array(np.random.default_rng(0).standard_normal((2, 3, 8, 8)))
    conv = Conv2d(3, 4, 3)
    params = tuple(map(array, conv.init(np.random.default_rng(0))))
    _, (kept, weight) = conv.forward(params, x)
    assert kept is x
    assert weight is params[0]
    _, (taken, _) = MaxPool2d(2).forward((), x)
    assert to_numpy(taken).dtype == np.uint8
    assert to_numpy(taken).size == to_numpy(x).size // 4
    assert AvgPool2d(2).forward((), x)[1] == Flatten().forward((), x)[1] == x.shape


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_passes_are_one_graph(dtype, device):
    check_one_graph(small_network()[0], (4, 3, 9, 8), dtype, device)


# Initial values and words -------------------------------------------------------------------


def test_the_initializer_sees_the_fans_of_the_kernel(created):
    rng = np.random.default_rng
    net = Sequential(Conv2d(8, 16, (3, 5)))
    weight, bias = (to_numpy(v) for v in net.unpack(net.init(rng(0))).values())
    drawn = initializers.kaiming_normal((3, 5, 8, 16), rng=rng(0))
    assert_array_equal(weight[7, 2], drawn[:, :, 2, 7])
    assert weight.std() == pytest.approx(np.sqrt(2 / (8 * 15)), rel=0.05)
    assert_array_equal(bias, np.zeros(16))
    net = Sequential(Conv2d(8, 16, 3, init=initializers.xavier_uniform, gain=5 / 3))
    weight = to_numpy(net.unpack(net.init(rng(0)))["0.weight"])
    bound = 5 / 3 * np.sqrt(6 / (9 * (8 + 16)))
    assert 0.99 * bound < abs(weight).max() <= bound


def test_flatten_takes_the_axes_it_is_told(created):
    x = np.random.default_rng(0).standard_normal((5, 2, 3, 4))
    for start, shape in ((-3, (5, 24)), (-2, (5, 2, 12))):
        y, cache = Flatten(start).forward((), array(x))
        assert_array_equal(to_numpy(y), x.reshape(shape))
        assert Flatten(start).output_shape((5, 2, 3, 4)) == shape
        assert_array_equal(to_numpy(Flatten(start).backward(cache, y)[0]), x)


def test_print_shows_layers_shapes_and_counts():
    net = Sequential(Conv2d(1, 8, 3, padding=1), MaxPool2d(2), Flatten(), Linear(8, 2))
    assert str(net).splitlines() == [
        "Sequential, 98 parameters",
        "  0  Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))  "
        "weight (8, 1, 3, 3), bias (8,)  80",
        "  1  MaxPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))     "
        "                                 0",
        "  2  Flatten(start_dim=-3)                                            "
        "                                 0",
        "  3  Linear(8, 2)                                                     "
        "weight (8, 2), bias (2,)        18",
    ]


# Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2d(0, 2, 3), "in_channels must be a positive number of channels; got 0"),
        (lambda: Conv2d(2, 0, 3), "out_channels must be a positive number of channels; got 0"),
        (lambda: Conv2d(2, 2, 0), "kernel_size must be an integer of at least 1, or two; got 0"),
        (lambda: Conv2d(2, 2, (3, 0)), r"kernel_size must be .* at least 1, or two; got \(3, 0\)"),
        (lambda: Conv2d(2, 2, (3, 3, 3)), r"kernel_size must be .* got \(3, 3, 3\)"),
        (lambda: Conv2d(2, 2, 2.0), r"kernel_size must be .* got 2.0"),
        (lambda: Conv2d(2, 2, 3, stride=0), "stride must be an integer of at least 1.* got 0"),
        (lambda: Conv2d(2, 2, 3, padding=-1), "padding must be an integer of at least 0.* got -1"),
        (lambda: MaxPool2d(3, padding=2), r"padding must be at most half of kernel_size, \(3, 3\)"),
        (lambda: AvgPool2d((4, 1), padding=1), r"at most half .* \(4, 1\); got \(1, 1\)"),
        (lambda: Flatten(1), "start_dim must be -2 or less, from the last axis; got 1"),
    ],
)
def test_bad_layers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Conv2d(3, 2, 3), (2, 4, 5, 5), r"Conv2d\(3, 2, .*\) expects x of shape \(..., n, 3, h, w"),
        (Conv2d(3, 2, 3), (2, 3, 2, 5), r"no smaller than its kernel; got \(2, 3, 2, 5\)"),
        (Conv2d(3, 2, 3, stride=2), (2, 3, 5, 1), r"no smaller than its kernel"),
        (Conv2d(3, 2, 3), (2, 2, 3, 5, 5), r"expects x of shape .* got \(2, 2, 3, 5, 5\)"),
        (MaxPool2d(2), (3, 5, 5), r"MaxPool2d\(.*\) expects x of shape \(..., n, c, h, w\)"),
        (AvgPool2d(4), (1, 3, 3, 5), r"no smaller than its kernel; got \(1, 3, 3, 5\)"),
        (Flatten(), (3, 5, 5), r"Flatten\(start_dim=-3\) expects x of at least 4 axes; got \(3, 5"),
    ],
)
def test_bad_shapes_are_named(created, layer, shape, message):
    params = tuple(map(array, layer.init(np.random.default_rng(0))))
    with pytest.raises(ValueError, match=message):
        layer.forward(params, array(np.ones(shape)))


# Planted mistakes ---------------------------------------------------------------------------

_Windows = convolution._Windows


def flipped(self, params, x):
    y, (x, weight) = FORWARD(self, (params[0][..., ::-1, ::-1], params[1]), x)
    return y, (x, weight)


def without_overlap(self, pieces, shape, dy):
    (n, c, h, w), (ph, pw) = shape[-4:], self.padding
    padded = np.zeros((*shape[:-4], c, h + 2 * ph, w + 2 * pw, n))
    for where, piece in zip(self._slices((h, w)), pieces, strict=True):
        padded[where] = piece
    return np.moveaxis(padded[..., ph : ph + h, pw : pw + w, :], -1, -4)


def cut_at_the_corner(self, pieces, shape, dy):
    (n, c, h, w), (ph, pw) = shape[-4:], self.padding
    padded = np.zeros((*shape[:-4], c, h + 2 * ph, w + 2 * pw, n))
    for where, piece in zip(self._slices((h, w)), pieces, strict=True):
        padded[where] += piece
    return np.moveaxis(padded[..., :h, :w, :], -1, -4)


def columns_first(self, shape):
    slices = SLICES(self, shape)
    return [slices[j * self.kernel_size[1] + i] for i in range(3) for j in range(3)]


def bias_averaged(self, cache, dy, *, input_grad=True):
    dx, (dweight, dbias) = BACKWARD(self, cache, dy, input_grad=input_grad)
    return dx, (dweight, dbias / dy.shape[-1])


def turned_gradient(self, cache, dy, *, input_grad=True):
    dx, (dweight, dbias) = BACKWARD(self, cache, dy, input_grad=input_grad)
    return dx, (dweight.mT, dbias)


FORWARD, BACKWARD, SLICES = Conv2d.forward, Conv2d.backward, _Windows._slices


@pytest.mark.parametrize(
    ("name", "mutant", "owner", "derivative_too"),
    [
        ("forward", flipped, Conv2d, True),
        ("_scatter", without_overlap, _Windows, True),
        ("_scatter", cut_at_the_corner, _Windows, True),
        ("backward", bias_averaged, Conv2d, True),
        ("backward", turned_gradient, Conv2d, True),
        # a kernel that is laid out by columns is a convolution all the same, with its derivative
        ("_slices", columns_first, _Windows, False),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_wrong_convolution_is_caught(on_numpy, monkeypatch, name, mutant, owner, derivative_too):
    options, shape = {"kernel_size": 3, "padding": 1}, (2, 3, 4, 6)
    ours, theirs = make(Conv2d, options)
    net = Sequential(ours)
    one = draw(net, shape)
    monkeypatch.setattr(owner, name, mutant)
    with pytest.raises(AssertionError):
        check_parity(net, theirs, shape)
    if derivative_too:
        with pytest.raises(AssertionError):
            check_differences(net, *one)


def last_of_ties(self, params, x):
    y, *others = self._gather(x, outside=-np.inf)
    taken = np.zeros(y.shape, np.uint8)
    for k, value in enumerate(others, start=1):
        better = value >= y
        y, taken = np.where(better, value, y), np.where(better, k, taken)
    return np.moveaxis(y, -1, -4), (taken, x.shape)


def padded_with_zeros(self, params, x):
    y, *others = self._gather(x)
    taken = np.zeros(y.shape, np.uint8)
    for k, value in enumerate(others, start=1):
        better = value > y
        y, taken = np.where(better, value, y), np.where(better, k, taken)
    return np.moveaxis(y, -1, -4), (taken, x.shape)


def test_the_last_of_a_tie_is_caught(on_numpy, monkeypatch):
    check_ties({"kernel_size": 2}, np.ones((1, 1, 4, 4)))
    monkeypatch.setattr(MaxPool2d, "forward", last_of_ties)
    with pytest.raises(AssertionError):
        check_ties({"kernel_size": 2}, np.ones((1, 1, 4, 4)))


def test_a_maximum_with_zeros_outside_is_caught(on_numpy, monkeypatch):
    ours, theirs = make(MaxPool2d, {"kernel_size": 3, "stride": 2, "padding": 1})
    monkeypatch.setattr(MaxPool2d, "forward", padded_with_zeros)
    with pytest.raises(AssertionError):
        check_parity(Sequential(ours), theirs, (3, 2, 7, 8))


@pytest.mark.parametrize("kind", [MaxPool2d, AvgPool2d])
@pytest.mark.parametrize("mutant", [without_overlap, cut_at_the_corner])
def test_wrong_pooling_is_caught(on_numpy, monkeypatch, kind, mutant):
    ours, theirs = make(kind, {"kernel_size": 3, "stride": 2, "padding": 1})
    net, shape = Sequential(ours), (3, 2, 7, 8)
    one = draw(net, shape)
    monkeypatch.setattr(_Windows, "_scatter", mutant)
    with pytest.raises(AssertionError):
        check_parity(net, theirs, shape)
    with pytest.raises(AssertionError):
        check_differences(net, *one)


def test_a_mean_whose_gradient_is_not_divided_is_caught(on_numpy, monkeypatch):
    net = Sequential(AvgPool2d(2))
    one = draw(net, (2, 3, 4, 4))
    backward = AvgPool2d.backward
    monkeypatch.setattr(
        AvgPool2d, "backward", lambda self, cache, dy, **how: backward(self, cache, 4 * dy, **how)
    )
    for check in (check_autograd, check_differences):
        with pytest.raises(AssertionError):
            check(net, *one)
