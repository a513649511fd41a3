"""What every optimizer is held to; the cases are in the files beside this one."""

import functools
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import array_api_strict as strict
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion import losses, optimizers, schedules, training
from companion.backend import array, to_numpy
from companion.training import loop
from tests.optimizers.case import Case, arrays, copied, is_floating
from tests.optimizers.parity import NET

CASES: dict[str, Case] = {}
for file in sorted(Path(__file__).parent.glob("cases_*.py")):
    CASES |= import_module(f"tests.optimizers.{file.stem}").CASES

every = pytest.mark.parametrize("name", CASES)


def test_each_optimizer_has_a_case():
    there = {type(case.opt).__name__ for case in CASES.values()}
    rules = {
        name
        for name in optimizers.__all__
        if isinstance(found := getattr(optimizers, name), type)
        and issubclass(found, optimizers.Optimizer)
    }
    assert rules - {"Optimizer"} <= there


def drawn(steps=4, replicas=(3,), seed=0):
    """A start and some gradients, in which zeros occur."""
    rng = np.random.default_rng(seed)
    shape = (*replicas, NET.size)
    grads = [rng.standard_normal(shape) * (rng.uniform(size=shape) < 0.8) for _ in range(steps)]
    return array(rng.standard_normal(shape)), [array(g) for g in grads]


def run(opt, theta, grads):
    state = opt.init(theta)
    for grad in grads:
        theta, state = opt.update(theta, grad, state)
    return theta, state


@every
def test_nothing_is_changed_in_place(created, name):
    opt, (theta, grads) = CASES[name].opt, drawn()
    state = opt.init(theta)
    for grad in grads:
        before = copied([theta, grad, state])
        new, memory = opt.update(theta, grad, state)
        again, repeated = opt.update(theta, grad, state)
        for a, b in zip(before, arrays([theta, grad, state]), strict=True):
            assert_array_equal(a, to_numpy(b))
        for a, b in zip(arrays([new, memory]), arrays([again, repeated]), strict=True):
            assert_array_equal(to_numpy(a), to_numpy(b))
        theta, state = new, memory
    assert state["step"] == len(grads)


@every
@pytest.mark.parametrize("given", ["numbers", "arrays", "schedules"])
def test_the_dtype_stays(created, name, given):
    case, (theta, grads) = CASES[name], drawn()
    changes = {}
    for key in case.hyperparameters() if given != "numbers" else []:
        wide = np.full((3, 1), case.value(*key))
        changes[key] = wide if given == "arrays" else lambda t, wide=wide: wide
    theta, grads = array(theta, "float32"), [array(g, "float32") for g in grads]
    new, state = run(case.having(changes), theta, grads)
    assert (new.dtype, new.shape) == (theta.dtype, theta.shape)
    assert all(a.dtype == theta.dtype for a in arrays(state) if is_floating(a))


@every
def test_replicas_are_runs_of_their_own(created, name):
    case, (theta, grads) = CASES[name], drawn()
    rates = case.opt.lr * np.array([[1.0], [0.1], [3.0]])
    together, _ = run(replace(case.opt, lr=rates), theta, grads)
    for i in range(3):
        single = replace(case.opt, lr=float(rates[i, 0]))
        alone, _ = run(single, theta[i], [g[i] for g in grads])
        if case.rtol:
            assert_allclose(to_numpy(together[i]), to_numpy(alone), rtol=case.rtol)
        else:
            assert_array_equal(to_numpy(together[i]), to_numpy(alone))


def some(case, key):
    """Three values for a hyperparameter, allowed wherever its own is."""
    return case.value(*key) * np.array([1.0, 0.9, 0.8])


@every
def test_hyperparameters_for_each_replica(created, name):
    case, (theta, grads) = CASES[name], drawn()
    for key in case.hyperparameters():
        values = some(case, key)
        together, _ = run(case.having({key: values[:, None]}), theta, grads)
        for i, value in enumerate(values):
            alone, _ = run(case.having({key: float(value)}), theta[i], [g[i] for g in grads])
            assert_allclose(
                to_numpy(together[i]), to_numpy(alone), rtol=1e-11, atol=1e-13, err_msg=key
            )


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.elementwise])
def test_hyperparameters_for_each_parameter(created, name):
    case, (theta, grads) = CASES[name], drawn()
    group = np.arange(NET.size) % 3
    for key in case.hyperparameters():
        values = some(case, key)
        together, _ = run(case.having({key: values[group]}), theta, grads)
        for i, value in enumerate(values):
            alone, _ = run(case.having({key: float(value)}), theta, grads)
            got, want = to_numpy(together)[:, group == i], to_numpy(alone)[:, group == i]
            assert_allclose(got, want, rtol=1e-11, atol=1e-13, err_msg=key)


def falling(value):
    return lambda t: value * (1 - 0.05 * t)


@every
def test_hyperparameters_may_be_schedules(created, name):
    case, (theta, grads) = CASES[name], drawn()
    keys = case.hyperparameters()
    for chosen in [*([key] for key in keys), keys]:
        scheduled = case.having({key: falling(case.value(*key)) for key in chosen})
        found, state = theta, scheduled.init(theta)
        want, own = theta, case.opt.init(theta)
        for t, grad in enumerate(grads):
            found, state = scheduled.update(found, grad, state)
            now = case.having({key: falling(case.value(*key))(t) for key in chosen})
            want, own = now.update(want, grad, own)
        assert_allclose(
            to_numpy(found), to_numpy(want), rtol=1e-12, atol=1e-14, err_msg=str(chosen)
        )


@every
def test_zero_gradients_huge_ones_and_tiny_ones(created, name):
    opt, (theta, grads) = CASES[name].opt, drawn()
    for scale in (0.0, 1e-100, 1e100):
        new, state = run(opt, theta, [scale * g for g in grads])
        assert all(np.isfinite(to_numpy(a)).all() for a in arrays([new, state])), scale


@every
def test_another_library_by_the_standard(name):
    opt, (theta, grads) = CASES[name].opt, drawn()
    want, _ = run(opt, theta, grads)
    got, _ = run(opt, strict.asarray(theta), [strict.asarray(g) for g in grads])
    assert_allclose(np.asarray(got), want, rtol=1e-12, atol=1e-14)


# In training ---------------------------------------------------------------------------------


def train(opt, theta, steps=9, **options):
    rng = np.random.default_rng(0)
    x, labels = array(rng.standard_normal((12, 3))), rng.integers(2, size=12)
    return training.fit(
        NET,
        theta,
        (x, array(labels)),
        loss=losses.cross_entropy,
        optimizer=opt,
        rng=rng,
        steps=steps,
        batch_size=4,
        progress=False,
        **options,
    )[0]


def graphs_of(run):
    """Return what a compiled run returns, and the graphs that it was compiled to."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    found = run()
    assert not torch._dynamo.utils.counters["graph_break"]
    return found, torch._dynamo.utils.counters["stats"]["unique_graphs"]


@every
def test_an_update_compiles_as_one_graph(on_torch, name):
    """With numbers, as `fit` does it, but without the network, whose graph takes seconds."""
    opt, (theta, grads) = CASES[name].opt, drawn(steps=6)
    step = loop.compiled(lambda rule, *args: rule.update(*args))

    def compiled():
        found, state = theta, opt.init(theta)
        for t, grad in enumerate(grads):
            found, state = step(opt.at(t, theta, True), found, grad, state)
        return found

    got, graphs = graphs_of(compiled)
    # the first step, a step t for all t, and for a rule that starts differently one more each
    assert graphs <= 4
    assert_allclose(to_numpy(got), to_numpy(run(opt, theta, grads)[0]), rtol=1e-9, atol=1e-12)


@every
def test_a_training_compiles_with_schedules(on_torch, name):
    case, (theta, _) = CASES[name], drawn()
    opt = case.having({key: falling(case.value(*key)) for key in case.hyperparameters()})
    got, graphs = graphs_of(lambda: train(opt, theta, compile=True))
    assert graphs <= 4
    assert_allclose(to_numpy(got), to_numpy(train(opt, theta)), rtol=1e-9, atol=1e-12)


@every
def test_autograd_goes_through_updates(on_torch, name):
    """As for rates that are learned: the parameters afterwards as a function of those before."""
    opt = CASES[name].opt

    def after(theta):
        state = opt.init(theta)
        for _ in range(3):
            theta, state = opt.update(theta, theta**3 + theta.sin(), state)
        return theta

    start = drawn(replicas=())[0].requires_grad_()
    assert torch.autograd.gradcheck(after, start, fast_mode=True)


@every
def test_a_training_goes_on_from_a_checkpoint(created, name, tmp_path):
    opt, (theta, _) = CASES[name].opt, drawn()
    kept = training.Checkpoint(tmp_path / "kept.npz")
    train(opt, theta, steps=4, checkpoint=kept)
    resumed = train(opt, theta, checkpoint=kept)
    assert_array_equal(to_numpy(resumed), to_numpy(train(opt, theta)))


# What must not be ----------------------------------------------------------------------------


@every
@pytest.mark.parametrize("wrong", [-1.0, float("nan")])
def test_wrong_numbers_are_named(name, wrong):
    case = CASES[name]
    for key in case.hyperparameters():
        if key[0] in case.signed:
            continue
        with pytest.raises(ValueError, match=f"^{key[0]} must .*; got"):
            case.having({key: wrong})


@every
@pytest.mark.parametrize("wrong", ["0.1", None, [0.1, 0.2], 1j], ids=str)
def test_what_is_no_number_is_named(name, wrong):
    case = CASES[name]
    for key in case.hyperparameters():
        if key[0] == "base_lr" and wrong is None:  # its default
            continue
        with pytest.raises(TypeError, match=f"^{key[0]} must be a number, an array or a schedule"):
            case.having({key: wrong})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.Adam(lr=(0.1, 0.2)), r"lr must be a number, .*; got \(0.1, 0.2\)"),
        (lambda: optimizers.SGD(0.1, 0.9, nesterov="no"), "nesterov must be True or False; got 'n"),
        (lambda: optimizers.SGD(lambda t: None).init(np.ones(2)), "lr must return a number or an"),
        (lambda: optimizers.SGD(schedules.constant).init(np.ones(2)), "lr must return a number or"),
        (lambda: optimizers.SGD(0.1).init(np.ones(2, int)), "theta must be an array of floating-p"),
        (lambda: optimizers.SGD(0.1).init([1.0]), r"theta must be an array of .*; got \[1.0\]"),
    ],
)
def test_other_types_are_named(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_a_0_of_numpy_is_no_momentum():
    zero = np.float32(0)
    assert optimizers.SGD(0.1, 0.9, dampening=zero, nesterov=True).dampening == 0
    assert "momentum_buffer" not in optimizers.SGD(0.1, zero).init(np.ones(2))


@every
def test_a_gradient_of_another_shape_is_named(created, name):
    opt, (theta, grads) = CASES[name].opt, drawn()
    with pytest.raises(ValueError, match=r"grad must have the shape of theta, .*; got"):
        opt.update(theta, grads[0][0], opt.init(theta))


@pytest.mark.parametrize("kind", ["Adam", "RMSprop"])
def test_squares_do_not_overflow_before_they_are_weighed(kind):
    """One gradient of 1e20 in float32, then ones: torch weighs before it squares, and goes on."""
    start = np.ones(1, dtype=np.float32)
    parameter = torch.tensor(start, requires_grad=True)
    theirs = getattr(torch.optim, kind)([parameter], lr=0.1)
    ours, theta = getattr(optimizers, kind)(lr=0.1), start
    state = ours.init(theta)
    for t in range(50):
        grad = np.full(1, 1.0 if t else 1e20, dtype=np.float32)
        parameter.grad = torch.tensor(grad)
        theirs.step()
        theta, state = ours.update(theta, grad, state)
    assert_allclose(theta, parameter.detach().numpy(), rtol=1e-5)  # float32, 50 steps


@every
def test_arrays_that_do_not_fit_are_named(created, name):
    case, (theta, _) = CASES[name], drawn()
    for key in case.hyperparameters():
        for wrong in (np.full(3, case.value(*key)), np.full((2, 1), case.value(*key))):
            for given in (wrong, lambda t, wrong=wrong: wrong):
                with pytest.raises(ValueError, match=f"{key[0]} must broadcast against theta"):
                    case.having({key: given}).init(theta)


# Planted mistakes: what the tests above must see -----------------------------------------------


class Wrong(optimizers.Adam):
    """Adam with one mistake, named by `mistake`."""

    mistake = ""

    def _step(self, theta, grad, state, t):
        if self.mistake == "in place":
            state["exp_avg"] *= 1.0 + 1e-9
        theta, state = super()._step(theta, grad, state, t)
        if self.mistake == "wide":
            theta = theta * np.ones(1) if isinstance(theta, np.ndarray) else theta.double()
        if self.mistake == "mixed":
            theta = theta + 1e-9 * theta.mean()
        if self.mistake == "nan":
            theta = theta + 0 * (grad / grad)
        return theta, state


@pytest.mark.parametrize(
    ("mistake", "test"),
    [
        ("in place", test_nothing_is_changed_in_place),
        ("wide", functools.partial(test_the_dtype_stays, given="numbers")),
        ("mixed", test_replicas_are_runs_of_their_own),
        ("mixed", test_hyperparameters_for_each_replica),
        ("nan", test_zero_gradients_huge_ones_and_tiny_ones),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_mistake_is_seen(created, monkeypatch, mistake, test):
    wrong = Wrong(lr=0.05)
    monkeypatch.setitem(CASES, "Wrong", Case(wrong))
    test(created, name="Wrong")
    monkeypatch.setattr(Wrong, "mistake", mistake)
    with pytest.raises(AssertionError):
        test(created, name="Wrong")
