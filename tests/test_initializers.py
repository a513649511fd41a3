"""Initializers: their distributions, and torch's names for them.

A test of a distribution is one of Kolmogorov and Smirnov's, or a z-test, and fails where the
p-value is below ALARM: a right initializer would fail at one seed in a thousand. The seeds are
fixed, so it does not.
"""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from companion import initializers as init
from companion import layers
from companion.backend import to_numpy
from companion.network import Sequential

ALARM = 1e-3
SHAPE = (300, 500)  # n_in, n_out
KERNEL = (3, 3, 20, 90)  # fans 180 and 810

#: name, options, shape, standard deviation
NORMAL = [
    ("normal", {"std": 0.01}, SHAPE, 0.01),
    ("kaiming_normal", {}, SHAPE, math.sqrt(2 / 300)),
    ("kaiming_normal", {"mode": "fan_out"}, SHAPE, math.sqrt(2 / 500)),
    ("kaiming_normal", {"mode": "fan_avg"}, SHAPE, math.sqrt(2 / 400)),
    ("kaiming_normal", {"gain": 5 / 3}, SHAPE, 5 / 3 / math.sqrt(300)),
    ("kaiming_normal", {}, KERNEL, math.sqrt(2 / 180)),
    ("kaiming_normal", {"mode": "fan_out"}, KERNEL, math.sqrt(2 / 810)),
    ("xavier_normal", {}, SHAPE, math.sqrt(2 / 800)),
    ("xavier_normal", {"gain": 2.0}, SHAPE, 2 * math.sqrt(2 / 800)),
    ("xavier_normal", {}, KERNEL, math.sqrt(2 / 990)),
    ("lecun_normal", {}, SHAPE, math.sqrt(1 / 300)),
    (
        "variance_scaling",
        {"distribution": "untruncated_normal", "scale": 3.0},
        SHAPE,
        math.sqrt(3 / 300),
    ),
]
#: name, options, shape, bound
UNIFORM = [
    ("uniform", {"low": -0.1, "high": 0.1}, SHAPE, 0.1),
    ("kaiming_uniform", {}, SHAPE, math.sqrt(6 / 300)),
    ("kaiming_uniform", {"mode": "fan_out"}, SHAPE, math.sqrt(6 / 500)),
    ("kaiming_uniform", {"gain": 3.0}, SHAPE, 3 * math.sqrt(3 / 300)),
    ("kaiming_uniform", {}, KERNEL, math.sqrt(6 / 180)),
    ("xavier_uniform", {}, SHAPE, math.sqrt(6 / 800)),
    ("xavier_uniform", {"gain": 2.0}, KERNEL, 2 * math.sqrt(6 / 990)),
    ("lecun_uniform", {}, SHAPE, math.sqrt(3 / 300)),
    (
        "variance_scaling",
        {"distribution": "uniform", "mode": "fan_avg"},
        SHAPE,
        math.sqrt(3 / 400),
    ),
]
#: options, scale of the normal distribution that is cut at two of it
SCALED = [
    ({}, 1 / math.sqrt(300)),
    ({"scale": 2.0, "mode": "fan_out"}, math.sqrt(2 / 500)),
    ({"mode": "fan_avg"}, 1 / math.sqrt(400)),
]


def rng(seed=0):
    return np.random.default_rng(seed)


def draw(name, options, shape=SHAPE):
    return getattr(init, name)(shape, rng=rng(), **options)


def check(values, distribution, *args):
    """Hold values to a distribution of scipy's, and their variance, which KS hardly sees."""
    values = np.ravel(values)
    assert stats.kstest(values, distribution, args).pvalue > ALARM
    mean, variance, excess = (float(m) for m in getattr(stats, distribution)(*args).stats("mvk"))
    z = (np.mean((values - mean) ** 2) / variance - 1) / math.sqrt((excess + 2) / len(values))
    assert 2 * stats.norm.sf(abs(z)) > ALARM


def check_normal(name, options, shape, std):
    values = draw(name, options, shape)
    assert values.shape == shape
    assert values.dtype == np.float64
    check(values, "norm", 0, std)


def check_uniform(name, options, shape, bound):
    values = draw(name, options, shape)
    assert values.shape == shape
    assert -bound <= values.min() < values.max() <= bound
    check(values, "uniform", -bound, 2 * bound)


def check_scaled(options, std):
    """The truncated distribution has the variance asked for."""
    values = draw("variance_scaling", options)
    wide = std / stats.truncnorm(-2, 2).std()
    assert abs(values).max() <= 2 * wide
    check(values, "truncnorm", -2, 2, 0, wide)
    assert values.std() == pytest.approx(std, rel=0.01)


def check_orthogonal(shape, gain=1.0):
    w = init.orthogonal(shape, rng=rng(), gain=gain)
    assert w.shape == shape
    w = w.reshape(-1, shape[-1])
    product = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    assert_allclose(product, gain**2 * np.eye(len(product)), atol=1e-12)


def check_haar():
    """Traces and entries of many 3 by 3 matrices have their distribution under Haar's measure."""
    draws = rng()
    q = np.stack([init.orthogonal((3, 3), rng=draws) for _ in range(4000)])
    # a column is a uniform point of the sphere: each coordinate is uniform (Archimedes)
    for i in range(3):
        for j in range(3):
            assert stats.kstest(q[:, i, j], "uniform", (-1, 2)).pvalue > ALARM / 9
    # E tr Q = 0 and E (tr Q)² = 1
    trace = np.trace(q, axis1=1, axis2=2)
    assert stats.ttest_1samp(trace, 0).pvalue > ALARM
    assert stats.ttest_1samp(trace**2, 1).pvalue > ALARM


@pytest.mark.parametrize("case", NORMAL, ids=str)
def test_normal(case):
    check_normal(*case)


@pytest.mark.parametrize("case", UNIFORM, ids=str)
def test_uniform(case):
    check_uniform(*case)


@pytest.mark.parametrize("case", SCALED, ids=str)
def test_variance_scaling_is_truncated_and_has_the_variance(case):
    check_scaled(*case)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mean": 0.5, "std": 2.0},
        {"a": -0.5, "b": 3.0},
        {"a": 3.0, "b": 4.0},
        {"a": 20.0, "b": 21.0},
        {"a": -21.0, "b": -20.0},
        {"std": 0.02},
        {"a": -math.inf, "b": math.inf},
    ],
    ids=str,
)
def test_trunc_normal(options):
    values = draw("trunc_normal", options)
    mean, std = options.get("mean", 0.0), options.get("std", 1.0)
    a, b = options.get("a", -2.0), options.get("b", 2.0)
    assert a <= values.min() < values.max() <= b
    exact = stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
    assert stats.kstest(values.ravel(), exact.cdf).pvalue > ALARM


def test_rounding_does_not_lead_out_of_narrow_bounds():
    a, b = 0.5, 0.5 + 1e-15
    values = init.trunc_normal((2000,), rng=rng(), mean=0.1, std=3.0, a=a, b=b)
    assert a <= values.min() <= values.max() <= b


def test_trunc_normal_is_torchs():
    theirs = torch.nn.init.trunc_normal_(
        torch.empty(150_000), 0.3, 0.5, -0.5, 1.0, generator=torch.Generator().manual_seed(0)
    )
    ours = init.trunc_normal((150_000,), rng=rng(), mean=0.3, std=0.5, a=-0.5, b=1.0)
    assert stats.ks_2samp(ours, theirs.numpy()).pvalue > ALARM


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ("kaiming_normal", "kaiming_normal_", {"mode": "fan_out"}),
        ("kaiming_uniform", "kaiming_uniform_", {}),
        ("xavier_normal", "xavier_normal_", {"gain": 0.5}),
        ("xavier_uniform", "xavier_uniform_", {}),
    ],
)
@pytest.mark.parametrize("shape", [SHAPE, KERNEL], ids=str)
def test_torch_draws_the_transpose_from_the_same_distribution(ours, theirs, options, shape):
    *kernel, n_in, n_out = shape
    tensor = torch.empty(n_out, n_in, *kernel)
    generator = torch.Generator().manual_seed(0)
    getattr(torch.nn.init, theirs)(tensor, **options, generator=generator)
    values = draw(ours, options, shape)
    assert stats.ks_2samp(values.ravel(), tensor.numpy().ravel()).pvalue > ALARM
    # six standard errors of the standard deviation
    assert values.std() == pytest.approx(float(tensor.std()), rel=6 / math.sqrt(values.size))


@pytest.mark.parametrize("shape", [(5, 7), (9, 4), (3, 3, 8, 4), (5, 8, 4)])
def test_fans_are_torchs(shape):
    *kernel, n_in, n_out = shape
    theirs = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(n_out, n_in, *kernel))
    assert init.fans(shape) == theirs


@pytest.mark.parametrize(
    "shape", [(50, 50), (80, 30), (30, 80), (3, 3, 8, 20), (3, 3, 2, 40), (1, 5), (5, 1)], ids=str
)
@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
def test_orthogonal(shape, gain):
    check_orthogonal(shape, gain)


def test_orthogonal_matrices_are_uniform():
    check_haar()


def test_eye():
    assert_array_equal(init.eye((3, 5), gain=2.0), 2 * torch.nn.init.eye_(torch.empty(3, 5)))


@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 3, 2, 5), (5, 3, 5, 2), (4, 2, 3, 3)], ids=str)
def test_dirac_is_torchs(shape):
    *kernel, n_in, n_out = shape
    theirs = torch.nn.init.dirac_(torch.empty(n_out, n_in, *kernel)).numpy()
    assert_array_equal(np.moveaxis(init.dirac(shape), (-1, -2), (0, 1)), theirs)


def test_dirac_changes_no_image():
    x = rng().standard_normal((2, 3, 5, 5))
    net = Sequential(layers.Conv2d(3, 3, 3, padding=1, init=init.dirac))
    assert_array_equal(net.forward(to_numpy(net.init(rng())), x)[0], x)


def check_sparse():
    w = init.sparse((40, 500), rng=rng(), sparsity=0.63, std=0.5)
    assert ((w == 0).sum(axis=0) == math.ceil(0.63 * 40)).all()
    check(w[w != 0], "norm", 0, 0.5)
    # which are left is a matter of chance: each row is as likely
    assert stats.chisquare((w != 0).sum(axis=1)).pvalue > ALARM


def test_sparse():
    check_sparse()
    assert (init.sparse((4, 4), rng=rng(), sparsity=1) == 0).all()
    assert (init.sparse((4, 4), rng=rng(), sparsity=0) != 0).all()


def test_torchs_sparse_limits_what_goes_out():
    theirs = torch.nn.init.sparse_(torch.empty(500, 40), 0.63)  # n_out, n_in
    assert ((theirs == 0).sum(0) == math.ceil(0.63 * 500)).all()
    assert len(set((theirs == 0).sum(1).tolist())) > 1


def test_stacked_draws_each_part_with_its_own_fans():
    w = init.stacked(init.xavier_normal, 4)((100, 800), rng=rng())
    check(w, "norm", 0, math.sqrt(2 / 300))
    assert len(np.unique(w)) == w.size
    for q in np.split(init.stacked(init.orthogonal, 4)((20, 80), rng=rng(), gain=2), 4, axis=-1):
        assert_allclose(q.T @ q, 4 * np.eye(20), atol=1e-12)


@pytest.mark.parametrize("name", ["kaiming_normal", "kaiming_uniform", "orthogonal"])
def test_the_scale_of_relu_layers_stays(name):
    """Thirty layers of ReLU keep the mean square of what goes forward within a factor of two."""
    draws = rng()
    start = a = draws.standard_normal((200, 512))
    for _ in range(30):
        weight = getattr(init, name)((512, 512), rng=draws, gain=math.sqrt(2))
        a = np.maximum(a @ weight, 0)
    assert 0.5 < (a**2).mean() / (start**2).mean() < 2


def test_constants_need_no_generator():
    assert init.constant((2, 2), value=3).tolist() == [[3, 3], [3, 3]]
    assert init.zeros((2,)).tolist() == [0, 0]
    assert init.ones((2,)).tolist() == [1, 1]


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gain_is_torchs(name):
    assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))


def test_gain_of_a_slope():
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(
        torch.nn.init.calculate_gain("leaky_relu", 0.3)
    )


def test_aliases():
    assert init.he_normal is init.kaiming_normal
    assert init.he_uniform is init.kaiming_uniform
    assert init.glorot_normal is init.xavier_normal
    assert init.glorot_uniform is init.xavier_uniform


# ---------------------------------------------------------------------- networks and frameworks


@pytest.mark.parametrize("rule", [None, init.pytorch, init.keras])
def test_both_backends_start_from_the_same_numbers(created, rule):
    net = Sequential(
        layers.Linear(20, 30, init=init.orthogonal, gain=2.0),
        layers.Linear(30, 30, init=init.sparse, sparsity=0.5, bias_init=init.ones),
        layers.Linear(30, 5, init=init.trunc_normal, std=0.1),
    )
    draws = rng()
    expected = [np.concatenate([v.ravel() for v in net.row.init(draws, rule)]) for _ in range(2)]
    assert_array_equal(to_numpy(net.init(rng(), 2, rule)), expected)


@pytest.mark.parametrize(
    ("layer", "bias"),
    [
        (layers.Linear(4, 3, bias_init=init.ones), [1] * 3),
        (layers.Maxout(4, 3, 2, bias_init=init.ones), [1] * 6),
        (layers.Conv2d(4, 3, 2, bias_init=init.ones), [1] * 3),
        (layers.Linear(4, 3), [0] * 3),
        (layers.Conv2d(4, 3, 2), [0] * 3),
    ],
    ids=str,
)
def test_a_layer_takes_an_initializer_for_its_bias(layer, bias):
    assert layer.init(rng())[1].tolist() == bias


def test_recurrent_weights_have_an_initializer_of_their_own():
    layer = layers.LSTM(5, 6, init=init.normal, std=3.0, recurrent_init=init.stacked(init.eye, 4))
    weight, recurrent, _ = layer.init(rng())
    assert_array_equal(weight, init.normal((5, 24), rng=rng(), std=3.0))
    assert_array_equal(recurrent, np.tile(np.eye(6), 4))


def theirs(module, *args, **options):
    torch.manual_seed(0)
    return [value.detach().numpy() for value in module(*args, **options).parameters()]


@pytest.mark.parametrize(
    ("layer", "module", "args"),
    [
        (layers.Linear(200, 9000), torch.nn.Linear, (200, 9000)),
        (layers.Conv2d(3, 20_000, 3), torch.nn.Conv2d, (3, 20_000, 3)),
        (layers.Embedding(400, 50), torch.nn.Embedding, (400, 50)),
    ],
    ids=str,
)
def test_pytorch_draws_so(layer, module, args):
    for ours, peer in zip(init.pytorch(layer, rng()), theirs(module, *args), strict=True):
        assert stats.ks_2samp(ours.ravel(), peer.ravel()).pvalue > ALARM
        assert ours.std() == pytest.approx(peer.std(), rel=6 / math.sqrt(ours.size))


@pytest.mark.parametrize(
    ("layer", "module"), [(layers.RNN, torch.nn.RNN), (layers.LSTM, torch.nn.LSTM)]
)
def test_pytorch_draws_recurrent_layers_so(layer, module):
    peers = theirs(module, 40, 500)
    peers = [*peers[:2], peers[2] + peers[3]]  # two biases, of which the sum counts
    for ours, peer in zip(init.pytorch(layer(40, 500), rng()), peers, strict=True):
        assert stats.ks_2samp(ours.ravel(), peer.ravel()).pvalue > ALARM


def test_pytorch_draws_attention_so():
    peers = theirs(torch.nn.MultiheadAttention, 96, 4)
    named = [peers[0], peers[1], peers[2], peers[3]]
    for ours, peer in zip(init.pytorch(layers.Attention(96, 4), rng()), named, strict=True):
        assert stats.ks_2samp(ours.ravel(), peer.ravel()).pvalue > ALARM


def test_pytorch_leaves_the_rest():
    assert init.pytorch(layers.PReLU(3), rng())[0].tolist() == theirs(torch.nn.PReLU, 3)[0].tolist()
    assert [v.tolist() for v in init.pytorch(layers.BatchNorm(2), rng())] == [[1, 1], [0, 0]]
    assert init.pytorch(layers.Maxout(4, 3), rng())[0].shape == (4, 6)
    assert init.pytorch(layers.ReLU(), rng()) == ()


@pytest.mark.parametrize(
    ("layer", "name", "bound"),
    [
        (layers.Linear(100, 400), "weight", math.sqrt(6 / 500)),
        (layers.Conv2d(20, 50, 3), "weight", math.sqrt(6 / (9 * 70))),
        (layers.RNN(100, 200), "weight_ih", math.sqrt(6 / 300)),
        (layers.LSTM(100, 50), "weight_ih", math.sqrt(6 / 300)),
        (layers.Embedding(300, 40), "weight", 0.05),
        # keras.initializers.compute_fans takes the first axis of (d, h, e) for that of a kernel
        (layers.Attention(96, 4), "in_proj_weight", math.sqrt(6 / (96 * 4 + 96 * 24))),
        (layers.Attention(96, 4), "out_proj.weight", math.sqrt(6 / (4 * 24 + 4 * 96))),
    ],
    ids=str,
)
def test_keras_draws_so(layer, name, bound):
    values = dict(zip(layer.shapes, init.keras(layer, rng()), strict=True))
    assert {k: v.shape for k, v in values.items()} == layer.shapes
    check(values[name], "uniform", -bound, 2 * bound)
    for other, bias in values.items():
        if "bias" in other and not isinstance(layer, layers.LSTM):
            assert not bias.any()


def test_keras_draws_recurrent_weights_orthogonal():
    for kind, width in ((layers.RNN, 30), (layers.LSTM, 120)):
        _, w, bias = init.keras(kind(8, 30), rng())
        assert w.shape == (30, width)
        assert_allclose(w @ w.T, np.eye(30), atol=1e-12)
        assert bias.sum() == (30 if kind is layers.LSTM else 0)
    assert init.keras(layers.PReLU(2), rng())[0].tolist() == [0, 0]
    assert len(init.keras(layers.BatchNorm(2), rng())) == 2


def test_a_network_is_drawn_by_a_rule_through_its_blocks():
    block = layers.Residual(
        layers.Linear(4, 4),
        layers.ReZero(layers.Linear(4, 4), layers.Row(layers.Linear(4, 4))),
        shortcut=layers.Linear(4, 4),
    )
    net = Sequential(layers.Linear(3, 4), block)
    seen = []

    def rule(layer, rng):
        seen.append(layer)
        return [np.full(shape, float(len(seen))) for shape in layer.shapes.values()]

    theta = net.init(rng(), draw=rule)
    values = {name: float(to_numpy(v).max()) for name, v in net.unpack(theta).items()}
    assert [v for k, v in values.items() if k.endswith("weight")] == [1, 2, 3, 4, 5]
    assert values["1.1.alpha"] == 0
    own = net.init(rng(), draw=lambda layer, rng: layer.init(rng))
    assert_array_equal(to_numpy(own), to_numpy(net.init(rng())))
    with pytest.raises(ValueError, match=r"draw must return arrays for Linear\(3, 4\) with the sh"):
        net.init(rng(), draw=lambda layer, rng: [np.zeros((4, 3)), np.zeros(4)])


# ------------------------------------------------------------------------- bad input and mutants


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.calculate_gain("gelu"), "nonlinearity must be one of linear, .*got 'gelu'"),
        (
            lambda: draw("kaiming_normal", {"mode": "in"}),
            "mode must be 'fan_in', 'fan_out' or 'fan_avg'; got 'in'",
        ),
        (lambda: draw("xavier_normal", {}, (5,)), r"shape must be \(..., n_in, n_out\).*\(5,\)"),
        (lambda: draw("kaiming_normal", {}, (0, 5)), r"shape must have no empty axis.*\(0, 5\)"),
        (lambda: init.fans((5,)), r"shape must be \(..., n_in, n_out\).*\(5,\)"),
        (lambda: draw("orthogonal", {}, (5,)), r"shape must be \(..., n_in, n_out\).*\(5,\)"),
        (lambda: init.eye((2, 2, 2)), r"shape must be \(n_in, n_out\).*\(2, 2, 2\)"),
        (lambda: init.dirac((2, 2)), r"shape must be \(..., c, o\).*\(2, 2\)"),
        (lambda: draw("sparse", {"sparsity": 1.5}), "sparsity must be from 0 to 1; got 1.5"),
        (lambda: draw("sparse", {"sparsity": math.nan}), "sparsity must be from 0 to 1; got nan"),
        (lambda: draw("sparse", {"sparsity": 0.5}, (2, 2, 2)), r"shape must be \(n_in, n_out\)"),
        (lambda: draw("normal", {"std": -1.0}), "std must be 0 or more; got -1.0"),
        (lambda: draw("trunc_normal", {"std": 0.0}), "std must be positive; got 0.0"),
        (lambda: draw("trunc_normal", {"std": math.nan}), "std must be positive; got nan"),
        (lambda: draw("trunc_normal", {"a": 2.0}), "a must be less than b; got a=2.0, b=2.0"),
        (lambda: draw("trunc_normal", {"a": 90.0, "b": 91.0}), "a and b must leave something"),
        (lambda: draw("variance_scaling", {"scale": 0}), "scale must be positive; got 0"),
        (lambda: draw("variance_scaling", {"distribution": "normal"}), "distribution must be 'tru"),
        (
            lambda: init.stacked(init.orthogonal, 4)((3, 6), rng=rng()),
            r"shape must end in a multiple of 4; got \(3, 6\)",
        ),
        (lambda: init.stacked(init.normal, 4)((), rng=rng()), r"a multiple of 4; got \(\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


DRAWN = [
    *("normal", "uniform", "trunc_normal", "variance_scaling", "orthogonal", "lecun_normal"),
    *("lecun_uniform", "kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform"),
]


@pytest.mark.parametrize("bad", [0, None, torch.Generator()], ids=["int", "None", "torch"])
def test_what_is_no_generator_is_named(bad):
    message = r"rng must be a numpy\.random\.Generator; got "
    for name in DRAWN:
        with pytest.raises(TypeError, match=message):
            getattr(init, name)((3, 4), rng=bad)
    with pytest.raises(TypeError, match=message):
        init.sparse((3, 4), rng=bad, sparsity=0.5)
    with pytest.raises(TypeError, match=message):
        Sequential(layers.Linear(3, 4)).init(bad)


@pytest.mark.parametrize("shape", [3, None, "ab", (2.0, 3)])
def test_a_shape_that_is_none_is_named(shape):
    message = "shape must be a tuple of whole numbers; got"
    matrices = [name for name in DRAWN if name not in ("normal", "uniform", "trunc_normal")]
    for name in (*matrices, "eye", "dirac"):
        with pytest.raises(TypeError, match=message):
            getattr(init, name)(shape, rng=rng())
    with pytest.raises(TypeError, match=message):
        init.fans(shape)
    with pytest.raises(TypeError, match=message):
        init.sparse(shape, rng=rng(), sparsity=0.5)
    with pytest.raises(TypeError, match=message):
        init.stacked(init.normal, 2)(shape, rng=rng())
    assert draw("xavier_normal", {}, np.array([3, 4])).shape == (3, 4)


WITH_GAIN = ["kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform", "orthogonal"]


@pytest.mark.parametrize("name", WITH_GAIN)
def test_a_bad_gain_is_named(name):
    for gain in (-1, math.nan):
        with pytest.raises(ValueError, match=f"gain must be 0 or more; got {gain}"):
            draw(name, {"gain": gain})
    for gain in ("2", None, [1.0]):
        with pytest.raises(TypeError, match="gain must be a number; got"):
            draw(name, {"gain": gain})
    assert (draw(name, {"gain": np.float32(0)}) == 0).all()
    with pytest.raises(ValueError, match="gain must be 0 or more; got -1"):
        layers.Linear(3, 4, init=getattr(init, name), gain=-1).init(rng())


@pytest.mark.parametrize("std", ["0.1", None, [0.1]])
def test_a_std_that_is_no_number_is_named(std):
    for name, more in (("normal", {}), ("trunc_normal", {}), ("sparse", {"sparsity": 0.5})):
        with pytest.raises(TypeError, match="std must be a number; got"):
            draw(name, {"std": std, **more})


@pytest.mark.parametrize("bad", ["a", None, [0.1]])
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("normal", "mean"),
        ("uniform", "low"),
        ("uniform", "high"),
        ("trunc_normal", "mean"),
        ("trunc_normal", "a"),
        ("trunc_normal", "b"),
        ("variance_scaling", "scale"),
        ("sparse", "sparsity"),
        ("eye", "gain"),
    ],
)
def test_an_option_that_is_no_number_is_named(name, option, bad):
    with pytest.raises(TypeError, match=f"{option} must be a number; got"):
        draw(name, {option: bad})


def test_a_slope_that_is_no_number_is_named():
    with pytest.raises(TypeError, match="param must be a number; got 'a'"):
        init.calculate_gain("leaky_relu", "a")
    assert init.calculate_gain("leaky_relu", -1) == 1


@pytest.mark.parametrize("num", [0, -2, 1.5, "4"])
def test_a_number_of_parts_that_is_none_is_named(num):
    with pytest.raises(ValueError, match="num must be a whole number from 1; got"):
        init.stacked(init.orthogonal, num)


def swapped(monkeypatch):
    fans = init.independent.fans
    monkeypatch.setattr(init.independent, "fans", lambda shape: fans(shape)[::-1])


def without_the_kernel(monkeypatch):
    monkeypatch.setattr(init.independent, "fans", lambda shape: shape[-2:])


def wrong(name, change):
    """Plant an initializer whose values are those of the right one, changed."""

    def plant(monkeypatch):
        right = getattr(init, name)
        monkeypatch.setattr(init, name, lambda shape, **given: change(right, shape, given))

    return plant


def gain_squared(right, shape, given):
    return right(shape, **{**given, "gain": given.get("gain", 1.0) ** 2})


def gain_missing(right, shape, given):
    return right(shape, **{k: v for k, v in given.items() if k != "gain"})


def one_over_n(right, shape, given):
    return right(shape, **given) / math.sqrt(2)


def not_rescaled(right, shape, given):
    return right(shape, **given) * stats.truncnorm(-2, 2).std()


def std_for_bound(right, shape, given):
    return right(shape, **given) / math.sqrt(3)


def without_signs(right, shape, given):
    q, _ = np.linalg.qr(given["rng"].standard_normal(shape))
    return q


def by_rows(right, shape, given):
    return right(shape[::-1], **given).T


MUTANTS = {
    "fans swapped": (swapped, check_normal, NORMAL[1]),
    "fans swapped, uniform": (swapped, check_uniform, UNIFORM[1]),
    "fans without the kernel": (without_the_kernel, check_normal, NORMAL[5]),
    "gain squared": (wrong("kaiming_normal", gain_squared), check_normal, NORMAL[4]),
    "gain missing": (wrong("xavier_normal", gain_missing), check_normal, NORMAL[8]),
    "1/n for 2/n": (wrong("kaiming_normal", one_over_n), check_normal, NORMAL[1]),
    "standard deviation for bound": (
        wrong("xavier_uniform", std_for_bound),
        check_uniform,
        UNIFORM[5],
    ),
    "truncated, not rescaled": (wrong("variance_scaling", not_rescaled), check_scaled, SCALED[0]),
    "QR without signs": (wrong("orthogonal", without_signs), check_haar, ()),
    "orthogonal, gain squared": (
        wrong("orthogonal", gain_squared),
        check_orthogonal,
        ((5, 5), math.sqrt(2)),
    ),
    "sparse by rows": (wrong("sparse", by_rows), check_sparse, ()),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name, monkeypatch):
    plant, test, case = MUTANTS[name]
    test(*case)
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        test(*case)
