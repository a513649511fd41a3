"""Checks for the exercises: a reader's own function against the definition.

``check("sigmoid", my_sigmoid)`` prints one line where all is well and otherwise raises
`AssertionError` with a report, so the same line serves in a notebook and in pytest. What is
expected comes from the definition in `companion.registry`; for derivatives and infinite inputs
from `companion.activations`, which the tests hold against that definition at 60 digits.
"""

import inspect
import math
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from textwrap import fill
from typing import NamedTuple

import numpy as np

from companion.backend import array, current, is_torch, to_numpy, use
from companion.registry import REGISTRY
from companion.teaching.mistakes import MISTAKES

# Inputs of elementwise functions
ORDINARY = np.arange(-8, 8.25, 0.25)
TAILS = np.array([-40, -21, -12, -9, -1e-8, 1e-8, 9, 12, 21, 40])
LARGE = np.array([-1e4, -1000, -110, 110, 1000, 1e4])
# and of those of a whole axis: six entries make two halves, and groups of two or three.
VECTORS = np.array([[0.5, -1.25, 2, 0.25, -0.75, 1.5], [3, 1, -2, -3, 0.25, 2.25]])
LARGE_VECTORS = np.array([[1e3, 999, 998, 1001, 997, 1002], [0, -800, 800, 3, -900, 1]])
MASKED = np.array([[0.5, -np.inf, 2, -np.inf, 0.25, 1.5]])
TIES = np.array([[1, 1, 0, 0, -2, -2.0]])

# The values of a plain formula may differ by this and 64 eps, those in the tails by this alone.
RTOL = {"float64": 1e-12, "float32": 5e-5}
# A mistake shows the rounding errors of the formula: it need not agree with ours in all digits.
RTOL_OF_MISTAKES = {"float64": 1e-5, "float32": 2e-2}
ROWS = 4  # of a table in a report

HINTS = {
    "accuracy": "digits cancel: nearly equal numbers are subtracted, or 1 swallows a small one",
    "kinks": "any value between the slopes on either side is a subgradient; this is a convention",
    "parameters": "the parameter does not act as in the definition",
    "dtype": "(x > 0) is boolean, where() of bare numbers integer or float64, np.sqrt(2) float64",
    "input": "the function writes into its argument; work on a copy",
}


def check(name, function, *, library="numpy", **parameters):
    """Check a function against the registry's definition, and say what differs at which input.

    Parameters
    ----------
    name : str
        A function of `companion.activations` in the registry, or a derivative of one: ``"relu"``,
        ``"relu_grad"``, ``"softmax_vjp"``, ``"prelu_grad_weight"``, ...
    function : callable
        ``f(x, **parameters)``, for a ``_vjp`` ``f(dy, x, **parameters)``.
    library : {"numpy", "torch"}, default "numpy"
        Whose arrays `function` gets, whatever the backend in force.
    **parameters
        Handed on by keyword. Without them the defaults hold, and other settings are tried of
        those parameters that `function` has under the same names.

    Raises
    ------
    AssertionError
        If anything differs. The message is the report; it names the mistake if it is a known one.
    ValueError
        If there is no function or parameter of that name.

    Examples
    --------
    >>> from companion.activations import relu_grad
    >>> check("relu", lambda x: x.clip(min=0))
    relu: all 6 checks passed (values, accuracy, extremes, shapes, dtype, input)
    >>> check("relu_grad", lambda x: 1 - relu_grad(-x))
    Traceback (most recent call last):
    AssertionError: relu_grad: 1 of 7 checks differs
      values      ok
      accuracy    ok
      extremes    ok
      kinks       differs
          input  expected  got
              0         0    1
          -> f'(0) = 1; the convention here is 0
      shapes      ok
      dtype       ok
      input       ok
    """
    __tracebackhide__ = True
    with _arrays_of(library):
        trial = _Trial(name, function, parameters)
        found = {aspect: test() for aspect, test in trial.tests().items()}
    title = name + _settings(" with ", parameters)
    wrong = sum(table != "" for table, _ in found.values())
    if not wrong:
        print(f"{title}: all {len(found)} checks passed ({', '.join(found)})")
        return
    lines = [f"{title}: {wrong} of {len(found)} checks {'differs' if wrong == 1 else 'differ'}"]
    said = set()
    for aspect, (table, hint) in found.items():
        lines.append(f"  {aspect:<12}{'differs' if table else 'ok'}")
        if table:
            with _arrays_of(library):
                hint = hint or trial.hint(aspect)
            text = "as above" if table in said else table + _arrow("" if hint in said else hint)
            lines += [f"    {line}" for line in text.splitlines()]
            said |= {table, hint}
    raise AssertionError("\n".join(lines))


@contextmanager
def _arrays_of(library):
    """Make arrays of one library for a while."""
    old = current()
    use(library)
    try:
        yield
    finally:
        use(old.library, old.device)


class _Outcome(NamedTuple):
    """What one call of the reader's function gave."""

    args: tuple
    settings: dict
    expected: np.ndarray
    got: np.ndarray
    atol: float
    fine: np.ndarray


class _Trial:
    """A reader's function and what it is held against.

    Every test returns a table of what differs, empty if nothing does, and what it looks like;
    where the latter is empty `hint` finds it in the outcomes.
    """

    def __init__(self, name, function, parameters):
        self.name, self.function = name, function
        self.row, self.ours = _find(name)
        self.is_value = self.ours is self.row.function
        names = set(inspect.signature(self.ours).parameters) - {"x", "dy"}
        if unknown := set(parameters) - names:
            raise ValueError(
                f"parameters of {name} must be among {', '.join(sorted(names)) or 'none'}; "
                f"got {', '.join(sorted(unknown))}"
            )
        first, *others = self.row.parameters
        self.parameters = parameters or first
        own = names & _names(function)
        self.others = [] if parameters else [s for s in others if set(s) <= own]
        if "axis" in own - set(parameters):
            self.others.append({"axis": 0})
        self.kinks = np.array(list(self.row.kinks) if self.ours is self.row.grad else [])
        if name in ("maxout_vjp", "crelu_vjp"):
            self.kinks = TIES
        dtype = np.finfo(current().dtype)
        self.rtol, self.eps, self.tiny = RTOL[current().dtype], dtype.eps, dtype.tiny
        self.outcomes = {}

    def tests(self):
        tests = {"values": self.values}
        if self.row.elementwise:
            tests["accuracy"] = lambda: self.compare("accuracy", self.cases(TAILS), self.tiny)
        tests["extremes"] = self.extremes
        if self.kinks.size:
            tests["kinks"] = lambda: self.compare("kinks", self.cases(self.kinks))
        if self.others:
            tests["parameters"] = self.settings
        return tests | {"shapes": self.shapes, "dtype": self.dtype, "input": self.input}

    def values(self):
        return self.compare("values", self.ordinary())

    def extremes(self):
        if self.row.elementwise:
            limits = [-np.inf, np.inf] if self.ours in (self.row.function, self.row.grad) else []
            # a derivative may drop nan, since the gradient that it multiplies carries it on
            nan = [np.nan] if self.is_value else []
            x = np.concatenate([LARGE, limits, nan])
            table, hint = self.compare("extremes", self.cases(x), self.tiny)
            finite = [case for x in LARGE for case in self.cases([x])]
        else:
            finite = self.cases(LARGE_VECTORS)
            masked = self.cases(MASKED) if "softmax" in self.name else []
            table, hint = self.compare("extremes", finite + masked)
        return (table, hint) if table else self.overflow(finite)

    def settings(self):
        for settings in self.others:
            cases = self.ordinary(settings)
            if self.row.elementwise and self.kinks.size:
                cases += self.cases(self.kinks)
            if "axis" in settings:
                cases = [self.arguments(VECTORS.T, settings)]
            table, hint = self.compare("parameters", cases, settings=settings)
            if table:
                return f"{_settings('with ', settings)}\n{table}", hint
        return "", ""

    def shapes(self):
        shapes = [(), (3,), (2, 3), (2, 1, 3), (0,)]
        if not self.row.elementwise:
            shapes = [(6,), (2, 6), (2, 3, 6), (0, 6)]
        return self.compare("shapes", [self.arguments(np.resize(VECTORS, s)) for s in shapes])

    def dtype(self):
        rows = []
        for dtype in dict.fromkeys(("float32", current().dtype)):
            args = [array(a, dtype) for a in self.ordinary()[0]]
            got = self.call(args)
            if isinstance(got, str):
                return got, ""
            kind = getattr(got, "dtype", type(got).__name__)
            if kind != args[0].dtype:
                rows.append((str(args[0].dtype), str(args[0].dtype), str(kind)))
        return _table(rows), HINTS["dtype"]

    def input(self):
        args = self.ordinary()[0]
        given = [array(a.copy()) for a in args]
        self.call(given)
        rows = []
        for before, after in zip(args, map(to_numpy, given), strict=True):
            rows += self.rows((before,), before, after, before == after)
        return _table(rows, ("input", "before", "after")), HINTS["input"]

    def ordinary(self, settings=None):
        if self.row.elementwise:
            return self.cases(np.setdiff1d(ORDINARY, self.kinks))
        return self.cases(VECTORS, settings)

    def cases(self, inputs, settings=None):
        """Return one call for all numbers of an elementwise function, else one for each vector."""
        return [self.arguments(x, settings) for x in ([inputs] if self.row.elementwise else inputs)]

    def arguments(self, x, settings=None):
        x = np.asarray(x, current().dtype)
        if self.is_value or self.row.elementwise:
            return (x,)
        y = self.row.function(x, **self.parameters | (settings or {}))
        return np.resize(np.array([0.5, -1, 1.5, -2, 2.5, -3], x.dtype), y.shape), x

    def call(self, args, settings=None):
        """Return what the reader's function does, or in words what it raises."""
        try:
            with np.errstate(all="ignore"):
                y = self.function(*args, **self.parameters | (settings or {}))
        except Exception as error:
            return _raised(error)
        return "returned None: is a return missing?" if y is None else y

    def expected(self, args, settings=None):
        args = [a.astype(float) for a in args]
        x, definition = args[-1], self.row.definition
        settings = self.parameters | (settings or {})
        defined = self.is_value and set(settings) <= _names(definition)
        if defined and self.row.elementwise:
            values = [
                definition(math, v, **settings) if math.isfinite(v) else self.ours(v, **settings)
                for v in x.ravel().tolist()
            ]
            y = np.array(values, float).reshape(x.shape)
        elif defined and x.ndim == 1 and np.isfinite(x).all():
            y = np.array(definition(math, x.tolist(), **settings))
        else:
            y = self.ours(*args, **settings)
        return y.astype(current().dtype).astype(float)

    def compare(self, aspect, cases, atol=None, settings=None):
        """Hold the function against the expected; `atol` is by default that of a plain formula."""
        settings = settings or {}
        outcomes, rows = self.outcomes.setdefault(aspect, []), []
        for args in cases:
            expected = self.expected(args, settings)
            got = self.call([array(a.copy()) for a in args], settings)
            if isinstance(got, str):
                where = f" for shape {args[-1].shape}" if aspect == "shapes" else ""
                return got + where, ""
            try:
                got = np.asarray(to_numpy(got), float)
            except (TypeError, ValueError):
                return f"expected an array of real numbers; got {got!r}", ""
            if got.shape != expected.shape:
                rows.append(tuple(f"shape {a.shape}" for a in (args[-1], expected, got)))
                continue
            size = abs(expected).max(initial=1, where=np.isfinite(expected))
            tolerance = 64 * self.eps * size if atol is None else atol
            fine = np.isclose(got, expected, self.rtol, tolerance, equal_nan=True)
            outcomes.append(_Outcome(args, settings, expected, got, tolerance, fine))
            if aspect != "shapes" or self.right("values"):
                rows += self.rows(args, expected, got, fine, settings.get("axis", -1))
        return _table(rows), ""

    def right(self, aspect):
        return all(outcome.fine.all() for outcome in self.outcomes[aspect])

    def rows(self, args, expected, got, fine, axis=-1):
        """List input, expected and got where they differ: numbers, or vectors along `axis`."""
        if self.row.elementwise:
            table = np.stack([args[0], expected, got], -1)[~fine]
            return [(_number(x), *_pair(y, z)) for x, y, z in table]
        x, expected, got, fine = (
            np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis])
            for a in (args[-1], expected, got, fine)
        )
        wrong = np.flatnonzero(~fine.all(-1))
        return [(_vector(x[i]), _vector(expected[i]), _vector(got[i])) for i in wrong]

    def overflow(self, cases):
        """Find where something overflows on the way to a value that is right."""
        where = [self.overflows([array(a.copy()) for a in args]) for args in cases]
        rows = []
        for args, overflows in zip(cases, where, strict=True):
            if overflows:
                y = self.expected(args)
                table = self.rows(args, y, y, np.zeros(y.shape, bool))
                rows += [(x, right, f"{right} after an overflow") for x, right, _ in table]
        hint = "take exp only of what is at most 0"
        for text, mistake in MISTAKES.get(self.name, ()):
            mistake = _given(mistake, self.parameters)
            if any(where) and where == [_overflows(mistake, args) for args in cases]:
                hint = text
                break
        return _table(rows), hint

    def overflows(self, args):
        function = partial(self.function, **self.parameters)
        if not is_torch(args[-1]):
            return _overflows(function, args)
        if not self.is_value:
            return False
        # torch does not warn, but there an overflow on the way to a value makes its gradient nan
        x = args[-1].requires_grad_()
        try:
            y = function(*args[:-1], x * 1)
        except RuntimeError:  # something on the way takes no part in autograd
            return False
        if not y.requires_grad:
            return False
        y.sum().backward()
        return bool(np.isnan(to_numpy(x.grad)).any())

    def hint(self, aspect):
        """Say what the differences of an aspect look like, or those of all aspects together."""
        outcomes = self.outcomes.get(aspect, [])
        everywhere = [outcome for some in self.outcomes.values() for outcome in some]
        for some in (everywhere, outcomes):
            if all(outcome.fine.all() for outcome in some):
                break
            for text, mistake in self.mistakes():
                if all(self.same(mistake, outcome) for outcome in some):
                    return text
        expected, got = (
            np.concatenate([a.ravel() for a in arrays] or [[]])
            for arrays in ([o.expected for o in outcomes], [o.got for o in outcomes])
        )
        if np.isnan(got[~np.isnan(expected)]).any():
            return "inf/inf, inf - inf and 0 times inf are nan; bound what may overflow first"
        if np.isfinite(got[np.isnan(expected)]).any():
            return "nan must stay nan; a comparison with nan is false, so where() drops it"
        if aspect == "values":
            ratio = got[expected != 0] / expected[expected != 0]
            if ratio.size and np.allclose(ratio, ratio[0]):
                return f"every value is {_number(ratio[0])} times what is expected"
        return HINTS.get(aspect, "")

    def mistakes(self):
        yield from MISTAKES.get(self.name, ())
        if self.is_value and self.row.elementwise:
            yield f"this is the derivative, {self.row.grad.__name__}", self.row.grad
        elif self.row.elementwise:
            yield f"this is {self.row.name} itself, not its derivative", self.row.function
        if self.ours in self.row.parameter_grads.values():
            yield "this is the derivative in x, not in the parameter", self.row.grad

    def same(self, mistake, outcome):
        """Tell whether a mistaken function gives what the reader's gives, right and wrong."""
        args, settings, expected, got, atol, fine = outcome
        try:
            with np.errstate(all="ignore"):
                wrong = _given(mistake, self.parameters | settings)(*args)
        except ValueError:  # an empty array, for one
            return False
        if np.shape(wrong) != got.shape:
            return False
        alike = np.isclose(wrong, got, RTOL_OF_MISTAKES[current().dtype], atol, equal_nan=True)
        right = np.isclose(wrong, expected, self.rtol, atol, equal_nan=True)
        return bool((alike & (fine | ~right)).all())


def check_answer(got, expected, *, rtol=1e-6, hint=None):
    """Check the numbers a derivation or a prediction has led to.

    Parameters
    ----------
    got, expected : number or array
    rtol : float
        Relative tolerance, of the largest expected number.
    hint : str, optional
        Added to the message where the answer is wrong.

    Raises
    ------
    AssertionError
        If the answer differs; the message says how.

    Examples
    --------
    >>> check_answer(0.25, 1 / 4)
    ok: 0.25
    >>> check_answer([1.0, -2.0], [-1.0, 2.0], hint="which way is downhill?")
    Traceback (most recent call last):
    AssertionError: got [1 -2], expected [-1 2]: the sign is reversed
      -> which way is downhill?
    """
    __tracebackhide__ = True
    got, expected = (np.asarray(to_numpy(a), float) for a in (got, expected))
    if got.shape != expected.shape:
        raise AssertionError(
            f"got shape {got.shape}, expected shape {expected.shape}{_arrow(hint)}"
        )
    size = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    if np.isclose(got, expected, 0, rtol * size, equal_nan=True).all():
        print(f"ok: {_vector(expected)}")
        return
    with np.errstate(all="ignore"):
        ratio = (got / expected)[(got != 0) | (expected != 0)]
    relation = ""
    if np.allclose(ratio, -1):
        relation = ": the sign is reversed"
    elif np.isfinite(ratio).all() and np.allclose(ratio, ratio[0]):
        relation = f": {_number(ratio[0])} times the expected"
    elif np.allclose(got * expected, 1):
        relation = ": the reciprocal"
    raise AssertionError(
        f"got {_vector(got)}, expected {_vector(expected)}{relation}{_arrow(hint)}"
    )


def check_function(mine, reference, inputs, *, rtol=1e-9):
    """Check a function against one of the companion on the given inputs.

    Parameters
    ----------
    mine, reference : callable
        They return an array, or a tuple of arrays.
    inputs : list
        One entry a call: the argument, or a tuple of arguments. Lists become NumPy arrays.
    rtol : float
        Relative tolerance, of the largest expected number; at least 5e-5 in float32.

    Raises
    ------
    AssertionError
        At the first input where the two differ, with a report.

    Examples
    --------
    >>> from companion.activations import sigmoid, tanh
    >>> check_function(lambda x: (1 + tanh(x / 2)) / 2, sigmoid, [[0.0, 1.0], [-2.0]])
    sigmoid: agrees on all 2 inputs
    """
    __tracebackhide__ = True
    rtol = max(rtol, RTOL[current().dtype])
    for number, args in enumerate(inputs, 1):
        args = args if isinstance(args, tuple) else (args,)
        expected, got = (_outputs(f, args) for f in (reference, mine))
        where = f"{reference.__name__}: differs at input {number} of {len(inputs)}"
        if isinstance(got, str):
            raise AssertionError(f"{where}\n  {got}")
        shapes = [[a.shape for a in arrays] for arrays in (got, expected)]
        if shapes[0] != shapes[1]:
            raise AssertionError(f"{where}\n  got shapes {shapes[0]}, expected {shapes[1]}")
        rows = []
        for output, (g, e) in enumerate(zip(got, expected, strict=True)):
            size = np.abs(e[np.isfinite(e)]).max(initial=0)
            for i in np.argwhere(~np.isclose(g, e, 0, rtol * size, equal_nan=True)):
                place = [output, *i.tolist()] if len(expected) > 1 else i.tolist()
                rows.append((str(place), *_pair(e[tuple(i)], g[tuple(i)])))
        if rows:
            head = ("output, index" if len(expected) > 1 else "index", "expected", "got")
            raise AssertionError(f"{where}\n{_table(rows, head)}")
    print(f"{reference.__name__}: agrees on all {len(inputs)} inputs")


def _outputs(function, args):
    """Call with copies of the arrays; return a list of NumPy arrays, or in words what is raised."""
    args = [
        np.array(to_numpy(a)) if isinstance(a, list) or hasattr(a, "dtype") else a for a in args
    ]
    try:
        y = function(*args)
    except Exception as error:
        return _raised(error)
    return [np.asarray(to_numpy(a), float) for a in (y if isinstance(y, tuple) else (y,))]


def _find(name):
    functions = {
        f.__name__: (row, f)
        for row in REGISTRY.values()
        for f in (row.function, row.grad, *row.parameter_grads.values())
    }
    if name not in functions:
        near = get_close_matches(str(name), functions) or ["relu", "relu_grad"]
        raise ValueError(
            f"name must be a registered function, such as {', '.join(near)}; got {name!r}"
        )
    return functions[name]


def _names(function):
    """Return the parameter names of a function, none for one that does not tell."""
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def _given(function, settings):
    """Bind those settings that the function has a parameter for."""
    names = _names(function)
    return partial(function, **{k: v for k, v in settings.items() if k in names})


def _overflows(function, args):
    try:
        with np.errstate(all="ignore", over="raise"):
            function(*args)
    except FloatingPointError:
        return True
    return False


def _raised(error):
    text = f"raised {type(error).__name__}: {error}"
    if "ambiguous" in str(error) or "be converted to" in str(error):
        text += "\n  -> `if` and `math` take one number; use where, maximum and the array's exp"
    return text


def _settings(prefix, settings):
    return prefix + ", ".join(f"{k}={v!r}" for k, v in settings.items()) if settings else ""


def _number(value, digits=10):
    return f"{value + 0:.{digits}g}"  # no -0


def _pair(expected, got):
    """Return two different numbers with as many digits as it takes to see that."""
    digits = 10 if _number(expected) != _number(got) else 17
    return _number(expected, digits), _number(got, digits)


def _vector(values):
    return np.array2string(
        values + 0, threshold=12, max_line_width=10**6, formatter={"float_kind": "{:.5g}".format}
    )


def _arrow(hint):
    return "\n" + fill(hint, 72, initial_indent="  -> ", subsequent_indent="     ") if hint else ""


def _table(rows, head=("input", "expected", "got")):
    """Lay out some of the differing rows, side by side or, where too wide, one below the other."""
    if not rows:
        return ""
    shown = rows[:: math.ceil(len(rows) / ROWS)]
    table = [head, *shown]
    widths = [max(len(row[i]) for row in table) for i in range(3)]
    if sum(widths) <= 64:
        lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in table]
    else:
        lines = [f"{n:<9} {cell}" for row in shown for n, cell in zip(head, row, strict=True)]
    if len(rows) > len(shown):
        lines.append(f"and {len(rows) - len(shown)} more")
    return "\n".join(f"  {line}" for line in lines)
