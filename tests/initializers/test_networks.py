"""LSUV against its definition layer by layer, Fixup against the paper's rules."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from companion.backend import array, to_numpy
from companion.initializers import networks
from companion.initializers.networks import fixup, lsuv
from companion.layers import (
    BatchNorm,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    Linear,
    Maxout,
    ReLU,
    Residual,
    ReZero,
    Sigmoid,
    Tanh,
)
from companion.network import Sequential

BLOCK = (Linear(7, 9), Tanh(), Linear(9, 7))
NETS = {
    "relu": (Linear(5, 8), ReLU(), Linear(8, 8), ReLU(), Linear(8, 3)),
    "sigmoid": (Linear(5, 8), Sigmoid(), Linear(8, 8), Sigmoid(), Linear(8, 3)),
    "maxout": (Maxout(5, 8, 3), Linear(8, 3)),
    "residual": (Linear(5, 7), Residual(*BLOCK), ReZero(*BLOCK), Linear(7, 3)),
    "shortcut": (Residual(Linear(5, 6), ReLU(), Linear(6, 4), shortcut=Linear(5, 4)), Linear(4, 2)),
    "modes": (Linear(5, 8), BatchNorm(8), Dropout(0.5), Linear(8, 3)),
}


def start(net, seed=0, replicas=3, bias=0.0):
    """A start of each replica's own scale, with small random biases if asked."""
    rng = np.random.default_rng(seed)
    theta = to_numpy(net.init(rng, replicas=replicas)) * np.array([[0.1], [1.0], [7.0]])
    for name, values in net.unpack(theta).items():
        if name.endswith("bias"):
            values[...] = bias * rng.standard_normal(values.shape)
    return theta


def outputs(net, theta, x):
    """The outputs of all weights of one replica, by the definition, and theta's parts by name."""
    parts, found = net.unpack(theta), {}

    def row(layers, x, name):
        for i, layer in enumerate(layers):
            x = one(layer, x, f"{name}{i}.")
        return x

    def one(layer, x, name):
        kind = type(layer).__name__
        if kind in ("Linear", "Maxout"):
            x = x @ parts[f"{name}weight"] + parts[f"{name}bias"]
            if kind == "Maxout":
                x = x.reshape(len(x), -1, layer.num_pieces).max(-1)
            found[name] = x
        elif kind in ("Residual", "ReZero"):
            branch, path = row(layer.layers, x, name), x
            if getattr(layer, "shortcut", None) is not None:
                path = one(layer.shortcut, x, f"{name}shortcut.")
            x = path + (parts[f"{name}alpha"] if kind == "ReZero" else 1) * branch
        elif kind == "BatchNorm":
            x = x * parts[f"{name}weight"] / math.sqrt(1 + layer.eps)
        elif kind != "Dropout":
            x = layer.forward((), x)[0]
        return x

    row(net.layers, x, "")
    return found


def check_lsuv(name):
    net = Sequential(*NETS[name])
    theta = start(net)
    x = np.random.default_rng(1).standard_normal((40, 5)) * 3
    scaled = to_numpy(lsuv(net, array(theta), array(x)))
    for i in range(3):
        found = outputs(net, scaled[i], x)
        assert len(found) == sum(k.endswith("weight") and v.ndim > 2 for k, v in
                                 net.unpack(scaled).items())  # fmt: skip
        for y in found.values():
            assert abs(y.var() - 1) < 0.1 + 1e-9  # the convergence that the paper asks for
        alone = lsuv(net, array(theta[i]), array(x))
        assert_allclose(to_numpy(alone), scaled[i], rtol=1e-12)
    before, after = net.unpack(theta), net.unpack(scaled)
    for key, values in after.items():  # each weight is what it was times a positive number
        if values.ndim > 2:
            ratio = values / before[key]
            assert (ratio > 0).all()
            assert_allclose(ratio, ratio[:, :1, :1] + 0 * ratio, rtol=1e-9)
        else:
            assert_array_equal(values, before[key])


@pytest.mark.parametrize("name", NETS)
def test_lsuv_gives_unit_variance(created, name):
    check_lsuv(name)


def test_lsuv_without_biases_needs_one_round(created):
    net = Sequential(*NETS["relu"])
    x = array(np.random.default_rng(1).standard_normal((40, 5)))
    scaled = lsuv(net, array(start(net)), x, max_iter=1)
    y = to_numpy(net.forward(scaled, x)[0])
    assert_allclose(y.var((-2, -1)), 1, rtol=1e-10)


def test_lsuv_with_biases_takes_rounds(created):
    net = Sequential(Linear(5, 8), Tanh(), Linear(8, 3))
    theta = array(start(net, bias=0.3))
    x = array(np.random.default_rng(1).standard_normal((40, 5)))

    def worst(rounds):
        scaled = lsuv(net, theta, x, tol=1e-3, max_iter=rounds)
        return abs(to_numpy(net.forward(scaled, x)[0]).var((-2, -1)) - 1).max()

    assert worst(1) > 1e-3 > worst(100)


def test_lsuv_keeps_what_is_within_the_tolerance(created):
    net = Sequential(Linear(5, 8))
    x = array(np.random.default_rng(1).standard_normal((40, 5)))
    theta = lsuv(net, array(start(net)), x, tol=1e-9)
    near = array(to_numpy(theta) * np.array([[1.04], [0.96], [1.2]]))  # variance 1.08, 0.92, 1.44
    scaled = lsuv(net, near, x)
    assert_array_equal(to_numpy(scaled)[:2], to_numpy(near)[:2])
    assert_allclose(to_numpy(scaled)[2], to_numpy(theta)[2], rtol=1e-9)


def test_lsuv_on_images_and_batches_of_the_replicas(created):
    net = Sequential(Conv2d(2, 3, 3), ReLU(), Flatten(), Linear(3 * 16, 4))
    rng = np.random.default_rng(0)
    theta, x = net.init(rng, replicas=(2, 2)), rng.standard_normal((2, 2, 20, 2, 6, 6))
    scaled = lsuv(net, theta, array(x), tol=1e-6)
    first = Sequential(net.layers[0])
    y = to_numpy(first.forward(scaled[..., : first.size], array(x))[0])
    assert_allclose(y.reshape(2, 2, -1).var(-1), 1, rtol=1e-6)
    assert_allclose(to_numpy(net.forward(scaled, array(x))[0]).var((-2, -1)), 1, rtol=1e-6)


def test_lists_are_taken(created):
    net = Sequential(*NETS["residual"])
    theta, x = array(start(net)), array(np.random.default_rng(1).standard_normal((40, 5)))
    want = to_numpy(lsuv(net, theta, x))
    assert_array_equal(to_numpy(lsuv(net, theta, to_numpy(x).tolist())), want)
    assert_array_equal(to_numpy(lsuv(net, theta, x=x, max_iter=10)), want)
    ones = [1] * net.size
    assert_array_equal(fixup(net, ones), fixup(net, np.ones(net.size)))
    words = Sequential(Embedding(6, 4), Linear(4, 2))
    theta, labels = words.init(np.random.default_rng(0)), [[0, 1, 2], [3, 4, 5]]
    assert_array_equal(
        to_numpy(lsuv(words, theta, labels)), to_numpy(lsuv(words, theta, array(labels)))
    )


def test_nothing_is_changed_in_place(created):
    net = Sequential(*NETS["residual"])
    theta = array(start(net))
    kept = np.array(to_numpy(theta))
    x = array(np.ones((4, 5)) * np.arange(4)[:, None])
    lsuv(net, theta, x)
    fixup(net, theta)
    assert_array_equal(to_numpy(theta), kept)


@pytest.mark.parametrize(
    ("options", "x", "message"),
    [
        ({"tol": 0.0}, np.ones((4, 5)), "tol must be positive; got 0.0"),
        ({"max_iter": 0}, np.ones((4, 5)), "max_iter must be positive; got 0"),
        ({}, np.zeros((4, 5)), r"outputs of Linear\(5, 8\) a positive finite variance"),
        ({}, np.full((4, 5), np.inf), "positive finite variance"),
        ({}, np.ones((4, 6)), r"Linear\(5, 8\) expects x"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_lsuv_names_bad_input(created, options, x, message):
    net = Sequential(*NETS["relu"])
    with pytest.raises(ValueError, match=message):
        lsuv(net, array(start(net)), array(x), **options)


def check_fixup():
    """Three blocks of 2 weights, one of 3 and one of 1, inside a row, with a shortcut."""
    two = Residual(Linear(6, 6), ReLU(), Linear(6, 6))
    three = Residual(Linear(6, 4), ReLU(), Linear(4, 4), ReLU(), Linear(4, 6))
    other = Residual(Linear(6, 3), ReLU(), Linear(3, 5), shortcut=Linear(6, 5))
    net = Sequential(
        Linear(5, 6), two, ReLU(), three, two, Residual(Linear(6, 6)), other, Linear(5, 2)
    )  # fmt: skip
    theta = np.random.default_rng(0).uniform(1, 2, (3, net.size))
    ratio = net.unpack(to_numpy(networks.fixup(net, array(theta))) / theta)
    expected = dict.fromkeys(ratio, 1.0)
    for block in ("1.", "4.", "6."):
        expected |= {f"{block}0.weight": 5**-0.5, f"{block}2.weight": 0.0}
    expected |= {"3.0.weight": 5**-0.25, "3.2.weight": 5**-0.25, "3.4.weight": 0.0}
    expected |= {"5.0.weight": 0.0, "7.weight": 0.0}
    for name, values in ratio.items():
        assert_allclose(values, expected[name], rtol=1e-12, err_msg=name)


def test_fixup_follows_the_rules(created):
    check_fixup()


def test_fixups_blocks_are_the_identity(created):
    net = Sequential(*[Residual(*BLOCK)] * 20)
    x = array(np.random.default_rng(0).standard_normal((3, 7)))
    y, _ = net.forward(fixup(net, net.init(np.random.default_rng(0), replicas=2)), x)
    assert_array_equal(to_numpy(y), np.broadcast_to(to_numpy(x), (2, 3, 7)))


def test_a_step_does_not_grow_with_depth(created):
    """The change of the output in a step of descent, which the rule's exponent is chosen for."""
    x = array(np.random.default_rng(1).standard_normal((10, 16)))

    def change(blocks, start):
        block = Residual(Linear(16, 16), ReLU(), Linear(16, 16))
        net = Sequential(*[block] * blocks)
        theta = start(net, net.init(np.random.default_rng(0)))
        y, cache = net.forward(theta, x)
        _, grad = net.backward(cache, y / 10)
        for name, values in net.unpack(grad).items():
            if name.endswith("bias"):  # these add up over the blocks whatever the rule
                values *= 0
        moved, _ = net.forward(theta - 0.01 * grad, x)
        return float(((moved - y) ** 2).mean() ** 0.5)

    def only_zeros(net, theta):
        for name, values in net.unpack(theta).items():
            if name.endswith(".2.weight"):
                values *= 0
        return theta

    assert 0.8 < change(64, fixup) / change(4, fixup) < 1.25
    assert change(64, only_zeros) / change(4, only_zeros) > 5


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((Linear(3, 3),), r"net must have Residual blocks; got Sequential\(Linear"),
        ((Residual(Tanh()), Linear(3, 3)), "each block must have a weight in its branch"),
    ],
)
def test_fixup_names_bad_input(layers, message):
    net = Sequential(*layers)
    with pytest.raises(ValueError, match=message):
        fixup(net, np.zeros(net.size))


def test_a_theta_that_does_not_fit_is_named():
    net = Sequential(*NETS["residual"])
    for theta in (np.ones(3), [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match=r"theta must have shape \(\.\.\., .*; got \(3,\)"):
            fixup(net, theta)
        with pytest.raises(ValueError, match=r"theta must have shape \(\.\.\., .*; got \(3,\)"):
            lsuv(net, theta, np.ones((4, 5)))


# Planted mistakes ---------------------------------------------------------------------------


class Wrong:
    """NumPy's functions but one."""

    def __init__(self, **changed):
        self.__dict__.update(changed)

    def __getattr__(self, name):
        return getattr(np, name)


WRONG_LSUV = {
    "divides by the variance": Wrong(sqrt=lambda v: v),
    "multiplies": Wrong(sqrt=lambda v: 1 / np.sqrt(v)),
    "one variance for all replicas": Wrong(var=lambda y, axis: 0 * y.var(axis) + y.var()),
}


@pytest.mark.parametrize("mistake", WRONG_LSUV)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_wrong_lsuv_is_caught(monkeypatch, on_numpy, mistake):
    monkeypatch.setattr(networks, "namespace", lambda y: WRONG_LSUV[mistake])
    with pytest.raises((AssertionError, ValueError)):
        check_lsuv("relu")


def test_activations_of_unit_variance_are_caught(monkeypatch, on_numpy):
    """The variance after the activation is another one."""
    run = networks._run

    def late(layer, params, x, replicas):
        y = run(layer, params, x, replicas)
        return np.maximum(y, 0) if isinstance(layer, Linear) else y

    monkeypatch.setattr(networks, "_run", late)
    with pytest.raises(AssertionError):
        check_lsuv("relu")


def wrong_fixup(exponent=lambda m: -1 / (2 * m - 2), zero_first=False, head=True):
    def fixup(net, theta):
        factor = np.ones(net.size)
        parts = net.unpack(factor)
        blocks = [f"{i}." for i, layer in enumerate(net.layers) if hasattr(layer, "path")]
        for block in blocks:
            own = [n for n in parts if n.startswith(block) and n.endswith("weight")]
            own = [n for n in own if "shortcut" not in n]
            for name in own if len(own) == 1 else own[1:] if zero_first else own[:-1]:
                parts[name] *= len(blocks) ** exponent(len(own)) if len(own) > 1 else 0
            parts[own[0 if zero_first else -1]] *= 0
        parts["7.weight"] *= 0 if head else 1
        return factor * theta

    return fixup


@pytest.mark.parametrize(
    "options",
    [{"exponent": lambda m: -1 / 2}, {"exponent": lambda m: -1 / (2 * m)}, {"zero_first": True},
     {"head": False}],
    ids=["1/√L whatever m", "m for m - 1", "the first weight 0", "the last layer left"],
)  # fmt: skip
def test_a_wrong_fixup_is_caught(monkeypatch, on_numpy, options):
    monkeypatch.setattr(networks, "fixup", wrong_fixup())
    check_fixup()
    monkeypatch.setattr(networks, "fixup", wrong_fixup(**options))
    with pytest.raises(AssertionError):
        check_fixup()
