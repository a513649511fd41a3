"""Embedding, positions and attention: against torch.nn, their definitions, and wrong versions."""

import inspect
import math
from functools import partial

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from companion import backend, datasets, initializers, layers, losses
from companion.backend import array, to_numpy
from companion.layers import Attention, Embedding, LayerNorm, Linear, Position, Residual, attention
from companion.network import Sequential
from companion.optimizers import SGD
from companion.training import fit
from tests.layer_checks import (
    check_autograd,
    check_differences,
    check_replicas,
    draw,
    tensor,
)

some = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
causal_or_not = pytest.mark.parametrize("causal", [False, True])
NUM, DIM = 7, 4
#: Indices of which most repeat; 6 occurs once and 5 never.
X = np.array([[3, 0, 3, 3, 1], [2, 2, 6, 0, 4]])


def rng(seed=0):
    return np.random.default_rng(seed)


def random(*shape, seed=1):
    return array(rng(seed).standard_normal(shape))


def table(*replicas):
    return random(*replicas, NUM, DIM, seed=2)


# Embedding ----------------------------------------------------------------------------------


def check_embedding(x=X):
    """Hold the layer to torch.nn.Embedding."""
    weight, dy = table(), random(*x.shape, DIM)
    module = torch.nn.Embedding.from_pretrained(tensor(weight), freeze=False)
    want = module(torch.tensor(x))
    want.backward(tensor(dy))
    layer = Embedding(NUM, DIM)
    y, cache = layer.forward((weight,), array(x))
    dx, (dweight,) = layer.backward(cache, dy)
    assert dx is None
    assert_array_equal(to_numpy(y), want.detach().numpy())
    assert_allclose(to_numpy(dweight), module.weight.grad.numpy(), rtol=1e-13, atol=1e-13)


def check_embedding_replicas(own):
    """Hold replicas to a loop over them, with a batch that is shared or each with its own."""
    weight, dy = table(3, 2), random(3, 2, *X.shape, DIM)
    x = rng().integers(NUM, size=(3, 2, *X.shape)) if own else X
    layer = Embedding(NUM, DIM)
    y, cache = layer.forward((weight,), array(x))
    _, (dweight,) = layer.backward(cache, dy)
    for i in np.ndindex(3, 2):
        y_i, cache = layer.forward((weight[i],), array(x[i] if own else x))
        _, (dweight_i,) = layer.backward(cache, dy[i])
        assert_array_equal(to_numpy(y[i]), to_numpy(y_i))
        assert_allclose(to_numpy(dweight[i]), to_numpy(dweight_i), rtol=1e-13, atol=1e-13)


def test_embedding_is_that_of_torch(created):
    check_embedding()


@given(x=st.lists(st.lists(st.integers(0, NUM - 1), min_size=3, max_size=3), max_size=6))
@some
def test_embedding_is_that_of_torch_for_any_indices(created, x):
    check_embedding(np.array(x, dtype=np.int64).reshape(-1, 3))


@pytest.mark.parametrize("own", [False, True])
def test_replicas_of_an_embedding_equal_a_loop(created, own):
    check_embedding_replicas(own)


def test_a_vector_that_is_not_used_has_no_gradient(created):
    layer = Embedding(NUM, DIM)
    _, cache = layer.forward((table(),), array(X))
    _, (dweight,) = layer.backward(cache, random(*X.shape, DIM))
    unused = to_numpy(dweight) == 0
    assert_array_equal(unused, np.broadcast_to((np.arange(NUM) == 5)[:, None], (NUM, DIM)))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
def test_any_integers_are_indices(created, dtype):
    layer = Embedding(200, 2)
    weight, x = random(3, 200, 2), np.array([[1, 100], [0, 127]])
    want, _ = layer.forward((weight,), array(x))
    y, cache = layer.forward((weight,), array(x.astype(dtype)))
    assert_array_equal(to_numpy(y), to_numpy(want))
    layer.backward(cache, y)


def test_an_embedding_is_drawn_as_asked(created):
    weight = initializers.normal((NUM, DIM), rng=rng())
    assert_array_equal(Embedding(NUM, DIM).init(rng())[0], weight)
    assert_array_equal(Embedding(NUM, DIM, std=0.02).init(rng())[0], 0.02 * weight)
    (drawn,) = Embedding(NUM, DIM, init=initializers.uniform, low=-1).init(rng())
    assert_array_equal(drawn, initializers.uniform((NUM, DIM), rng=rng(), low=-1))


# Positions ----------------------------------------------------------------------------------


def check_position(t):
    """Hold the layer to an embedding of 0, 1, 2, ... that is added."""
    weight, x, dy = random(6, DIM, seed=2), random(3, t, DIM, seed=3), random(3, t, DIM)
    module = torch.nn.Embedding.from_pretrained(tensor(weight), freeze=False)
    want = tensor(x) + module(torch.arange(t))
    want.backward(tensor(dy))
    layer = Position(6, DIM)
    y, cache = layer.forward((weight,), x)
    dx, (dweight,) = layer.backward(cache, dy)
    assert_array_equal(to_numpy(y), want.detach().numpy())
    assert_array_equal(to_numpy(dx), to_numpy(dy))
    assert_allclose(to_numpy(dweight), module.weight.grad.numpy(), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("t", [0, 1, 4, 6])
def test_positions_are_an_embedding_that_is_added(created, t):
    check_position(t)


def test_positions_are_drawn_as_asked():
    weight = initializers.normal((6, DIM), rng=rng())
    assert_array_equal(Position(6, DIM).init(rng())[0], weight)
    assert_array_equal(Position(6, DIM, std=0.1).init(rng())[0], 0.1 * weight)


# Attention ----------------------------------------------------------------------------------

D = 12


def check_parity(causal=False, num_heads=3, t=5, make=Attention):
    """Hold values and gradients to torch.nn.MultiheadAttention."""
    net = Sequential(make(D, num_heads, causal=causal))
    theta, x, dy, _ = draw(net, (4, t, D))
    module = torch.nn.MultiheadAttention(D, num_heads, batch_first=True, dtype=torch.float64)
    ours = {name.removeprefix("0."): tensor(v) for name, v in net.unpack(theta).items()}
    module.load_state_dict({n: v.mT if v.ndim == 2 else v for n, v in ours.items()}, strict=True)
    own = tensor(x).requires_grad_()
    mask = torch.ones(t, t, dtype=torch.bool).triu(1) if causal else None
    want, _ = module(own, own, own, attn_mask=mask, need_weights=False)
    want.backward(tensor(dy))
    y, cache = net.forward(theta, x)
    dx, dtheta = net.backward(cache, dy)
    assert_allclose(to_numpy(y), want.detach().numpy(), rtol=1e-10, atol=1e-12)
    assert_allclose(to_numpy(dx), own.grad.numpy(), rtol=1e-10, atol=1e-12)
    for name, grad in net.unpack(dtheta).items():
        expected = module.get_parameter(name.removeprefix("0.")).grad
        expected = expected.mT if expected.ndim == 2 else expected
        assert_allclose(to_numpy(grad), expected.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("t", [1, 5])
@pytest.mark.parametrize("num_heads", [1, 2, 3, 12])
@causal_or_not
def test_attention_is_that_of_torch(created, causal, num_heads, t):
    check_parity(causal, num_heads, t)


@causal_or_not
def test_attention_is_scaled_dot_product_attention(created, causal):
    """With identities in place of the affine maps, and queries, keys and values that differ."""
    layer = Attention(D, 3, causal=causal)
    maps = rng().standard_normal((3, D, D))
    params = (np.concatenate(maps, axis=1), np.zeros(3 * D), np.eye(D), np.zeros(D))
    x = rng(1).standard_normal((2, 5, D))
    y, _ = layer.forward(tuple(map(array, params)), array(x))
    q, k, v = torch.tensor(np.stack([x @ m for m in maps]).reshape(3, 2, 5, 3, 4)).movedim(-2, -3)
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    want = want.movedim(-3, -2).reshape(2, 5, D).numpy()
    assert_allclose(to_numpy(y), want, rtol=1e-10, atol=1e-12)


def test_attention_is_its_definition(created):
    """One query after the other, one head after the other, in plain sums."""
    layer = Attention(6, 2, causal=True)
    net = Sequential(layer)
    theta, x, _, _ = draw(net, (2, 4, 6))
    w_in, b_in, w_out, b_out = (to_numpy(v) for v in net.unpack(theta).values())
    xs = to_numpy(x)
    expected = np.empty((2, 4, 6))
    for n in range(2):
        q, k, v = np.split(xs[n] @ w_in + b_in, 3, axis=1)
        for i in range(4):
            o = np.zeros(6)
            for head in (slice(0, 3), slice(3, 6)):
                weights = [math.exp(q[i, head] @ k[j, head] / math.sqrt(3)) for j in range(i + 1)]
                for j, weight in enumerate(weights):
                    o[head] += weight / sum(weights) * v[j, head]
            expected[n, i] = o @ w_out + b_out
    assert_allclose(to_numpy(net.forward(theta, x)[0]), expected, rtol=1e-12, atol=1e-13)


@given(
    seed=st.integers(0, 2**32 - 1),
    replicas=st.sampled_from([(), (3,), (2, 2)]),
    n=st.integers(1, 3),
    t=st.integers(1, 5),
    heads=st.integers(1, 3),
    each=st.integers(1, 3),
    causal=st.booleans(),
)
@some
def test_backward_is_the_derivative(created, seed, replicas, n, t, heads, each, causal):
    d = heads * each
    net = Sequential(Position(6, d), Attention(d, heads, causal=causal), Linear(d, 2))
    case = draw(net, (n, t, d), seed, replicas)
    check_autograd(net, *case)
    check_differences(net, *case)
    check_replicas(net, *case)


@causal_or_not
def test_a_shared_batch_is_every_replicas(created, causal):
    net = Sequential(Attention(4, 2, causal=causal))
    theta, x, dy, how = draw(net, (3, 5, 4), replicas=(2,), shared=True)
    check_autograd(net, theta, x, dy, how)
    check_replicas(net, theta, backend.namespace(x).stack([x, x]), dy, how)


def check_causality(make=Attention):
    """Change what comes later, and see that nothing before it changes; nor do gradients flow."""
    net = Sequential(Position(6, D), make(D, 3, causal=True), Linear(D, 2))
    theta, x, _, _ = draw(net, (2, 6, D))
    y = to_numpy(net.forward(theta, x)[0])
    for i in range(6):
        other = to_numpy(x).copy()
        other[:, i + 1 :] += rng(i).standard_normal(other[:, i + 1 :].shape)
        changed, cache = net.forward(theta, array(other))
        assert_array_equal(to_numpy(changed)[:, : i + 1], y[:, : i + 1])
        assert i == 5 or (to_numpy(changed)[:, i + 1 :] != y[:, i + 1 :]).all()
        dy = np.zeros(y.shape)
        dy[:, i] = 1.0
        dx = to_numpy(net.backward(cache, array(dy))[0])
        assert_array_equal(dx[:, i + 1 :], 0)
        assert (dx[:, : i + 1] != 0).all()


def test_no_output_depends_on_later_input(created):
    check_causality()


@given(order=st.permutations(range(5)))
@some
def test_without_positions_order_does_not_count(created, order):
    net = Sequential(Attention(4, 2))
    theta, x, _, _ = draw(net, (2, 5, 4))
    order = array(np.array(order))
    xp = backend.namespace(x)
    y, _ = net.forward(theta, x)
    permuted, _ = net.forward(theta, xp.take(x, order, axis=1))
    assert_allclose(to_numpy(permuted), to_numpy(xp.take(y, order, axis=1)), rtol=1e-12, atol=1e-13)


@causal_or_not
def test_large_scores_single_out_one_key(created, causal):
    """Scores of ±10⁵ make the softmax one-hot, and no value or gradient is nan."""
    layer = Attention(2, 1, causal=causal)
    w_in = np.concatenate([1e3 * np.eye(2), 1e3 * np.eye(2), np.eye(2)], axis=1)
    params = tuple(map(array, (w_in, np.zeros(6), np.eye(2), np.zeros(2))))
    x = array([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]]])
    y, cache = layer.forward(params, x)
    assert_allclose(to_numpy(y), to_numpy(x), rtol=1e-14)
    dx, grads = layer.backward(cache, random(1, 3, 2))
    assert all(np.isfinite(to_numpy(a)).all() for a in (dx, *grads))


def test_weights_are_drawn_as_asked():
    layer = Attention(D, 3, gain=0.5)
    params, draws = layer.init(rng()), rng()
    first = initializers.xavier_uniform((D, 3 * D), rng=draws, gain=0.5)
    second = initializers.xavier_uniform((D, D), rng=draws, gain=0.5)
    for got, want in zip(params, (first, np.zeros(3 * D), second, np.zeros(D)), strict=True):
        assert_array_equal(got, want)
    # torch's bound for the first weight
    torch.manual_seed(0)
    bound = torch.nn.MultiheadAttention(D, 3).in_proj_weight.abs().max().item()
    assert abs(2 * first).max() == pytest.approx(bound, rel=0.02)


# A language model ---------------------------------------------------------------------------


def language_model(k=NUM, t=6, d=8, std=1.0):
    """Return the smallest network of this kind: one block of attention, one of two layers."""
    return Sequential(
        Embedding(k, d, std=std),
        Position(t, d, std=std),
        Residual(LayerNorm(d), Attention(d, 4, causal=True)),
        Residual(LayerNorm(d), Linear(d, 4 * d), layers.ReLU(), Linear(4 * d, d, gain=1.0)),
        LayerNorm(d),
        Linear(d, k, gain=1.0),
    )


@pytest.mark.parametrize("replicas", [(), (3,)])
@pytest.mark.parametrize("own", [False, True])
def test_backward_of_a_language_model(created, replicas, own):
    net = language_model()
    theta = net.init(rng(), replicas)
    x = array(rng().integers(NUM, size=(*replicas, 2, 5) if own else (2, 5)))
    y, cache = net.forward(theta, x)
    dy = random(*y.shape)
    dx, dtheta = net.backward(cache, dy)
    assert dx is None
    t = tensor(theta).requires_grad_()
    (want,) = torch.autograd.grad(net.forward(t, tensor(x))[0], t, tensor(dy))
    assert_allclose(to_numpy(dtheta), want.numpy(), rtol=1e-10, atol=1e-10)
    v, h = random(*theta.shape, seed=4), 1e-6
    up, down = (net.forward(theta + s * h * v, x)[0] for s in (1, -1))
    terms = to_numpy(dtheta * v)
    slope = to_numpy((up - down) * dy).sum() / (2 * h)
    assert terms.sum() == pytest.approx(slope, abs=1e-6 * (1 + np.abs(terms).sum()))


def test_without_the_gradient_in_the_input(created):
    net = Sequential(Attention(4, 2))
    theta, x, dy, _ = draw(net, (3, 5, 4))
    _, cache = net.forward(theta, x)
    none, dtheta = net.backward(cache, dy, input_grad=False)
    assert none is None
    assert_array_equal(to_numpy(dtheta), to_numpy(net.backward(cache, dy)[1]))


def test_inputs_are_left_alone(created):
    net = language_model()
    theta, x = net.init(rng(), replicas=(2,)), array(X)
    y, cache = net.forward(theta, x)
    dy = random(*y.shape)
    before = [to_numpy(a).copy() for a in (theta, x, dy)]
    first = [to_numpy(a) for a in (y, net.backward(cache, dy)[1])]
    again, cache = net.forward(theta, x)
    assert_array_equal(to_numpy(again), first[0])
    assert_array_equal(to_numpy(net.backward(cache, dy)[1]), first[1])
    for a, b in zip((theta, x, dy), before, strict=True):
        assert_array_equal(to_numpy(a), b)


def step(net, theta, x, y):
    """One training step, from the vector to the vector."""
    logits, cache = net.forward(theta, x, training=True)
    xp, flat = backend.namespace(theta), (*theta.shape[:-1], -1, NUM)
    grad = losses.cross_entropy_grad(xp.reshape(logits, flat), xp.reshape(y, (-1,)))
    _, dtheta = net.backward(cache, xp.reshape(grad, logits.shape), input_grad=False)
    return theta - 0.1 * dtheta


@pytest.mark.parametrize("replicas", [(), (3,)])
def test_a_step_on_the_bare_standard(replicas):
    net, y = language_model(), rng().integers(NUM, size=X.shape)
    theta = to_numpy(net.init(rng(), replicas))
    got = step(net, *(array_api_strict.asarray(a) for a in (theta, X, y)))
    assert_allclose(np.asarray(got), step(net, theta, X, y), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("replicas", [(), (3,)])
def test_a_step_is_one_graph(replicas):
    net = language_model()
    theta = torch.tensor(to_numpy(net.init(rng(), replicas)))
    x, y = torch.tensor(X), torch.tensor(rng().integers(NUM, size=X.shape))
    compiled = torch.compile(partial(step, net), fullgraph=True, backend="aot_eager")
    assert_allclose(compiled(theta, x, y), step(net, theta, x, y), rtol=1e-12, atol=1e-14)


def test_float32_stays_float32(created):
    backend.use(dtype="float32")
    net = language_model()
    theta, x = net.init(rng()), array(X)
    y, cache = net.forward(theta, x)
    _, dtheta = net.backward(cache, y)
    wide = to_numpy(theta).astype(np.float64)
    want, cache = net.forward(wide, X)
    _, dwant = net.backward(cache, want)
    for got, expected in ((y, want), (dtheta, dwant)):
        assert "float32" in str(got.dtype)
        assert np.abs(to_numpy(got) - expected).max() < 1e-5 * np.abs(expected).max()


def bits(net, theta, x, y):
    """Cross-entropy of the next character in bits, the mean over a set."""
    logits, _ = net.forward(theta, x)
    xp = backend.namespace(logits)
    flat = xp.reshape(logits, (-1, logits.shape[-1])), xp.reshape(y, (-1,))
    return float(losses.cross_entropy(*flat)) / math.log(2)


def counted_bits(train, validation, k):
    """Return what counts of single characters and of pairs reach, each with 1 in k added."""
    (x, y), (u, v) = ((to_numpy(a).reshape(-1) for a in pair) for pair in (train, validation))
    pairs = np.full((k, k), 1 / k)
    np.add.at(pairs, (x, y), 1)
    one = pairs.sum(axis=0) / pairs.sum()
    two = pairs / pairs.sum(axis=1, keepdims=True)
    return -np.log2(one[v]).mean(), -np.log2(two[u, v]).mean()


def trained_bits(net, train, validation):
    start = bits(net, theta := net.init(rng()), *validation)
    theta, _ = fit(
        net,
        theta,
        train,
        loss=losses.cross_entropy,
        optimizer=SGD(lr=0.5, momentum=0.9),
        schedule=lambda t: 0.5 * min(1, (t + 1) / 20, (600 - t) / 300),
        clip=1.0,
        rng=rng(),
        steps=600,
        batch_size=32,
        progress=False,
    )
    return start, bits(net, theta, *validation)


def test_a_small_model_learns_the_language(created):
    """It does far better than counts of characters, and of pairs."""
    backend.use(dtype="float32")
    train, validation, vocabulary = datasets.characters(32)
    k = len(vocabulary)
    one, two = counted_bits(train, validation, k)
    start, end = trained_bits(language_model(k, 32, 32, std=0.3), train, validation)
    assert math.log2(k) - 0.5 < start  # no better than a guess
    assert two < one - 0.8
    assert 1.5 < end < two - 0.5  # without the mask it gets to 0.1


def test_without_attention_it_learns_pairs_at_best(on_numpy):
    """Then each position sees its own character only: what was learned above is the context."""
    backend.use(dtype="float32")
    train, validation, vocabulary = datasets.characters(32)
    k = len(vocabulary)
    _, two = counted_bits(train, validation, k)
    embedding, position, _, *rest = language_model(k, 32, 32, std=0.3).layers
    _, end = trained_bits(Sequential(embedding, position, *rest), train, validation)
    assert two - 0.1 < end < two + 0.2


# Bad input ----------------------------------------------------------------------------------


def test_bad_indices_are_named(created):
    layer = Embedding(NUM, DIM)
    for bad in (-1, NUM):
        x = X.copy()
        x[1, 2] = bad
        with pytest.raises(ValueError, match=rf"Embedding\(7, 4\) expects .* 0 to 6 .* got {bad}"):
            layer.forward((table(),), array(x))
    with pytest.raises(TypeError, match=r"expects x to hold integers; got dtype .*float64"):
        layer.forward((table(),), array(X / 1.0))
    with pytest.raises(TypeError, match=r"expects x to hold integers; got dtype .*bool"):
        layer.forward((table(),), array(X > 0))
    with pytest.raises(ValueError, match=r"expects x of shape \(..., n, t\); got \(5,\)"):
        layer.forward((table(),), array(X[0]))
    with pytest.raises(ValueError, match=r"x must have shape \(n, .*got \(5,\)"):
        Sequential(layer).forward(random(NUM * DIM), array(X[0]))


def test_bad_sequences_are_named(created):
    net = Sequential(Position(5, 4), Attention(4, 2))
    theta = net.init(rng())
    with pytest.raises(ValueError, match=r"Position\(5, 4\) expects at most 5 positions .* got 6"):
        net.forward(theta, random(2, 6, 4))
    with pytest.raises(ValueError, match=r"Position.* of shape \(..., n, t, 4\); got \(2, 5, 3\)"):
        net.forward(theta, random(2, 5, 3))
    net = Sequential(Linear(3, 4), Attention(4, 2), input_ndim=2)
    with pytest.raises(ValueError, match=r"Attention.* of shape \(..., n, t, 4\); got \(5, 4\)"):
        net.forward(net.init(rng()), random(5, 3))
    net = Sequential(Linear(3, 5), Attention(4, 2), input_ndim=3)
    with pytest.raises(ValueError, match=r"Attention\(4, 2, causal=False\) .* got \(2, 6, 5\)"):
        net.forward(net.init(rng()), random(2, 6, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Embedding(0, 4), "num_embeddings must be a positive number; got 0"),
        (lambda: Embedding(4, -1), "embedding_dim must be a positive number; got -1"),
        (lambda: Position(0, 4), "t_max must be a positive number; got 0"),
        (lambda: Position(4, 0), "d must be a positive number; got 0"),
        (lambda: Attention(0, 1), "d must be a positive number; got 0"),
        (lambda: Attention(4, 0), "num_heads must be a positive number; got 0"),
        (lambda: Attention(6, 4), "num_heads must divide d, which is 6; got 4"),
    ],
)
def test_bad_layers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Planted mistakes ---------------------------------------------------------------------------


def plant(monkeypatch, name, right, wrong):
    """Make the layer class again, with a mistake in its source."""
    source = inspect.getsource(getattr(attention, name))
    assert source.count(right) == 1, f"{right!r} is not in {name} once"
    scope = dict(vars(attention))
    exec("from __future__ import annotations\n" + source.replace(right, wrong), scope)
    monkeypatch.setitem(globals(), name, scope[name])


def overwritten(self, cache, dy, *, input_grad=True):
    dweight = np.zeros((self.num_embeddings, self.embedding_dim))
    dweight[cache] = dy
    return None, (dweight,)


def averaged(self, cache, dy, *, input_grad=True):
    dweight = np.zeros((self.num_embeddings, self.embedding_dim))
    np.add.at(dweight, cache, dy)
    counts = np.bincount(cache.reshape(-1), minlength=self.num_embeddings)
    return None, (dweight / np.maximum(counts, 1)[:, None],)


@pytest.mark.parametrize("mutant", [overwritten, averaged])
def test_repeated_indices_that_do_not_add_up_are_caught(monkeypatch, mutant):
    monkeypatch.setattr(Embedding, "backward", mutant)
    with pytest.raises(AssertionError):
        check_embedding()


@pytest.mark.parametrize("own", [False, True])
def test_replicas_that_all_read_the_first_table_are_caught(monkeypatch, own):
    plant(monkeypatch, "Embedding", "rows = x + ", "rows = x + 0 * ")
    check_embedding()
    with pytest.raises(AssertionError):
        check_embedding_replicas(own)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("weight[..., None, :t, :]", "weight[..., None, -t:, :]"),
        ("[used, xp.zeros(rest, dtype=dy.dtype, device=dy.device)]", "[xp.zeros(rest), used]"),
        ("xp.sum(dy, axis=-3)", "xp.mean(dy, axis=-3)"),
    ],
    ids=["last vectors", "gradient to the last vectors", "gradient averaged"],
)
def test_wrong_positions_are_caught(monkeypatch, right, wrong):
    plant(monkeypatch, "Position", right, wrong)
    with pytest.raises(AssertionError):
        check_position(4)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("** -0.5", "** 0.0"),
        ("(d // num_heads) ** -0.5", "d**-0.5"),
        ("softmax(self._masked((self.scale * q) @ k.mT))", "softmax(self.scale * q @ k.mT)"),
        ("xp.triu(later, k=1)", "xp.tril(later, k=-1)"),
        ("xp.triu(later, k=1)", "xp.triu(later, k=2)"),
        ("(self.scale * q) @ k.mT)", "(self.scale * q) @ k.mT), axis=-2"),
        ("parts, self.num_heads, self.d // self.num_heads)", "parts, -1, self.num_heads)"),
        ("q, k, v = (qkv", "k, q, v = (qkv"),
        ("q, k, v = (qkv", "q, v, k = (qkv"),
        ("dv = p.mT @ do", "dv = p @ do"),
        ("(dp - xp.sum(p * dp, axis=-1, keepdims=True))", "dp"),
        ("axis=-1, keepdims=True", "axis=-2, keepdims=True"),
        ("self.scale * (ds @ k)", "ds @ k"),
        ("ds.mT @ q", "ds @ q"),
        ("[dq, dk, dv]", "[dk, dq, dv]"),
        ("in_grads + out_grads", "tuple([0 * g for g in in_grads]) + out_grads"),
    ],
)
def test_wrong_attention_is_caught(monkeypatch, right, wrong):
    plant(monkeypatch, "Attention", right, wrong)
    with pytest.raises(AssertionError):
        check_parity(causal=True, num_heads=3, make=globals()["Attention"])


@pytest.mark.parametrize("wrong", ["xp.tril(later, k=-1)", "xp.triu(later, k=2)", "0 * scores"])
def test_sight_of_the_future_is_caught(monkeypatch, wrong):
    plant(monkeypatch, "Attention", "xp.triu(later, k=1)", wrong)
    with pytest.raises(AssertionError):
        check_causality(make=globals()["Attention"])
