"""One row for every public function: what it is by definition, and how it is verified.

A row holds the function, its derivative and its *definition*, written as a plain function of one
number and a mathematics module, so that the same line is evaluated by ``math`` in the exercise
checker and by ``mpmath``, at 60 digits, in the tests. Everything else in a row says where care
is needed: kinks and ties, where torch differs, and which steps of the ladder do not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from companion import activations as act

#: The steps of the ladder (``tests/ladder``), in order.
STEPS = ("value", "derivative", "autograd", "parity", "backends", "properties", "mutants")


@dataclass(frozen=True)
class Row:
    """What the ladder needs to know of one public function.

    Parameters
    ----------
    function, grad : callable
        The function, and its ``_grad`` (elementwise) or ``_vjp``.
    definition : callable
        ``definition(m, x, **parameters)`` for elementwise functions, one number at a time;
        ``definition(m, xs, **parameters)``, a list to a list, for those of a whole axis.
    parameters : tuple of dict
        The settings under which the row is tested; the first is the one of the exercises.
    parameter_grads : dict
        Derivatives with respect to learned parameters, by the parameter's name.
    kinks : dict
        Where the derivative jumps, and the value taken there.
    limits : dict
        Value and derivative at -inf and inf.
    torch : str
        torch's function of the same name and meaning, empty where there is none.
    differs : str
        How torch differs.
    flush : float
        Results below this many smallest normal numbers are judged by their absolute error.
    slack : float
        Factor on torch's bar of accuracy; more than 1 only with the reason beside it.
    not_applicable : dict
        ``{step: because}``.
    """

    function: Callable[..., Any]
    grad: Callable[..., Any] | None
    definition: Callable[..., Any]
    parameters: tuple[dict[str, Any], ...] = ({},)
    parameter_grads: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    kinks: Mapping[float, float] = field(default_factory=dict)
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None
    elementwise: bool = True
    torch: str = ""
    differs: str = ""
    flush: float = 2.0**7
    slack: float = 1.0
    not_applicable: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.function.__name__


def _sigmoid(m: Any, x: Any) -> Any:
    return 1 / (1 + m.exp(-x)) if x > 0 else m.exp(x) / (1 + m.exp(x))


def _softplus(m: Any, x: Any) -> Any:
    return m.log1p(m.exp(x)) if x < 0 else x + m.log1p(m.exp(-x))


def _normal_cdf(m: Any, x: Any) -> Any:
    return m.erfc(-x / m.sqrt(2)) / 2


def _elu(m: Any, x: Any, alpha: Any = 1) -> Any:
    return x if x > 0 else alpha * m.expm1(x)


def _leaky(m: Any, x: Any, slope: Any) -> Any:
    return x if x > 0 else slope * x


def _gelu(m: Any, x: Any, approximate: str = "none") -> Any:
    if approximate == "none":
        return x * _normal_cdf(m, x)
    if approximate == "sigmoid":
        return x * _sigmoid(m, 1.702 * x)
    return x * _sigmoid(m, 2 * m.sqrt(2 / m.pi) * (x + 0.044715 * x * x * x))


def _softmax(m: Any, xs: list[Any], temperature: float = 1) -> list[Any]:
    top = max(xs)
    weights = [m.exp((x - top) / temperature) for x in xs]
    return [w / sum(weights) for w in weights]


def _log_softmax(m: Any, xs: list[Any], temperature: float = 1) -> list[Any]:
    top = max(xs)
    total = m.log(sum(m.exp((x - top) / temperature) for x in xs))
    return [(x - top) / temperature - total for x in xs]


def _halves(gate: Callable[..., Any]) -> Callable[..., list[Any]]:
    def definition(m: Any, xs: list[Any]) -> list[Any]:
        n = len(xs) // 2
        return [a * gate(m, b) for a, b in zip(xs[:n], xs[n:], strict=True)]

    return definition


def _maxout(m: Any, xs: list[Any], num_pieces: int) -> list[Any]:
    return [max(xs[i : i + num_pieces]) for i in range(0, len(xs), num_pieces)]


# The last bits of the gate are lost below the smallest normal number, all of them from -709.8 on
# in torch's float64 sigmoid; times x, 7000 for swish at 0.1, or GELU's cubic, that is seen earlier.
_FLUSHED = 2.0**11
_NO_TORCH = {"parity": "torch has no such function; the definition is the only peer"}

ROWS = (
    Row(
        act.identity,
        act.identity_grad,
        lambda m, x: x,
        limits=((-float("inf"), 1), (float("inf"), 1)),
        torch="torch.nn.Identity()",
    ),
    Row(
        act.heaviside,
        act.heaviside_grad,
        lambda m, x, values=1.0: values if x == 0 else (x > 0) * 1.0,
        parameters=({}, {"values": 0.5}),
        kinks={0.0: 0.0},
        limits=((0, 0), (1, 0)),
        torch="torch.heaviside",
        not_applicable={
            "autograd": "a step: torch gives heaviside no derivative, ours is 0 or an estimator"
        },
    ),
    Row(
        act.sigmoid,
        act.sigmoid_grad,
        _sigmoid,
        limits=((0, 0), (1, 0)),
        torch="torch.sigmoid",
    ),
    Row(
        act.hardsigmoid,
        act.hardsigmoid_grad,
        lambda m, x: min(max(x + 3, 0), 6) / 6,
        kinks={-3.0: 0.0, 3.0: 0.0},
        limits=((0, 0), (1, 0)),
        torch="torch.nn.functional.hardsigmoid",
    ),
    Row(
        act.tanh,
        act.tanh_grad,
        lambda m, x: m.tanh(x),
        limits=((-1, 0), (1, 0)),
        torch="torch.tanh",
    ),
    Row(
        act.lecun_tanh,
        act.lecun_tanh_grad,
        lambda m, x: 1.7159 * m.tanh(2 * x / 3),
        limits=((-1.7159, 0), (1.7159, 0)),
        not_applicable=_NO_TORCH,
    ),
    Row(
        act.softsign,
        act.softsign_grad,
        lambda m, x: x / (1 + abs(x)),
        limits=((-1, 0), (1, 0)),
        torch="torch.nn.functional.softsign",
    ),
    Row(
        act.relu,
        act.relu_grad,
        lambda m, x: max(x, 0),
        kinks={0.0: 0.0},
        limits=((0, 0), (float("inf"), 1)),
        torch="torch.relu",
    ),
    Row(
        act.relu6,
        act.relu6_grad,
        lambda m, x: min(max(x, 0), 6),
        kinks={0.0: 0.0, 6.0: 0.0},
        limits=((0, 0), (6, 0)),
        torch="torch.nn.functional.relu6",
    ),
    Row(
        act.leaky_relu,
        act.leaky_relu_grad,
        lambda m, x, negative_slope=0.01: _leaky(m, x, negative_slope),
        parameters=({}, {"negative_slope": 0.3}, {"negative_slope": 1.5}),
        kinks={0.0: 0.01},
        limits=((-float("inf"), 0.01), (float("inf"), 1)),
        torch="torch.nn.functional.leaky_relu",
    ),
    Row(
        act.prelu,
        act.prelu_grad,
        lambda m, x, weight: _leaky(m, x, weight),
        parameters=({"weight": 0.25}, {"weight": 1.5}, {"weight": -0.5}),
        parameter_grads={"weight": act.prelu_grad_weight},
        kinks={0.0: 0.25},
        limits=((-float("inf"), 0.25), (float("inf"), 1)),
        torch="torch.nn.functional.prelu",
        differs="torch wants the weight as a tensor, with the channels on axis 1",
    ),
    Row(
        act.rrelu,
        act.rrelu_grad,
        lambda m, x, slope=11 / 48, convention="torch": _leaky(
            m, x, 2 / 11 if convention == "paper" else slope
        ),
        parameters=({}, {"slope": 0.2}, {"convention": "paper"}),
        kinks={0.0: 11 / 48},
        limits=((-float("inf"), 11 / 48), (float("inf"), 1)),
        torch="torch.nn.functional.rrelu",
        differs="torch draws the slopes inside; ours come in, so that both libraries see the same",
    ),
    Row(
        act.crelu,
        act.crelu_vjp,
        lambda m, xs: [max(x, 0) for x in xs] + [max(-x, 0) for x in xs],
        elementwise=False,
        not_applicable=_NO_TORCH,
    ),
    Row(
        act.softplus,
        act.softplus_grad,
        _softplus,
        limits=((0, 0), (float("inf"), 1)),
        torch="torch.nn.functional.softplus",
        differs="torch returns x above 20, which is 2e-9 off there; parity is tested below",
    ),
    Row(
        act.elu,
        act.elu_grad,
        _elu,
        parameters=({}, {"alpha": 0.5}, {"alpha": 2.0}),
        kinks={0.0: 1.0},
        limits=((-1, 0), (float("inf"), 1)),
        torch="torch.nn.functional.elu",
    ),
    Row(
        act.celu,
        act.celu_grad,
        lambda m, x, alpha=1: x if x > 0 else alpha * m.expm1(x / alpha),
        parameters=({}, {"alpha": 2.0}),
        limits=((-1, 0), (float("inf"), 1)),
        torch="torch.nn.functional.celu",
    ),
    Row(
        act.selu,
        act.selu_grad,
        lambda m, x: 1.0507009873554804934 * _elu(m, x, 1.6732632423543772848),
        kinks={0.0: 1.0507009873554804934 * 1.6732632423543772848},
        limits=((-1.7580993408473766, 0), (float("inf"), 1.0507009873554804934)),
        torch="torch.nn.functional.selu",
    ),
    Row(
        act.silu,
        act.silu_grad,
        lambda m, x: x * _sigmoid(m, x),
        limits=((0, 0), (float("inf"), 1)),
        torch="torch.nn.functional.silu",
        differs="torch is nan at -inf and 0 in the far left tail",
        flush=_FLUSHED,
    ),
    Row(
        act.swish,
        act.swish_grad,
        lambda m, x, beta=1: x * _sigmoid(m, beta * x),
        parameters=({}, {"beta": 0.1}, {"beta": 1.702}, {"beta": -3.0}),
        parameter_grads={"beta": act.swish_grad_beta},
        limits=((0, 0), (float("inf"), 1)),
        flush=_FLUSHED,
        not_applicable={"parity": "torch has beta = 1 only, as silu"},
    ),
    Row(
        act.hardswish,
        act.hardswish_grad,
        lambda m, x: x * min(max(x + 3, 0), 6) / 6,
        kinks={-3.0: 0.0, 3.0: 1.0},
        limits=((0, 0), (float("inf"), 1)),
        torch="torch.nn.functional.hardswish",
        differs="torch is nan at -inf",
    ),
    Row(
        act.mish,
        act.mish_grad,
        lambda m, x: x * m.tanh(_softplus(m, x)),
        limits=((0, 0), (float("inf"), 1)),
        torch="torch.nn.functional.mish",
        differs="torch is nan at -inf",
    ),
    Row(
        act.gelu,
        act.gelu_grad,
        _gelu,
        parameters=({}, {"approximate": "tanh"}, {"approximate": "sigmoid"}),
        limits=((0, 0), (float("inf"), 1)),
        torch="torch.nn.functional.gelu",
        differs="torch is 0 below -8.3, 17 % off at -5 in float32, and has no sigmoid form",
        flush=_FLUSHED,
        # float64, about -1.2: torch's erfc is 3 ULP off, and half of it cancels in f'
        slack=1.1,
    ),
    Row(
        act.glu,
        act.glu_vjp,
        _halves(_sigmoid),
        elementwise=False,
        torch="torch.nn.functional.glu",
    ),
    Row(
        act.geglu,
        act.geglu_vjp,
        _halves(_gelu),
        elementwise=False,
        not_applicable=_NO_TORCH,
    ),
    Row(
        act.swiglu,
        act.swiglu_vjp,
        _halves(lambda m, x: x * _sigmoid(m, x)),
        elementwise=False,
        not_applicable=_NO_TORCH,
    ),
    Row(
        act.maxout,
        act.maxout_vjp,
        _maxout,
        parameters=({"num_pieces": 2}, {"num_pieces": 3}),
        elementwise=False,
        differs="at a tie torch's amax shares the gradient, ours gives it to the first",
        not_applicable=_NO_TORCH,
    ),
    Row(
        act.softmax,
        act.softmax_vjp,
        _softmax,
        parameters=({}, {"temperature": 2.5}),
        elementwise=False,
        torch="torch.softmax",
        differs="torch has no temperature",
    ),
    Row(
        act.log_softmax,
        act.log_softmax_vjp,
        _log_softmax,
        parameters=({}, {"temperature": 2.5}),
        elementwise=False,
        torch="torch.log_softmax",
        differs="torch has no temperature and returns 0 for a saturated entry",
    ),
)

#: Public functions that are not rows themselves, and what stands for them.
HELPERS = {"sample_rrelu": "random: tested for range, mean and shape in tests/test_rrelu.py"}

REGISTRY: dict[str, Row] = {row.name: row for row in ROWS}
