"""Translated hyperparameters take the same steps, in the libraries themselves."""

import inspect

import jax
import numpy as np
import optax
import pytest
import torch
from numpy.testing import assert_allclose

from companion import optimizers
from companion.optimizers import conventions
from companion.optimizers.conventions import FORMS, defaults, translate
from tests.optimizers.parity import PROBLEMS, optaxs, torchs, written

STEPS = 500


def at(value, t):
    return value(t) if callable(value) else value


def by_companion(name, options):
    opt = getattr(optimizers, name)(**options)

    def peer(theta):
        state = opt.init(theta)

        def step(grad):
            nonlocal theta, state
            theta, state = opt.update(theta, grad, state)
            return theta

        return step

    return peer


def by_optax(name, options):
    static = {"nesterov", "eps_in_sqrt", "centered", "bias_correction"} & options.keys()

    def peer(start):
        with jax.enable_x64(True):
            kind = optax.inject_hyperparams(getattr(optax, name), static)
            # as numbers of 64 bits, which inject_hyperparams makes of no Python number
            given = {n: np.float64(v) if type(v) is float else v for n, v in options.items()}
            theirs = kind(**given)
        return optaxs(theirs)(start)

    return peer


# Keras' updates as its documentation and its sources of 3.x state them; weights decay first.


def keras_sgd(w, g, s, t, learning_rate, momentum, nesterov):
    s["v"] = momentum * s.get("v", 0) - learning_rate * g
    return w + (momentum * s["v"] - learning_rate * g if nesterov else s["v"])


def keras_adam(w, g, s, t, learning_rate, beta_1, beta_2, epsilon, amsgrad):
    s["m"] = s.get("m", 0) + (g - s.get("m", 0)) * (1 - beta_1)
    s["v"] = s.get("v", 0) + (g**2 - s.get("v", 0)) * (1 - beta_2)
    alpha = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    s["largest"] = np.maximum(s.get("largest", 0), s["v"])
    return w - s["m"] * alpha / (np.sqrt(s["largest" if amsgrad else "v"]) + epsilon)


def keras_rmsprop(w, g, s, t, learning_rate, rho, momentum, epsilon, centered):
    s["v"] = rho * s.get("v", 0) + (1 - rho) * g**2
    s["a"] = rho * s.get("a", 0) + (1 - rho) * g
    denominator = s["v"] - s["a"] ** 2 + epsilon if centered else s["v"] + epsilon
    s["m"] = momentum * s.get("m", 0) + learning_rate * g / np.sqrt(denominator)
    return w - s["m"]


def keras_adagrad(w, g, s, t, learning_rate, initial_accumulator_value, epsilon):
    s["a"] = s.get("a", initial_accumulator_value) + g**2
    return w - learning_rate * g / np.sqrt(s["a"] + epsilon)


def keras_adadelta(w, g, s, t, learning_rate, rho, epsilon):
    s["g"] = rho * s.get("g", 0) + (1 - rho) * g**2
    delta = -np.sqrt(s.get("d", 0) + epsilon) * g / np.sqrt(s["g"] + epsilon)
    s["d"] = rho * s.get("d", 0) + (1 - rho) * delta**2
    return w + learning_rate * delta


def keras_nadam(w, g, s, t, learning_rate, beta_1, beta_2, epsilon):
    def u(t):
        return beta_1 * (1 - 0.5 * 0.96**t)

    s["m"] = s.get("m", 0) + (g - s.get("m", 0)) * (1 - beta_1)
    s["v"] = s.get("v", 0) + (g**2 - s.get("v", 0)) * (1 - beta_2)
    s["u"] = s.get("u", 1) * u(t)
    m = u(t + 1) * s["m"] / (1 - s["u"] * u(t + 1)) + (1 - u(t)) * g / (1 - s["u"])
    return w - learning_rate * m / (np.sqrt(s["v"] / (1 - beta_2**t)) + epsilon)


def keras_lion(w, g, s, t, learning_rate, beta_1, beta_2):
    m = s.get("m", 0)
    s["m"] = beta_2 * m + (1 - beta_2) * g
    return w - learning_rate * np.sign(beta_1 * m + (1 - beta_1) * g)


KERAS = {
    "SGD": keras_sgd,
    "Adam": keras_adam,
    "AdamW": keras_adam,
    "RMSprop": keras_rmsprop,
    "Adagrad": keras_adagrad,
    "Adadelta": keras_adadelta,
    "Nadam": keras_nadam,
    "Lion": keras_lion,
}


def by_keras(name, options):
    decay = options.pop("weight_decay") or 0
    assert [n for n, v in options.items() if callable(v)] in ([], ["learning_rate"])

    def rule(w, g, s, t):
        now = {n: at(v, t - 1) for n, v in options.items()}
        w = w - w * decay * now["learning_rate"]
        return KERAS[name](w, g, s, t, **now)

    return written(rule)


# The papers' algorithms


def polyak(w, g, s, t, eta, beta):
    s["m"] = beta * s.get("m", 0) + eta * g
    return w - s["m"]


def kingma(w, g, s, t, alpha, beta1, beta2, epsilon, eta=1.0, weight_decay=0.0):
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g**2
    m, v = s["m"] / (1 - beta1**t), s["v"] / (1 - beta2**t)
    return w - eta * (alpha * m / (np.sqrt(v) + epsilon) + weight_decay * w)


def graves(w, g, s, t, eta, decay, momentum, epsilon, centered):
    s["n"] = decay * s.get("n", 0) + (1 - decay) * g**2
    s["g"] = decay * s.get("g", 0) + (1 - decay) * g
    square = s["n"] - s["g"] ** 2 if centered else s["n"]
    s["d"] = momentum * s.get("d", 0) - eta * g / np.sqrt(square + epsilon)
    return w + s["d"]


def duchi(w, g, s, t, eta, delta):
    s["s"] = s.get("s", 0) + g**2
    return w - eta * g / (delta + np.sqrt(s["s"]))


def zeiler(w, g, s, t, rho, epsilon):
    s["g"] = rho * s.get("g", 0) + (1 - rho) * g**2
    x = -np.sqrt(s.get("x", 0) + epsilon) / np.sqrt(s["g"] + epsilon) * g
    s["x"] = rho * s.get("x", 0) + (1 - rho) * x**2
    return w + x


def liu(w, g, s, t, alpha, beta1, beta2):
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g**2
    m = s["m"] / (1 - beta1**t)
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * beta2**t / (1 - beta2**t)
    if length <= 4:
        return w - alpha * m
    known = (length - 4) * (length - 2) * longest
    rectified = np.sqrt(known / ((longest - 4) * (longest - 2) * length))
    return w - alpha * rectified * m * np.sqrt((1 - beta2**t) / s["v"])


def chen(w, g, s, t, eta, beta1, beta2, weight_decay):
    m = s.get("m", 0)
    s["m"] = beta2 * m + (1 - beta2) * g
    return w - eta * (np.sign(beta1 * m + (1 - beta1) * g) + weight_decay * w)


def mean_of_gradients(w, g, s, t, eta, beta):
    s["m"] = beta * s.get("m", 0) + (1 - beta) * g
    return w - eta * s["m"]


PAPERS = {
    "SGD": polyak,
    "Adam": kingma,
    "AdamW": kingma,
    "RMSprop": graves,
    "RAdam": liu,
    "Adagrad": duchi,
    "Adadelta": zeiler,
    "Lion": chen,
}


def by_rule(rule, options):
    return written(
        lambda w, g, s, t: rule(w, g, s, t, **{n: at(v, t - 1) for n, v in options.items()})
    )


PEERS = {
    "companion": by_companion,
    "torch": lambda name, options: torchs(name, **options),
    "optax": by_optax,
    "keras": by_keras,
    "paper": lambda name, options: by_rule(PAPERS[name], options),
    "average": lambda name, options: by_rule(mean_of_gradients, options),
}


def completed(name, library, given):
    """Return the optimizer's name in its own spelling, and all its hyperparameters."""
    forms = [f for f in FORMS if f.library == library and f.name.lower() == name.lower()]
    return forms[0].name, defaults(name, library) | given


def check_equal(name, source, target, given, problem="quadratic", steps=STEPS):
    """Hold the steps of two libraries to each other, on the gradients of the first."""
    start = np.random.default_rng(0).standard_normal((2, 32))
    rng = np.random.default_rng(1)
    first = PEERS[source](*completed(name, source, given))(start)
    second = PEERS[target](*translate(name, source, target, **given))(start)
    theta, ours, theirs = start, [], []
    for _ in range(steps):
        grad = PROBLEMS[problem](theta, rng)
        theta = first(grad)
        ours.append(second(grad))
        theirs.append(theta)
    assert np.isfinite(theirs).all()
    assert abs(theta - start).max() > 1e-3
    message = f"{name}, {given}: {source} and {target}"
    assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12, err_msg=message)


def falling(t):
    return 0.02 * 0.99**t


ALL = ("companion", "torch", "keras", "optax", "paper", "average")
NOT_KERAS = {"keras": "epsilon would have to change"}
PENALTY = dict.fromkeys(("keras", "optax", "paper"), "penalty")
ROOT = dict.fromkeys(("companion", "torch", "paper"), "equal for one v only")

#: An optimizer as a library has it, and where there is none that is equal, with the reason.
CASES = [
    ("SGD", "torch", {"lr": 0.1}, {}),
    ("SGD", "torch", {"lr": 0.1, "momentum": 0.9}, {}),
    ("SGD", "torch", {"lr": 0.1, "momentum": 0.9, "nesterov": True},
     {"paper": "where the momentum leads", "average": "where the momentum leads"}),
    ("SGD", "torch", {"lr": falling, "momentum": 0.9}, {"keras": "momentum would have to change"}),
    ("SGD", "torch", {"lr": falling, "momentum": 0.9, "nesterov": True},
     {"keras": "as soon as the rate changes", "paper": "leads", "average": "leads"}),
    ("SGD", "torch", {"lr": 0.1, "momentum": 0.9, "dampening": 0.1},
     dict.fromkeys(("keras", "optax", "paper", "average"), "first gradient counts in full")),
    ("SGD", "torch", {"lr": 0.1, "dampening": 0.1}, {}),
    ("SGD", "torch", {"lr": 0.1, "weight_decay": 0.1},
     dict.fromkeys(("optax", "paper", "average"), "add that to the loss")),
    ("SGD", "torch", {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.5},
     dict.fromkeys(("optax", "paper", "average", "keras"), "add that to the loss")),
    ("SGD", "keras", {"learning_rate": 0.1, "momentum": 0.9}, {}),
    ("SGD", "keras", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
     {"paper": "leads", "average": "leads"}),
    ("SGD", "keras", {"learning_rate": falling, "momentum": 0.9},
     {"average": "as soon as the rate changes"}),
    ("SGD", "keras", {"learning_rate": falling, "momentum": 0.9, "nesterov": True},
     dict.fromkeys(("companion", "torch", "optax"), "as soon as the rate changes")
     | {"paper": "leads", "average": "leads"}),
    ("SGD", "keras", {"learning_rate": 0.1, "weight_decay": 0.1},
     dict.fromkeys(("optax", "paper", "average"), "subtracted from the parameter")),
    ("SGD", "keras", {"learning_rate": 0.1, "weight_decay": 0.1, "momentum": 0.9},
     dict.fromkeys(("companion", "torch", "optax", "paper", "average"), "subtracted from")),
    ("SGD", "optax", {"learning_rate": 0.1, "momentum": 0.9}, {}),
    ("SGD", "paper", {"eta": 0.1, "beta": 0.9}, {}),
    ("SGD", "average", {"eta": 0.1, "beta": 0.9}, {}),
    ("SGD", "average", {"eta": falling, "beta": 0.9},
     {"keras": "momentum would have to change"}),
    ("Adam", "torch", {"lr": 0.01}, NOT_KERAS),
    ("Adam", "torch", {"lr": falling, "betas": (0.5, 0.9), "eps": 0.1}, NOT_KERAS),
    ("Adam", "torch", {"eps": 0.0}, {}),
    ("Adam", "torch", {"betas": (0.9, 0.0), "eps": 0.1}, {}),
    ("Adam", "torch", {"weight_decay": 0.1}, PENALTY),
    ("Adam", "companion", {"eps": lambda t: 0.1 / (t + 1)}, NOT_KERAS),
    ("Adam", "keras", {}, {}),
    ("Adam", "keras", {"learning_rate": falling, "epsilon": 0.1, "weight_decay": 0.1}, {}),
    ("Adam", "optax", {"learning_rate": 0.01, "b1": 0.5}, NOT_KERAS),
    ("Adam", "optax", {"learning_rate": 0.01, "eps": 0.0, "eps_root": 1e-4}, ROOT
     | {"keras": "one v only"}),
    ("Adam", "paper", {"alpha": 0.01}, NOT_KERAS),
    ("Adam", "torch", {"amsgrad": True},
     {"keras": "epsilon would", "optax": "before its correction", "paper": "keeps no largest"}),
    ("Adam", "keras", {"amsgrad": True, "epsilon": 0.01},
     {"optax": "before its correction", "paper": "keeps no largest"}),
    ("AMSGrad", "companion", {"eps": 0.0},
     {"optax": "before its correction", "paper": "keeps no largest"}),
    ("NAdam", "torch", {"lr": 0.01}, {"keras": "fixed momentum_decay", "optax": "a fixed mom"}),
    ("NAdam", "torch", {"lr": falling, "momentum_decay": 1.0, "eps": 0.1},
     {"optax": "fixed momentum_decay"}),
    ("NAdam", "torch", {"lr": 0.01, "weight_decay": 0.1, "momentum_decay": 1.0},
     {"keras": "penalty", "optax": "penalty"}),
    ("NAdam", "torch", {"weight_decay": 0.1, "decoupled_weight_decay": True,
                        "momentum_decay": np.inf}, {"keras": "fixed momentum_decay"}),
    ("NAdam", "keras", {"learning_rate": falling, "weight_decay": 0.1}, {"optax": "fixed mom"}),
    ("NAdam", "optax", {"learning_rate": 0.01, "b1": 0.5}, {"keras": "fixed momentum_decay"}),
    ("NAdamW", "optax", {"learning_rate": falling}, {"keras": "fixed momentum_decay"}),
    ("RAdam", "torch", {"lr": 0.01, "eps": 0.01}, {"paper": "has no epsilon"}),
    ("RAdam", "torch", {"lr": falling, "betas": (0.5, 0.9), "eps": 0.0},
     {"paper": "fixed threshold"}),
    ("RAdam", "torch", {"lr": falling, "weight_decay": 0.1, "decoupled_weight_decay": True},
     {"optax": "subtracted from the parameter", "paper": "subtracted from the parameter"}),
    ("RAdam", "companion", {"weight_decay": 0.1}, {"optax": "penalty", "paper": "penalty"}),
    ("RAdam", "optax", {"learning_rate": 0.01, "eps": 0.1}, {"paper": "has no epsilon"}),
    ("RAdam", "optax", {"learning_rate": 0.01, "eps": 0.0, "threshold": 4.0},
     {"torch": "fixed threshold", "companion": "fixed threshold"}),
    ("RAdam", "paper", {"alpha": 0.01, "beta1": 0.9, "beta2": 0.99},
     {"torch": "fixed threshold", "companion": "fixed threshold"}),
    ("Adadelta", "torch", {}, {}),
    ("Adadelta", "torch", {"weight_decay": 0.1}, {"keras": "penalty", "paper": "penalty"}),
    ("Adadelta", "keras", {"learning_rate": 0.5}, {"paper": "has a fixed lr"}),
    ("Adadelta", "optax", {"learning_rate": 1.0}, {}),
    ("Adadelta", "paper", {}, {}),
    ("AdamW", "torch", {"lr": 0.01, "weight_decay": 0.1}, NOT_KERAS),
    ("AdamW", "torch", {"lr": falling, "weight_decay": 0.1, "eps": 0.0}, {}),
    ("AdamW", "keras", {"learning_rate": 0.01}, {}),
    ("AdamW", "optax", {"learning_rate": falling}, NOT_KERAS),
    ("AdamW", "paper", {"weight_decay": 0.001, "alpha": 0.01, "epsilon": 0.0}, {}),
    ("AdamW", "paper", {"weight_decay": 0.001, "alpha": 0.01,
                        "eta": lambda t: 0.99**t}, NOT_KERAS),
    ("RMSprop", "torch", {"momentum": 0.9, "eps": 0.01},
     dict.fromkeys(("keras", "paper"), "one v only")),
    ("RMSprop", "torch", {"momentum": 0.9, "eps": 0.0}, {}),
    ("RMSprop", "torch", {"lr": falling, "momentum": 0.9, "eps": 1e-3, "centered": True},
     {"keras": "one v only", "paper": "one v only"}),
    ("RMSprop", "keras", {"momentum": 0.9, "epsilon": 0.01},
     {"torch": "one v only", "companion": "one v only"}),
    ("RMSprop", "keras", {"learning_rate": falling, "momentum": 0.5, "epsilon": 0.0}, {}),
    ("RMSprop", "keras", {"centered": True}, {"torch": "one v only", "companion": "one v only"}),
    ("RMSprop", "optax", {"learning_rate": 0.01},
     {"torch": "one v only", "companion": "one v only"}),
    ("RMSprop", "optax", {"learning_rate": 0.01, "eps_in_sqrt": False},
     {"keras": "one v only", "paper": "one v only"}),
    ("RMSprop", "optax", {"learning_rate": 0.01, "initial_scale": 1.0, "eps": 0.0},
     dict.fromkeys(("torch", "companion", "keras", "paper"), "has no initial")),
    ("RMSprop", "paper", {"eta": 0.01}, {"torch": "one v only", "companion": "one v only"}),
    ("Adagrad", "torch", {}, dict.fromkeys(("keras", "optax"), "one v only")),
    ("Adagrad", "torch", {"eps": 0.0, "initial_accumulator_value": 0.1, "lr_decay": 0.1},
     {"paper": "has no initial"}),
    ("Adagrad", "torch", {"weight_decay": 0.1, "eps": 0.0}, PENALTY),
    ("Adagrad", "keras", {"learning_rate": 0.1}, {"paper": "one v only"}),
    ("Adagrad", "keras", {"weight_decay": 0.1, "learning_rate": falling},
     dict.fromkeys(("companion", "torch", "optax", "paper"), "subtracted from the parameter")),
    ("Adagrad", "optax", {"learning_rate": falling, "eps": 0.1}, {"paper": "one v only"}),
    ("Adagrad", "paper", {"eta": 0.1, "delta": 1e-3},
     {"keras": "one v only", "optax": "one v only"}),
    ("HeavyBall", "companion", {"lr": falling}, {"average": "as soon as the rate changes"}
     | {"keras": None}),
    ("Lion", "paper", {"weight_decay": 0.1, "eta": 0.001}, {}),
    ("Lion", "keras", {"beta_1": 0.5}, {}),
    ("Lion", "optax", {"learning_rate": falling}, {}),
    ("Lion", "companion", {"lr": falling, "weight_decay": 0.1}, {}),
]  # fmt: skip
#: What a library has not, and the paper of NAdam, whose momentum is another average.
NOWHERE = {("Lion", "torch"), ("NAdam", "paper"), ("NAdamW", "paper"), ("RAdam", "keras")}
PAIRS = [
    pytest.param(name, source, target, given, refused.get(target), id=f"{name}-{source}-{target}")
    for name, source, given, refused in CASES
    for target in ALL
    if target != source
    and (name in ("SGD", "HeavyBall") or target != "average")
    and (name, target) not in NOWHERE
]


@pytest.mark.parametrize(("name", "source", "target", "given", "reason"), PAIRS)
def test_steps_are_equal_or_there_is_a_reason(on_numpy, name, source, target, given, reason):
    if reason is None:
        check_equal(name, source, target, given)
    else:
        with pytest.raises(ValueError, match=f"no {name} of {target} takes .*{reason}"):
            translate(name, source, target, **given)


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f.library}-{f.name}")
def test_to_itself_nothing_changes(form):
    given = {n: 0.5 for n, (_, default) in form.takes.items() if default is conventions.REQUIRED}
    given |= {n: v for n, v in form.fixed.items() if isinstance(v, bool)}
    if "decoupled_weight_decay" in form.fixed:  # says nothing without a decay
        given["weight_decay"] = 0.1
    found = translate(form.name, form.library, form.library, **given)
    assert found == (form.name, defaults(form.name, form.library) | given | {
        n: v for n, v in found[1].items() if n in form.takes and n not in given
        and form.takes[n][1] is None and not v
    })  # fmt: skip


@pytest.mark.parametrize("problem", ["small_network", "logistic"])
def test_on_other_problems_too(on_numpy, problem):
    check_equal("Adam", "keras", "torch", {"learning_rate": 0.01, "epsilon": 0.01}, problem)
    check_equal("Adagrad", "keras", "torch", {"learning_rate": 0.1}, problem)


OWN = {"torch": torch.optim, "optax": optax, "companion": optimizers}
HERE = [f for f in FORMS if f.library in OWN]


@pytest.mark.parametrize("form", HERE, ids=lambda f: f"{f.library}-{f.name}")
def test_defaults_are_those_of_the_library(form):
    theirs = inspect.signature(getattr(OWN[form.library], form.name)).parameters
    for n, (_, default) in form.takes.items():
        if default is conventions.REQUIRED:  # optax.adadelta has None, with which it fails
            assert theirs[n].default in (inspect.Parameter.empty, None), n
        else:
            assert theirs[n].default == default, n
    for n, value in form.fixed.items():
        assert n in ("eps_in_sqrt", "decoupled_weight_decay") or theirs[n].default == value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: translate("Adam", "jax", "torch"), "library must be one of average, companion, k"),
        (lambda: translate("Adam", "torch", "jax"), "library must be one of average, companion, k"),
        (lambda: translate("Lion", "keras", "torch"), "the optimizers of torch here are SGD, Adam"),
        (lambda: translate("Adma", "torch", "keras"), "here are SGD, Adam, AdamW, .*; got 'Adma'"),
        (lambda: translate("Adam", "torch", "keras", beta1=0.9), "takes lr, betas, .*; got beta1"),
        (lambda: translate("SGD", "optax", "torch"), "sgd of optax needs learning_rate"),
        (
            lambda: translate("Adam", "torch", "keras", betas=0.9),
            "betas must be a tuple of beta1, ",
        ),
        (
            lambda: translate("Adam", "companion", "torch", eps=0, weight_decay=np.ones(3)),
            "weight_decay is an array, and torch takes a number for each group",
        ),
        (
            lambda: translate("NAdam", "torch", "keras"),
            "Nadam of keras has a fixed momentum_decay, 1.0",
        ),
        (
            lambda: translate("rmsprop", "optax", "torch", learning_rate=1, bias_correction=True),
            "bias_correction of rmsprop must be False here; got True",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("wrong", [None, "0.1"])
def test_what_is_no_number_is_named(wrong):
    with pytest.raises(TypeError, match=f"lr must be a number or a schedule; got {wrong!r}"):
        translate("Adam", "torch", "optax", lr=wrong)


def test_arrays_stay_arrays():
    decay = np.array([0.0, 0.1])
    found = translate("AdamW", "companion", "companion", weight_decay=decay)[1]["weight_decay"]
    assert_allclose(found, decay)


def warm_up(t):
    return 0.1 * np.minimum(t, 4)


@pytest.mark.parametrize("target", ["torch", "companion"])
def test_a_warm_up_from_a_rate_of_0(on_numpy, target):
    given = {"learning_rate": warm_up, "momentum": 0.9}
    found = translate("SGD", "keras", target, **given)[1]["momentum"]
    assert [found(t) for t in range(7)] == pytest.approx([0.9, 0, 0.45, 0.6, 0.675, 0.9, 0.9])
    assert_allclose(found(np.arange(7)), [found(t) for t in range(7)])
    check_equal("SGD", "keras", target, given)


def test_a_rate_of_0_that_a_translation_would_divide_by_is_named():
    momentum = translate("SGD", "keras", "torch", learning_rate=lambda t: 3 - t, momentum=0.5)[1]
    assert momentum["momentum"](2) == 1.0
    with pytest.raises(ValueError, match="the rate must not be 0 here, at step 3 or"):
        momentum["momentum"](3)
    velocity = translate("SGD", "torch", "paper", lr=warm_up, momentum=0.5)[1]["beta"]
    assert (velocity(0), velocity(2)) == (0.5, 1.0)
    with pytest.raises(ValueError, match="the rate must not be 0 here, at step 1 or"):
        velocity(1)
    paper = {"weight_decay": 0.1, "eta": lambda t: 0.9**t}
    with pytest.raises(ValueError, match=r"no AdamW of torch takes .* no multiple of a rate of 0"):
        translate("AdamW", "paper", "torch", alpha=0, **paper)
    decay = translate("AdamW", "paper", "torch", alpha=warm_up, **paper)[1]["weight_decay"]
    assert decay(1) == 1.0
    with pytest.raises(ValueError, match="the rate must not be 0: a decay whatever the rate"):
        decay(0)
    assert translate("AdamW", "paper", "torch", alpha=0.0, weight_decay=0)[1]["lr"] == 0


# Planted mistakes ---------------------------------------------------------------------------


def planted(monkeypatch, part, rule):
    rules = tuple((p, rule if p == part else old) for p, old in conventions.RULES)
    monkeypatch.setattr(conventions, "RULES", rules)


@pytest.mark.parametrize(
    ("part", "rule", "case"),
    [
        ("eps_hat", lambda p, f: {"eps": p["eps_hat"]}, ("Adam", "keras", "torch", {})),
        (
            "eps_hat",
            lambda p, f: {"eps": lambda t: p["eps_hat"] / (1 - p["beta2"] ** t) ** 0.5 if t else 1},
            ("Adam", "keras", "torch", {"epsilon": 0.1}),
        ),
        (
            "eps_root",
            lambda p, f: {"eps": p["eps_root"] ** 0.5, "initial": p["initial"]},
            ("Adagrad", "keras", "torch", {"epsilon": 0.1}),
        ),
        (
            "velocity",
            lambda p, f: {"momentum": p["velocity"]},
            ("SGD", "keras", "torch", {"learning_rate": falling, "momentum": 0.9}),
        ),
        (
            "average",
            lambda p, f: {"momentum": p["average"]},
            ("SGD", "average", "torch", {"eta": 0.1, "beta": 0.9}),
        ),
        (
            "decay",
            lambda p, f: {"decoupled": p["decay"]},
            ("AdamW", "paper", "torch", {"weight_decay": 0.01}),
        ),
    ],
)
def test_a_wrong_rule_is_caught(on_numpy, monkeypatch, part, rule, case):
    check_equal(*case, steps=50)
    planted(monkeypatch, part, rule)
    with pytest.raises(AssertionError):
        check_equal(*case, steps=50)
