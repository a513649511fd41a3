r"""What the libraries mean by the same names (chapter 4, section 5).

Each library's optimizer is a row of one table: which part of an update each of its hyperparameters
is. The parts of an update are

========== ========================================================================
eps        :math:`\epsilon` beside the root, after a bias correction: :math:`\sqrt{\hat v}+\epsilon`
eps_hat    beside the root, before the bias correction: :math:`\sqrt v+\hat\epsilon`
eps_root   inside the root: :math:`\sqrt{v+\epsilon}`
initial    the sum of squares before the first step
l2         :math:`\lambda\theta` added to the gradient
decoupled  :math:`\eta\lambda\theta` subtracted from the parameter
decay      :math:`\lambda\theta` subtracted from it, whatever the rate
multiplier of a schedule, for rate and decay
momentum   :math:`\mu` of :math:`b\leftarrow\mu b+g,\ \theta\leftarrow\theta-\eta b`
velocity   :math:`\mu` of :math:`v\leftarrow\mu v+\eta g,\ \theta\leftarrow\theta-v`
average    :math:`\beta` of :math:`m\leftarrow\beta m+(1-\beta)g,\ \theta\leftarrow\theta-\eta m`
lr_decay   :math:`\gamma` of the rate :math:`\eta/(1+\gamma t)`
threshold  of RAdam: the length of the average from which it rectifies
========== ========================================================================

and some that mean the same everywhere. A translation writes the parts that the other library lacks
by those that it has, where that is possible.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from companion.optimizers.base import _flat

REQUIRED = object()


@dataclass(frozen=True)
class Form:
    """An optimizer of a library: for each hyperparameter the part it is, and its default."""

    family: str
    library: str
    name: str
    takes: dict[str, tuple[Any, Any]]
    #: Options that choose this form, and that no other value of is known here.
    fixed: dict[str, Any]
    #: Parts that cannot be turned off.
    always: dict[str, Any]

    @property
    def parts(self) -> set[str]:
        """The parts of an update that this one can have."""
        return {p for part, _ in self.takes.values() for p in _flat(part)} | self.always.keys()


FORMS: list[Form] = []


def _form(
    family: str, library: str, name: str, fixed: Any = None, always: Any = None, **takes: Any
) -> None:
    FORMS.append(Form(family, library, name, takes, fixed or {}, always or {}))


BETAS, TWO = ("beta1", "beta2"), (0.9, 0.999)
AMSGRAD = {"amsgrad": ("amsgrad", False)}
for _library, _more in (("torch", AMSGRAD), ("companion", {})):
    _form(
        "SGD", _library, "SGD",
        lr=("lr", 0.001 if _library == "torch" else REQUIRED), momentum=("momentum", 0.0),
        dampening=("dampening", 0.0), weight_decay=("l2", 0.0), nesterov=("nesterov", False),
    )  # fmt: skip
    _form(
        "Adam", _library, "Adam",
        lr=("lr", 0.001), betas=(BETAS, TWO), eps=("eps", 1e-8), weight_decay=("l2", 0.0), **_more,
    )  # fmt: skip
    _form(
        "Adam", _library, "AdamW",
        lr=("lr", 0.001), betas=(BETAS, TWO), eps=("eps", 1e-8), weight_decay=("decoupled", 0.01),
        **_more,
    )  # fmt: skip
    _form(
        "RMSprop", _library, "RMSprop",
        lr=("lr", 0.01), alpha=("alpha", 0.99), eps=("eps", 1e-8), weight_decay=("l2", 0.0),
        momentum=("momentum", 0.0), centered=("centered", False),
    )  # fmt: skip
    _form(
        "Adagrad", _library, "Adagrad",
        lr=("lr", 0.01), lr_decay=("lr_decay", 0.0), weight_decay=("l2", 0.0),
        initial_accumulator_value=("initial", 0.0), eps=("eps", 1e-10),
    )  # fmt: skip
    _form(
        "Adadelta", _library, "Adadelta",
        lr=("lr", 1.0), rho=("rho", 0.9), eps=("eps_root", 1e-6), weight_decay=("l2", 0.0),
    )  # fmt: skip
    for _beside in (False, True):
        _penalty = ("decoupled" if _beside else "l2", 0.0)
        _form(
            "NAdam", _library, "NAdam", {"decoupled_weight_decay": _beside},
            lr=("lr", 0.002), betas=(BETAS, TWO), eps=("eps", 1e-8), weight_decay=_penalty,
            momentum_decay=("momentum_decay", 0.004),
        )  # fmt: skip
        _form(
            "RAdam", _library, "RAdam", {"decoupled_weight_decay": _beside}, {"threshold": 5.0},
            lr=("lr", 0.001), betas=(BETAS, TWO), eps=("eps_hat", 1e-8), weight_decay=_penalty,
        )  # fmt: skip
_form(
    "Adam", "companion", "AMSGrad", None, {"amsgrad": True},
    lr=("lr", 0.001), betas=(BETAS, TWO), eps=("eps", 1e-8), weight_decay=("l2", 0.0),
)  # fmt: skip
_form("SGD", "companion", "HeavyBall", lr=("lr", REQUIRED), momentum=("velocity", 0.9))
_form(
    "Lion", "companion", "Lion",
    lr=("lr", 0.0001), betas=(BETAS, (0.9, 0.99)), weight_decay=("decoupled", 0.0),
)  # fmt: skip

_KERAS = {"learning_rate": ("lr", 0.001), "weight_decay": ("decoupled", None)}
_form(
    "SGD", "keras", "SGD",
    learning_rate=("lr", 0.01), momentum=("velocity", 0.0), nesterov=("nesterov", False),
    weight_decay=("decoupled", None),
)  # fmt: skip
_form(
    "Adam", "keras", "Adam",
    beta_1=("beta1", 0.9), beta_2=("beta2", 0.999), epsilon=("eps_hat", 1e-7), **AMSGRAD, **_KERAS,
)  # fmt: skip
_form(
    "Adam", "keras", "AdamW",
    beta_1=("beta1", 0.9), beta_2=("beta2", 0.999), epsilon=("eps_hat", 1e-7),
    learning_rate=("lr", 0.001), weight_decay=("decoupled", 0.004), **AMSGRAD,
)  # fmt: skip
_form(
    "RMSprop", "keras", "RMSprop",
    rho=("alpha", 0.9), momentum=("velocity", 0.0), epsilon=("eps_root", 1e-7),
    centered=("centered", False), **_KERAS,
)  # fmt: skip
_form(
    "Adagrad", "keras", "Adagrad",
    initial_accumulator_value=("initial", 0.1), epsilon=("eps_root", 1e-7), **_KERAS,
)  # fmt: skip
_form("Adadelta", "keras", "Adadelta", rho=("rho", 0.95), epsilon=("eps_root", 1e-7), **_KERAS)
_form(
    "NAdam", "keras", "Nadam", None, {"momentum_decay": 1.0},
    beta_1=("beta1", 0.9), beta_2=("beta2", 0.999), epsilon=("eps", 1e-7), **_KERAS,
)  # fmt: skip
_form("Lion", "keras", "Lion", beta_1=("beta1", 0.9), beta_2=("beta2", 0.99), **_KERAS)

_form(
    "SGD", "optax", "sgd",
    learning_rate=("lr", REQUIRED), momentum=("momentum", None), nesterov=("nesterov", False),
)  # fmt: skip
_ADAM = {
    "learning_rate": ("lr", REQUIRED), "b1": ("beta1", 0.9), "b2": ("beta2", 0.999),
    "eps": ("eps", 1e-8), "eps_root": ("eps_root", 0.0),
}  # fmt: skip
_form("Adam", "optax", "adam", {"nesterov": False}, **_ADAM)
_form("Adam", "optax", "adamw", {"nesterov": False}, weight_decay=("decoupled", 1e-4), **_ADAM)
_NADAM = {"fixed": {"nesterov": True}, "always": {"momentum_decay": math.inf}} | _ADAM
_form("NAdam", "optax", "nadam", **_NADAM)
_form("NAdam", "optax", "nadamw", weight_decay=("decoupled", 1e-4), **_NADAM)
_form("RAdam", "optax", "radam", {"nesterov": False}, threshold=("threshold", 5.0), **_ADAM)
for _inside in (True, False):
    _form(
        "RMSprop", "optax", "rmsprop",
        {"eps_in_sqrt": _inside, "nesterov": False, "bias_correction": False},
        learning_rate=("lr", REQUIRED), decay=("alpha", 0.9),
        eps=("eps_root" if _inside else "eps", 1e-8), initial_scale=("initial", 0.0),
        centered=("centered", False), momentum=("velocity", None),
    )  # fmt: skip
_form(
    "Adagrad", "optax", "adagrad",
    learning_rate=("lr", REQUIRED), initial_accumulator_value=("initial", 0.1),
    eps=("eps_root", 1e-7),
)  # fmt: skip
_form(
    "Adadelta", "optax", "adadelta",
    learning_rate=("lr", REQUIRED), rho=("rho", 0.9), eps=("eps_root", 1e-6),
    weight_decay=("l2", 0.0),
)  # fmt: skip
_form(
    "Lion", "optax", "lion",
    learning_rate=("lr", REQUIRED), b1=("beta1", 0.9), b2=("beta2", 0.99),
    weight_decay=("decoupled", 0.001),
)  # fmt: skip

_form("SGD", "paper", "SGD", eta=("lr", REQUIRED), beta=("velocity", 0.0))  # Polyak
_form("SGD", "average", "SGD", eta=("lr", REQUIRED), beta=("average", 0.0))
_PAPER = {
    "alpha": ("lr", 0.001), "beta1": ("beta1", 0.9), "beta2": ("beta2", 0.999),
    "epsilon": ("eps", 1e-8),
}  # fmt: skip
_form("Adam", "paper", "Adam", **_PAPER)
_form(
    "Adam", "paper", "AdamW",
    eta=("multiplier", 1.0), weight_decay=("decay", REQUIRED), **_PAPER,
)  # fmt: skip
_form(
    "RAdam", "paper", "RAdam", None, {"threshold": 4.0},
    alpha=("lr", REQUIRED), beta1=("beta1", REQUIRED), beta2=("beta2", REQUIRED),
)  # fmt: skip
_form(
    "RMSprop", "paper", "RMSprop",  # Graves
    eta=("lr", 0.0001), decay=("alpha", 0.95), momentum=("velocity", 0.9),
    epsilon=("eps_root", 0.0001), centered=("centered", True),
)  # fmt: skip
_form("Adagrad", "paper", "Adagrad", eta=("lr", REQUIRED), delta=("eps", REQUIRED))
_form(
    "Adadelta", "paper", "Adadelta", None, {"lr": 1.0},
    rho=("rho", 0.95), epsilon=("eps_root", 1e-6),
)  # fmt: skip
_form(
    "Lion", "paper", "Lion",
    eta=("lr", 0.0001), beta1=("beta1", 0.9), beta2=("beta2", 0.99),
    weight_decay=("decoupled", REQUIRED),
)  # fmt: skip


def translate(
    name: str, source: str, target: str, **hyperparameters: Any
) -> tuple[str, dict[str, Any]]:
    """Say with which hyperparameters another library takes the same steps.

    Parameters
    ----------
    name : str
        Of the optimizer: "SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad",
        "Adadelta" or "Lion"; of optax also "NAdamW", of the companion "HeavyBall" and "AMSGrad".
    source, target : {"companion", "torch", "keras", "optax", "paper", "average"}
        "paper" is Polyak's momentum, Kingma and Ba's algorithm 1, Loshchilov and Hutter's
        algorithm 2, Graves' RMSprop, and those of Duchi et al., Liu et al. and Chen et al.;
        "average" is momentum as a running mean of gradients.
    **hyperparameters
        As `source` names them; what is left out has its default there. A function of the step,
        from 0, is a schedule.

    Returns
    -------
    name : str
        Of the optimizer at `target`: Adam with Keras' weight decay is AdamW elsewhere.
    hyperparameters : dict
        As `target` names them, with all that has a default. A function is a schedule: optax takes
        it by ``inject_hyperparams``, torch by writing to ``param_groups`` before each step.

    Raises
    ------
    ValueError
        If there are none, and why; or for a name that is not known.

    Examples
    --------
    >>> translate("SGD", "average", "torch", eta=0.5, beta=0.75)[1]["lr"]
    0.125
    >>> name, adam = translate("Adam", "keras", "torch", epsilon=1e-7)
    >>> [f"{adam['eps'](step):.1e}" for step in (0, 10, 10000)]  # a schedule
    ['3.2e-06', '9.6e-07', '1.0e-07']
    >>> translate("Adam", "torch", "keras")
    Traceback (most recent call last):
    ValueError: no Adam of keras takes the steps of torch's: epsilon would have to change from \
step to step, and keras takes a number
    """
    family, parts = _read(name, source, hyperparameters)
    forms = [f for f in FORMS if f.library == target and f.family == family]
    if not forms:
        _find(name, target)
    why: list[str] = []
    for form in sorted(forms, key=lambda form: form.name.lower() != name.lower()):
        found, reasons = _write(form, dict(parts))
        if not reasons:
            return form.name, found
        why = reasons if not why or len(reasons) < len(why) else why
    raise ValueError(f"no {name} of {target} takes the steps of {source}'s: {'; '.join(why)}")


def defaults(name: str, library: str) -> dict[str, Any]:
    """Return what a library takes if nothing is said; what has to be said is left out.

    Examples
    --------
    >>> defaults("Adagrad", "torch")["eps"], defaults("Adagrad", "keras")["epsilon"]
    (1e-10, 1e-07)
    """
    form = _find(name, library)[0]
    values = {n: default for n, (_, default) in form.takes.items() if default is not REQUIRED}
    return values | form.fixed


def _find(name: str, library: str) -> list[Form]:
    forms = [f for f in FORMS if f.library == library]
    if not forms:
        there = ", ".join(sorted({f.library for f in FORMS}))
        raise ValueError(f"library must be one of {there}; got {library!r}")
    found = [f for f in forms if f.name.lower() == name.lower()]
    if not found:
        there = ", ".join(dict.fromkeys(f.name for f in forms))
        raise ValueError(f"the optimizers of {library} here are {there}; got {name!r}")
    return found


def _read(name: str, library: str, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the parts that an update has, less those that do nothing."""
    forms = _find(name, library)
    fitting = [f for f in forms if all(given.get(n, v) == v for n, v in f.fixed.items())]
    form = (fitting or forms)[0]
    for n, v in given.items():
        if n not in form.takes | form.fixed:
            there = ", ".join(form.takes | form.fixed)
            raise ValueError(f"{form.name} of {library} takes {there} here; got {n}")
        if n in form.fixed and not fitting:
            raise ValueError(f"{n} of {form.name} must be {form.fixed[n]} here; got {v}")
    parts = dict(form.always)
    for n, (part, default) in form.takes.items():
        value = given.get(n, default)
        if value is REQUIRED:
            raise ValueError(f"{form.name} of {library} needs {n}")
        if isinstance(part, tuple) and (not isinstance(value, tuple) or len(value) != len(part)):
            raise ValueError(f"{n} must be a tuple of {', '.join(part)}; got {value!r}")
        for v in () if value is default else _flat(value):
            if not callable(v) and np.asarray(v).dtype.kind not in "iufb":
                raise TypeError(f"{n} must be a number or a schedule; got {v!r}")
        parts |= dict(zip(_flat(part), _flat(value), strict=True))
    if not any(_does(p, parts.get(p)) for p in MOMENTA):
        parts |= {"nesterov": False, "dampening": 0}
    return form.family, parts


def _does(part: str, value: Any) -> bool:
    """Tell whether a part of the update does anything with this value."""
    if callable(value):
        return True
    return value is not None and bool(np.any(np.not_equal(value, part == "multiplier")))


def _write(form: Form, parts: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the hyperparameters of a form for an update, and the reasons why there are none."""
    reasons: list[str] = []
    for part, rule in RULES:
        if _does(part, parts.get(part)) and part not in form.parts:
            found = rule(parts, form)
            parts = {p: v for p, v in parts.items() if p != part}
            if isinstance(found, str):
                reasons.append(found)
            else:
                parts |= found
    for p, v in form.always.items():
        if parts.get(p, False) != v:
            reasons.append(f"{form.name} of {form.library} has a fixed {p}, {v}")
    lacking = [p for p, v in parts.items() if _does(p, v) and p not in form.parts]
    reasons += [f"{form.name} of {form.library} has no {part}" for part in lacking]
    found = {}
    for n, (part, default) in form.takes.items():
        idle = default if default in (None, False) else float(part == "multiplier")
        values: list[Any] = [v if _does(p, v := parts.get(p)) else idle for p in _flat(part)]
        if form.library != "companion" and any(np.ndim(v) for v in values):
            reasons.append(f"{n} is an array, and {form.library} takes a number for each group")
        is_fixed = form.library == "keras" and n != "learning_rate"
        if is_fixed and any(map(callable, values)):
            reasons.append(f"{n} would have to change from step to step, and keras takes a number")
        found[n] = tuple(values) if isinstance(part, tuple) else values[0]
    return found | form.fixed, reasons


def _with(function: Callable[..., Any], *values: Any) -> Any:
    """Apply a function to numbers, or at every step to schedules."""
    if any(map(callable, values)):
        return lambda t: function(*[_at(v, t) for v in values])
    return function(*values)


def _at(value: Any, t: int) -> Any:
    return value(t) if callable(value) else value


# How a part is written by others: the new parts, or the reason why there are none ------------

EPS = "√v + ε and √(v + ε') are equal for one v only, and v changes"
RATE = "a rate inside the momentum and one outside differ as soon as the rate changes"
NO_RATE = "a decay whatever the rate is no multiple of a rate of 0"
MOMENTA = ("momentum", "velocity", "average")


def _decay(parts: Any, form: Form) -> Any:
    if _has_zero(parts["lr"]):
        return NO_RATE

    def share(decay: Any, lr: Any) -> Any:
        if _has_zero(lr):
            raise ValueError(f"the rate must not be 0: {NO_RATE}")
        return decay / lr

    return {"decoupled": _with(share, parts["decay"], parts["lr"])}


def _multiplier(parts: Any, form: Form) -> Any:
    return {"lr": _with(lambda lr, eta: lr * eta, parts["lr"], parts["multiplier"])}


def _is_plain(parts: Any, form: Form) -> bool:
    return form.family == "SGD" and not any(_does(p, parts.get(p)) for p in MOMENTA)


def _decoupled(parts: Any, form: Form) -> Any:
    if "decay" in form.parts:
        if callable(parts["lr"]):
            return {"multiplier": parts["lr"], "lr": 1.0, "decay": parts["decoupled"]}
        return {"decay": _with(lambda w: w * parts["lr"], parts["decoupled"])}
    if _is_plain(parts, form) and "l2" in form.parts:
        return {"l2": parts["decoupled"]}
    return (
        "its decay is subtracted from the parameter; a penalty in the gradient would go through "
        "momentum and scaling"
    )


def _l2(parts: Any, form: Form) -> Any:
    if _is_plain(parts, form) and "decoupled" in form.parts:
        return {"decoupled": parts["l2"]}
    return "its decay is a penalty in the gradient: add that to the loss"


def _lr_decay(parts: Any, form: Form) -> Any:
    lr, gamma = parts["lr"], parts["lr_decay"]
    return {"lr": lambda t: _at(lr, t) / (1 + t * _at(gamma, t))}


def _corrected(eps: Any, beta2: Any, power: float) -> Any:
    if beta2 == 0:
        return eps
    return lambda t: _at(eps, t) * (1 - _at(beta2, t) ** (t + 1)) ** power


def _eps_hat(parts: Any, form: Form) -> Any:
    return {"eps": _corrected(parts["eps_hat"], parts["beta2"], -0.5)}


def _eps(parts: Any, form: Form) -> Any:
    if form.parts.isdisjoint(("eps_hat", "eps_root")):
        return f"{form.name} of {form.library} has no epsilon"
    if "eps_hat" not in form.parts:
        return EPS
    return {"eps_hat": _corrected(parts["eps"], parts["beta2"], 0.5)}


def _eps_root(parts: Any, form: Form) -> Any:
    # a sum keeps what it begins with, so that ε may as well be in there; an average forgets it
    if form.family == "Adagrad" and "initial" in form.parts and not callable(parts["eps_root"]):
        return {"initial": parts["initial"] + parts["eps_root"]}
    return EPS


def _dampening(parts: Any, form: Form) -> Any:
    return "with dampening the first gradient counts in full and all later ones less"


def _nesterov(parts: Any, form: Form) -> Any:
    return "its gradient is taken where the momentum leads, and not where the parameters are"


def _amsgrad(parts: Any, form: Form) -> Any:
    if form.library == "optax":
        return "the largest v is that before its correction, and in optax.amsgrad that after it"
    return f"{form.name} of {form.library} keeps no largest v"


def _average(parts: Any, form: Form) -> Any:
    beta = parts["average"]
    if callable(beta):
        return "an average whose weights change is no sum with one rate"
    return {"momentum": beta, "lr": _with(lambda lr: lr * (1 - beta), parts["lr"])}


def _ratio(over: Any, under: Any, t: Any) -> Any:
    """Divide the rates of step t and the one before; in step 0 the buffer is 0, and 1 does."""
    first = (under == 0) & (t == 0)
    if _has_zero(under + first):
        raise ValueError(
            f"the rate must not be 0 here, at step {t} or the one before: velocity and momentum "
            "differ by the rate as a factor, which 0 does not give back"
        )
    return (over + first) / (under + first)


def _has_zero(rate: Any) -> bool:
    """Tell whether a rate is 0, as far as one may look: optax compiles its schedules."""
    return isinstance(rate, (int, float, np.ndarray, np.generic)) and bool(
        np.any(np.equal(rate, 0))
    )


def _velocity(parts: Any, form: Form) -> Any:
    lr, mu = parts["lr"], parts["velocity"]
    if not callable(lr):
        return {"momentum": mu}
    # v = ηb turns v ← μv + ηg into b ← μ(η before / η now)b + g
    if _does("nesterov", parts.get("nesterov")):
        return RATE

    def momentum(t: Any) -> Any:
        found = _at(mu, t) * _ratio(lr(t - (t > 0)), lr(t), t)
        # with a momentum of 0 torch leaves its buffer as it was
        return found + (found == 0) * sys.float_info.min if form.library == "torch" else found

    return {"momentum": momentum}


def _momentum(parts: Any, form: Form) -> Any:
    lr, mu = parts["lr"], parts["momentum"]
    if "average" in form.parts:
        if callable(mu) or mu >= 1:
            return RATE
        return {"average": mu, "lr": _with(lambda lr: lr / (1 - mu), lr)}
    if not callable(lr):
        return {"velocity": mu}
    if _does("nesterov", parts.get("nesterov")):
        return RATE
    return {"velocity": lambda t: _at(mu, t) * _ratio(lr(t), lr(t - (t > 0)), t)}


#: In this order, since what one rule writes may be for the next.
RULES: tuple[tuple[str, Callable[[Any, Form], Any]], ...] = (
    ("decay", _decay),
    ("multiplier", _multiplier),
    ("decoupled", _decoupled),
    ("l2", _l2),
    ("lr_decay", _lr_decay),
    ("amsgrad", _amsgrad),
    ("eps_hat", _eps_hat),
    ("eps", _eps),
    ("eps_root", _eps_root),
    ("dampening", _dampening),
    ("nesterov", _nesterov),
    ("average", _average),
    ("velocity", _velocity),
    ("momentum", _momentum),
)
