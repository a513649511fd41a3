"""Cross-entropy: what the common tests do not see."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose, assert_array_equal

from companion.backend import array, to_numpy
from companion.losses import (
    binary,
    binary_cross_entropy_with_logits,
    classification,
    cross_entropy,
    cross_entropy_grad,
    grad_of,
    smooth_labels,
    value_and_grad,
    z_loss,
)
from tests.losses.case import check_accuracy
from tests.losses.cases_classification import CASES, POS_WEIGHT
from tests.losses.test_every import check_differences, check_parity


def test_torch_loses_what_is_nearly_certain():
    z = torch.tensor([[40.0, 0.0]], dtype=torch.float64, requires_grad=True)
    theirs = F.cross_entropy(z, torch.tensor([0]))
    theirs.backward()
    ours = cross_entropy(z.detach(), [0]), cross_entropy_grad(z.detach(), [0])[0, 0]
    assert theirs.item() == 0
    assert z.grad[0, 0].item() == 0
    assert_allclose([float(v) for v in ours], [np.exp(-40), -np.exp(-40)], rtol=1e-15)


def test_infinite_logits(created):
    z = array([[0.0, -np.inf, 1.0]])
    assert float(cross_entropy(z, array([0]))) == pytest.approx(np.log(1 + np.e))
    assert float(cross_entropy(z, array([1]))) == np.inf
    assert to_numpy(cross_entropy_grad(z, array([0])))[0, 1] == 0
    assert np.isnan(float(cross_entropy(array([[np.nan, 0.0]]), array([0]))))


def test_inputs_are_taken_as_they_come():
    assert cross_entropy([[0, 0]], [1]) == pytest.approx(np.log(2))
    assert cross_entropy(np.zeros((1, 2), "float16"), [1]).dtype == np.float16
    z = np.zeros((3, 2))
    z.flags.writeable = False
    cross_entropy_grad(z[::2], np.array([0, 1], dtype="uint8"))


Z, T = np.random.default_rng(0).standard_normal((6, 4)), np.array([0, 3, 1, 1, 2, 0])
OPTIONS = {"weight": [0.5, 1.0, 0.0, 3.0], "ignore_index": 1, "label_smoothing": 0.2}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("used", list(itertools.product([False, True], repeat=3)))
def test_every_combination_of_options_is_torch_s(created, used, reduction):
    options = {name: v for u, (name, v) in zip(used, OPTIONS.items(), strict=True) if u}
    theirs = dict(options)
    if "weight" in theirs:
        theirs["weight"] = torch.tensor(theirs["weight"], dtype=torch.float64)
    z = torch.tensor(Z, requires_grad=True)
    want = F.cross_entropy(z, torch.tensor(T), reduction=reduction, **theirs)
    want.sum().backward()
    found = value_and_grad(cross_entropy)(array(Z), array(T), reduction=reduction, **options)
    assert_allclose(to_numpy(found[0]), want.detach(), rtol=1e-10)
    assert_allclose(to_numpy(found[1]), z.grad, rtol=1e-10, atol=1e-15)


def test_the_mean_divides_by_the_weights_of_the_labels_but_by_n_with_probabilities(created):
    w = np.array(OPTIONS["weight"])
    one_hot = array(np.eye(4)[T])
    total = float(cross_entropy(array(Z), array(T), weight=w, reduction="sum"))
    assert float(cross_entropy(array(Z), array(T), weight=w)) == pytest.approx(total / w[T].sum())
    assert float(cross_entropy(array(Z), one_hot, weight=w)) == pytest.approx(total / 6)


def test_where_nothing_counts_the_mean_is_0(created):
    z, t = array(Z), array(np.full(6, -100))
    zero_weight = {"weight": [0.0, 1, 1, 1]}
    for labels, options in ((t, {"ignore_index": -100}), (0 * t, zero_weight)):
        value, grad = value_and_grad(cross_entropy)(z, labels, **options)
        assert float(value) == 0
        assert (to_numpy(grad) == 0).all()
    assert float(z_loss(z, t, ignore_index=-100)) == 0
    theirs = F.cross_entropy(torch.tensor(Z), torch.full((6,), -100))
    assert torch.isnan(theirs)


def test_what_has_weight_0_may_be_infinite(created):
    z = array([[0.0, -np.inf], [1.0, 0.0]])
    assert float(cross_entropy(z, array([1, 0]), weight=[1.0, 0.0])) == pytest.approx(0.3132617)
    impossible = array([[1.0, 0.0], [1.0, 0.0]])
    assert np.isfinite(float(cross_entropy(z, impossible)))
    assert np.isfinite(to_numpy(cross_entropy_grad(z, impossible))).all()
    assert float(cross_entropy(z, array([0, 0]), label_smoothing=0.1)) == np.inf


@pytest.mark.parametrize("over", ["all", "others"])
def test_smooth_labels(created, over):
    labels, e = np.array([[0, 3], [2, 2]]), 0.2
    got = to_numpy(smooth_labels(array(labels), 4, e, over=over))
    right, wrong = (1 - e + e / 4, e / 4) if over == "all" else (1 - e, e / 3)
    assert_allclose(got, np.where(labels[..., None] == np.arange(4), right, wrong), rtol=1e-15)
    assert_allclose(got, to_numpy(smooth_labels(array(np.eye(4)[labels]), 4, e, over=over)))


def test_label_smoothing_is_smooth_labels_over_all(created):
    by_option = cross_entropy(array(Z), array(T), label_smoothing=0.2)
    for epsilon, over in ((0.2, "all"), (0.15, "others")):  # 0.15 = 0.2 (k-1)/k
        soft = smooth_labels(array(T), 4, epsilon, over=over)
        assert float(cross_entropy(array(Z), soft)) == pytest.approx(float(by_option), rel=1e-14)
    other = cross_entropy(array(Z), smooth_labels(array(T), 4, 0.2, over="others"))
    assert float(other) != pytest.approx(float(by_option), rel=1e-3)


def test_parity_with_the_formulas_of_timm(created):
    """Those of its LabelSmoothingCrossEntropy, SoftTargetCrossEntropy and BinaryCrossEntropy."""
    z, t = torch.tensor(Z), torch.tensor(T)
    log_p = F.log_softmax(z, -1)
    smoothed = 0.9 * -log_p[torch.arange(len(t)), t] - 0.1 * log_p.mean(-1)
    got = cross_entropy(array(Z), array(T), label_smoothing=0.1)
    assert_allclose(float(got), float(smoothed.mean()), rtol=1e-10)

    q = np.random.default_rng(0).dirichlet(np.ones(4), len(T))  # as mixup makes them
    soft = -(torch.tensor(q) * log_p).sum(-1).mean()
    assert_allclose(float(cross_entropy(array(Z), array(q))), float(soft), rtol=1e-10)

    yes = np.full(Z.shape, 0.1 / 4)
    yes[np.arange(len(T)), T] = 0.9 + 0.1 / 4
    every = F.binary_cross_entropy_with_logits(z, torch.tensor(yes))
    by_labels = smooth_labels(array(T), 4, 0.1)
    got = binary_cross_entropy_with_logits(array(Z), by_labels)
    assert_allclose(float(got), float(every), rtol=1e-10)


def test_smoothing_away_all_gives_the_uniform_distribution():
    assert_allclose(smooth_labels([1], 4, 1.0), np.full((1, 4), 0.25))
    assert_allclose(smooth_labels([1], 3, 1.0, over="others"), [[0.5, 0, 0.5]])
    assert smooth_labels([1], 2, 0.0).tolist() == [[0, 1]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"weight": np.arange(700.0)}, {"label_smoothing": 0.1}])
def test_large_arrays_in_blocks(options, dtype):
    rng = np.random.default_rng(0)
    z, t = rng.standard_normal((2, 300, 700)).astype(dtype), rng.integers(700, size=300)
    value, grad = value_and_grad(cross_entropy)(z, t, **options)
    torch_options = {n: torch.tensor(v) if n == "weight" else v for n, v in options.items()}
    for i in range(2):
        p = torch.tensor(z[i], requires_grad=True, dtype=torch.float64)
        want = F.cross_entropy(p, torch.tensor(t), **torch_options)
        want.backward()
        assert value[i] == pytest.approx(want.item(), rel=1e-6 if dtype == "float32" else 1e-12)
        assert_allclose(grad[i], p.grad, rtol=1e-5 if dtype == "float32" else 1e-10, atol=1e-12)
    whole = cross_entropy(z, np.broadcast_to(t, (2, 300)), **options, reduction="none")
    few = cross_entropy(z[:, :2], t[:2], **options, reduction="none")
    assert_array_equal(whole[:, :2], few)


@pytest.mark.parametrize("options", [{}, *({n: v} for n, v in OPTIONS.items()), OPTIONS])
def test_one_graph(options):
    def compiled_loss(z, t):
        return cross_entropy(z, t, **options)

    options = {n: torch.tensor(v) if n == "weight" else v for n, v in options.items()}
    z, t = torch.tensor(Z), torch.tensor(T)
    torch.compile(compiled_loss, fullgraph=True, backend="eager")(z, t)


def test_binary_torch_is_0_where_a_number_is_there(created):
    z, y = array([-17.0], "float32"), array([0.0], "float32")
    loss = binary_cross_entropy_with_logits(z, y)
    grad = grad_of(binary_cross_entropy_with_logits)(-z, 1 - y)
    p = torch.tensor([-17.0], requires_grad=True)
    assert F.binary_cross_entropy_with_logits(p, torch.tensor([0.0])).item() == 0
    F.binary_cross_entropy_with_logits(-p, torch.tensor([1.0])).backward()
    assert p.grad.item() == 0
    assert float(loss) == pytest.approx(np.exp(-17), rel=1e-6)
    assert float(grad[0]) == pytest.approx(-np.exp(-17), rel=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_one_pos_weight_for_each_question(created, reduction):
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((7, 4)), rng.integers(2, size=(7, 4))
    options = {"reduction": reduction, "pos_weight": array(POS_WEIGHT)}
    value, grad = value_and_grad(binary_cross_entropy_with_logits)(array(z), array(y), **options)
    p = torch.tensor(z, requires_grad=True)
    want = F.binary_cross_entropy_with_logits(
        p,
        torch.tensor(y, dtype=torch.float64),
        pos_weight=torch.tensor(POS_WEIGHT),
        reduction=reduction,
    )
    want.sum().backward()
    assert_allclose(to_numpy(value), want.detach(), rtol=1e-10)
    assert_allclose(to_numpy(grad), p.grad, rtol=1e-10)


def test_binary_infinite_logits(created):
    z, y = array([np.inf, -np.inf, -np.inf]), array([1.0, 0.0, 1.0])
    loss = binary_cross_entropy_with_logits(z, y, reduction="none")
    grad = grad_of(binary_cross_entropy_with_logits)(z, y, reduction="none")
    assert to_numpy(loss).tolist() == [0, 0, np.inf]
    assert to_numpy(grad).tolist() == [0, 0, -1]


def bce(*args, **options):
    return lambda: binary_cross_entropy_with_logits(*args, **options)


def ce(*args, **options):
    return lambda: cross_entropy(*args, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cross_entropy(np.zeros((3, 2)), [0, 1]), ValueError, r"\(3, 2\) and \(2,\)"),
        (
            lambda: cross_entropy(np.zeros(2), 0),
            ValueError,
            r"logits must have shape \(..., n, k\)",
        ),
        (
            ce([[0, 0]], [0.0]),
            ValueError,
            r"or probabilities in .*; got float64 \(1,\) for \(1, 2\)",
        ),
        (ce([[0, 0]], [0.5, 0.5]), ValueError, "integer labels"),
        (ce([[0, 0]], [["a", "b"]]), TypeError, "target must be real"),
        (ce([[0, 0]], [[0.5, 0.6]]), ValueError, "sum to 1; got a sum of 1.1"),
        (ce([[0, 0]], [[-0.5, 1.5]]), ValueError, "0 or more; got -0.5"),
        (ce([[0, 0]], [[np.nan, 1]]), ValueError, "0 or more; got nan"),
        (ce([[0, 0]], [[0.5, 0.5]], ignore_index=1), TypeError, "integer labels where ignore"),
        (ce([[0, 0]], [-100]), ValueError, "labels 0 to 1; got -100"),
        (ce([[0, 0]], [2], ignore_index=3), ValueError, "labels 0 to 1; got 2"),
        (ce([[0, 0]], [0], weight=[1, -1]), ValueError, "weight .* at least 0; got -1.0"),
        (ce([[0, 0]], [0], weight=[1, 1, 1]), ValueError, r"shape \(2,\); got \(3,\)"),
        (ce([[0, 0]], [0], weight=2.0), ValueError, r"shape \(2,\); got \(\)"),
        (ce([[0, 0]], [0], label_smoothing=1.1), ValueError, "smoothing must be 0 to 1; got 1.1"),
        (ce([[0, 0]], [0], label_smoothing=-0.1), ValueError, "smoothing must be 0 to 1; got -0.1"),
        (lambda: smooth_labels([0], 2, 2.0), ValueError, "smoothing must be 0 to 1; got 2.0"),
        (lambda: smooth_labels([0], 2, over="k"), ValueError, "'all' or 'others'; got 'k'"),
        (lambda: smooth_labels([0], 1, over="others"), ValueError, "at least 2 .*; got 1"),
        (lambda: smooth_labels([2], 2), ValueError, "labels 0 to 1; got 2"),
        (lambda: smooth_labels([[0.5, 0.5]], 3), ValueError, "3 probabilities a sample; got 2"),
        (lambda: z_loss([[0, 0]], [2]), ValueError, "labels 0 to 1; got 2"),
        (lambda: z_loss([[0, 0]], [[0.5, 0.5]]), TypeError, "integer labels"),
        (bce([0.0], [2.0]), ValueError, "0 to 1; got 2.0 to 2.0"),
        (bce([0.0], [-1.0]), ValueError, "0 to 1; got -1.0"),
        (bce([0.0, 1.0], [[1.0, 0.0]]), ValueError, "shape of prediction"),
        (bce([0.0], [0], pos_weight=-1.0), ValueError, "pos_weight .* at least 0; got -1.0"),
        (bce([0.0, 1], [0, 1], pos_weight=[1, 2, 3]), ValueError, r"broadcast to .*; got \(3,\)"),
        (lambda: cross_entropy(np.zeros((2, 2)), [0, 2]), ValueError, "labels 0 to 1; got 0 to 2"),
        (lambda: cross_entropy(np.zeros((1, 2)), [-1]), ValueError, "labels 0 to 1; got -1 to -1"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Planted mistakes ---------------------------------------------------------------------------


def caught(name, check="parity"):
    """Return whether the tests that every loss goes through see that a case is wrong now."""
    case = CASES[name]
    try:
        if check == "accuracy":
            check_accuracy(case, "float64")
        else:
            check_parity(case, "mean")
            check_differences(case)
    except AssertionError:
        return True
    return False


def test_the_plain_logsumexp_is_caught(monkeypatch):
    right = classification._of_labels

    def plain(z, target, scale, wanted):
        d = z - z.max(-1, keepdims=True)
        loss = np.log(np.exp(d).sum(-1)) - np.take_along_axis(d, target[:, None], -1)[:, 0]
        return loss, right(z, target, scale, wanted)[1]

    monkeypatch.setattr(classification, "_of_labels", plain)
    assert caught("cross_entropy", "accuracy")
    assert not caught("cross_entropy")


def test_a_gradient_by_subtraction_is_caught(monkeypatch):
    right = classification._of_labels

    def subtracted(z, target, scale, wanted):
        loss, grad = right(z, target, scale, wanted)
        if grad is not None:
            p = np.exp(z - z.max(-1, keepdims=True))
            grad = (p / p.sum(-1, keepdims=True) - np.eye(z.shape[-1])[target]) / scale
        return loss, grad

    monkeypatch.setattr(classification, "_of_labels", subtracted)
    assert caught("cross_entropy", "accuracy")
    assert not caught("cross_entropy")


def test_a_mean_over_n_despite_weights_is_caught(monkeypatch):
    monkeypatch.setattr(
        classification, "_count", lambda own, reduction: np.full((1,), float(own.shape[-1]))
    )
    assert caught("weight")


def test_ignored_samples_in_the_mean_are_caught(monkeypatch):
    def counted(own, reduction):
        return np.full((1,), float(own.shape[-1]))

    monkeypatch.setattr(classification, "_count", counted)
    assert caught("ignore_index")
    assert caught("z_loss and ignore_index")


def test_smoothing_over_the_others_is_caught(monkeypatch):
    right = classification._smoothed
    monkeypatch.setattr(classification, "_smoothed", lambda q, k, e, over: right(q, k, e, "others"))
    assert caught("label_smoothing")


def test_pos_weight_on_the_wrong_term_is_caught(monkeypatch):
    right = binary._sides

    def swapped(logits, target, pos_weight):
        no, yes = right(logits, 1 - target, pos_weight)
        return yes, no

    monkeypatch.setattr(binary, "_sides", swapped)
    assert not caught("binary_cross_entropy_with_logits")
    assert caught("pos_weight")


def test_torch_s_formula_with_a_maximum_is_caught(monkeypatch):
    right = binary._bce

    def theirs(z, yes, no, count, wanted):
        grad = right(z, yes, no, count, wanted)[1]
        return no * z + (no + yes) * np.log1p(np.exp(-z)), grad

    monkeypatch.setattr(binary, "_bce", theirs)
    assert caught("binary_cross_entropy_with_logits", "accuracy")
