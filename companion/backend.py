r"""Where arrays come from, and the few primitives that the array API standard lacks.

Functions follow their input: the same formula runs on a NumPy array and on a torch tensor on
any device. What *creates* arrays asks this module for the library, the device and the dtype,
which come from ``COMPANION_BACKEND`` (``numpy`` or ``torch``), ``COMPANION_DEVICE`` (``cpu``,
``cuda``, ...) and ``COMPANION_DTYPE`` (``float32`` or ``float64``), or from :func:`use`.
No other file knows that there is more than one library.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

LIBRARIES = ("numpy", "torch")
DTYPES = ("float32", "float64")
#: Elements in one block of a NumPy evaluation: the temporaries of a formula stay in the cache.
BLOCK = 1 << 15


@dataclass(frozen=True)
class Backend:
    """Library, device and dtype of the arrays that are created (see :func:`use`)."""

    library: str = "numpy"
    device: str = "cpu"
    dtype: str = "float64"


def use(library: str | None = None, device: str | None = None, dtype: str | None = None) -> Backend:
    """Choose what new arrays are made of; what is not given stays as it is.

    Parameters
    ----------
    library : {"numpy", "torch"}, optional
    device : str, optional
        ``"cpu"``, or for torch any device that is there, such as ``"cuda"`` or ``"cuda:1"``.
    dtype : {"float32", "float64"}, optional

    Returns
    -------
    Backend
        The choice now in force.

    Raises
    ------
    ValueError
        For an unknown name or a device that is not there; the message lists what is.
    ModuleNotFoundError
        For ``"torch"`` where torch is not installed.

    Examples
    --------
    >>> from companion import backend
    >>> backend.use("numpy", dtype="float64")
    Backend(library='numpy', device='cpu', dtype='float64')
    """
    global _current
    old = _current
    library = old.library if library is None else library
    if device is None:
        device = old.device if library == old.library else "cpu"
    dtype = old.dtype if dtype is None else dtype
    if library not in LIBRARIES:
        raise ValueError(f"library must be one of {', '.join(LIBRARIES)}; got {library!r}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}")
    there = devices(library)
    if device not in there:
        raise ValueError(f"device must be one of {', '.join(there)} with {library}; got {device!r}")
    _current = Backend(library, device, dtype)
    return _current


def current() -> Backend:
    """Return the library, device and dtype in force."""
    return _current


def devices(library: str) -> list[str]:
    """List the devices that `library` can put an array on here."""
    if library == "numpy":
        return ["cpu"]
    torch = _import_torch()
    names = ["cpu"]
    if torch.cuda.is_available():
        names += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names.append("mps")
    return names


def array(obj: Any, dtype: str | None = None) -> Any:
    """Make an array in the backend in force.

    Floating-point values take the backend's dtype unless `dtype` names another; integers and
    booleans keep theirs. Shapes ``(...) -> (...)``.

    Examples
    --------
    >>> to_numpy(array([1.0, 2.0])).dtype.name, to_numpy(array([1, 2])).dtype.name
    ('float64', 'int64')
    """
    values = np.asarray(to_numpy(obj))
    if dtype is None and values.dtype.kind == "f":
        dtype = _current.dtype
    values = values if dtype is None else values.astype(dtype, copy=False)
    if _current.library == "numpy":
        return values
    return _import_torch().tensor(values, device=_current.device)


def like(values: Any, x: Any) -> Any:
    """Return `values`, NumPy's or of x's library, in the library, device and dtype of `x`."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np.asarray(to_numpy(values), dtype=x.dtype)
    xp = namespace(x)
    return xp.asarray(values, dtype=x.dtype, device=x.device)


def to_numpy(x: Any) -> Any:
    """Return a tensor's values as a NumPy array; anything else comes back as it is."""
    if is_torch(x):
        return x.detach().cpu().numpy()
    return x


def is_torch(x: Any) -> bool:
    """Tell whether `x` is a torch tensor, without importing torch."""
    torch = None if type(x) is np.ndarray else sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def inspectable(x: Any) -> bool:
    """Tell whether values may be looked at: on the CPU, and not inside a compiled graph."""
    if not is_torch(x):
        return True
    return x.device.type == "cpu" and not _import_torch().compiler.is_compiling()


def compiled(function: Any) -> Any:
    """Return a function on torch tensors as one compiled graph."""
    return _import_torch().compile(function, fullgraph=True)


# A plain dictionary, since torch.compile warns about the cache inside array_namespace.
# NumPy 2 is an array API namespace itself.
_NAMESPACES: dict[type, ModuleType] = dict.fromkeys(
    (np.ndarray, np.float16, np.float32, np.float64), np
)


def namespace(x: Any) -> Any:
    """Return the array API namespace of an array, looked up once for each type.

    Examples
    --------
    >>> namespace(np.ones(3)).__name__
    'numpy'
    """
    xp = _NAMESPACES.get(type(x))
    return _find_namespace(x) if xp is None else xp


def _find_namespace(x: Any) -> Any:
    if is_torch(x):
        import array_api_compat.torch as xp
    else:
        from array_api_compat import array_namespace

        xp = array_namespace(x)
    _NAMESPACES[type(x)] = xp
    return xp


def _import_torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "the torch backend needs torch: pip install 'deep-learning-verified[torch]'; "
            "the libraries here: numpy"
        ) from None
    return torch


# ---------------------------------------------------------------------------------------------
# From a formula to a function of anything array-like


_NUMPY_FLOATS = {np.dtype(np.float32), np.dtype(np.float64)}


def as_float(x: Any, name: str = "x") -> tuple[Any, Any]:
    """Return `x` as a float32 or float64 array, and the dtype the result is to have.

    Python numbers and lists become NumPy arrays, integers take the default dtype, and
    half-precision input is computed in float32 (its own dtype is the second value).
    """
    if type(x) is np.ndarray and x.dtype in _NUMPY_FLOATS:  # the usual case, at once
        return x, x.dtype
    if not hasattr(x, "dtype"):
        try:
            x = np.asarray(x)
        except ValueError as error:
            raise ValueError(f"{name} must be an array of real numbers; got {error}") from None
    xp = namespace(x)
    kind = x.dtype
    if kind == xp.float64 or kind == xp.float32:
        return x, kind
    if kind in (getattr(xp, half, None) for half in ("float16", "bfloat16")):
        return xp.astype(x, xp.float32), kind
    # NumPy's own isdtype does not know the dtypes of strings and objects
    if kind.kind in "iu" if xp is np else xp.isdtype(kind, "integral"):
        kind = getattr(xp, _current.dtype)
        return xp.astype(x, kind), kind
    raise TypeError(f"{name} must be real floating-point or integer; got dtype {kind}")


def elementwise(formula: Any = None, *, silent: bool = False) -> Any:
    """Turn a formula on one float array into a function of anything array-like.

    The result has the library, device and dtype of the input; integers become the default
    float, half precision is computed in float32. Large NumPy arrays go through the formula in
    blocks that fit the cache. On torch the library's own kernel is called where it passes the
    accuracy bar (`_torch_kernels`).

    Other formulas call its attribute ``inner``, which takes a float array as it is. What is
    `silent` raises no floating-point warning that NumPy has to be told to keep to itself, which
    takes as long as a small maximum.
    """
    if formula is None:
        return functools.partial(elementwise, silent=silent)
    name = formula.__name__
    names = tuple(inspect.signature(formula).parameters)[1:]

    def inner(x, *args, **kwargs):
        if type(x) is np.ndarray:
            return (formula if x.size <= BLOCK else blockwise)(x, *args, **kwargs)
        if is_torch(x):
            # a kernel's options are numbers: an array, such as learned slopes, takes the formula
            arrays = any(is_torch(a) for a in (*args, *kwargs.values()))
            kernel = None if arrays else _torch_kernels(x.dtype).get(name)
            return (kernel or formula)(x, *args, **kwargs)
        return formula(x, *args, **kwargs)

    def blockwise(x, *args, **kwargs):
        return _in_blocks(formula, x, args, kwargs)

    def cast(x, dtype, args, kwargs):
        return _cast(inner(x, *args, **kwargs), dtype)

    quiet_cast = cast if silent else np.errstate(all="ignore")(cast)

    @functools.wraps(formula)
    def function(x, *args, **kwargs):
        if silent and type(x) is np.ndarray and x.dtype in _NUMPY_FLOATS and not (args or kwargs):
            return inner(x)  # nothing to prepare
        x, dtype = as_float(x)
        run = cast if is_torch(x) else quiet_cast
        if args or kwargs:
            args = tuple(_parameter(a, n, x) for a, n in zip(args, names, strict=False))
            kwargs = {n: _parameter(a, n, x) for n, a in kwargs.items()}
        return run(x, dtype, args, kwargs)

    function.formula = formula  # type: ignore[attr-defined]
    function.inner = inner  # type: ignore[attr-defined]
    return function


def _parameter(value: Any, name: str, x: Any) -> Any:
    """Return a parameter as a Python number or as an array like `x`."""
    if type(value) in (float, int):
        return value
    if (
        isinstance(value, (np.ndarray, np.generic))
        and value.ndim == 0
        and value.dtype.kind in "iuf"
    ):
        return value.item()
    if isinstance(value, (list, tuple, np.ndarray)) and not is_torch(x):
        value = as_float(value, name)[0]
    if hasattr(value, "dtype") and namespace(value) is namespace(x):
        sizes = zip(value.shape[::-1], x.shape[::-1], strict=False)
        if any(a != b and 1 not in (a, b) for a, b in sizes):
            raise ValueError(
                f"{name} must broadcast against x of shape {tuple(x.shape)}; "
                f"got shape {tuple(value.shape)}"
            )
        return namespace(x).astype(value, x.dtype)
    raise TypeError(
        f"{name} must be a real number or an array of x's library; got {type(value).__name__}"
    )


def _cast(y: Any, dtype: Any) -> Any:
    if y.dtype == dtype:
        return y
    # the method, since np.astype takes three times as long
    xp = namespace(y)
    return y.astype(dtype) if xp is np else xp.astype(y, dtype)


def _in_blocks(formula: Any, x: Any, args: Any, kwargs: Any) -> Any:
    if any(hasattr(a, "ndim") for a in (*args, *kwargs.values())):
        return formula(x, *args, **kwargs)
    out = np.empty_like(x)
    order = "K" if out.strides == x.strides else "C"  # images with their axes moved are no copy
    if order == "C":
        out = np.empty(x.shape, x.dtype)
    source, target = x.ravel(order), out.ravel(order)
    for i in range(0, x.size, BLOCK):
        target[i : i + BLOCK] = formula(source[i : i + BLOCK], *args, **kwargs)
    return out


def by_rows(formula: Any, x: Any, *others: Any, axes: int = 1) -> Any:
    """Call a formula, whose results are a tuple, on blocks of rows of a large NumPy array.

    The last `axes` axes of x make a row: 1 for ``(..., n, k)``, 0 for what is elementwise. Arrays
    with as many axes as x are cut along with it, arrays with fewer belong to its rows, and what is
    no array goes to each block as it is.
    """
    # blocks of rows are larger than elsewhere, since there are some thirty calls to each
    limit = 4 * BLOCK if axes else BLOCK // 2
    if type(x) is not np.ndarray or x.size <= limit:
        return formula(x, *others)
    rows, core = x.shape[: x.ndim - axes], x.shape[x.ndim - axes :]
    flat: list[Any] = [x.reshape(-1, *core)]
    for a in others:
        if not hasattr(a, "dtype"):
            flat.append(a)
        elif axes and a.ndim == x.ndim:
            flat.append(np.broadcast_to(a, x.shape).reshape(-1, *core))
        else:
            flat.append(np.broadcast_to(a, rows).reshape(-1))
    n, size = len(flat[0]), max(1, limit // math.prod(core))
    whole: list[Any] = []
    for i in range(0, n, size):
        found = formula(*[a[i : i + size] if hasattr(a, "dtype") else a for a in flat])
        if not whole:
            whole = [None if y is None else np.empty((n, *y.shape[1:]), y.dtype) for y in found]
        for y, part in zip(whole, found, strict=True):
            if y is not None:
                y[i : i + size] = part
    return tuple(None if y is None else y.reshape(*rows, *y.shape[1:]) for y in whole)


def vectorwise(*names: str) -> Any:
    """Turn a formula on float arrays, ``f_vjp(dy, x)``, into a function of anything array-like.

    `names` are the leading array arguments; the result, or each of a tuple, takes the dtype of
    the last of them.
    """

    def decorate(formula: Any) -> Any:
        @functools.wraps(formula)
        def function(*args, **kwargs):
            for name in names[len(args) :]:  # arrays given by keyword
                if name not in kwargs:
                    raise TypeError(f"{formula.__name__}() misses its argument {name!r}")
                args = (*args, kwargs.pop(name))
            arrays, dtype = [], None
            for value, name in zip(args, names, strict=False):
                value, dtype = as_float(value, name)
                arrays.append(value)
            if len(arrays) > 1 and len({namespace(a) for a in arrays}) > 1:
                raise TypeError(f"{' and '.join(names)} must be arrays of one library")
            with nullcontext() if is_torch(arrays[0]) else np.errstate(all="ignore"):
                found = formula(*arrays, *args[len(names) :], **kwargs)
                if type(found) is tuple:
                    return tuple([_cast(y, dtype) for y in found])
                return _cast(found, dtype)

        function.formula = formula  # type: ignore[attr-defined]
        return function

    return decorate


def axis_index(x: Any, axis: int) -> int:
    """Return `axis` counted from 0, or say that `x` has no such axis."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis must be one of x's {x.ndim} axes; got {axis}")
    return axis % x.ndim


def check_shape(x: Any, shape: tuple[int, ...], name: str) -> None:
    """Say so if `x` does not have the shape it must have."""
    if tuple(x.shape) != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}; got {tuple(x.shape)}")


def positive(value: Any, name: str) -> Any:
    """Return a parameter that must be positive; the entries of an array are not looked at."""
    if isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (float, int)):
        if not value > 0:
            raise ValueError(f"{name} must be positive; got {value!r}")
    elif not hasattr(value, "dtype"):
        raise TypeError(f"{name} must be a positive number; got {value!r}")
    return value


def fits(own: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Tell whether an array broadcasts into a shape, without changing it."""
    return len(own) <= len(shape) and all(
        k in (1, n) for k, n in zip(own[::-1], shape[::-1], strict=False)
    )


def generator(rng: Any) -> Any:
    """Return `rng`, or say that it is no generator of NumPy's."""
    # known by a method of it, so that an exercise can hand in numbers of its own as drawn
    if not hasattr(rng, "standard_normal"):
        raise TypeError(f"rng must be a numpy.random.Generator; got {rng!r}")
    return rng


def pieces(x: Any, count: int, axis: int) -> list[Any]:
    """Cut `x` into `count` equal pieces along `axis`, as views."""
    axis = axis_index(x, axis)
    if count < 1 or x.shape[axis] % count:
        raise ValueError(
            f"x must have a multiple of {count} entries on axis {axis}; got shape {tuple(x.shape)}"
        )
    n = x.shape[axis] // count
    before = (slice(None),) * axis
    return [x[(*before, slice(i * n, (i + 1) * n))] for i in range(count)]


#: dtype -> name -> kernel; a plain dictionary for the same reason as the namespaces
_KERNELS: dict[Any, dict[str, Any]] = {}


def _torch_kernels(dtype: Any) -> dict[str, Any]:
    """Torch's kernels, under our names, where they pass the ladder's accuracy and autograd."""
    if dtype in _KERNELS:
        return _KERNELS[dtype]
    torch = _import_torch()
    F = torch.nn.functional
    kernels = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "relu6": F.relu6,
        "leaky_relu": lambda x, negative_slope=0.01: F.leaky_relu(x, negative_slope),
        "prelu": lambda x, weight: F.leaky_relu(x, weight),
        "elu": F.elu,
        "selu": F.selu,
        # torch's threshold of 20 costs up to 6e5 ULP in float64; from 40 on softplus(x) = x
        "softplus": lambda x: F.softplus(x, threshold=40.0),
        # x bounded from below, since -inf times 0 is nan
        "mish": lambda x: F.mish(x.clamp(min=-2000.0)),
    }
    if dtype == torch.float32:  # their backward keeps 1/6 and 1/alpha in float32 for float64 too
        kernels |= {
            "hardsigmoid": F.hardsigmoid,
            "celu": lambda x, alpha=1.0: F.celu(x, positive(alpha, "alpha")),
        }
    _KERNELS[dtype] = kernels
    return kernels


# ---------------------------------------------------------------------------------------------
# Primitives


def positive_part(x: Any) -> Any:
    """Return max(x, 0); nan stays nan, and torch's derivative at 0 is one half."""
    return namespace(x).maximum(x, zeros_like(x))


def negative_part(x: Any) -> Any:
    """Return min(x, 0); nan stays nan, and torch's derivative at 0 is one half."""
    return namespace(x).minimum(x, zeros_like(x))


def zeros_like(x: Any) -> Any:
    """Return zeros in the shape, library and dtype of x."""
    # np.zeros_like takes longer than the maximum of 1,000 numbers; a scalar 0 is not vectorised
    xp = namespace(x)
    return np.zeros(x.shape, x.dtype) if xp is np else xp.zeros_like(x)


def total(x: Any, axis: Any = -1, keepdims: bool = False) -> Any:
    """Return the sum along `axis`."""
    # np.sum takes twice as long as the ufunc it calls for 100 numbers
    xp = namespace(x)
    add: Any = np.add.reduce if xp is np else xp.sum
    return add(x, axis=axis, keepdims=keepdims)


def largest(x: Any, axis: Any = -1, keepdims: bool = False) -> Any:
    """Return the maximum along `axis`, in the same way."""
    xp = namespace(x)
    top: Any = np.maximum.reduce if xp is np else xp.max
    return top(x, axis=axis, keepdims=keepdims)


def smallest(x: Any, axis: Any = -1, keepdims: bool = False) -> Any:
    """Return the minimum along `axis`, in the same way."""
    xp = namespace(x)
    least: Any = np.minimum.reduce if xp is np else xp.min
    return least(x, axis=axis, keepdims=keepdims)


def entries(x: Any, index: Any) -> Any:
    """Return where the entry `index` of each last axis of x lies, for the two that follow.

    ``(..., n, k)`` and ``(..., n)``, of which leading axes may be left out.
    """
    if namespace(x) is np:
        return np.arange(0, x.size, x.shape[-1]).reshape(x.shape[:-1]) + index
    xp = namespace(x)
    return xp.broadcast_to(index[..., None], (*x.shape[:-1], 1))


def pick(x: Any, at: Any) -> Any:
    """Return the entries that :func:`entries` found, ``(..., n, k) -> (..., n)``."""
    xp = namespace(x)
    return x.take(at) if xp is np else xp.take_along_axis(x, at, axis=-1)[..., 0]


def replaced(x: Any, at: Any, values: Any) -> Any:
    """Return x with other values at these entries; NumPy overwrites x itself."""
    xp = namespace(x)
    if xp is np:
        x.put(at, values)
        return x
    here = xp.arange(x.shape[-1], device=x.device) == at
    return xp.where(here, values[..., None] if hasattr(values, "dtype") else values, x)


def reshape(x: Any, shape: tuple[int, ...]) -> Any:
    """Return x in another shape; the method, since np.reshape takes three times as long."""
    xp = namespace(x)
    return x.reshape(shape) if xp is np else xp.reshape(x, shape)


def clip(x: Any, lower: float, upper: float) -> Any:
    """Return x bounded to [lower, upper]; nan stays nan."""
    # the method, since np.clip takes twice as long for 1,000 numbers, and array_api_compat's asks
    # whether the bounds are nan, which breaks a graph compiled for bounds that change
    xp = namespace(x)
    return x.clip(lower, upper) if xp is np or is_torch(x) else xp.clip(x, lower, upper)


def constant(x: Any) -> Any:
    """Return x, for torch's autograd a constant."""
    return x.detach() if is_torch(x) else x


def ndtr(x: Any) -> Any:
    r"""Normal distribution function, :math:`\Phi(x)=\tfrac12\operatorname{erfc}(-x/\sqrt2)`.

    Through ``erfc``, never ``(1 + erf)/2``, which is 0 below -8.3. In float64 SciPy's ``ndtr`` is
    1,800 ULP off in the left tail, and its ``erfc`` and ``erfcx`` up to 9 on the way there, so
    below -1/2 it is :func:`gaussian` times a polynomial.
    """
    xp = namespace(x)
    if is_torch(x):
        return 0.5 * _import_torch().special.erfc(x * -math.sqrt(0.5))
    from scipy import special

    if xp is not np:
        return xp.asarray(ndtr(np.asarray(x)))
    if x.dtype == np.float32:
        return special.ndtr(x)
    p = np.atleast_1d(0.5 * special.erfc(x * -math.sqrt(0.5)))
    tail = np.atleast_1d(x < -0.5)
    a = np.minimum(-np.atleast_1d(x)[tail], 40.0)
    t = (a - 5) / (a + 5)
    ratio = np.full_like(t, _TAIL[-1])
    for c in _TAIL[-2::-1]:
        ratio *= t
        ratio += c
    p[tail] = ratio / (a + 5) * gaussian(a)
    return p.reshape(np.shape(x))


#: (a + 5) exp(a^2/2) Phi(-a) in powers of t = (a - 5)/(a + 5), the map of Shepherd and Laframboise
#: (1981): a Chebyshev expansion for 0.45 <= a <= 39, off by 3e-17 of the value.
_TAIL = (
    0.769193049750063,
    -0.6653825028900571,
    0.49530561596998074,
    -0.3135331566712649,
    0.16502036617013915,
    -0.069118638707633,
    0.020795066805269567,
    -0.0029933767501266494,
    -0.0007978694581533413,
    0.0005448988908260766,
    -5.937534919176692e-05,
    -4.976191496841386e-05,
    1.6679750257864594e-05,
    3.9779659320185334e-06,
    -2.7657547600608242e-06,
    -3.305184607505746e-07,
    4.2799085162606294e-07,
    3.44614337212219e-08,
    -6.163515179616248e-08,
    -3.6753615533248617e-09,
    5.956382588167274e-09,
)


def gaussian(x: Any) -> Any:
    r"""Evaluate :math:`e^{-x^2/2}` without the error that rounding :math:`x^2` makes in the tail.

    With h = x rounded to a multiple of 1/64 and l = x - h, the square of h is exact and the
    rest, l(x + h), is small: :math:`e^{-x^2/2} = e^{-h^2/2}\,e^{-l(x+h)/2}`.
    """
    xp = namespace(x)
    x = clip(widen(x), -40.0, 40.0)  # the result is 0 beyond, in float64 too
    h = xp.round(x * 64) / 64
    return xp.exp(-0.5 * h * h) * xp.exp(-0.5 * (x - h) * (x + h))


def product(a: Any, b: Any) -> tuple[Any, Any]:
    """Return a*b as p + e: the rounded product and, on NumPy in float64, its rounding error.

    An exponential multiplies the rounding error of its argument by that argument, up to 745,
    so a scaled argument needs both parts. Float32 is multiplied in float64, where e does not
    matter. On torch e is 0.0 too: there the bar is 4(1 + κ) ULP, which the plain product meets,
    and every pass over memory counts.
    """
    if not isinstance(a, (np.ndarray, np.generic)):
        return a * b, 0.0
    if a.dtype == np.float32:
        return widen(a) * b, 0.0
    p = a * b
    (a1, a2), (b1, b2) = _split(a), _split(b)
    return p, a2 * b2 - (((p - a1 * b1) - a2 * b1) - a1 * b2)


def widen(x: Any) -> Any:
    """Return float32 as float64 on NumPy, where the bar leaves a long formula no rounding."""
    if isinstance(x, (np.ndarray, np.generic)) and x.dtype == np.float32:
        return x.astype(np.float64)
    return x


def _split(a: Any) -> tuple[Any, Any]:
    """Split float64 into two halves whose products are exact (Dekker 1971)."""
    c = 134217729.0 * a
    high = c - (c - a)
    return high, a - high


_current = Backend()
use(
    os.environ.get("COMPANION_BACKEND"),
    os.environ.get("COMPANION_DEVICE"),
    os.environ.get("COMPANION_DTYPE"),
)
