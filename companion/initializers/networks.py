"""Initial values of a whole network (chapter 5, sections 3 and 6).

Layers import this package, so layers are known here by their parts: a ``Row`` has
``layers``, a ``Residual`` a ``path`` past them as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from companion.backend import as_float, like, namespace, reshape, to_numpy


def _of_arrays(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Have a rule take lists too, and say so if theta does not fit the network."""

    @functools.wraps(rule)
    def on_arrays(net: Any, theta: Any, x: Any = None, **options: Any) -> Any:
        theta, dtype = as_float(theta, "theta")
        net.unpack(theta)  # says it
        xp = namespace(theta)
        if x is not None:
            if not hasattr(x, "dtype"):
                kind = None if net.row.takes_integers else theta.dtype
                x = xp.asarray(x, dtype=kind, device=theta.device)
            options["x"] = x
        return xp.astype(rule(net, theta, **options), dtype, copy=False)

    return on_arrays


@_of_arrays
def lsuv(net: Any, theta: Any, x: Any, *, tol: float = 0.1, max_iter: int = 10) -> Any:
    r"""Scale each layer's weight until its outputs on a batch have variance 1.

    From the first layer to the last, while :math:`|\operatorname{Var}(y)-1|\ge\text{tol}`,

    .. math:: W \leftarrow W / \sqrt{\operatorname{Var}(y)},

    the variance being that of all outputs of the layer, over samples and units, before any
    activation. Without biases the second round finds nothing to do; a bias that is not 0 is not
    scaled, and takes more rounds, or makes 1 out of reach.

    The paper starts from orthogonal matrices: give the layers
    ``init=initializers.orthogonal``. Here theta is scaled whatever it is.

    Parameters
    ----------
    net : Sequential
        Scaled are its parameters called ``weight`` that have two or more axes: those of Linear,
        Maxout, Conv2d and Embedding, also inside residual blocks. Dropout and batch
        normalisation, which compute as if not in training, are identities.
    theta : array, shape (..., P)
        Each replica is scaled by itself.
    x : array
        The batch, as for :meth:`~companion.network.Sequential.forward`.
    tol : float, default 0.1
        The authors' first code, for Caffe, has 0.02 and at most 20 rounds.
    max_iter : int, default 10
        Most rounds for a layer; after these it stays as it is.

    Returns
    -------
    array, in the shape of theta

    Raises
    ------
    ValueError
        If the outputs of a layer are all equal, or not finite: no factor gives them variance 1.

    References
    ----------
    Mishkin and Matas (2016), "All you need is a good init".

    Examples
    --------
    >>> from companion.layers import Linear, ReLU
    >>> from companion.network import Sequential
    >>> rng = np.random.default_rng(0)
    >>> net = Sequential(Linear(5, 9), ReLU(), Linear(9, 4))
    >>> theta, x = net.init(rng, replicas=3), rng.standard_normal((50, 5))
    >>> net.forward(lsuv(net, theta, x), x)[0].var((-2, -1)).round(6)
    array([1., 1., 1.])
    """
    if not tol > 0:
        raise ValueError(f"tol must be positive; got {tol}")
    if max_iter < 1:
        raise ValueError(f"max_iter must be positive; got {max_iter}")
    replicas = tuple(theta.shape[:-1])
    net.forward(theta, x, state=net.init_state(replicas) if net.state_size else None)  # checks x
    theta = theta + 0  # our own, whose views are scaled in place
    if x.ndim == net.input_ndim:
        x = namespace(x).broadcast_to(x, (*replicas, *x.shape))
    _scale(net.row, tuple(net.unpack(theta).values()), x, replicas, tol, max_iter)
    return theta


def _scale(layer: Any, params: Any, x: Any, replicas: Any, tol: float, rounds: int) -> Any:
    """Scale the weights in a layer, in place, and return its output."""
    i, inner = 0, x
    for one in getattr(layer, "layers", ()):
        own, i = params[i : i + len(one.shapes)], i + len(one.shapes)
        inner = _scale(one, own, inner, replicas, tol, rounds)
    if hasattr(layer, "path"):
        _scale(layer.path, params[i:], x, replicas, tol, rounds)
    y = _run(layer, params, x, replicas)
    if len(layer.shapes.get("weight", ())) < 2:
        return y
    weight = params[list(layer.shapes).index("weight")]
    xp = namespace(y)
    for _ in range(rounds):
        variance = xp.var(reshape(y, (*replicas, -1)), axis=-1)
        seen = to_numpy(variance)
        if not (np.isfinite(seen) & (seen > 0)).all():
            raise ValueError(
                f"x and theta must give the outputs of {layer} a positive finite variance; "
                f"got {seen}"
            )
        off = xp.abs(variance - 1) >= tol
        if not to_numpy(off).any():
            break
        factor = xp.where(off, xp.sqrt(variance), 1.0)
        weight /= reshape(factor, replicas + (1,) * (weight.ndim - len(replicas)))
        y = _run(layer, params, x, replicas)
    return y


def _run(layer: Any, params: Any, x: Any, replicas: Any) -> Any:
    """Return a layer's output out of training, with the statistics from before any."""
    if not layer.has_modes:
        return layer.forward(params, x)[0]
    start = [np.broadcast_to(s, (*replicas, *s.shape)) for s in layer.init_state()]
    state = [like(s.copy(), x) for s in start]
    return layer.forward(params, x, training=False, noise=None, state=tuple(state))[0]


@_of_arrays
def fixup(net: Any, theta: Any) -> Any:
    r"""Scale the weights of a residual network so that it needs no normalisation.

    With L residual blocks, and m weights in the branch of a block:

    1. the last weight of each branch and the last weight of the network are 0;
    2. the other weights of a branch are multiplied by :math:`L^{-1/(2m-2)}`.

    Each block then starts as its shortcut, and what a step of gradient descent on the weights
    changes in the output does not grow with L. (What it changes by the last biases of the branches
    does: these add up.) The paper's third rule adds scalars to each branch: a bias before each
    weight and each activation, whose work the biases of :class:`~companion.layers.Linear` and
    :class:`~companion.layers.Conv2d` do here, and a multiplier, which is left out.

    Parameters
    ----------
    net : Sequential
        With :class:`~companion.layers.Residual` blocks of Linear or Conv2d layers.
    theta : array, shape (..., P)
        As the layers drew it; the paper has them draw :func:`kaiming_normal`.

    Returns
    -------
    array, in the shape of theta

    Raises
    ------
    ValueError
        If there is no residual block, or one without a weight.

    References
    ----------
    Zhang, Dauphin and Ma (2019), "Fixup initialization: residual learning without normalization".

    Examples
    --------
    >>> from companion.layers import Linear, ReLU, Residual
    >>> from companion.network import Sequential
    >>> block = Residual(Linear(4, 4), ReLU(), Linear(4, 4))
    >>> net = Sequential(*[block] * 9, Linear(4, 2))
    >>> theta = np.ones(net.size)
    >>> start = net.unpack(fixup(net, theta))
    >>> [float(start[f"{name}.weight"][0, 0].round(4)) for name in ("0.0", "0.2", "9")]
    [0.3333, 0.0, 0.0]
    """
    factor = np.ones(net.size)
    views = net.unpack(factor)
    blocks = [(name, layer) for name, layer in _inside(net.row) if hasattr(layer, "path")]
    if not blocks:
        raise ValueError(f"net must have Residual blocks; got {net!r}")
    for name, block in blocks:
        branch = [
            name + own
            for own, shape in block.shapes.items()
            if not own.startswith("shortcut.") and _is_weight(own, shape)
        ]
        if not branch:
            raise ValueError(f"each block must have a weight in its branch; got {block}")
        for own in branch[:-1]:
            views[own] *= len(blocks) ** (-1 / (2 * len(branch) - 2))
        views[branch[-1]] *= 0
    *_, last = (name for name, values in views.items() if _is_weight(name, values.shape))
    views[last] *= 0
    return like(factor, theta) * theta


def _is_weight(name: str, shape: tuple[int, ...]) -> bool:
    return name.split(".")[-1] == "weight" and len(shape) > 1


def _inside(layer: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the layers of a row, and theirs, with the beginning of their parameters' names."""
    for i, one in enumerate(getattr(layer, "layers", ())):
        yield f"{name}{i}.", one
        yield from _inside(one, f"{name}{i}.")
