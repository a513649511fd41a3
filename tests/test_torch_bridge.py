"""Companion functions, layers and networks in torch models, and their weights to and fro."""

import copy
import functools
import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from companion import activations, backend, layers, losses
from companion import torch_bridge as bridge
from companion.backend import to_numpy
from companion.layers import Linear
from companion.network import Sequential
from companion.registry import REGISTRY
from companion.torch_bridge import TorchModule, as_torch_function, from_state_dict, to_state_dict
from tests.test_network import networks


@pytest.fixture
def normal(device):
    """Draw a float64 tensor from a seed that is the same in every test."""
    rng = np.random.default_rng(7)

    def draw(*shape, requires_grad=True):
        return torch.tensor(rng.standard_normal(shape), device=device, requires_grad=requires_grad)

    return draw


def module_of(layer, device="cpu", **options):
    """Return a module in float64, its parameters away from the initial zeros and ones."""
    module = TorchModule(layer, np.random.default_rng(0), dtype=torch.float64, device=device)
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for p in module.parameters():
            p += torch.tensor(0.3 * rng.standard_normal(p.shape), device=device)
    return module


def check_gradcheck(module, x, *, twice=True):
    """Have torch compare derivatives, first and second, in x and the parameters, to differences."""
    noise = module.sample_noise(x) if module.layer.needs_noise else None

    def function(x, *params):
        given = dict(zip(dict(module.named_parameters()), params, strict=True))
        return torch.func.functional_call(module, given, (x, noise))

    inputs = (x, *module.parameters())
    assert torch.autograd.gradcheck(function, inputs, raise_exception=False)
    if twice:
        assert torch.autograd.gradgradcheck(function, inputs, raise_exception=False)


# Functions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", REGISTRY.values(), ids=lambda row: row.name)
def test_the_derivative_beside_the_function_is_found(row, normal):
    parameters = row.parameters[0]
    x = normal(5, 6)
    y = as_torch_function(row.function)(x, **parameters)
    dy = torch.randn_like(y)
    (dx,) = torch.autograd.grad(y, x, dy)
    x = x.detach()
    assert torch.equal(y, row.function(x, **parameters))
    want = dy * row.grad(x, **parameters) if row.elementwise else row.grad(dy, x, **parameters)
    assert torch.equal(dx, want)


def test_conventions_at_kinks_and_ties_are_ours():
    x = torch.zeros(1, 2, requires_grad=True)
    as_torch_function(activations.maxout)(x, 2).sum().backward()
    assert_array_equal(x.grad, [[1, 0]])  # torch's amax would give half to each
    x = torch.tensor([-1.0, 0.0, 3.0], requires_grad=True)
    as_torch_function(activations.hardswish)(x).sum().backward()
    assert_array_equal(x.grad, activations.hardswish_grad(x.detach()))


def test_another_derivative_may_be_given():
    straight = functools.partial(activations.heaviside_grad, estimator="identity")
    step = as_torch_function(activations.heaviside, grad=straight)
    x = torch.tensor([-3.0, 2.0], requires_grad=True)
    step(x).sum().backward()
    assert_array_equal(x.grad, [1, 1])
    reverse = as_torch_function(activations.glu, vjp=lambda dy, x: -activations.glu_vjp(dy, x))
    x = torch.randn(3, 4, requires_grad=True)
    (a,) = torch.autograd.grad(reverse(x).sum(), x)
    (b,) = torch.autograd.grad(as_torch_function(activations.glu)(x).sum(), x)
    assert torch.equal(a, -b)


@pytest.mark.parametrize("shape", [(), (6,), (5, 1), (2, 5, 6)])
def test_learned_slopes_broadcast_either_way(shape, normal):
    prelu = as_torch_function(activations.prelu)
    weight = normal(*shape)
    x = normal(5, 6)
    torch.autograd.gradcheck(prelu, (x, weight))
    y = prelu(x, weight=weight.detach())  # a tensor that needs no gradient
    assert torch.equal(y, prelu(x, weight))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("replicas", [(), (5,)])
def test_cross_entropy(reduction, replicas, normal, device):
    loss = as_torch_function(losses.cross_entropy)
    target = torch.tensor([0, 2, 1, 2, 1], device=device)
    logits = normal(*replicas, 5, 3)
    assert torch.autograd.gradcheck(lambda z: loss(z, target, reduction=reduction), logits)
    assert torch.autograd.gradgradcheck(lambda z: loss(z, target, reduction=reduction), logits)
    want = (
        torch.nn.functional.cross_entropy(logits.mT, target.expand(*replicas, 5), reduction="none")
        if replicas
        else torch.nn.functional.cross_entropy(logits, target, reduction="none")
    )
    want = {"mean": want.mean(-1), "sum": want.sum(-1), "none": want}[reduction]
    torch.testing.assert_close(loss(logits, target, reduction=reduction), want)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), (0, 2), (1, 2)])
def test_mse_loss_over_any_axes(reduction, axis, normal):
    # of equal lengths, so that a gradient laid along the wrong axis still has a fitting shape
    loss = as_torch_function(losses.mse_loss)
    x, y = normal(3, 3, 3), normal(3, 3, 3, requires_grad=False)
    assert torch.autograd.gradcheck(lambda x: loss(x, y, reduction=reduction, axis=axis), x)


def test_dtypes_are_kept():
    gelu = as_torch_function(activations.gelu)
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        x = torch.ones(3, dtype=dtype, requires_grad=True)
        y = gelu(x)
        y.sum().backward()
        assert y.dtype == x.grad.dtype == dtype
    assert gelu(torch.arange(3)).dtype == getattr(torch, backend.current().dtype)


def test_bad_calls_are_named():
    with pytest.raises(ValueError, match="clip has neither clip_grad nor clip_vjp"):
        as_torch_function(backend.clip)
    with pytest.raises(TypeError, match="x must be a torch tensor; got list"):
        as_torch_function(activations.relu)([1.0])
    slope = torch.tensor(0.1, requires_grad=True)
    with pytest.raises(TypeError, match="leaky_relu has no derivative in negative_slope"):
        as_torch_function(activations.leaky_relu)(torch.ones(3), slope)
    target = torch.ones(3, requires_grad=True)
    with pytest.raises(TypeError, match="mse_loss has no derivative in target"):
        as_torch_function(losses.mse_loss)(torch.zeros(3), target)
    with pytest.raises(TypeError, match="unexpected keyword argument 'slope'"):
        as_torch_function(activations.leaky_relu)(torch.ones(3), slope=0.1)
    with pytest.raises(TypeError, match="layer must be a Layer or a Sequential"):
        TorchModule(torch.nn.ReLU())


# Networks of replicas, on one vector --------------------------------------------------------


def test_replicas_on_one_vector(normal):
    net = Sequential(Linear(4, 3), layers.Tanh(), Linear(3, 2))
    f = as_torch_function(net)
    theta, x, own = normal(3, net.size), normal(5, 4), normal(3, 5, 4)
    assert torch.autograd.gradcheck(f, (theta, x))  # shared: the replicas' gradients add up
    assert torch.autograd.gradgradcheck(f, (theta, x))
    assert torch.autograd.gradcheck(f, (theta, own))
    for i in range(3):
        assert_allclose(to_numpy(f(theta, x)[i]), to_numpy(f(theta[i], x)), rtol=1e-13)


def test_torch_optimizes_all_replicas_at_once(device):
    net = Sequential(Linear(4, 8), layers.Dropout(0.5), layers.BatchNorm(8), Linear(8, 1))
    theta = torch.tensor(to_numpy(net.init(np.random.default_rng(0), replicas=6)), device=device)
    theta.requires_grad_()
    x = torch.tensor(np.random.default_rng(1).standard_normal((64, 4)), device=device)
    optimizer, f, history = torch.optim.Adam([theta], lr=0.02), as_torch_function(net), []
    mse = as_torch_function(losses.mse_loss)
    masks = net.sample_noise(np.random.default_rng(2), x)
    noise = [None if m is None else torch.as_tensor(m, device=device) for m in masks]
    for _ in range(100):
        loss = mse(f(theta, x, training=True, noise=noise), x[:, :1], axis=(1, 2))
        history.append(loss.detach())
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    assert history[-1].shape == (6,)
    assert bool((history[-1] < 0.3 * history[0]).all())


# Layers as modules --------------------------------------------------------------------------

FEATURES = [
    Linear(4, 3),
    layers.Maxout(4, 3, 2),
    layers.Tanh(),
    layers.GELU(),
    layers.PReLU(4),
    layers.Swish(),
    layers.GLU(),
    layers.LogSoftmax(),
    layers.BatchNorm(4),
    layers.LayerNorm(4),
    layers.RMSNorm(4, eps=1e-6),
    layers.GroupNorm(2, 4),
    layers.Dropout(0.3),
    layers.Residual(Linear(4, 4), layers.Tanh()),
    layers.Residual(Linear(4, 2), layers.BatchNorm(2), shortcut=Linear(4, 2)),
    layers.ReZero(Linear(4, 4), layers.Tanh()),
    Sequential(
        Linear(4, 5), layers.BatchNorm(5), layers.Softplus(), layers.Dropout(), Linear(5, 2)
    ),
]


SEQUENCES = [
    layers.RNN(4, 3),
    layers.LSTM(4, 3),
    layers.Attention(4, 2, causal=True),
    layers.Position(3, 4),
    Sequential(Linear(4, 4), layers.Residual(layers.LayerNorm(4), layers.Attention(4, 2))),
]
IMAGES = [
    layers.Conv2d(2, 3, 3, padding=1),
    layers.MaxPool2d(2),
    layers.AvgPool2d(2),
    layers.Flatten(),
    layers.BatchNorm(2),
    Sequential(layers.Conv2d(2, 2, 3), layers.BatchNorm(2), layers.Flatten(), Linear(8, 2)),
]


@pytest.mark.parametrize("layer", SEQUENCES, ids=repr)
def test_gradcheck_of_layers_for_sequences(layer, normal, device):
    check_gradcheck(module_of(layer, device), normal(2, 3, 4))


@pytest.mark.parametrize("layer", IMAGES, ids=repr)
def test_gradcheck_of_layers_for_images(layer, normal, device):
    check_gradcheck(module_of(layer, device), normal(2, 2, 4, 4))


def test_gradcheck_of_an_embedding(device):
    net = Sequential(layers.Embedding(5, 3), layers.Position(4, 3), layers.LSTM(3, 2))
    x = torch.tensor([[0, 3, 3], [4, 0, 1]], device=device)
    check_gradcheck(module_of(net, device), x)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("layer", FEATURES, ids=repr)
def test_gradcheck_of_every_layer(layer, training, normal, device):
    check_gradcheck(module_of(layer, device).train(training), normal(5, 4))


@given(case=networks(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_gradcheck_of_random_networks(case, seed):
    net, n_in = case
    x = torch.tensor(np.random.default_rng(seed).standard_normal((3, n_in)), requires_grad=True)
    check_gradcheck(module_of(net), x, twice=False)


def test_a_module_computes_what_its_network_does(created, normal):
    net = Sequential(Linear(4, 6), layers.BatchNorm(6), layers.PReLU(6), layers.Maxout(6, 3, 2))
    module, x = module_of(net), normal(5, 4).cpu()
    theta, state = from_state_dict(net, module.state_dict())
    assert type(theta) is type(backend.array(np.ones(1)))
    ours = backend.array(to_numpy(x))
    for training in (True, False):
        want, cache = net.forward(theta, ours, training=training, state=state)
        y = module.train(training)(x)
        dy = torch.randn_like(y)
        module.zero_grad()
        (dx,) = torch.autograd.grad(y, x, dy, retain_graph=True)
        y.backward(dy)
        want_dx, want_dtheta = net.backward(cache, backend.array(to_numpy(dy)))
        state = net.advance(state, cache) if training else state
        grads = {name: p.grad for name, p in module.named_parameters()}
        got = from_state_dict(net, grads | dict(module.named_buffers()))
        pairs = ((y, want), (dx, want_dx), (got[0], want_dtheta), (got[1], state))
        for a, b in pairs:
            assert_allclose(to_numpy(a), to_numpy(b), rtol=1e-12, atol=1e-13)


def test_it_learns_as_torch_does(device):
    ours = Sequential(
        Linear(5, 5), layers.BatchNorm(5), layers.ReLU(), layers.LayerNorm(5), layers.PReLU(),
        Linear(5, 2),
    )  # fmt: skip
    module = module_of(ours, device)
    kind = {"dtype": torch.float64, "device": device}
    theirs = torch.nn.Sequential(
        torch.nn.Linear(5, 5, **kind),
        torch.nn.BatchNorm1d(5, **kind),
        torch.nn.ReLU(),
        torch.nn.LayerNorm(5, **kind),
        torch.nn.PReLU(**kind),
        torch.nn.Linear(5, 2, **kind),
    )
    theirs.load_state_dict(module.state_dict())  # strict: no entry is missing or too many
    rng = np.random.default_rng(3)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9) for m in (module, theirs)]
    for _ in range(30):
        x = torch.tensor(rng.standard_normal((8, 5)), device=device)
        for model, optimizer in zip((module, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            (model(x) - x[:, :2]).square().mean().backward()
            optimizer.step()
    x = torch.tensor(rng.standard_normal((8, 5)), device=device)
    torch.testing.assert_close(module.eval()(x), theirs.eval()(x), rtol=1e-9, atol=1e-10)
    end = theirs.state_dict()
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, end[name], rtol=1e-9, atol=1e-10)
    module.load_state_dict(end)  # with torch's count of batches in it


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (
            Sequential(
                layers.Conv2d(2, 3, 3, padding=1), layers.MaxPool2d(2), layers.Flatten(),
                Linear(12, 12),
            ),
            torch.nn.Sequential(
                torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
                torch.nn.Linear(12, 12),
            ),
            (5, 2, 4, 4),
        ),
        (
            layers.GroupNorm(2, 4),
            torch.nn.GroupNorm(2, 4),
            (5, 4, 3),
        ),
        (layers.RMSNorm(4), torch.nn.RMSNorm(4), (5, 4)),
        (layers.Attention(4, 2), torch.nn.MultiheadAttention(4, 2, batch_first=True), (5, 3, 4)),
    ],
    ids=["convolution", "GroupNorm", "RMSNorm", "Attention"],
)  # fmt: skip
def test_either_loads_the_others_weights(ours, theirs, shape):
    module, theirs = module_of(ours), theirs.double()
    module.load_state_dict(theirs.state_dict())
    x = torch.randn(shape, dtype=torch.float64)
    attention = isinstance(theirs, torch.nn.MultiheadAttention)
    call = (lambda x: theirs(x, x, x)[0]) if attention else theirs
    torch.testing.assert_close(module(x), call(x), rtol=1e-10, atol=1e-12)
    other = module_of(ours)
    theirs.load_state_dict(other.state_dict())
    torch.testing.assert_close(other(x), call(x), rtol=1e-10, atol=1e-12)


def test_gradients_of_frozen_parameters_are_not_kept():
    module = module_of(Linear(3, 2))
    module.get_parameter("weight").requires_grad_(False)
    module(torch.ones(4, 3, dtype=torch.float64)).sum().backward()
    assert module.get_parameter("weight").grad is None
    assert_array_equal(module.get_parameter("bias").grad, [4, 4])


def test_parameters_take_torchs_dtype_and_the_one_asked_for():
    assert {p.dtype for p in TorchModule(Linear(2, 2)).parameters()} == {torch.float32}
    module = TorchModule(Sequential(Linear(2, 2), layers.BatchNorm(2)), dtype=torch.float64)
    assert {v.dtype for v in module.state_dict().values()} == {torch.float64}
    assert {v.dtype for v in module.float().state_dict().values()} == {torch.float32}
    assert module(torch.randn(3, 2)).dtype == torch.float32


def test_autocast_computes_in_the_dtype_of_the_parameters():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), TorchModule(Linear(4, 3)))
    x = torch.randn(5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
        y.sum().backward()  # in the context or out of it
    assert y.dtype == torch.float32
    got = model[1].get_parameter("weight").grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model[0](x).float()
    torch.testing.assert_close(got, hidden.sum(0).expand(3, 4))


def test_a_copy_has_weights_of_its_own():
    module = module_of(Sequential(Linear(3, 3), layers.BatchNorm(3)))
    twin = copy.deepcopy(module)
    twin(torch.randn(4, 3, dtype=torch.float64)).sum().backward()
    assert module.get_parameter("0.weight").grad is None
    assert not torch.equal(twin.get_buffer("1.running_mean"), module.get_buffer("1.running_mean"))
    assert repr(module) == "TorchModule(Row(Linear(3, 3), BatchNorm(3)))"


# Chance -------------------------------------------------------------------------------------


def dropped(module, n=400):
    return (module(torch.ones(n, 1)) == 0).flatten()


def test_masks_come_from_torchs_generator():
    module = TorchModule(layers.Dropout(0.3))
    torch.manual_seed(5)
    a, b = dropped(module), dropped(module)
    torch.manual_seed(5)
    assert torch.equal(a, dropped(module))
    assert not torch.equal(a, b)
    assert 0.2 < a.double().mean() < 0.4
    assert not dropped(module.eval()).any()


@pytest.mark.parametrize(
    "make", [np.random.default_rng, lambda seed: torch.Generator().manual_seed(seed)]
)
def test_or_from_a_given_one(make):
    net = Sequential(Linear(1, 1), layers.Dropout(0.5))
    one, two, other = (TorchModule(net, make(seed)) for seed in (5, 5, 6))
    before = torch.get_rng_state()
    assert torch.equal(one.get_parameter("0.weight"), two.get_parameter("0.weight"))
    assert not torch.equal(one.get_parameter("0.weight"), other.get_parameter("0.weight"))
    assert torch.equal(dropped(one), dropped(two))
    assert not torch.equal(dropped(one), dropped(other))
    assert torch.equal(torch.get_rng_state(), before)


def test_masks_may_be_given(normal):
    net = Sequential(layers.Dropout(0.5), layers.Dropout(0.5))
    module, x = TorchModule(net), normal(6, 4)
    noise = net.sample_noise(np.random.default_rng(0), x)
    y, _ = net.forward(net.init(None), to_numpy(x), training=True, noise=noise)
    masks = [torch.as_tensor(mask, device=x.device) for mask in noise]
    assert_array_equal(to_numpy(module(x, masks)), y)


def test_checkpointing_draws_the_same_masks_again():
    module = TorchModule(Sequential(Linear(4, 4), layers.Dropout(0.5), layers.Tanh()))
    x = torch.randn(5, 4, requires_grad=True)
    grads = []
    for run in (
        module,
        lambda x: torch.utils.checkpoint.checkpoint(module, x, use_reentrant=False),
    ):
        torch.manual_seed(3)
        grads += torch.autograd.grad(run(x).sum(), x)
    assert torch.equal(*grads)


# What torch wants of an operation -----------------------------------------------------------


def test_nothing_is_kept_alive():
    module = TorchModule(Sequential(Linear(4, 4), layers.Softmax(), layers.Identity()))
    gc.collect()
    gc.disable()
    try:
        y = module(torch.randn(5, 4))
        gone = [weakref.ref(y), weakref.ref(y.grad_fn)]
        y.sum().backward()
        del y
        assert [ref() for ref in gone] == [None, None]  # without a cycle for the collector
    finally:
        gc.enable()


def test_a_second_backward_needs_retain_graph():
    y = TorchModule(Linear(4, 4))(torch.randn(5, 4)).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_a_change_in_place_before_backward_is_noticed():
    module = TorchModule(Sequential(Linear(4, 4), layers.Tanh()))
    y = module(torch.randn(5, 4, requires_grad=True)).sum()
    with torch.no_grad():
        module.get_parameter("0.weight").mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_inputs_are_left_alone(normal):
    module, x = module_of(FEATURES[-1]), normal(5, 4).cpu()
    before = [x.detach().clone(), *(p.detach().clone() for p in module.parameters())]
    module(x).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip((x, *module.parameters()), before, strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_a_module_compiles_into_one_graph(training):
    net = Sequential(
        Linear(4, 6), layers.BatchNorm(6),
        layers.LayerNorm(6), layers.Dropout(0.5), layers.Residual(Linear(6, 6)),
        layers.PReLU(6), layers.Maxout(6, 3, 2),
    )  # fmt: skip
    module = module_of(net).train(training)
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    noise = module.sample_noise(x)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    got, want = (run(x, noise) for run in (compiled, module))
    torch.testing.assert_close(got, want)
    inputs = (x, *module.parameters())
    pairs = (torch.autograd.grad(y.square().sum(), inputs) for y in (got, want))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b)


# Weights to and fro -------------------------------------------------------------------------


def test_weights_go_to_torch_and_come_back(created):
    net = Sequential(Linear(4, 4), layers.BatchNorm(4), layers.ReLU(), Linear(4, 2))
    theirs = torch.nn.Sequential(
        torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    ).double()
    rng = np.random.default_rng(0)
    theta = backend.array(rng.standard_normal(net.size))
    state = backend.array(rng.uniform(1, 2, net.state_size))
    theirs.load_state_dict(to_state_dict(net, theta, state), strict=False)
    x = rng.standard_normal((5, 4))
    y, _ = net.forward(theta, backend.array(x), state=state)
    assert_allclose(to_numpy(theirs.eval()(torch.tensor(x))), to_numpy(y), rtol=1e-12)
    for got, want in zip(from_state_dict(net, theirs.state_dict()), (theta, state), strict=True):
        assert type(got) is type(want)
        assert_array_equal(to_numpy(got), to_numpy(want))


def test_the_copy_is_a_copy():
    net = Sequential(Linear(2, 2))
    theta = np.zeros(net.size)
    state_dict = to_state_dict(net, theta)
    state_dict["0.weight"] += 1
    assert not theta.any()
    assert all(v.is_contiguous() for v in state_dict.values())


@pytest.mark.parametrize("layer", FEATURES + SEQUENCES + IMAGES, ids=repr)
def test_a_module_takes_every_layers_weights(layer):
    net = layer if isinstance(layer, Sequential) else Sequential(layer)
    rng = np.random.default_rng(0)
    theta, state = rng.standard_normal(net.size), rng.uniform(1, 2, net.state_size)
    module = TorchModule(net)
    module.load_state_dict(to_state_dict(net, theta.astype("float32"), state.astype("float32")))
    back = from_state_dict(net, module.state_dict())
    assert_array_equal(back[0], theta.astype("float32"))
    assert_array_equal(back[1], state.astype("float32"))


def test_half_precision_comes_back_exactly():
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 3)).bfloat16()
    theta, _ = from_state_dict(Sequential(Linear(2, 3)), theirs.state_dict())
    assert_array_equal(to_numpy(theta[6:]), theirs[0].bias.detach().double().numpy())


def test_weights_that_do_not_fit_are_named():
    net = Sequential(Linear(2, 3), layers.Tanh())
    no_bias = torch.nn.Sequential(torch.nn.Linear(2, 3, bias=False)).state_dict()
    with pytest.raises(ValueError, match=r"missing: 0\.bias; too many: none"):
        from_state_dict(net, no_bias)
    two = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)).state_dict()
    with pytest.raises(ValueError, match=r"missing: none; too many: 1\.bias, 1\.weight"):
        from_state_dict(net, two)
    wide = torch.nn.Sequential(torch.nn.Linear(4, 3)).state_dict()
    with pytest.raises(ValueError, match=r"0\.weight of state_dict .* \(3, 2\); got \(3, 4\)"):
        from_state_dict(net, wide)
    with pytest.raises(ValueError, match=r"theta must be of one network, \(P,\); got \(4, 9\)"):
        to_state_dict(net, np.zeros((4, 9)))


# Planted mistakes ---------------------------------------------------------------------------


def test_a_wrong_backward_is_caught(monkeypatch, normal):
    backward, x, module = Linear.backward, normal(5, 4).cpu(), module_of(Linear(4, 4))
    check_gradcheck(module, x)

    def averaged(self, cache, dy, **options):
        dx, (dweight, dbias) = backward(self, cache, dy, **options)
        return dx, (dweight, dbias / len(dy))

    def swapped(self, cache, dy, **options):
        dx, (dweight, dbias) = backward(self, cache, dy, **options)
        return dx, (dweight.mT, dbias)

    for wrong in (averaged, swapped):
        monkeypatch.setattr(Linear, "backward", wrong)
        with pytest.raises(AssertionError):
            check_gradcheck(module, x)


def test_a_second_derivative_from_the_kept_cache_is_caught(monkeypatch, normal):
    def from_cache(ctx, dy, *_):  # to torch, what was computed on the way forward is a constant
        kept = ctx.saved_tensors
        cache = bridge._mapped(lambda place: kept[place.index], ctx.cache, bridge._Place)
        return None, None, *ctx.passes[1](cache, dy, ctx.needs_input_grad[2:])

    x, module = normal(5, 4).cpu(), module_of(Sequential(Linear(4, 4), layers.Tanh()))
    monkeypatch.setattr(bridge._Operation, "backward", staticmethod(from_cache))
    check_gradcheck(module, x, twice=False)
    with pytest.raises(AssertionError):
        check_gradcheck(module, x)


def test_a_weight_that_is_not_transposed_is_caught(monkeypatch, created):
    monkeypatch.setattr(bridge, "_TRANSPOSED", {})
    with pytest.raises(RuntimeError, match="size mismatch"):
        test_weights_go_to_torch_and_come_back(created)


def test_a_loss_gradient_along_the_wrong_axis_is_caught(monkeypatch, normal):
    def last(dy, x, axis):
        return dy[(..., *(None,) * (x.ndim - dy.ndim))]

    monkeypatch.setattr(bridge, "_spread", last)
    with pytest.raises((RuntimeError, AssertionError)):
        test_mse_loss_over_any_axes("mean", 0, normal)


def test_attention_in_the_wrong_layout_is_caught(monkeypatch, normal):
    monkeypatch.setattr(bridge, "_TRANSPOSED", {Linear: ("weight",)})
    theirs = torch.nn.MultiheadAttention(4, 2, batch_first=True)
    with pytest.raises(RuntimeError, match="size mismatch for in_proj_weight"):
        test_either_loads_the_others_weights(layers.Attention(4, 2), theirs, (5, 3, 4))
