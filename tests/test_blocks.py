"""Dropout, residual blocks, and networks in which layers with two modes stand together."""

import math

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from companion import backend, losses
from companion.backend import array, namespace, to_numpy
from companion.layers import (
    BatchNorm,
    Dropout,
    GroupNorm,
    LayerNorm,
    Linear,
    Residual,
    ReZero,
    RMSNorm,
    Row,
    Tanh,
)
from companion.network import Sequential
from tests.layer_checks import (
    check_autograd,
    check_differences,
    check_replicas,
    draw,
    each,
    inference,
    passes,
    tensor,
)

# Dropout ------------------------------------------------------------------------------------


def masks(p, shape, seed=0, replicas=()):
    """Return the noise of one dropout layer, as NumPy."""
    (mask,) = Sequential(Dropout(p)).sample_noise(
        np.random.default_rng(seed), array(np.zeros(shape)), replicas
    )
    return to_numpy(mask)


def test_dropout_zeroes_and_scales(created):
    net, x = Sequential(Dropout(0.2)), array(np.arange(1.0, 1001.0).reshape(10, 100))
    noise = net.sample_noise(np.random.default_rng(0), x)
    y, cache = net.forward(net.init(None), x, training=True, noise=noise)
    kept = to_numpy(noise[0])
    assert kept.dtype == bool
    assert_allclose(to_numpy(y), np.where(kept, to_numpy(x) * 1.25, 0), rtol=1e-15)
    dx, _ = net.backward(cache, x)  # linear, and its own transpose
    assert_array_equal(to_numpy(dx), to_numpy(y))


def test_dropout_in_inference_is_the_identity(created):
    net = Sequential(Dropout(0.2))
    x = array(np.random.default_rng(0).standard_normal((3, 4)))
    noise = net.sample_noise(np.random.default_rng(0), x)
    for given_ in (None, noise):
        y, cache = net.forward(net.init(None), x, noise=given_)
        assert_array_equal(to_numpy(y), to_numpy(x))
        assert_array_equal(to_numpy(net.backward(cache, x)[0]), to_numpy(x))


def test_dropout_of_nothing_and_of_all(created):
    x = array(np.random.default_rng(0).standard_normal((3, 4)))
    nothing, everything = Sequential(Dropout(0.0)), Sequential(Dropout(1.0))
    assert nothing.sample_noise(np.random.default_rng(0), x) is None
    y, _ = nothing.forward(nothing.init(None), x, training=True)
    assert_array_equal(to_numpy(y), to_numpy(x))
    noise = everything.sample_noise(np.random.default_rng(0), x)
    y, _ = everything.forward(everything.init(None), x, training=True, noise=noise)
    assert_array_equal(to_numpy(y), 0 * to_numpy(x))
    for p in (0.0, 1.0):
        want = torch.nn.functional.dropout(tensor(x), p, training=True)
        assert_array_equal((1 - p) * to_numpy(x), want.numpy())


#: Standard errors that a right generator passes with probability 1 - 1e-9 (two-sided, normal
#: approximation), for each of the numbers that are held to it.
SIGMAS = 6.11


def check_masks(p):
    """Hold the masks to independent draws: frequency, by row and column, neighbours, replicas."""
    n = 400
    kept = masks(p, (n, n), replicas=(2,)).astype(float)
    z = (kept - (1 - p)) / math.sqrt(p * (1 - p))
    numbers = [
        z.mean() * math.sqrt(z.size),
        *(z.mean(axis=(0, 1)) * math.sqrt(2 * n)),
        *(z.mean(axis=(0, 2)) * math.sqrt(2 * n)),
        (z[:, 1:] * z[:, :-1]).mean() * math.sqrt(z[:, 1:].size),
        (z[..., 1:] * z[..., :-1]).mean() * math.sqrt(z[:, 1:].size),
        (z[0] * z[1]).mean() * n,
    ]
    assert np.abs(numbers).max() < SIGMAS


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_masks_are_independent_draws_of_their_probability(created, p):
    check_masks(p)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_dropout_keeps_the_expectation(created, p):
    net, x = Sequential(Dropout(p)), array(np.full((1000, 1000), 3.0))
    noise = net.sample_noise(np.random.default_rng(0), x)
    y = to_numpy(net.forward(net.init(None), x, training=True, noise=noise)[0])
    deviation = 3 * math.sqrt(p / (1 - p)) / 1000
    assert abs(y.mean() - 3) < SIGMAS * deviation


def test_masks_are_the_same_on_both_libraries():
    net = Sequential(Linear(4, 6), Dropout(0.3), Residual(Dropout(0.6), shortcut=Dropout(0.5)))
    old = backend.current()
    drawn = []
    for library in ("numpy", "torch"):
        for dtype in ("float32", "float64"):
            backend.use(library, dtype=dtype)
            rng = np.random.default_rng(5)
            noise = net.sample_noise(rng, array(np.zeros((3, 4))), replicas=2)
            each(lambda a, library=library: check_library(a, library), noise)
            drawn.append([noise[1], noise[2][0][0], noise[2][1][0]])
    backend.use(old.library, old.device, old.dtype)
    for other in drawn[1:]:
        for a, b in zip(drawn[0], other, strict=True):
            assert a.shape == (2, 3, 6)
            assert_array_equal(to_numpy(a), to_numpy(b))


def check_library(a, library):
    assert namespace(a).__name__.endswith(library)


def test_replicas_have_masks_of_their_own_unless_they_share(created):
    net = Sequential(Linear(5, 8), Dropout())
    x = array(np.zeros((6, 5)))
    _, two = net.sample_noise(np.random.default_rng(0), x, 2)
    _, three = net.sample_noise(np.random.default_rng(0), x, (3,))
    assert_array_equal(to_numpy(two), to_numpy(three)[:2])  # one replica after the other
    assert not np.array_equal(to_numpy(three)[0], to_numpy(three)[1])
    _, shared = net.sample_noise(np.random.default_rng(0), x)
    assert_array_equal(to_numpy(shared), to_numpy(two)[0])
    theta = net.init(np.random.default_rng(0), replicas=2)
    y, cache = net.forward(theta, x + 1, training=True, noise=[None, shared])
    for i in range(2):
        one, own = net.forward(theta[i], x + 1, training=True, noise=[None, shared])
        assert_allclose(to_numpy(y[i]), to_numpy(one), rtol=1e-13)
        for got, want in zip(net.backward(cache, y), net.backward(own, one), strict=True):
            assert_allclose(to_numpy(got[i]), to_numpy(want), rtol=1e-12, atol=1e-12)


def test_bad_dropout_is_named(created):
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"p must be a probability, in \[0, 1\]; got"):
            Dropout(p)
    net, x = Sequential(Linear(3, 4), Dropout(0.3)), array(np.ones((5, 3)))
    theta = net.init(np.random.default_rng(0), replicas=2)
    with pytest.raises(ValueError, match=r"Dropout\(0.3\) needs a mask in training.*sample_noise"):
        net.forward(theta, x, training=True)
    for shape, replicas in (((4, 3), ()), ((5, 3), (3,)), ((5, 3), (1, 2))):
        noise = net.sample_noise(np.random.default_rng(0), array(np.ones(shape)), replicas)
        with pytest.raises(ValueError, match=r"noise must have the shape of x, \(2, 5, 4\), of"):
            net.forward(theta, x, training=True, noise=noise)


# Residual blocks ----------------------------------------------------------------------------


class Block(torch.nn.Module):
    """He et al.'s block in torch, whose parameters have our names."""

    def __init__(self, *branch, shortcut=None):
        super().__init__()
        for i, layer in enumerate(branch):
            self.add_module(str(i), layer)
        self.shortcut, self.branch = shortcut, branch

    def forward(self, x):
        y = x
        for layer in self.branch:
            y = layer(y)
        return y + (x if self.shortcut is None else self.shortcut(x))


class Scaled(Block):
    """Bachlechner et al.'s block."""

    def __init__(self, *branch):
        super().__init__(*branch)
        self.alpha = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x + self.alpha * (super().forward(x) - x)


T = torch.nn
BLOCKS = {
    "post-activation": (
        [
            Residual(Linear(4, 4), BatchNorm(4), Tanh(), Linear(4, 4), BatchNorm(4)),
            Tanh(),
        ],
        [
            Block(
                T.Linear(4, 4), T.BatchNorm1d(4), T.Tanh(), T.Linear(4, 4), T.BatchNorm1d(4)
            ),
            T.Tanh(),
        ],
    ),
    "pre-activation": (
        [Residual(BatchNorm(4), Tanh(), Linear(4, 4), BatchNorm(4), Tanh(), Linear(4, 4))],
        [
            Block(
                T.BatchNorm1d(4), T.Tanh(), T.Linear(4, 4),
                T.BatchNorm1d(4), T.Tanh(), T.Linear(4, 4),
            )
        ],
    ),
    "shortcut": (
        [Residual(Linear(4, 3), Tanh(), BatchNorm(3), shortcut=Linear(4, 3)), Linear(3, 2)],
        [
            Block(T.Linear(4, 3), T.Tanh(), T.BatchNorm1d(3), shortcut=T.Linear(4, 3)),
            T.Linear(3, 2),
        ],
    ),
    "statistics on both paths": (
        [
            BatchNorm(4),
            Residual(
                Linear(4, 3), BatchNorm(3),
                shortcut=Row(Linear(4, 3), Tanh(), BatchNorm(3, momentum=0.5)),
            ),
            BatchNorm(3),
        ],
        [
            T.BatchNorm1d(4),
            Block(
                T.Linear(4, 3), T.BatchNorm1d(3),
                shortcut=T.Sequential(T.Linear(4, 3), T.Tanh(), T.BatchNorm1d(3, momentum=0.5)),
            ),
            T.BatchNorm1d(3),
        ],
    ),
    "rezero": (
        [ReZero(Linear(4, 6), Tanh(), BatchNorm(6), Linear(6, 4)), ReZero(Tanh()), LayerNorm(4)],
        [
            Scaled(T.Linear(4, 6), T.Tanh(), T.BatchNorm1d(6), T.Linear(6, 4)),
            Scaled(T.Tanh()),
            T.LayerNorm(4),
        ],
    ),
    "nested": (
        [Residual(Linear(4, 4), Residual(Tanh(), BatchNorm(4)), ReZero(BatchNorm(4), Tanh()))],
        [
            Block(
                T.Linear(4, 4), Block(T.Tanh(), T.BatchNorm1d(4)),
                Scaled(T.BatchNorm1d(4), T.Tanh()),
            )
        ],
    ),
}  # fmt: skip


def load(net, theta, module):
    """Put a network's parameters into a torch module whose parameters have the same names."""
    values = {name: tensor(v) for name, v in net.unpack(theta).items()}
    of_module = dict(module.named_parameters())
    assert values.keys() == of_module.keys()
    for name, value in values.items():
        of_module[name].data = (value.mT if value.ndim == 2 else value).clone()


def check_parity(name):
    """Hold a network, in training with its running statistics and after, to torch modules."""
    ours, theirs = BLOCKS[name]
    net, reference = Sequential(*ours), torch.nn.Sequential(*theirs).to(torch.float64)
    theta, _, _, _ = draw(net, (7, 4))
    load(net, theta, reference)
    reference.train()
    for module in reference.modules():
        if isinstance(module, T.BatchNorm1d):
            module.reset_running_stats()
    state = net.init_state()
    rng = np.random.default_rng(1)
    for step in range(6):
        if step == 4:
            reference.eval()
        x = array(rng.standard_normal((7, 4)))
        y, cache = net.forward(theta, x, training=step < 4, state=state)
        dy = array(rng.standard_normal(tuple(y.shape)))
        dx, dtheta = net.backward(cache, dy)
        if step < 4:
            state = net.advance(state, cache)
        reference.zero_grad()
        own = tensor(x).requires_grad_()
        want = reference(own)
        want.backward(tensor(dy))
        assert_allclose(to_numpy(y), want.detach().numpy(), rtol=1e-10, atol=1e-12)
        assert_allclose(to_numpy(dx), own.grad.numpy(), rtol=1e-10, atol=1e-11)
        for key, grad in net.unpack(dtheta).items():
            expected = reference.get_parameter(key).grad
            expected = expected.mT if expected.ndim == 2 else expected
            assert_allclose(to_numpy(grad), expected.numpy(), rtol=1e-10, atol=1e-11, err_msg=key)
    running = [b for b in reference.buffers() if b.ndim]
    if running:
        assert_allclose(to_numpy(state), torch.cat(running).numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", BLOCKS)
def test_parity_with_blocks_of_torch_modules(created, name):
    check_parity(name)


def test_rezero_starts_as_the_identity(created):
    net = Sequential(*[ReZero(Linear(4, 4), Tanh()) for _ in range(30)])
    theta = net.init(np.random.default_rng(0))
    x, dy = (array(np.random.default_rng(i).standard_normal((5, 4))) for i in (1, 2))
    y, dx, dtheta = passes(net, theta, x, dy, {})
    assert_array_equal(y, to_numpy(x))
    assert_array_equal(dx, to_numpy(dy))
    for name, grad in net.unpack(dtheta).items():
        assert (grad != 0).all() if name.endswith("alpha") else (grad == 0).all()


def test_print_shows_blocks():
    net = Sequential(
        Residual(Linear(2, 3), Dropout(), shortcut=Linear(2, 3)), Residual(Tanh()), ReZero(Tanh())
    )
    assert [line.split("  ")[1:3] for line in str(net).splitlines()[1:]] == [
        ["0", "Residual(Linear(2, 3), Dropout(0.5), shortcut=Linear(2, 3))"],
        ["1", "Residual(Tanh())"],
        ["2", "ReZero(Tanh())"],
    ]
    assert {name: tuple(v.shape) for name, v in net.unpack(np.zeros((4, 19))).items()} == {
        "0.0.weight": (4, 2, 3),
        "0.0.bias": (4, 3),
        "0.shortcut.weight": (4, 2, 3),
        "0.shortcut.bias": (4, 3),
        "2.alpha": (4, 1),
    }


def test_bad_blocks_are_named(created):
    with pytest.raises(TypeError, match=r"shortcut must be a Layer, such as .*; got 3"):
        Residual(Tanh(), shortcut=3)
    with pytest.raises(TypeError, match="layer 1 must be a Layer"):
        ReZero(Tanh(), Tanh)
    with pytest.raises(ValueError, match="at least one layer"):
        Residual()
    x = array(np.ones((5, 4)))
    for block in (Residual(Linear(4, 1)), ReZero(Linear(4, 1))):
        net = Sequential(block)
        message = r"\(Linear\(4, 1\)\) needs layers that end in .* added to, \((5|2, 5), 4\); got"
        with pytest.raises(ValueError, match=message):
            net.forward(net.init(np.random.default_rng(0), 2), x)
        with pytest.raises(ValueError, match=message):
            block.output_shape((5, 4))


# Networks -----------------------------------------------------------------------------------


@st.composite
def rows(draw, n, depth=2):
    """Draw layers that take n features, and the number that they end with."""
    net = []
    for _ in range(draw(st.integers(1, 4))):
        kinds = ["linear", "tanh", "norm", "dropout"] + ["residual", "rezero"] * (depth > 0)
        kind = draw(st.sampled_from(kinds))
        if kind == "linear":
            m = draw(st.integers(1, 6))
            net.append(Linear(n, m))
            n = m
        elif kind == "tanh":
            net.append(Tanh())
        elif kind == "norm":
            norms = [BatchNorm(n, eps=0.1), LayerNorm(n, eps=0.1), RMSNorm(n, eps=0.1)]
            net.append(draw(st.sampled_from([*norms, GroupNorm(1 + (n % 2 == 0), n, eps=0.1)])))
        elif kind == "dropout":
            net.append(Dropout(draw(st.sampled_from([0.0, 0.2, 0.5]))))
        else:
            inner, m = draw(rows(n, depth - 1))
            if kind == "rezero":
                net.append(ReZero(*inner, *([] if m == n else [Linear(m, n)])))
            else:
                net.append(Residual(*inner, shortcut=None if m == n else Linear(n, m)))
                n = m
    return net, n


each_network = given(
    case=rows(5), seed=st.integers(0, 2**32 - 1), replicas=st.sampled_from([(), (3,), (2, 2)])
)
some = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@each_network
@some
def test_backward_is_the_derivative(created, case, seed, replicas):
    net = Sequential(*case[0])
    theta, x, dy, how = draw(net, (6, 5), seed, replicas, shared=seed % 2 == 0)
    for mode in (how, inference(net, theta)):
        check_autograd(net, theta, x, dy, mode)
        check_differences(net, theta, x, dy, mode)


@each_network
@some
def test_replicas_equal_a_loop(created, case, seed, replicas):
    net = Sequential(*case[0])
    theta, x, dy, how = draw(net, (6, 5), seed, replicas)
    for mode in (how, inference(net, theta)):
        check_replicas(net, theta, x, dy, mode)
    state = inference(net, theta)["state"]
    new = net.advance(state, net.forward(theta, x, **how)[1])
    for i in np.ndindex(replicas):
        own = {"training": True, "noise": each(lambda a, i=i: a[i], how["noise"])}
        want = net.advance(state[i], net.forward(theta[i], x[i], **own)[1])
        assert_allclose(to_numpy(new[i]), to_numpy(want), rtol=1e-12)


class Masked(torch.nn.Module):
    """Dropout with masks that are given."""

    def __init__(self, p):
        super().__init__()
        self.p, self.mask = p, None

    def forward(self, x):
        return x * self.mask / (1 - self.p) if self.training else x


def whole():
    return Sequential(
        Linear(5, 8), BatchNorm(8), Tanh(), Dropout(0.3),
        Residual(BatchNorm(8), Tanh(), Dropout(0.2), Linear(8, 8)),
        ReZero(LayerNorm(8), Linear(8, 8), Dropout(0.5)),
        GroupNorm(2, 8), RMSNorm(8), Linear(8, 3),
    )  # fmt: skip


def whole_of_torch():
    return T.Sequential(
        T.Linear(5, 8), T.BatchNorm1d(8), T.Tanh(), Masked(0.3),
        Block(T.BatchNorm1d(8), T.Tanh(), Masked(0.2), T.Linear(8, 8)),
        Scaled(T.LayerNorm(8), T.Linear(8, 8), Masked(0.5)),
        T.GroupNorm(2, 8), T.RMSNorm(8), T.Linear(8, 3),
    ).to(torch.float64)  # fmt: skip


def check_training(net):
    """Hold 20 steps with all kinds of layers, and what comes of them, to 20 steps of torch."""
    rng = np.random.default_rng(0)
    x, labels = array(rng.standard_normal((16, 5))), array(rng.integers(0, 3, 16))
    theta, state = net.init(rng, 2), net.init_state(2)
    references = [whole_of_torch() for _ in range(2)]
    for i, module in enumerate(references):
        load(net, theta[i], module)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in references]
    for _ in range(20):
        noise = net.sample_noise(rng, x, 2)
        y, cache = net.forward(theta, x, training=True, noise=noise, state=state)
        _, grad = net.backward(cache, losses.cross_entropy_grad(y, labels), input_grad=False)
        theta, state = theta - 0.1 * grad, net.advance(state, cache)
        for i, (module, optimizer) in enumerate(zip(references, optimizers, strict=True)):
            found = [noise[3], noise[4][0][2], noise[5][2]]
            masked = [m for m in module.modules() if isinstance(m, Masked)]
            for m, mask in zip(masked, found, strict=True):
                m.mask = tensor(mask[i])
            optimizer.zero_grad()
            out = module(tensor(x))
            assert_allclose(to_numpy(y[i]), out.detach().numpy(), rtol=1e-9, atol=1e-11)
            torch.nn.functional.cross_entropy(out, tensor(labels)).backward()
            optimizer.step()
    before = to_numpy(state).copy()
    y, _ = net.forward(theta, x, state=state)
    assert_array_equal(to_numpy(state), before)
    for i, module in enumerate(references):
        want = module.eval()(tensor(x)).detach().numpy()
        assert_allclose(to_numpy(y[i]), want, rtol=1e-9, atol=1e-11)


def test_training_a_whole_network_equals_torch(created):
    check_training(whole())


def test_inference_does_not_depend_on_the_rest_of_the_batch(created):
    net = whole()
    theta, x, _, _ = draw(net, (6, 5))
    how = inference(net, theta)
    y, _ = net.forward(theta, x, **how)
    for i in range(6):
        one, _ = net.forward(theta, x[i : i + 1], **how)
        assert_allclose(to_numpy(one[0]), to_numpy(y[i]), rtol=1e-12, atol=1e-14)


def test_inputs_are_left_alone_and_dtype_kept(created):
    net = whole()
    for dtype in ("float32", "float64"):
        backend.use(dtype=dtype)
        theta, x, dy, how = draw(net, (6, 5), replicas=(2,))
        for mode in (how, inference(net, theta)):
            given_ = [theta, x, dy]
            each(given_.append, [mode.get("noise"), mode.get("state")])
            before = [to_numpy(a).copy() for a in given_]
            y, cache = net.forward(theta, x, **mode)
            assert all(a.dtype == theta.dtype for a in (y, *net.backward(cache, dy)))
            for a, b in zip(given_, before, strict=True):
                assert_array_equal(to_numpy(a), b)


def test_the_array_api_standard_suffices():
    layer = Row(Residual(Linear(4, 4), Dropout(0.5), shortcut=Linear(4, 4)), ReZero(Dropout(0.2)))
    rng = np.random.default_rng(0)
    params = tuple(rng.standard_normal(s) for s in layer.shapes.values())
    x, dy = rng.standard_normal((2, 5, 4))
    masks = [rng.random((5, 4)) < 0.5 for _ in range(2)]

    def run(asarray):
        own, noise = tuple(map(asarray, params)), [asarray(m) for m in masks]
        noise = [([None, noise[0]], None), [noise[1]]]
        y, cache = layer.forward(own, asarray(x), training=True, noise=noise)
        dx, grads = layer.backward(cache, asarray(dy))
        return [np.asarray(a) for a in (y, dx, *grads)]

    for got, want in zip(run(array_api_strict.asarray), run(np.asarray), strict=True):
        assert_allclose(got, want, rtol=1e-13)


@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning")
def test_passes_compile_into_one_graph(device):
    net = whole()
    old = backend.current()
    backend.use("torch", device=device, dtype="float64")
    theta, x, dy, how = draw(net, (6, 5), replicas=(2,))
    inferring = inference(net, theta)
    backend.use(old.library, device=old.device, dtype=old.dtype)

    def train(theta, x, dy, noise, state):
        y, cache = net.forward(theta, x, training=True, noise=noise)
        return (y, *net.backward(cache, dy), net.advance(state, cache))

    def infer(theta, x, dy, state):
        y, cache = net.forward(theta, x, state=state)
        return (y, *net.backward(cache, dy))

    state = inferring["state"]
    # as one graph, without the C++ compiler, which would take half a minute
    for f, args in ((train, (how["noise"], state)), (infer, (state,))):
        compiled = torch.compile(f, fullgraph=True, backend="aot_eager")(theta, x, dy, *args)
        for got, want in zip(compiled, f(theta, x, dy, *args), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


# Planted mistakes ---------------------------------------------------------------------------


def applied(rule):
    return lambda self, kept, x: rule(kept, x, self.p)


@pytest.mark.parametrize(
    "rule",
    [
        lambda kept, x, p: x * kept,
        lambda kept, x, p: x * kept / p,
        lambda kept, x, p: x * ~kept / (1 - p),
        lambda kept, x, p: x,
    ],
    ids=["unscaled", "scaled by p", "what is dropped kept", "nothing dropped"],
)
def test_wrong_dropout_is_caught(monkeypatch, on_numpy, rule):
    monkeypatch.setattr(Dropout, "_applied", applied(rule))
    with pytest.raises(AssertionError):
        test_dropout_zeroes_and_scales(None)
    with pytest.raises(AssertionError):
        check_training(whole())


def test_dropout_that_forgets_its_mask_on_the_way_back_is_caught(monkeypatch, on_numpy):
    case = draw(whole(), (6, 5))
    monkeypatch.setattr(Dropout, "backward", lambda self, cache, dy, *, input_grad=True: (dy, ()))
    for check in (check_autograd, check_differences):
        with pytest.raises(AssertionError):
            check(whole(), *case)


@pytest.mark.parametrize(
    "draw_mask",
    [
        lambda rng, shape, p: rng.random(shape) >= 1 - p,
        lambda rng, shape, p: rng.random(shape) >= p + 0.01,
        lambda rng, shape, p: np.broadcast_to(rng.random((1, *shape[1:])) >= p, shape),
        lambda rng, shape, p: np.broadcast_to(rng.random((*shape[:-1], 1)) >= p, shape),
        lambda rng, shape, p: np.repeat(rng.random((*shape[:-1], shape[-1] // 2)) >= p, 2, -1),
    ],
    ids=["p is kept", "one in a hundred", "replicas share", "whole rows", "pairs"],
)
def test_wrong_masks_are_caught(monkeypatch, on_numpy, draw_mask):
    check_masks(0.1)
    monkeypatch.setattr(
        Dropout,
        "sample_noise",
        lambda self, rng, shape, replicas: draw_mask(rng, (*replicas, *shape), self.p),
    )
    with pytest.raises(AssertionError):
        check_masks(0.1)


def without(which):
    """Make a backward pass of Residual in which something is missing."""

    def backward(self, cache, dy, *, input_grad=True):
        dx, grads = Row.backward(self, cache[0], dy)
        further, more = self.path.backward(cache[1], dy)
        if which == "path":
            return dx, grads + more
        if which == "branch":
            return further, grads + more
        if which == "order":
            return dx + further, more + grads
        return dx + further, grads + tuple(0 * g for g in more)

    return backward


@pytest.mark.parametrize("which", ["path", "branch", "order", "shortcut"])
def test_a_wrong_residual_is_caught(monkeypatch, on_numpy, which):
    monkeypatch.setattr(Residual, "backward", without(which))
    net = Sequential(Linear(4, 4), Residual(Linear(4, 3), Tanh(), shortcut=Linear(4, 3)))
    case = draw(net, (6, 4))
    for check in (check_autograd, check_differences):
        with pytest.raises(AssertionError):
            check(net, *case)


@pytest.mark.parametrize(
    "change",
    [
        lambda dx, grads, dy: (dx - dy, grads),
        lambda dx, grads, dy: (dx, (*grads[:-1], 0 * grads[-1])),
        lambda dx, grads, dy: (dx, (*grads[:-1], grads[-1] / dy.shape[-2])),
    ],
    ids=["no path", "alpha fixed", "alpha averaged"],
)
def test_a_wrong_rezero_is_caught(monkeypatch, on_numpy, change):
    backward = ReZero.backward

    def wrong(self, cache, dy, *, input_grad=True):
        return change(*backward(self, cache, dy), dy)

    monkeypatch.setattr(ReZero, "backward", wrong)
    net = Sequential(Linear(4, 4), ReZero(Linear(4, 4), Tanh()))
    case = draw(net, (6, 4))
    for check in (check_autograd, check_differences):
        with pytest.raises(AssertionError):
            check(net, *case)


def test_statistics_that_are_mixed_up_are_caught(monkeypatch, on_numpy):
    advance = Residual.advance

    def swapped(self, state, cache):
        new = advance(self, state, cache)
        return new[2:] + new[:2]

    check_parity("statistics on both paths")
    monkeypatch.setattr(Residual, "advance", swapped)
    with pytest.raises(AssertionError):
        check_parity("statistics on both paths")
