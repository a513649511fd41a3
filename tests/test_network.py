"""Networks: hand-derived backward passes, replicas, initial values."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from companion import activations, backend, initializers, layers
from companion.backend import array, to_numpy
from companion.layers import Linear
from companion.network import Sequential

SMOOTH = [
    layers.Identity(),
    layers.Sigmoid(),
    layers.Tanh(),
    layers.LeCunTanh(),
    layers.Softsign(),
    layers.ELU(),
    layers.CELU(0.7),
    layers.Softplus(),
    layers.SiLU(),
    layers.Mish(),
    layers.GELU(),
    layers.GELU("tanh"),
    layers.Swish(init=1.3),
    layers.Softmax(),
    layers.LogSoftmax(temperature=2.0),
]
KINKED = [
    layers.ReLU(),
    layers.ReLU6(),
    layers.LeakyReLU(0.2),
    layers.ELU(alpha=0.5),
    layers.SELU(),
    layers.Hardsigmoid(),
    layers.Hardswish(),
    layers.PReLU(),
    layers.CReLU(),
]
HALVING = [layers.GLU(), layers.GEGLU(), layers.SwiGLU()]


@st.composite
def networks(draw):
    """Draw up to six layers whose widths fit."""
    widths = st.integers(1, 6)
    n = n_in = draw(widths)
    net = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["linear", "maxout", "halving", "learned", "activation"]))
        if kind == "linear":
            m = draw(widths)
            net.append(Linear(n, m))
            n = m
        elif kind == "maxout":
            m = draw(widths)
            net.append(layers.Maxout(n, m, draw(st.integers(1, 3))))
            n = m
        elif kind == "halving" and n % 2 == 0:
            net.append(draw(st.sampled_from(HALVING)))
            n //= 2
        elif kind == "learned":
            net.append(draw(st.sampled_from([layers.PReLU, layers.Swish]))(n))
        else:
            net.append(draw(st.sampled_from(SMOOTH + KINKED)))
            n *= 2 if isinstance(net[-1], layers.CReLU) else 1
    return Sequential(*net), n_in


each_network = given(
    case=networks(), seed=st.integers(0, 2**32 - 1), replicas=st.sampled_from([(), (3,), (2, 2)])
)
some = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def draw_case(net, n_in, seed, replicas=()):
    """Return theta away from the initial zeros, a batch that is shared, and a gradient of y."""
    rng = np.random.default_rng(seed)
    theta = to_numpy(net.init(rng, replicas))
    theta = array(theta + 0.3 * rng.standard_normal(theta.shape))
    x = array(rng.standard_normal((5, n_in)))
    y, _ = net.forward(theta, x)
    return theta, x, array(rng.standard_normal(tuple(y.shape)))


def check_autograd(net, theta, x, dy):
    """Hold backward to torch's derivative of forward."""
    _, cache = net.forward(theta, x)
    dx, dtheta = net.backward(cache, dy)
    t, s, d = (torch.tensor(to_numpy(a)) for a in (theta, x, dy))
    own = s.expand(*t.shape[:-1], *s.shape[-2:]).clone().requires_grad_()
    y, _ = net.forward(t.requires_grad_(), own)
    want = torch.autograd.grad(y, (t, own), d, allow_unused=True, materialize_grads=True)
    for got, expected in zip((dtheta, dx), want, strict=True):
        assert got.shape == expected.shape
        assert_allclose(to_numpy(got), expected.numpy(), rtol=1e-10, atol=1e-10)


def check_differences(net, theta, x, dy):
    """Hold backward to central differences along random directions."""
    rng = np.random.default_rng(1)
    xp = backend.namespace(theta)

    def loss(theta, x):
        return float(xp.sum(net.forward(theta, x)[0] * dy))

    dx, dtheta = net.backward(net.forward(theta, x)[1], dy)
    h = 1e-6
    v, w = (array(rng.standard_normal(tuple(a.shape))) for a in (theta, x))
    in_theta = (loss(theta + h * v, x) - loss(theta - h * v, x)) / (2 * h)
    in_x = (loss(theta, x + h * w) - loss(theta, x - h * w)) / (2 * h)
    for grad, direction, slope in ((dtheta, v, in_theta), (dx, w, in_x)):
        terms = grad * direction
        assert float(xp.sum(terms)) == pytest.approx(
            slope, abs=1e-6 * (1 + float(xp.sum(xp.abs(terms))))
        )


def check_replicas(net, theta, x, dy):
    """Hold a network of replicas to a loop over networks."""
    y, cache = net.forward(theta, x)
    dx, dtheta = net.backward(cache, dy)
    for i in np.ndindex(tuple(theta.shape[:-1])):
        one = x if x.ndim == 2 else x[i]
        y_i, cache = net.forward(theta[i], one)
        dx_i, dtheta_i = net.backward(cache, dy[i])
        for got, want in ((y[i], y_i), (dx[i], dx_i), (dtheta[i], dtheta_i)):
            assert_allclose(to_numpy(got), to_numpy(want), rtol=1e-12, atol=1e-12)


@each_network
@some
def test_backward_is_the_derivative(created, case, seed, replicas):
    net, n_in = case
    theta, x, dy = draw_case(net, n_in, seed, replicas)
    check_autograd(net, theta, x, dy)
    check_differences(net, theta, x, dy)


@each_network
@some
def test_replicas_equal_a_loop(created, case, seed, replicas):
    net, n_in = case
    theta, x, dy = draw_case(net, n_in, seed, replicas)
    check_replicas(net, theta, x, dy)


def test_every_replica_may_have_its_own_data(created):
    net = Sequential(Linear(4, 6), layers.Tanh(), Linear(6, 2))
    rng = np.random.default_rng(0)
    theta = net.init(rng, replicas=(3, 2))
    own, dy = array(rng.standard_normal((3, 2, 5, 4))), array(rng.standard_normal((3, 2, 5, 2)))
    check_replicas(net, theta, own, dy)
    by_second_axis, _ = net.forward(theta, own[0])
    expected, _ = net.forward(theta[2], own[0])
    assert_allclose(to_numpy(by_second_axis[2]), to_numpy(expected), rtol=1e-13)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (layers.ReLU(), torch.nn.ReLU()),
        (layers.LeakyReLU(), torch.nn.LeakyReLU()),
        (layers.Tanh(), torch.nn.Tanh()),
        (layers.Sigmoid(), torch.nn.Sigmoid()),
        (layers.ELU(0.5), torch.nn.ELU(0.5)),
        (layers.SELU(), torch.nn.SELU()),
        (layers.CELU(0.7), torch.nn.CELU(0.7)),
        (layers.GELU(), torch.nn.GELU()),
        (layers.GELU("tanh"), torch.nn.GELU("tanh")),
        (layers.SiLU(), torch.nn.SiLU()),
        (layers.Mish(), torch.nn.Mish()),
        (layers.Hardswish(), torch.nn.Hardswish()),
        (layers.Hardsigmoid(), torch.nn.Hardsigmoid()),
        (layers.ReLU6(), torch.nn.ReLU6()),
        (layers.Softplus(), torch.nn.Softplus()),
        (layers.Softsign(), torch.nn.Softsign()),
        (layers.PReLU(), torch.nn.PReLU(dtype=torch.float64)),
        (layers.PReLU(8), torch.nn.PReLU(8, dtype=torch.float64)),
        (layers.GLU(), torch.nn.GLU()),
        (layers.Softmax(), torch.nn.Softmax(dim=-1)),
        (layers.LogSoftmax(), torch.nn.LogSoftmax(dim=-1)),
    ],
    ids=repr,
)
def test_parity_with_torch_nn(created, ours, theirs):
    last = 4 if isinstance(ours, layers.GLU) else 8
    net = Sequential(Linear(5, 8), ours, Linear(last, 3))
    theta, x, dy = draw_case(net, 5, seed=0)
    linear = [
        torch.nn.Linear(5, 8, dtype=torch.float64),
        torch.nn.Linear(last, 3, dtype=torch.float64),
    ]
    reference = torch.nn.Sequential(linear[0], theirs, linear[1])
    ours_by_name = {k: torch.tensor(to_numpy(v)) for k, v in net.unpack(theta).items()}
    reference.load_state_dict(
        {k: v.mT if v.ndim == 2 else v for k, v in ours_by_name.items()}, strict=True
    )
    reference.zero_grad()
    want = reference(torch.tensor(to_numpy(x)))
    want.backward(torch.tensor(to_numpy(dy)))
    y, cache = net.forward(theta, x)
    _, dtheta = net.backward(cache, dy)
    assert_allclose(to_numpy(y), want.detach().numpy(), rtol=1e-10)
    for name, grad in net.unpack(dtheta).items():
        expected = reference.get_parameter(name).grad
        expected = expected.mT if expected.ndim == 2 else expected
        # torch keeps 1/6 and 1/alpha in float32 in these two backward kernels
        rough = isinstance(ours, layers.Hardsigmoid | layers.CELU)
        rtol = 1e-6 if rough else 1e-10
        assert_allclose(to_numpy(grad), expected.numpy(), rtol=rtol, atol=1e-12, err_msg=name)


def test_maxout_takes_the_largest_of_its_pieces(created):
    net = Sequential(layers.Maxout(3, 2, num_pieces=4))
    theta, x, _ = draw_case(net, 3, seed=0)
    weight, bias = (to_numpy(v) for v in net.unpack(theta).values())
    expected = (to_numpy(x) @ weight + bias).reshape(5, 2, 4).max(axis=-1)
    assert_allclose(to_numpy(net.forward(theta, x)[0]), expected, rtol=1e-14)
    assert net.size == 4 * (3 * 2 + 2)


@pytest.mark.parametrize(
    ("estimator", "gate"), [("none", [0, 0, 0]), ("identity", [1, 1, 1]), ("hardtanh", [0, 1, 0])]
)
def test_heaviside_takes_its_estimator(created, estimator, gate):
    net = Sequential(layers.Heaviside(estimator=estimator))
    x = array([[-3.0, 0.5, 2.0]])
    y, cache = net.forward(net.init(np.random.default_rng(0)), x)
    dx, _ = net.backward(cache, array([[5.0, 5.0, 5.0]]))
    assert_array_equal(to_numpy(y), [[0, 1, 1]])
    assert_array_equal(to_numpy(dx), [[5 * g for g in gate]])


def test_without_the_gradient_in_the_input(created):
    net = Sequential(Linear(4, 6), layers.Tanh(), Linear(6, 2))
    theta, x, dy = draw_case(net, 4, seed=0)
    _, cache = net.forward(theta, x)
    none, dtheta = net.backward(cache, dy, input_grad=False)
    assert none is None
    assert_array_equal(to_numpy(dtheta), to_numpy(net.backward(cache, dy)[1]))


def test_inputs_are_left_alone(created):
    net = Sequential(Linear(4, 6), layers.PReLU(6), layers.Maxout(6, 2), layers.Softmax())
    theta, x, dy = draw_case(net, 4, seed=0, replicas=(3,))
    before = [to_numpy(a).copy() for a in (theta, x, dy)]
    net.backward(net.forward(theta, x)[1], dy)
    for a, b in zip((theta, x, dy), before, strict=True):
        assert_array_equal(to_numpy(a), b)


def test_unpack_gives_views(created):
    net = Sequential(Linear(2, 3), layers.PReLU(), Linear(3, 1))
    theta = net.init(np.random.default_rng(0), replicas=(4, 2))
    views = net.unpack(theta)
    assert {k: tuple(v.shape) for k, v in views.items()} == {
        "0.weight": (4, 2, 2, 3),
        "0.bias": (4, 2, 3),
        "1.weight": (4, 2, 1),
        "2.weight": (4, 2, 3, 1),
        "2.bias": (4, 2, 1),
    }
    theta[..., 7] = 42.0
    assert_array_equal(to_numpy(views["0.bias"][..., 1]), np.full((4, 2), 42.0))


def test_print_shows_layers_shapes_and_counts():
    net = Sequential(Linear(64, 100), layers.LeakyReLU(0.2), layers.Maxout(100, 10, 3))
    assert str(net).splitlines() == [
        "Sequential, 9,530 parameters",
        "  0  Linear(64, 100)                weight (64, 100), bias (100,)  6,500",
        "  1  LeakyReLU(negative_slope=0.2)                                     0",
        "  2  Maxout(100, 10, 3)             weight (100, 30), bias (30,)   3,030",
    ]


# Initial values -----------------------------------------------------------------------------


def check_replicas_differ(net):
    rng = np.random.default_rng(0)
    theta = to_numpy(net.init(rng, replicas=(2, 3))).reshape(6, -1)
    alone = np.random.default_rng(0)
    assert_array_equal(theta, [to_numpy(net.init(alone)) for _ in range(6)])
    assert len({row.tobytes() for row in theta}) == 6


def test_replicas_are_drawn_one_after_the_other(created):
    check_replicas_differ(Sequential(Linear(3, 4), layers.PReLU(), Linear(4, 2)))


def test_initial_values_are_the_same_on_both_libraries():
    net = Sequential(Linear(3, 4), layers.Swish(), layers.Maxout(4, 2))
    old = backend.current()
    drawn = {}
    for dtype in ("float32", "float64"):
        for library in ("numpy", "torch"):
            backend.use(library, dtype=dtype)
            theta = net.init(np.random.default_rng(5), replicas=3)
            assert dtype in str(theta.dtype)
            drawn[library] = to_numpy(theta)
        assert_array_equal(drawn["numpy"], drawn["torch"])
    backend.use(old.library, old.device, old.dtype)


def test_jitter_moves_every_parameter_by_one_ulp(created, monkeypatch):
    net = Sequential(Linear(3, 4), layers.Swish())
    before = to_numpy(net.init(np.random.default_rng(0)))
    monkeypatch.setenv("COMPANION_JITTER", "1")
    after = to_numpy(net.init(np.random.default_rng(0)))
    assert_array_equal(after, np.nextafter(before, np.inf))


def test_the_initializer_and_its_gain_are_the_layers_arguments(created):
    rng = np.random.default_rng
    default = net = Sequential(Linear(50, 40))
    weight = net.unpack(net.init(rng(0)))["0.weight"]
    assert_array_equal(to_numpy(weight), initializers.kaiming_normal((50, 40), rng=rng(0)))
    net = Sequential(Linear(50, 40, init=initializers.xavier_uniform, gain=5 / 3))
    weight = net.unpack(net.init(rng(0)))["0.weight"]
    expected = initializers.xavier_uniform((50, 40), rng=rng(0), gain=5 / 3)
    assert_array_equal(to_numpy(weight), expected)
    assert_array_equal(to_numpy(default.unpack(default.init(rng(0)))["0.bias"]), np.zeros(40))


# Bad input ----------------------------------------------------------------------------------


def test_bad_input_is_named(created):
    net = Sequential(Linear(3, 4), layers.PReLU(4))
    theta = net.init(np.random.default_rng(0), replicas=2)
    x = array(np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"theta must have shape \(..., 20\).*\(2, 19\)"):
        net.forward(theta[..., 1:], x)
    with pytest.raises(ValueError, match=r"Linear\(3, 4\) expects x of shape .* got \(5, 2\)"):
        net.forward(theta, x[:, 1:])
    with pytest.raises(
        ValueError, match=r"x must have shape \(n, d\), or .* \(2,\) before.* got \(3,\)"
    ):
        net.forward(theta, x[0])
    with pytest.raises(ValueError, match=r"x must have shape .* \(2,\) before.* got \(7, 5, 3\)"):
        net.forward(theta, array(np.ones((7, 5, 3))))
    with pytest.raises(TypeError, match=r"x must have the dtype of theta.*float32"):
        net.forward(theta, array(np.ones((5, 3)), dtype="float32"))
    with pytest.raises(ValueError, match=r"dy must have y's shape \(2, 5, 4\); got \(5, 4\)"):
        net.backward(net.forward(theta, x)[1], array(np.ones((5, 4))))
    with pytest.raises(ValueError, match="noise must be None"):
        net.forward(theta, x, noise=[])
    with pytest.raises(ValueError, match=r"state must have shape \(..., 0\)"):
        net.forward(theta, x, state=array(np.ones(3)))
    with pytest.raises(
        ValueError, match=r"PReLU.* expects 3 entries on axis 1 of x, 0 being the samples"
    ):
        Sequential(Linear(3, 4), layers.PReLU(3)).forward(theta[..., 1:], x)


def test_integers_may_come_as_a_list(on_numpy):
    net = Sequential(layers.Embedding(3, 2))
    theta = net.init(np.random.default_rng(0))
    y, _ = net.forward(theta, [[0, 2]])
    assert_array_equal(y[0], net.unpack(theta)["0.weight"][[0, 2]])
    with pytest.raises(ValueError, match=r"x must have shape \(n, t\), or .* got \(2,\)"):
        net.forward(theta, [0, 2])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Sequential(layers.ReLU), TypeError, "layer 0 must be a Layer, such as ReLU()"),
        (lambda: Sequential(), ValueError, "at least one layer"),
        (lambda: Linear(3, 0), ValueError, "n_out must be a positive number of features; got 0"),
        (lambda: layers.ReLU(0.1), TypeError, "too many positional arguments"),
        (lambda: layers.LeakyReLU(slope=0.1), TypeError, "unexpected keyword argument 'slope'"),
        (lambda: layers.Heaviside(estimator="x"), ValueError, "estimator must be one of"),
        (lambda: layers.PReLU(0), ValueError, "num_parameters must be positive; got 0"),
    ],
)
def test_bad_layers_are_refused(make, error, message):
    with pytest.raises(error, match=message.replace("(", r"\(").replace(")", r"\)")):
        make()


# Planted mistakes ---------------------------------------------------------------------------


def linear_backward(dweight, dbias):
    def backward(self, cache, dy, *, input_grad=True):
        x, weight = cache
        return dy @ weight.mT, (dweight(x, dy), dbias(dy))

    return backward


@pytest.mark.parametrize(
    "mutant",
    [
        linear_backward(lambda x, dy: x.mT @ dy, lambda dy: dy.mean(axis=-2)),
        linear_backward(lambda x, dy: dy.mT @ x, lambda dy: dy.sum(axis=-2)),
        linear_backward(lambda x, dy: x.mT @ dy / len(x), lambda dy: dy.sum(axis=-2)),
    ],
    ids=["bias gradient averaged", "weight gradient transposed", "weight gradient averaged"],
)
def test_wrong_linear_is_caught(monkeypatch, mutant):
    monkeypatch.setattr(Linear, "backward", mutant)
    net = Sequential(Linear(3, 3), layers.Tanh())
    case = draw_case(net, 3, seed=0)
    for check in (check_autograd, check_differences):
        with pytest.raises(AssertionError):
            check(net, *case)


def test_wrong_slope_gradient_is_caught(monkeypatch):
    net = Sequential(Linear(3, 4), layers.PReLU())
    case = draw_case(net, 3, seed=0)
    check_autograd(net, *case)
    monkeypatch.setattr(layers.PReLU, "parameter_grad", staticmethod(activations.prelu))
    for check in (check_autograd, check_differences):
        with pytest.raises(AssertionError):
            check(net, *case)


def test_gradients_in_the_wrong_order_are_caught(monkeypatch):
    net = Sequential(Linear(3, 4), layers.Tanh(), Linear(4, 3))
    case = draw_case(net, 3, seed=0)
    backward = Sequential.backward

    def reversed_order(self, cache, dy, **options):
        dx, dtheta = backward(self, cache, dy, **options)
        return dx, backend.namespace(dtheta).flip(dtheta, axis=-1)

    monkeypatch.setattr(Sequential, "backward", reversed_order)
    with pytest.raises(AssertionError):
        check_autograd(net, *case)


def test_replicas_that_are_all_alike_are_caught(monkeypatch):
    init = Sequential.init

    def alike(self, rng, replicas=()):
        return np.broadcast_to(init(self, rng), (*np.atleast_1d(replicas), self.size))

    net = Sequential(Linear(3, 4))
    monkeypatch.setattr(Sequential, "init", alike)
    with pytest.raises(AssertionError):
        check_replicas_differ(net)
