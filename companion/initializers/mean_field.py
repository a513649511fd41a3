r"""What becomes of signals in wide networks with random weights (chapter 5, section 4).

A layer :math:`z=f(x)W+b` with independent :math:`W\sim N(0,\sigma_w^2/n)` and
:math:`b\sim N(0,\sigma_b^2)` has, for n → ∞, Gaussian z, and two numbers go from layer to layer:
the variance q of z, and the correlation c of the z of two inputs.

Expectations over Gaussian z are sums over [-8, 8] in steps of 1/20. For functions like tanh these
are right to rounding for q up to 30 or so, where 100 nodes of Gauss and Hermite are off by 2 % at
q = 10; for ReLU the variance is exact, and the correlation is off by 1e-4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.backend import as_float, inspectable, like, namespace, to_numpy

_NODES = (np.arange(-160, 160) + 0.5) / 20  # symmetric, none at 0: half of them on each side
_WEIGHTS = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()


def variance_map(f: Callable[..., Any], q: Any, sigma_w: Any, sigma_b: Any = 0.0) -> Any:
    r"""Variance of the pre-activations one layer on.

    .. math:: V(q) = \sigma_w^2\,E\bigl[f(\sqrt q\,z)^2\bigr] + \sigma_b^2,
              \qquad z\sim N(0,1)

    Parameters
    ----------
    f : callable
        The activation :math:`f`, such as :func:`~companion.activations.tanh`.
    q : array of any shape
        Variance in this layer.
    sigma_w, sigma_b : float or array that broadcasts against q
        The weights' standard deviation times :math:`\sqrt n`, and that of the biases.

    Returns
    -------
    array, in the shape of all three

    References
    ----------
    Poole, Lahiri, Raghu, Sohl-Dickstein and Ganguli (2016), "Exponential expressivity in deep
    neural networks through transient chaos".

    Examples
    --------
    >>> from companion.activations import relu
    >>> round(float(variance_map(relu, 3.0, sigma_w=2**0.5)), 6)
    3.0
    """
    return sigma_w**2 * _mean(f, q) + sigma_b**2


def susceptibility(f_grad: Callable[..., Any], q: Any, sigma_w: Any) -> Any:
    r"""Factor by which a layer multiplies squared gradients, and squared small differences.

    .. math:: \chi_1 = \sigma_w^2\,E\bigl[f'(\sqrt q\,z)^2\bigr],

    which is the slope of :func:`correlation_map` at c = 1 where q is a fixed point.

    Parameters
    ----------
    f_grad : callable
        The derivative :math:`f'`, such as :func:`~companion.activations.tanh_grad`.
    q, sigma_w
        As in :func:`variance_map`.

    Returns
    -------
    array, in the shape of both

    References
    ----------
    Schoenholz, Gilmer, Ganguli and Sohl-Dickstein (2017), "Deep information propagation".

    Examples
    --------
    >>> from companion.activations import tanh_grad
    >>> [round(float(susceptibility(tanh_grad, q, 1.0)), 4) for q in (0.0, 1.0)]
    [1.0, 0.4644]
    """
    return sigma_w**2 * _mean(f_grad, q)


def correlation_map(f: Callable[..., Any], c: Any, q: Any, sigma_w: Any, sigma_b: Any = 0.0) -> Any:
    r"""Correlation of the pre-activations of two inputs one layer on.

    Both inputs have variance q, which becomes V(q) in the next layer:

    .. math:: C(c) = \frac{\sigma_w^2\,E[f(u)\,f(v)] + \sigma_b^2}{V(q)},
              \qquad u=\sqrt q\,z_1,\quad v=\sqrt q\,\bigl(c\,z_1+\sqrt{1-c^2}\,z_2\bigr).

    Parameters
    ----------
    f, q, sigma_w, sigma_b
        As in :func:`variance_map`.
    c : array that broadcasts against them
        Correlation in this layer, from -1 to 1.

    Returns
    -------
    array, in the shape of all

    Examples
    --------
    >>> from companion.activations import relu
    >>> round(float(correlation_map(relu, 0.0, 1.0, sigma_w=2**0.5)), 3)  # 1/π
    0.318
    """
    c, _ = as_float(c, "c")
    if inspectable(c) and not (abs(to_numpy(c)) <= 1).all():
        raise ValueError(f"c must be from -1 to 1; got {c}")
    q = like(_variance(q), c)
    xp, z = namespace(c), like(_NODES, c)
    weights, root = like(_WEIGHTS, c), xp.sqrt(q)[..., None]
    across = c[..., None, None] * z[:, None] + xp.sqrt(1 - c * c)[..., None, None] * z
    inner = f(root[..., None] * across) @ weights
    both = (f(root * z) * inner) @ weights
    return (sigma_w**2 * both + sigma_b**2) / variance_map(f, q, sigma_w, sigma_b)


def _mean(f: Callable[..., Any], q: Any) -> Any:
    """Return E f(√q z)²."""
    q = _variance(q)
    values = f(namespace(q).sqrt(q)[..., None] * like(_NODES, q))
    return (values * values) @ like(_WEIGHTS, q)


def _variance(q: Any) -> Any:
    q, _ = as_float(q, "q")
    if inspectable(q) and not (to_numpy(q) >= 0).all():
        raise ValueError(f"q must not be negative; got {q}")
    return q
