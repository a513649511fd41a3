"""Schedules against torch.optim.lr_scheduler, optax and their formulas, step by step."""

import copy
import functools
import inspect
import math
import pickle
import sys
import types

import numpy as np
import optax
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion import layers, losses, schedules
from companion.backend import array, to_numpy
from companion.network import Sequential
from companion.optimizers import SGD, Adam
from companion.schedules import (
    ReduceLROnPlateau,
    Schedule,
    constant,
    constant_warmup,
    cosine_annealing,
    cosine_annealing_warm_restarts,
    exponential_lr,
    inverse_sqrt,
    inverse_time,
    linear_scaling,
    linear_warmup,
    multi_step_lr,
    one_cycle,
    polynomial_lr,
    step_lr,
    wsd,
)
from companion.training import Checkpoint, fit

OF_TORCH = torch.optim.lr_scheduler


def by_torch(make, lr=0.3, steps=60):
    """Rates of torch's scheduler in each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


#: name, arguments of ours, name of torch's, arguments of torch's, steps (60)
PEERS = [
    ("step_lr", {"step_size": 7}, "StepLR", {"step_size": 7}, 60),
    ("step_lr", {"step_size": 1, "gamma": 0.8}, "StepLR", {"step_size": 1, "gamma": 0.8}, 60),
    ("multi_step_lr", {"milestones": [5, 6, 40]}, "MultiStepLR", {"milestones": [5, 6, 40]}, 60),
    ("exponential_lr", {"gamma": 0.9}, "ExponentialLR", {"gamma": 0.9}, 60),
    ("polynomial_lr", {"total_iters": 40}, "PolynomialLR", {"total_iters": 40}, 60),
    (
        "polynomial_lr",
        {"total_iters": 40, "power": 2.5},
        "PolynomialLR",
        {"total_iters": 40, "power": 2.5},
        60,
    ),
    # torch rises again after T_max
    ("cosine_annealing", {"T_max": 40}, "CosineAnnealingLR", {"T_max": 40}, 41),
    (
        "cosine_annealing",
        {"T_max": 40, "eta_min": 0.1},
        "CosineAnnealingLR",
        {"T_max": 40, "eta_min": 0.1},
        41,
    ),
    *(
        ("cosine_annealing_warm_restarts", o, "CosineAnnealingWarmRestarts", o, 60)
        for o in (
            {"T_0": 7},
            {"T_0": 4, "T_mult": 2, "eta_min": 0.01},
            {"T_0": 1, "T_mult": 3},
        )
    ),
    *(
        ("one_cycle", o, "OneCycleLR", o, 60)
        for o in (
            {"max_lr": 0.3, "total_steps": 60},
            {"max_lr": 0.3, "total_steps": 60, "anneal_strategy": "linear", "div_factor": 5.0},
            {"max_lr": 0.3, "total_steps": 60, "three_phase": True, "pct_start": 0.31},
            {
                "max_lr": 0.3,
                "total_steps": 60,
                "three_phase": True,
                "anneal_strategy": "linear",
                "final_div_factor": 10.0,
            },
        )
    ),
    (
        "linear_warmup",
        {"schedule": 0.3, "warmup_steps": 8},
        "LinearLR",
        {"start_factor": 1 / 8, "total_iters": 7},
        60,
    ),
    (
        "constant_warmup",
        {"schedule": 0.3, "warmup_steps": 8, "factor": 0.2},
        "ConstantLR",
        {"factor": 0.2, "total_iters": 8},
        60,
    ),
]


def check_peer(name, own, theirs, options, steps):
    base = {} if {"schedule", "max_lr"} & set(own) else {"lr": 0.3}
    found = getattr(schedules, name)(**base, **own)
    if theirs == "OneCycleLR":
        options = options | {"cycle_momentum": False}
    want = by_torch(functools.partial(getattr(OF_TORCH, theirs), **options), steps=steps - 1)
    # torch multiplies the rate of the step before, and near 0 its 1 + cos cancels
    assert_allclose(found(np.arange(steps - 1)), want, rtol=1e-10, atol=1e-15)
    assert_allclose([found(t) for t in range(steps - 1)], found(range(steps - 1)), rtol=1e-15)


@pytest.mark.parametrize("peer", PEERS, ids=lambda p: f"{p[0]} {p[1]}")
def test_torch_has_the_same_rates(peer):
    check_peer(*peer)


def test_warmup_then_cosine_is_torchs_sequence():
    def both(optimizer):
        rise = OF_TORCH.LinearLR(optimizer, start_factor=1 / 5, total_iters=4)
        fall = OF_TORCH.CosineAnnealingLR(optimizer, 40)
        return OF_TORCH.SequentialLR(optimizer, [rise, fall], milestones=[5])

    found = linear_warmup(cosine_annealing(0.3, 40), 5)
    assert_allclose(found(range(45)), by_torch(both, steps=45), rtol=1e-10, atol=1e-15)


def test_optax_has_the_same_rates():
    t = np.arange(60)
    cases = [
        (cosine_annealing(0.3, 40, 0.03), optax.cosine_decay_schedule(0.3, 40, alpha=0.1)),
        (
            polynomial_lr(0.3, 40, 2.0, 0.03),
            optax.polynomial_schedule(0.3, 0.03, 2.0, transition_steps=40),
        ),
        (exponential_lr(0.3, 0.9), optax.exponential_decay(0.3, 1, 0.9)),
        (step_lr(0.3, 7, 0.5), optax.exponential_decay(0.3, 7, 0.5, staircase=True)),
        # optax's warm-up begins at init_value and takes the peak in step m
        (
            linear_warmup(cosine_annealing(0.3, 40), 10),
            optax.warmup_cosine_decay_schedule(0.03, 0.3, 9, 50),
        ),
    ]
    for i, (ours, theirs) in enumerate(cases):
        want = [float(theirs(k)) for k in t]  # in float32
        if i == 4:  # of the first ten steps and the first after
            assert_allclose(ours(t[:11])[[0, 4, 9]], np.array(want)[[0, 4, 9]], rtol=1e-6)
        else:
            assert_allclose(ours(t), want, rtol=2e-6, atol=1e-7)


#: schedule, rates by step that its docstring states; the end stays
STATED = [
    (constant(0.3), {0: 0.3, 10**9: 0.3}),
    (linear_warmup(0.3, 4), {0: 0.075, 2: 0.225, 3: 0.3, 4: 0.3, 99: 0.3}),
    (linear_warmup(cosine_annealing(0.3, 10), 4), {0: 0.075, 3: 0.3, 4: 0.3, 9: 0.15, 14: 0}),
    (linear_warmup(0.3, 0), {0: 0.3}),
    (constant_warmup(0.3, 4), {0: 0.03, 3: 0.03, 4: 0.3}),
    (constant_warmup(exponential_lr(0.3, 0.5), 4, 0.5), {0: 0.15, 4: 0.3, 5: 0.15}),
    (step_lr(0.3, 5), {0: 0.3, 4: 0.3, 5: 0.03, 9: 0.03, 10: 0.003}),
    (multi_step_lr(0.3, [5, 7]), {0: 0.3, 4: 0.3, 5: 0.03, 6: 0.03, 7: 0.003, 99: 0.003}),
    (exponential_lr(0.3, 0.5), {0: 0.3, 1: 0.15, 3: 0.0375}),
    (polynomial_lr(0.3, 10, 1.0, 0.1), {0: 0.3, 9: 0.12, 10: 0.1, 99: 0.1}),
    (polynomial_lr(0.3, 10, 2.0), {0: 0.3, 9: 0.003, 10: 0, 99: 0}),
    (inverse_time(0.3, 0.5), {0: 0.3, 2: 0.15, 4: 0.1}),
    (inverse_sqrt(0.3, 4), {0: 0.075, 3: 0.3, 15: 0.15}),
    (cosine_annealing(0.3, 10), {0: 0.3, 5: 0.15, 10: 0, 11: 0, 20: 0, 99: 0}),
    (cosine_annealing(0.3, 10, 0.1), {0: 0.3, 5: 0.2, 10: 0.1, 99: 0.1}),
    (cosine_annealing_warm_restarts(0.3, 4), {0: 0.3, 2: 0.15, 4: 0.3, 8: 0.3}),
    (
        cosine_annealing_warm_restarts(0.3, 4, 2, 0.1),
        {0: 0.3, 2: 0.2, 4: 0.3, 8: 0.2, 12: 0.3, 20: 0.2, 28: 0.3},
    ),
    (one_cycle(0.3, 20, 0.3), {0: 0.012, 5: 0.3, 19: 1.2e-6, 99: 1.2e-6}),
    (
        one_cycle(0.3, 21, 5 / 21, "linear", 3.0, 10.0, True),
        {0: 0.1, 2: 0.2, 4: 0.3, 6: 0.2, 8: 0.1, 20: 0.01, 99: 0.01},
    ),
    (wsd(0.3, 20, 4, 5), {0: 0.075, 3: 0.3, 15: 0.3, 16: 0.24, 19: 0.06, 20: 0, 99: 0}),
    (wsd(0.3, 20, 0, 4, "1-sqrt", 0.1), {0: 0.3, 16: 0.3, 17: 0.2, 20: 0.1, 99: 0.1}),
]


def check_stated():
    for schedule, rates in STATED:
        fresh = eval(repr(schedule), vars(schedules) | {"array": np.array})
        for t, rate in rates.items():
            assert fresh(t) == pytest.approx(rate, rel=1e-14, abs=1e-300), (schedule, t)


def test_the_first_and_the_last_step_are_those_of_the_docstrings():
    check_stated()


@pytest.mark.parametrize("pair", STATED, ids=lambda p: repr(p[0]))
def test_ints_arrays_and_replicas(pair):
    schedule = pair[0]
    assert isinstance(schedule, Schedule)
    t = np.arange(30)
    rates = schedule(t)
    assert rates.shape == (30,)
    assert rates.dtype == np.float64
    for k in (0, 7, 29):
        for step in (k, np.int32(k), np.array(k), torch.tensor(k)):
            one = schedule(step)
            assert type(one) is float
            assert one == pytest.approx(rates[k], rel=1e-15)
    assert_array_equal(schedule(t.reshape(5, 6)), rates.reshape(5, 6))
    assert_array_equal(schedule(torch.tensor(t)), rates)
    assert_array_equal(schedule(list(t)), rates)
    few = np.arange(256, dtype=np.uint8)  # in which 255 + 1 is 0, and 0 - 1 is 255
    assert_array_equal(schedule(few), schedule(few.astype(int)))


#: every constructor, as a function of a rate
MAKERS = [
    constant,
    functools.partial(linear_warmup, warmup_steps=4),
    lambda lr: linear_warmup(cosine_annealing(lr, 10), 4),
    functools.partial(constant_warmup, warmup_steps=4),
    functools.partial(step_lr, step_size=3),
    functools.partial(multi_step_lr, milestones=[3, 5]),
    functools.partial(exponential_lr, gamma=0.9),
    functools.partial(polynomial_lr, total_iters=9),
    functools.partial(inverse_time, decay_rate=0.1),
    functools.partial(inverse_sqrt, warmup_steps=4),
    functools.partial(cosine_annealing, T_max=9),
    functools.partial(cosine_annealing_warm_restarts, T_0=3, T_mult=2),
    functools.partial(one_cycle, total_steps=12, three_phase=True),
    functools.partial(wsd, total_steps=12, warmup_steps=3, decay_steps=4),
]


@pytest.mark.parametrize("make", MAKERS)
def test_a_rate_for_each_replica(make):
    lr = np.array([[0.1], [0.5]])
    schedule, t = make(lr), np.arange(15)
    assert schedule(3).shape == (2, 1)
    assert schedule(t).shape == (2, 15)
    for k in range(2):
        assert_allclose(schedule(t)[k], make(lr[k, 0])(t), rtol=1e-15)
        assert_allclose(make(torch.tensor(lr))(3)[k, 0], make(lr[k, 0])(3), rtol=1e-15)


def pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("again", [pickled, copy.deepcopy, copy.copy])
def test_pickled_and_copied(again):
    t = np.arange(40)
    replicas = [make(np.array([[0.1], [0.5]])) for make in MAKERS]
    made = {schedule._name for schedule in replicas}
    assert made == set(schedules.__all__) - {"ReduceLROnPlateau", "Schedule", "linear_scaling"}
    for schedule in (*replicas, *(s for s, _ in STATED), linear_warmup(math.sqrt, 3)):
        for found in (again(schedule), again(Adam(lr=schedule)).lr):
            assert repr(found) == repr(schedule)
            assert_array_equal(found(t), schedule(t))


@pytest.mark.parametrize("again", [pickled, copy.deepcopy])
def test_a_formula_of_ones_own_stays_with_a_name_of_ours(again):
    for name in ("constant", "linear_scaling", "mine"):
        found = again(Schedule(np.sqrt, name, lr=0.1))
        assert found(4) == 2
        assert repr(found) == f"{name}(lr=0.1)"

    def half(t):
        return 0.5 * t

    half.__qualname__ = "constant.<locals>.half"  # a user's function may have the name too
    assert copy.deepcopy(Schedule(half, "constant", lr=0.1))(4) == 2


def test_what_prints_the_same_is_the_same():
    big, other = np.full((2000, 1), 0.1), np.full((2000, 1), 0.1)
    other[1000] = np.nextafter(0.1, 1)
    assert repr(constant(big)) != repr(constant(other))
    assert repr(constant(big)) == repr(constant(big.copy()))
    assert repr(linear_warmup(step_lr(0.1, 3), 2)) == (
        "linear_warmup(schedule=step_lr(lr=0.1, step_size=3, gamma=0.1), warmup_steps=2)"
    )
    assert "schedule=0.1" in repr(linear_warmup(0.1, 2))
    names = {repr(s) for s, _ in STATED}
    assert len(names) == len(STATED)
    assert not any(" at 0x" in name for name in names)


def test_the_end_of_a_cosine_does_not_cancel():
    T = 10**8
    want = math.sin(math.pi / (2 * T)) ** 2
    assert cosine_annealing(1.0, T)(T - 1) == pytest.approx(want, rel=1e-14)
    assert cosine_annealing(1.0, T)(T - 1) != (1 + math.cos(math.pi * (T - 1) / T)) / 2
    assert wsd(1.0, T, 1, T - 1, "1-sqrt")(T - 1) == pytest.approx(0.5 / T, rel=1e-7)


def test_restarts_are_counted_not_computed():
    """A logarithm puts some of them a step late or early."""
    for base in (3, 5, 7, 10):
        schedule = cosine_annealing_warm_restarts(1.0, base, 2)
        starts = base * (2 ** np.arange(20) - 1)
        assert_array_equal(schedule(starts), 1.0)
        assert (schedule(starts[1:] - 1) < 0.5001).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: constant(-0.1), ValueError, "lr must not be negative; got -0.1"),
        (lambda: constant(math.nan), ValueError, "lr must not be negative; got nan"),
        (lambda: constant("fast"), TypeError, "lr must be a number or an array; got 'fast'"),
        (lambda: constant(np.array([[0.1], [-1.0]])), ValueError, "lr must not be negative"),
        (lambda: constant(0.1)(-1), ValueError, "step must be counted from 0; got -1"),
        (lambda: constant(0.1)([3, -1]), ValueError, "step must be counted from 0"),
        (lambda: step_lr(0.1, 0), ValueError, "step_size must be at least 1; got 0"),
        (lambda: step_lr(0.1, 2.5), TypeError, "step_size must be a whole number; got 2.5"),
        (lambda: step_lr(0.1, 2, gamma=-1), ValueError, "gamma must not be negative"),
        (lambda: multi_step_lr(0.1, [5, 5]), ValueError, r"milestones must increase; got \[5, 5\]"),
        (lambda: exponential_lr(0.1, math.nan), ValueError, "gamma must not be negative"),
        (lambda: polynomial_lr(0.1, 5, -1.0), ValueError, "power must not be negative"),
        (lambda: cosine_annealing(0.1, True), TypeError, "T_max must be a whole number"),
        (lambda: cosine_annealing(0.1, 5, -1.0), ValueError, "eta_min must not be negative"),
        (
            lambda: cosine_annealing_warm_restarts(0.1, 5, 0),
            ValueError,
            "T_mult must be at least 1",
        ),
        (lambda: linear_warmup(0.1, -1), ValueError, "warmup_steps must be at least 0"),
        (lambda: constant_warmup(0.1, 1, -1.0), ValueError, "factor must not be negative"),
        (lambda: inverse_sqrt(0.1, 0), ValueError, "warmup_steps must be at least 1"),
        (lambda: inverse_time(0.1, -1.0), ValueError, "decay_rate must not be negative"),
        (lambda: one_cycle(0.1, 10, anneal_strategy="sin"), ValueError, "'cos' or 'linear'"),
        (lambda: one_cycle(0.1, 10, 0.1), ValueError, "pct_start must leave each phase"),
        (lambda: one_cycle(0.1, 1), ValueError, "total_steps must be at least 2; got 1"),
        (lambda: one_cycle(0.1, 10, 1.0), ValueError, "pct_start must leave each phase"),
        (lambda: one_cycle(0.1, 10, 0.6, three_phase=True), ValueError, "pct_start must leave"),
        (lambda: one_cycle(0.1, 10, div_factor=0.0), ValueError, "div_factor must be positive"),
        (lambda: wsd(0.1, 10, 6, 5), ValueError, "must fit into 10 steps; got 6 and 5"),
        (lambda: wsd(0.1, 10, 1, 5, "cos"), ValueError, "decay must be 'linear' or '1-sqrt'"),
        (lambda: linear_scaling(0.1, 0), ValueError, "batch_size must be at least 1"),
        (lambda: linear_scaling(-0.1, 1), ValueError, "lr must not be negative"),
        (lambda: ReduceLROnPlateau(0.1, None, factor=1.0), ValueError, "factor must be at least 0"),
        (lambda: ReduceLROnPlateau(0.1, None, mode="low"), ValueError, "mode must be one of min"),
        (
            lambda: ReduceLROnPlateau(0.1, None, threshold_mode="x"),
            ValueError,
            "threshold_mode must be one of rel, abs; got 'x'",
        ),
        (lambda: ReduceLROnPlateau(0.1, None, every=0), ValueError, "every must be at least 1"),
        (lambda: cosine_annealing("0.1", 10), TypeError, "lr must be a number or an array; got '0"),
        (lambda: constant(None), TypeError, "lr must be a number or an array; got None"),
        (lambda: constant([[0.1], [0.1, 0.2]]), TypeError, "lr must be a number or an array"),
        (lambda: constant(np.array(["1"])), TypeError, "lr must be a number or an array"),
        (lambda: constant(0.1)("a"), TypeError, "step must be a number or an array; got 'a'"),
        (lambda: constant(0.1)("3"), TypeError, "step must be a number or an array; got '3'"),
        (lambda: constant(0.1)(None), TypeError, "step must be a number or an array; got None"),
        (lambda: multi_step_lr(0.1, 5), TypeError, "milestones must be a sequence of .*; got 5"),
        (lambda: multi_step_lr(0.1, "57"), TypeError, "milestones must be a whole number; got '5'"),
        (lambda: one_cycle(0.1, 10, "a"), TypeError, "pct_start must be a number or an array"),
        (lambda: one_cycle(0.1, 10, [0.3]), TypeError, r"pct_start must be a number; got \[0.3\]"),
        (lambda: one_cycle(0.1, 10, div_factor=None), TypeError, "div_factor must be a number"),
        (lambda: one_cycle(0.1, 10, final_div_factor="9"), TypeError, "final_div_factor must be a"),
        (lambda: ReduceLROnPlateau(0.1, None, factor="a"), TypeError, "factor must be a number"),
        (lambda: linear_warmup(None, 5), TypeError, "schedule must be a number or an array"),
        (lambda: constant_warmup("0.1", 5), TypeError, "schedule must be a number or an array"),
        (lambda: linear_warmup(-0.1, 5), ValueError, "schedule must not be negative; got -0.1"),
        (lambda: linear_warmup(lambda t: "a", 5)(7), TypeError, "schedule must be a number or an"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_function_of_ones_own_is_asked_step_by_step():
    seen = []

    def own(t):
        seen.append(type(t))
        return 0.4 if t < 2 else 0.2

    for make in (linear_warmup, constant_warmup):
        schedule = make(own, 2)
        assert_allclose(schedule(range(6))[2:], [0.4, 0.4, 0.2, 0.2])
        assert_array_equal(schedule(range(6)), [schedule(t) for t in range(6)])
        assert schedule(np.arange(6).reshape(2, 3)).shape == (2, 3)
        assert schedule([]).shape == (0,)
    assert set(seen) == {int}
    peaks = linear_warmup(lambda t: torch.tensor([[0.4], [0.2]]) / (1 + t), 2)
    assert peaks(3).shape == (2, 1)
    assert_allclose(peaks(range(4)), [[0.2, 0.4, 0.4, 0.2], [0.1, 0.2, 0.2, 0.1]])


def test_linear_scaling():
    assert linear_scaling(0.1, 512) == 0.2
    assert linear_scaling(0.1, 32, 64) == 0.05
    assert_array_equal(linear_scaling(np.array([[0.1], [0.2]]), 1024), [[0.4], [0.8]])


# The plateau ----------------------------------------------------------------------------------

PLATEAUS = [
    {"mode": mode, "threshold_mode": kind, "patience": patience, **more}
    for mode in ("min", "max")
    for kind in ("rel", "abs")
    for patience in (0, 2)
    for more in ({}, {"cooldown": 3, "factor": 0.5, "threshold": 0.05}, {"min_lr": 0.01})
]


def metrics():
    """Three runs that fall, stay and rise, with a nan in one."""
    rng = np.random.default_rng(0)
    falls = np.exp(-np.arange(60) / np.array([[5.0], [15.0], [40.0]]))
    values = falls + 0.1 + 0.02 * rng.standard_normal((3, 60))
    values[1, 20] = np.nan
    return values


def check_plateau():
    for options in PLATEAUS:
        values = metrics() if options["mode"] == "min" else -metrics()
        seen = iter(values.T)
        plateau = schedules.ReduceLROnPlateau(0.3, lambda _, seen=seen: next(seen), **options)
        rates = []
        for t in range(60):
            found = plateau(t, None)
            assert_array_equal(found["lr"], plateau.rate(t)[..., 0])
            rates.append(plateau.rate(t))
        assert rates[-1].shape == (3, 1)
        for own, row in zip(np.concatenate(rates, axis=1), values, strict=True):
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
            theirs, want = OF_TORCH.ReduceLROnPlateau(optimizer, **options), []
            for value in row:
                theirs.step(value)
                want.append(optimizer.param_groups[0]["lr"])
            assert_allclose(own, want, rtol=1e-13, err_msg=str(options))


@pytest.mark.parametrize(
    ("lr", "metric"),
    [((3, 1), (3, 1)), ((3, 1), (4,)), ((2, 3, 1), (2,)), ((3, 1), (1, 1)), ((2, 1), (3, 1))],
)
def test_a_metric_that_does_not_fit_the_rates_is_named(lr, metric):
    plateau = ReduceLROnPlateau(np.ones(lr), lambda theta: np.ones(metric))
    with pytest.raises(ValueError, match="metric must return values that fit those of lr, shape"):
        plateau(0, None)


@pytest.mark.parametrize(
    ("lr", "metric", "rate"),
    [
        ((3, 1), (), (3, 1)),
        ((3, 1), (3,), (3, 1)),
        ((3, 1), (2, 3), (2, 3, 1)),
        ((1, 1), (3,), (3, 1)),
        ((1,), (3,), (3, 1)),
        ((), (3,), (3, 1)),
    ],
)
def test_rates_of_a_plateau_have_the_shape_of_both(lr, metric, rate):
    plateau = ReduceLROnPlateau(np.ones(lr), lambda theta: np.ones(metric))
    plateau(0, None)
    assert np.shape(plateau.rate(0)) == rate


def test_the_plateau_is_torchs():
    check_plateau()


NET = Sequential(layers.Linear(3, 4), layers.Tanh(), layers.Linear(4, 2))


def data():
    rng = np.random.default_rng(0)
    return array(rng.standard_normal((24, 3))), array(np.arange(24) % 2)


def train(replicas=(), **options):
    theta = NET.init(np.random.default_rng(1), replicas=replicas)
    settings = {"loss": losses.cross_entropy, "rng": np.random.default_rng(2), "steps": 12}
    settings |= {"batch_size": 6, "optimizer": SGD(lr=0.5)}
    return fit(NET, theta, data(), **(settings | options))


def test_a_plateau_in_a_training_that_is_interrupted(created, tmp_path):
    def plateau():
        def metric(theta):
            return (theta**2).sum(axis=-1)  # grows, so that it never becomes better

        return ReduceLROnPlateau(0.5, metric, every=2, patience=1, factor=0.5)

    def run(steps, file, rule):
        kept = Checkpoint(tmp_path / file, 100)
        return train((2,), steps=steps, checkpoint=kept, schedule=rule.rate, callbacks=[rule])

    whole = plateau()
    want, history = run(12, "whole", whole)
    run(7, "parts", plateau())
    again = plateau()
    got, found = run(12, "parts", again)
    assert_array_equal(to_numpy(got), to_numpy(want))
    assert_array_equal(found.metrics["lr"], history.metrics["lr"])
    assert_array_equal(again.rate(12), whole.rate(12))
    assert history.metrics["lr"][0, -1] == 0.125
    assert repr(whole) == repr(plateau())


# In training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_fit_and_optimizers_take_a_schedule(created, kind):
    schedule = linear_warmup(cosine_annealing(0.3, 8), 4)
    one, _ = train(schedule=schedule, optimizer=kind(lr=0.0))
    two, _ = train(optimizer=kind(lr=schedule))
    assert_array_equal(to_numpy(one), to_numpy(two))
    constant_rate, _ = train(optimizer=kind(lr=0.3))
    assert not np.array_equal(to_numpy(one), to_numpy(constant_rate))
    peak = np.array([[0.3], [0.1]])
    both, _ = train((2,), optimizer=kind(lr=linear_warmup(cosine_annealing(peak, 8), 4)))
    assert_allclose(to_numpy(both[0]), to_numpy(one), rtol=1e-12)


def test_a_schedule_in_a_compiled_step(on_torch):
    peak = np.array([[0.3], [0.1]])
    rule = Adam(lr=linear_warmup(cosine_annealing(peak, 8), 4))
    want, _ = train((2,), optimizer=rule, clip=0.1)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    got, _ = train((2,), optimizer=rule, clip=0.1, compile=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3
    assert_allclose(to_numpy(got), to_numpy(want), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("of_fit", [False, True])
def test_a_checkpoint_knows_its_schedule(tmp_path, of_fit):
    def run(schedule):
        own = {"schedule": schedule} if of_fit else {"optimizer": SGD(lr=schedule)}
        return train(checkpoint=Checkpoint(tmp_path / "run.npz"), **own)

    run(cosine_annealing(0.3, 12))
    run(cosine_annealing(0.3, 12))
    with pytest.raises(ValueError, match="optimizer"):
        run(cosine_annealing(0.3, 13))


# Planted mistakes -----------------------------------------------------------------------------


def check_peers():
    for peer in PEERS:
        check_peer(*peer)


MUTANTS = {
    "a first step of 0": ("(t + 1) / max(m, 1), later", "t / max(m, 1), later", check_stated),
    "the schedule goes on behind the warm-up": (
        "schedule(np.maximum(t - m, 0))",
        "schedule(t)",
        check_stated,
    ),
    "one step late": ("gamma ** (t // size)", "gamma ** ((t - 1) // size)", check_peers),
    "the milestone at the old rate": ('t, side="right"),', 't, side="left"),', check_peers),
    "a cosine of twice the length": ("np.sin(0.5", "np.sin(0.25", check_stated),
    "a cosine that rises again": (
        "return steps - np.minimum(t, steps)",
        "return steps - t",
        check_stated,
    ),
    "the least rate added": ("low + (lr - low) * _cosine", "low + lr * _cosine", check_peers),
    "restarts that do not lengthen": ("length *= mult", "pass", check_peers),
    "a cycle of T": ("top = pct_start * T - 1", "top = pct_start * T", check_peers),
    "an end of the largest over f": (
        "high / div_factor / final_div_factor",
        "high / final_div_factor",
        check_peers,
    ),
    "the root the wrong way round": (
        "left / (1 + np.sqrt(1 - left))",
        "1 - left**0.5",
        check_stated,
    ),
    "patience of Keras": ("bad > self.patience", "bad >= self.patience", check_plateau),
    "no cooldown": ("np.where(better | cooling,", "np.where(better,", check_plateau),
    "counts that stay": (
        "self.num_bad_epochs = np.where(reduce, 0, bad)",
        "self.num_bad_epochs = bad",
        check_plateau,
    ),
    "more for less": ("sign = 1 if", "sign = 1 if True or", check_plateau),
}


@pytest.mark.parametrize("mistake", MUTANTS)
def test_a_wrong_schedule_is_caught(monkeypatch, mistake):
    right, wrong, check = MUTANTS[mistake]
    modules = [schedules.base, schedules.decay, schedules.warmup, schedules.plateau]
    texts = [inspect.getsource(module) for module in modules]
    assert any(right in text for text in texts)
    check()
    for module, text in zip(modules, texts, strict=True):
        planted = types.ModuleType(module.__name__)
        monkeypatch.setitem(sys.modules, module.__name__, planted)  # for those that import it
        exec(text.replace(right, wrong), vars(planted))
        for name in vars(planted).keys() & set(schedules.__all__):
            monkeypatch.setattr(schedules, name, getattr(planted, name))
    with pytest.raises((AssertionError, ValueError)):
        check()
