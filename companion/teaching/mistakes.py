"""Mistakes that are often made, as functions: the checker knows them by what they return.

They are written for NumPy, with the argument and parameter names of `companion.activations`;
the text says what was done and what to do instead.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import erf

from companion import activations as act


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _softplus(x):
    return np.log(1 + np.exp(x))


def _normal_cdf(x):
    return (1 + erf(x / np.sqrt(2))) / 2


def _normal_density(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def _softmax(x, axis=-1, temperature=1.0):
    t = np.exp(x / temperature)
    return t / t.sum(axis=axis, keepdims=True)


def _swapped(gate):
    def mistake(x, axis=-1):
        a, b = np.split(x, 2, axis)
        return gate(a) * b

    return mistake


def _exchanged(vjp):
    def mistake(dy, x, axis=-1):
        return np.concatenate(np.split(vjp(dy, x, axis), 2, axis)[::-1], axis)

    return mistake


def _threshold(x):
    return np.where(x > 20, x, act.softplus(x))


_SWAPPED = "the first half is the gate; here it is the second"
_EXCHANGED = "the gradients of the two halves are exchanged"
_NO_SHIFT = "without the shift exp overflows; subtract the maximum of the axis first"
_LEAK = "max(a x, x) is the function for a <= 1 only; use max(x, 0) + a min(x, 0)"
_NO_LEAK = "the slope of negative inputs is missing"
_NO_ALPHA = "the factor alpha is missing"
_NO_NAN = "where(x > 0, ...) turns nan into 0; maximum(x, 0) keeps it"
_ERF = "1 + erf loses the left tail; use erfc(-x/sqrt(2))/2"

MISTAKES: dict[str, list[tuple[str, Callable[..., Any]]]] = {
    "heaviside": [
        ("(x > 0) gives 0 at 0; the convention here is 1", lambda x: np.heaviside(x, 0.0)),
        ("this is the sign, from -1 to 1", lambda x: np.sign(x)),
    ],
    "sigmoid": [
        (
            "exp(-x) overflows on the left; use exp(x)/(1 + exp(x)) there, "
            "with exp of min(x, 0) only",
            _sigmoid,
        ),
        (
            "exp(x) overflows on the right, and inf/inf is nan; use 1/(1 + exp(-x)) there",
            lambda x: np.exp(x) / (1 + np.exp(x)),
        ),
        ("the sign of the exponent is wrong: this is sigma(-x)", lambda x: act.sigmoid(-x)),
    ],
    "sigmoid_grad": [
        (
            "x (1 - x) is right only if x is the sigmoid's value already; here x is its input",
            lambda x: x * (1 - x),
        ),
        (
            "sigma (1 - sigma) cancels on the right; use sigma(x) sigma(-x)",
            lambda x: act.sigmoid(x) * (1 - act.sigmoid(x)),
        ),
        (
            "exp(-x)/(1 + exp(-x))^2 is inf/inf on the left; it is even in x, so use exp(-|x|)",
            lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2,
        ),
    ],
    "hardsigmoid": [
        (
            "0.2 x + 0.5 is the older form of Keras; here it is (x + 3)/6",
            lambda x: np.clip(0.2 * x + 0.5, 0, 1),
        ),
    ],
    "tanh": [
        (
            "the literal quotient cancels near 0 and is nan where exp overflows",
            lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
        ),
        ("2 sigma(x) - 1 is tanh(x/2); double the argument too", lambda x: np.tanh(x / 2)),
        (
            "2 sigma(2x) - 1 cancels near 0; use expm1",
            lambda x: 2 * act.sigmoid(2 * x) - 1,
        ),
    ],
    "tanh_grad": [
        (
            "1 - x^2 is right only if x is tanh's value already; here x is its input",
            lambda x: 1 - x * x,
        ),
        ("the square of tanh is missing", lambda x: 1 - np.tanh(x)),
        (
            "1 - tanh^2 cancels in the tails; use 4 sigma'(2x) or exp(-2|x|)",
            lambda x: 1 - np.tanh(x) ** 2,
        ),
    ],
    "lecun_tanh": [
        ("the slope 2/3 is missing", lambda x: 1.7159 * np.tanh(x)),
        ("this is tanh without LeCun's scale and slope", act.tanh),
    ],
    "lecun_tanh_grad": [
        (
            "the inner derivative 2/3 is missing",
            lambda x: 1.7159 * act.tanh_grad(2 * x / 3),
        ),
        (
            "1 - tanh^2 cancels in the tails; use exp(-|x|)",
            lambda x: 1.7159 * 2 / 3 * (1 - np.tanh(2 * x / 3) ** 2),
        ),
    ],
    "softsign": [
        ("the absolute value in the denominator is missing", lambda x: x / (1 + x)),
        ("inf/inf is nan; bound x first", lambda x: x / (1 + np.abs(x))),
    ],
    "softsign_grad": [
        ("the absolute value in the denominator is missing", lambda x: 1 / (1 + x) ** 2),
        ("the numerator of the quotient rule is 1", lambda x: x / (1 + np.abs(x)) ** 2),
    ],
    "relu": [
        (_NO_NAN, lambda x: np.where(x > 0, x, 0)),
        (
            "x (x > 0) is -inf times 0 at -inf, which is nan; use maximum(x, 0)",
            lambda x: x * (x > 0),
        ),
        ("this is |x|", lambda x: np.abs(x)),
    ],
    "relu_grad": [
        ("f'(0) = 1; the convention here is 0", lambda x: np.heaviside(x, 1.0)),
        ("f'(0) = 1/2; the convention here is 0", lambda x: np.heaviside(x, 0.5)),
    ],
    "relu6": [("the cap at 6 is missing", act.relu)],
    "relu6_grad": [("the slope is 0 above 6 too", act.relu_grad)],
    "leaky_relu": [
        (_LEAK, lambda x, negative_slope=0.01: np.maximum(negative_slope * x, x)),
        (_NO_LEAK, act.relu),
    ],
    "leaky_relu_grad": [
        (
            "f'(0) = 1; the convention here is the slope a",
            lambda x, negative_slope=0.01: np.where(x < 0, negative_slope, 1.0),
        ),
        (_NO_LEAK, act.relu_grad),
    ],
    "prelu": [
        (_LEAK, lambda x, weight: np.maximum(weight * x, x)),
        (_NO_LEAK, lambda x, weight: act.relu(x)),
    ],
    "prelu_grad": [
        (
            "f'(0) = 1; the convention here is the weight",
            lambda x, weight: np.where(x < 0, weight, 1.0),
        ),
        (_NO_LEAK, lambda x, weight: act.relu_grad(x)),
    ],
    "prelu_grad_weight": [
        ("positive inputs do not pass the weight: there it is 0", lambda x, weight: x + 0),
        ("the factor x is missing", lambda x, weight: (x < 0) * 1.0),
        (
            "the sign is reversed: x is negative there, and so is the derivative",
            lambda x, weight: np.maximum(-x, 0),
        ),
    ],
    "crelu": [
        (
            "the second half is max(-x, 0), not min(x, 0)",
            lambda x, axis=-1: np.concatenate([np.maximum(x, 0), np.minimum(x, 0)], axis),
        ),
    ],
    "crelu_vjp": [
        (
            "the inner derivative of max(-x, 0) is -1: subtract the second half",
            lambda dy, x, axis=-1: (
                np.split(dy, 2, axis)[0] * (x > 0) + np.split(dy, 2, axis)[1] * (x < 0)
            ),
        ),
    ],
    "softplus": [
        (
            "log(1 + exp(x)) overflows on the right and is log(1) = 0 on the left; "
            "use max(x, 0) + log1p(exp(-|x|))",
            _softplus,
        ),
        (
            "log1p(exp(x)) overflows on the right; use max(x, 0) + log1p(exp(-|x|))",
            lambda x: np.log1p(np.exp(x)),
        ),
        ("x above a threshold of 20, as in torch, leaves out log1p(exp(-x))", _threshold),
    ],
    "elu": [
        (_NO_ALPHA, lambda x, alpha=1.0: act.elu(x)),
        (
            "exp(x) - 1 cancels near 0; use expm1",
            lambda x, alpha=1.0: np.where(x > 0, x, alpha * (np.exp(np.minimum(x, 0)) - 1)),
        ),
        (
            "where() computes both branches, and exp(x) overflows in the unused one; "
            "take expm1(minimum(x, 0))",
            lambda x, alpha=1.0: np.where(x > 0, x, alpha * (np.exp(x) - 1)),
        ),
    ],
    "elu_grad": [
        (_NO_ALPHA, lambda x, alpha=1.0: act.elu_grad(x)),
        (
            "f'(0) = 1; the convention here is alpha, the slope on the left",
            lambda x, alpha=1.0: np.where(x < 0, alpha * np.exp(np.minimum(x, 0)), 1.0),
        ),
        (
            "f(x) + alpha cancels on the left; use alpha exp(x)",
            lambda x, alpha=1.0: np.where(x > 0, 1.0, act.elu(x, alpha) + alpha),
        ),
    ],
    "celu": [("x is to be divided by alpha in the exponent; this is ELU", act.elu)],
    "celu_grad": [
        ("x is to be divided by alpha in the exponent", lambda x, alpha=1.0: act.celu_grad(x)),
        (
            "the inner derivative 1/alpha is missing: it cancels the factor alpha",
            lambda x, alpha=1.0: np.where(x > 0, 1.0, alpha * act.celu_grad(x, alpha)),
        ),
    ],
    "selu": [
        ("the outer scale 1.0507 is missing", lambda x: act.elu(x, 1.6732632423543772)),
        ("alpha = 1.6733 is missing", lambda x: 1.0507009873554805 * act.elu(x)),
        (
            "the two constants are rounded; they are 1.0507009873554805 and 1.6732632423543772",
            lambda x: 1.0507 * act.elu(x, 1.6733),
        ),
    ],
    "selu_grad": [
        ("the outer scale 1.0507 is missing", lambda x: act.elu_grad(x, 1.6732632423543772)),
        (
            "the two constants are rounded; they are 1.0507009873554805 and 1.6732632423543772",
            lambda x: 1.0507 * act.elu_grad(x, 1.6733),
        ),
    ],
    "silu": [("-inf times 0 is nan; bound x on the left", lambda x: x * act.sigmoid(x))],
    "silu_grad": [("the term with x is missing", act.sigmoid)],
    "swish": [
        ("-inf times 0 is nan; bound x on the left", lambda x, beta=1.0: x * act.sigmoid(beta * x)),
        (
            "beta does not stand outside the gate",
            lambda x, beta=1.0: beta * x * act.sigmoid(beta * x),
        ),
    ],
    "swish_grad": [
        ("the term with x is missing", lambda x, beta=1.0: act.sigmoid(beta * x)),
        (
            "the inner derivative beta is missing",
            lambda x, beta=1.0: act.sigmoid(beta * x) + x * act.sigmoid_grad(beta * x),
        ),
    ],
    "swish_grad_beta": [
        (
            "one factor x is missing: one is f's own, the other the inner derivative",
            lambda x, beta=1.0: x * act.sigmoid_grad(beta * x),
        ),
    ],
    "hardswish": [("the factor x is missing", act.hardsigmoid)],
    "hardswish_grad": [("the term with x is missing", act.hardsigmoid)],
    "mish": [
        (
            "exp(x) overflows on the right; bound x, or use softplus",
            lambda x: x * np.tanh(_softplus(x)),
        ),
        ("log(1 + ...) is missing", lambda x: x * np.tanh(np.exp(x))),
    ],
    "mish_grad": [("the term with x is missing", lambda x: np.tanh(act.softplus(x)))],
    "gelu": [
        (
            "this is the tanh form; the exact one is x times the normal distribution function",
            lambda x: act.gelu(x, "tanh"),
        ),
        (
            "this is the sigmoid form; the exact one is x times the normal distribution function",
            lambda x: act.gelu(x, "sigmoid"),
        ),
        (_ERF, lambda x: x * _normal_cdf(x)),
        ("erf's argument is to be divided by sqrt(2)", lambda x: x * (1 + erf(x)) / 2),
        ("the factor x is missing", _normal_cdf),
    ],
    "gelu_grad": [
        ("this is the derivative of the tanh form", lambda x: act.gelu_grad(x, "tanh")),
        ("this is the derivative of the sigmoid form", lambda x: act.gelu_grad(x, "sigmoid")),
        ("the term with x is missing", _normal_cdf),
        ("the factor x of the density is missing", lambda x: _normal_cdf(x) + _normal_density(x)),
        (_ERF, lambda x: _normal_cdf(x) + x * _normal_density(x)),
    ],
    "glu": [(_SWAPPED, _swapped(act.sigmoid))],
    "glu_vjp": [(_EXCHANGED, _exchanged(act.glu_vjp))],
    "geglu": [(_SWAPPED, _swapped(act.gelu))],
    "geglu_vjp": [(_EXCHANGED, _exchanged(act.geglu_vjp))],
    "swiglu": [(_SWAPPED, _swapped(act.silu))],
    "swiglu_vjp": [(_EXCHANGED, _exchanged(act.swiglu_vjp))],
    "maxout": [
        (
            "the pieces of a unit stand side by side: reshape to (..., units, pieces)",
            lambda x, num_pieces: x.reshape(*x.shape[:-1], num_pieces, -1).max(-2),
        ),
    ],
    "softmax": [
        (_NO_SHIFT, _softmax),
        ("the sum runs over axis 0; here it is the last", lambda x: _softmax(x - x.max(), axis=0)),
        (
            "the sum runs over all entries; it is one of each slice of the axis",
            lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(),
        ),
        (
            "the axis is ignored",
            lambda x, axis=-1, temperature=1.0: act.softmax(x, temperature=temperature),
        ),
        (
            "the temperature is missing",
            lambda x, axis=-1, temperature=1.0: act.softmax(x, axis),
        ),
        (
            "x is to be divided by the temperature, not multiplied",
            lambda x, temperature=1.0: act.softmax(x, temperature=1 / temperature),
        ),
    ],
    "softmax_vjp": [
        (
            "the Jacobian has more than a diagonal: subtract p (p . dy)",
            lambda dy, x: act.softmax(x) * (1 - act.softmax(x)) * dy,
        ),
        ("subtract p . dy from dy before multiplying by p", lambda dy, x: act.softmax(x) * dy),
        ("this is the gradient of log-softmax", act.log_softmax_vjp),
        (
            "the sum runs over all entries; it is one of each slice of the axis",
            lambda dy, x: act.softmax(x) * (dy - (act.softmax(x) * dy).sum()),
        ),
        (
            "the inner derivative 1/temperature is missing",
            lambda dy, x, temperature=1.0: temperature * act.softmax_vjp(dy, x, -1, temperature),
        ),
        (_NO_SHIFT, lambda dy, x: _softmax(x) * (dy - (_softmax(x) * dy).sum(-1, keepdims=True))),
    ],
    "log_softmax": [
        (
            "log(softmax) is -inf where softmax underflows; subtract log(sum(exp)) instead",
            lambda x: np.log(act.softmax(x)),
        ),
        (_NO_SHIFT, lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))),
        ("this is softmax: the logarithm is missing", act.softmax),
    ],
    "log_softmax_vjp": [
        (
            "dy - p holds where dy adds up to 1 only; it is dy - p sum(dy)",
            lambda dy, x: dy - act.softmax(x),
        ),
        ("this is the gradient of softmax", act.softmax_vjp),
    ],
}
