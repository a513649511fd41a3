"""Functions, layers, networks and optimizers of this package in torch's own training.

Torch's autograd is then not left to derive anything: the backward pass is the one by hand. What
torch differentiates twice (``create_graph=True``) is computed anew from the inputs, and torch
differentiates the backward pass. Under autocast everything runs in the dtype of the parameters.
The transformations of ``torch.func`` are refused by torch; replicas do the work of its ``vmap``.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from operator import is_not
from typing import Any

import numpy as np
import torch

from companion.backend import array, to_numpy
from companion.layers import Attention, Linear, Residual
from companion.layers.base import Layer, Row
from companion.network import Sequential, _joined, _views
from companion.optimizers import Adam, AdamW, AMSGrad, Optimizer
from companion.optimizers.base import _flat


def as_torch_function(
    function: Any,
    *,
    grad: Callable[..., Any] | None = None,
    vjp: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Make a function of tensors whose gradient in torch is the one by hand.

    Parameters
    ----------
    function : callable or Sequential
        A function of ``companion.activations`` or a loss, with its arguments; or a network, which
        becomes ``f(theta, x, *, training=False, noise=None, state=None) -> y``. There theta may
        have replicas: one tensor for torch to optimize, and all of them train at once.
    grad, vjp : callable, optional
        ``grad(x, ...)`` or ``vjp(dy, x, ...)``; default: the ``_grad`` or ``_vjp`` that stands
        beside the function.

    Returns
    -------
    callable
        Gradients flow to its first argument, and to those for which there is a ``_grad_<name>``,
        such as the slopes of ``prelu``.

    Raises
    ------
    ValueError
        If nothing is known of the derivative.
    TypeError
        When called, if the first argument is no tensor, or if a tensor requires a gradient that
        has no derivative by hand.

    Examples
    --------
    >>> from companion import activations
    >>> gelu = as_torch_function(activations.gelu)
    >>> x = torch.tensor([0.0, 1.0], requires_grad=True)
    >>> gelu(x).sum().backward()
    >>> x.grad
    tensor([0.5000, 1.0833])
    """
    if isinstance(function, Sequential):
        return _of_network(function)
    name, home = function.__name__, sys.modules[function.__module__]
    if grad is None and vjp is None:
        grad, vjp = getattr(home, f"{name}_grad", None), getattr(home, f"{name}_vjp", None)
        if grad is None and vjp is None:
            raise ValueError(f"{name} has neither {name}_grad nor {name}_vjp: give grad or vjp")
    pull = vjp or _vjp_of(grad)
    parameters = inspect.signature(function)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = dict(parameters.bind(*args, **kwargs).arguments)
        first, x = next(iter(given.items()))
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{first} must be a torch tensor; got {type(x).__name__}")
        del given[first]
        learned = {
            n: v for n, v in given.items() if isinstance(v, torch.Tensor) and v.requires_grad
        }
        slopes: list[Any] = [getattr(home, f"{name}_grad_{n}", None) for n in learned]
        if None in slopes:
            n = list(learned)[slopes.index(None)]
            raise TypeError(f"{name} has no derivative in {n}: {n} must not require a gradient")

        def forward(x: Any, *values: Any) -> Any:
            return (function(x, **given | dict(zip(learned, values, strict=True))),), (x, *values)

        def backward(cache: Any, dy: Any, needed: Any) -> Any:
            x, *values = cache
            options = given | dict(zip(learned, values, strict=True))
            dx = pull(dy, x, **options) if needed[0] else None
            pairs = zip(slopes, values, strict=True)
            return dx, *[(dy * slope(x, **options)).sum_to_size(v.shape) for slope, v in pairs]

        return _Operation.apply(forward, backward, x, *learned.values())[0]

    return wrapped


def _of_network(net: Sequential) -> Callable[..., Any]:
    def function(theta: Any, x: Any, **options: Any) -> Any:
        def forward(theta: Any, x: Any) -> Any:
            y, cache = net.forward(theta, x, **options)
            return (y,), cache

        def backward(cache: Any, dy: Any, needed: Any) -> Any:
            dx, dtheta = net.backward(cache, dy, input_grad=needed[1])
            return dtheta, dx if dx is None else dx.sum_to_size(x.shape)

        return _Operation.apply(forward, backward, theta, x)[0]

    return function


class TorchModule(torch.nn.Module):
    """A layer or a network as a module: its parameters torch's, its backward pass the one by hand.

    The ``state_dict`` of a network is that of the equivalent torch.nn.Sequential, so that either
    loads the other's: the weights of Linear and of Attention are transposed here. RNN and LSTM,
    which have one bias and not two, and what torch.nn has not, such as Maxout or Residual, keep
    their names and shapes. Running statistics are buffers, which passes in training mode advance.

    Parameters
    ----------
    layer : Layer or Sequential
        Of one network; for replicas take :func:`as_torch_function` of a network.
    rng : numpy.random.Generator or torch.Generator, optional
        Draws the initial parameters, and in training the masks of dropout. Default: torch's own,
        so that ``torch.manual_seed`` settles both.
    device, dtype : optional
        Of the parameters; default torch's.

    Examples
    --------
    >>> from companion.layers import Linear, Tanh
    >>> module = TorchModule(Sequential(Linear(2, 3), Tanh(), Linear(3, 1)))
    >>> {name: tuple(p.shape) for name, p in module.named_parameters()}
    {'0.weight': (3, 2), '0.bias': (3,), '2.weight': (1, 3), '2.bias': (1,)}
    >>> model = torch.nn.Sequential(module, torch.nn.Sigmoid())
    >>> model(torch.ones(5, 2)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self, layer: Layer | Sequential, rng: Any = None, *, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        if not isinstance(layer, Layer | Sequential):
            raise TypeError(f"layer must be a Layer or a Sequential; got {layer!r}")
        self.layer = layer.row if isinstance(layer, Sequential) else layer
        self.rng = rng
        dtype = torch.get_default_dtype() if dtype is None else dtype
        start = zip(self.layer.shapes, self.layer.init(self._numpy_rng()), strict=True)
        state = zip(self.layer.state_shapes, self.layer.init_state(), strict=True)
        self.transposed = _transposed(self.layer)
        for name, value in start:
            value = torch.tensor(value, device=device, dtype=dtype)
            value = value.mT.contiguous() if name in self.transposed else value
            holder, own = self._holder(name)
            holder.register_parameter(own, torch.nn.Parameter(value))
        for name, value in state:
            holder, own = self._holder(name)
            holder.register_buffer(own, torch.tensor(value, device=device, dtype=dtype))
        self.register_load_state_dict_pre_hook(_without_counts)

    def __repr__(self) -> str:
        return f"TorchModule({self.layer!r})"

    def _holder(self, name: str) -> tuple[torch.nn.Module, str]:
        """Return the module for a parameter such as ``"0.weight"``, and its name there."""
        *path, own = name.split(".")
        module: torch.nn.Module = self
        for part in path:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module.get_submodule(part)
        return module, own

    def _numpy_rng(self) -> np.random.Generator:
        if isinstance(self.rng, np.random.Generator):
            return self.rng
        device = "cpu" if self.rng is None else self.rng.device
        seed = torch.randint(2**63 - 1, (), generator=self.rng, device=device)
        return np.random.default_rng(int(seed))

    def sample_noise(self, x: Any) -> Any:
        """Draw the masks for a pass in training; None if no layer needs any."""
        noise = self.layer.sample_noise(self._numpy_rng(), tuple(x.shape), ())
        return _mapped(
            lambda m: torch.as_tensor(m, device=x.device), noise, (np.ndarray, torch.Tensor)
        )

    def forward(self, x: Any, noise: Any = None) -> Any:
        """Compute the output; in training, masks that are not given are drawn."""
        layer, names = self.layer, list(self.layer.shapes)
        params = [self.get_parameter(name) for name in names]
        state = tuple([self.get_buffer(name) for name in layer.state_shapes])
        options: dict[str, Any] = {}
        if layer.has_modes:
            if noise is None and self.training and layer.needs_noise:
                noise = self.sample_noise(x)
            options = {"training": self.training, "noise": noise, "state": state}
        if params and torch.is_autocast_enabled(x.device.type) and x.is_floating_point():
            x = x.to(params[0].dtype)

        def turned(values: Any) -> tuple[Any, ...]:
            pairs = zip(names, values, strict=True)
            return tuple([v.mT if name in self.transposed else v for name, v in pairs])

        def forward(x: Any, *params: Any) -> Any:
            y, cache = layer.forward(turned(params), x, **options)
            new = layer.advance(state, cache) if state and self.training else ()
            return (y, *new), cache

        def backward(cache: Any, dy: Any, needed: Any) -> Any:
            dx, grads = layer.backward(cache, dy, input_grad=needed[0])
            return dx if needed[0] else None, *turned(grads)

        y, *new = _Operation.apply(forward, backward, x, *params)
        with torch.no_grad():
            for old, value in zip(state, new, strict=False):
                old.copy_(value)
        return y


def to_state_dict(net: Sequential, theta: Any, state: Any = None) -> dict[str, torch.Tensor]:
    """Return the weights of one network as the torch.nn.Sequential of the same layers names them.

    For a layer without a counterpart there, the names and shapes are those of
    :class:`TorchModule`, which loads them.

    Parameters
    ----------
    net : Sequential
    theta : array, shape (P,)
    state : array, shape (S,), optional
        Running statistics.

    Returns
    -------
    dict
        Of tensors in the dtype of theta, on the CPU: copies.

    Examples
    --------
    >>> net = Sequential(Linear(2, 3))
    >>> theirs = torch.nn.Sequential(torch.nn.Linear(2, 3, dtype=torch.float64))
    >>> theirs.load_state_dict(to_state_dict(net, np.arange(9.0)))
    <All keys matched successfully>
    >>> theirs[0].weight.tolist()
    [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    """
    if theta.ndim != 1:
        raise ValueError(f"theta must be of one network, (P,); got {tuple(theta.shape)}: take one")
    values = net.unpack(theta)
    if state is not None:
        values |= dict(zip(net.row.state_shapes, _views(state, net._state_cuts), strict=True))
    transposed = _transposed(net.row)
    tensors = {name: torch.tensor(to_numpy(value)) for name, value in values.items()}
    return {n: t.mT.contiguous() if n in transposed else t for n, t in tensors.items()}


def from_state_dict(net: Sequential, state_dict: dict[str, torch.Tensor]) -> tuple[Any, Any]:
    """Return the weights of a torch.nn.Sequential, or a :class:`TorchModule`, as theta and state.

    Parameters
    ----------
    net : Sequential
        Of the same layers, in the same places.
    state_dict : dict
        From ``module.state_dict()``.

    Returns
    -------
    theta : array, shape (P,)
    state : array, shape (S,)
        Both in the backend in force.

    Raises
    ------
    ValueError
        If an entry is missing, is one too many, or has another shape: so if a torch.nn.Linear
        has no bias.

    Examples
    --------
    >>> theirs = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh())
    >>> from companion.layers import Tanh
    >>> net = Sequential(Linear(2, 3), Tanh())
    >>> theta, _ = from_state_dict(net, theirs.state_dict())
    >>> theta.shape
    (9,)
    """
    given = {
        n: v.detach().cpu().double().numpy()
        for n, v in state_dict.items()
        if not n.endswith(_COUNT)
    }
    shapes = net.row.shapes | net.row.state_shapes
    if given.keys() != shapes.keys():
        missing, extra = sorted(shapes.keys() - given.keys()), sorted(given.keys() - shapes.keys())
        raise ValueError(
            f"state_dict must have the entries of {net}; missing: {', '.join(missing) or 'none'}; "
            f"too many: {', '.join(extra) or 'none'}"
        )
    transposed = _transposed(net.row)
    for name, shape in shapes.items():
        wanted = shape[::-1] if name in transposed else shape
        if given[name].shape != wanted:
            raise ValueError(f"{name} of state_dict must be {wanted}; got {given[name].shape}")
        given[name] = given[name].T if name in transposed else given[name]
    parts = (net.row.shapes, net.row.state_shapes)
    theta, state = (array(_joined(tuple([given[name] for name in names]))) for names in parts)
    return theta, state


def as_torch_optimizer(optimizer: Optimizer, params: Any) -> torch.optim.Optimizer:
    """Make an optimizer of this package one of torch's, for any torch module.

    Hyperparameters that are numbers stand in ``param_groups``, where torch's learning rate
    schedulers change them, and where a group may have its own. A schedule of this package stays
    one, the same for all groups, and torch's schedulers leave it alone. State has torch's form, an
    entry for each parameter, and a ``state_dict`` that is loaded goes on to the same bits. That of
    torch's optimizer of the same rule is loaded, too; torch's SGD counts no steps, and goes on as
    if after one. As in torch, a parameter without gradient is left as it is, its state and its
    count of steps too.

    A group of AdaBound or AMSBound that has its own `lr` has it as its `base_lr`, too, unless it
    says otherwise.

    Parameters
    ----------
    optimizer : Optimizer
        That treats each parameter for itself, so neither Muon nor NaturalGradient.
    params : iterable
        Of tensors, or of parameter groups, as for any optimizer of torch.

    Returns
    -------
    torch.optim.Optimizer

    Raises
    ------
    TypeError
        If the optimizer is none of this package, needs the whole network, or takes its gradients
        where the parameters are not; or for complex parameters.
    ValueError
        For a hyperparameter out of range, or an array of them: groups do that here. For an option
        of a group that is none of the rule's numbers, such as ``maximize=True``.

    Examples
    --------
    >>> from companion.optimizers import Lion
    >>> module = torch.nn.Linear(2, 1)
    >>> optimizer = as_torch_optimizer(Lion(lr=0.01, weight_decay=0.1), module.parameters())
    >>> scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    >>> module(torch.ones(2)).sum().backward()
    >>> optimizer.step(), scheduler.step(), optimizer.param_groups[0]["lr"]
    (None, None, 0.001)
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one of companion.optimizers; got {optimizer!r}")
    return _TorchOptimizer(params, optimizer)


class _TorchOptimizer(torch.optim.Optimizer):
    def __init__(self, params: Any, optimizer: Optimizer) -> None:
        values = {f.name: getattr(optimizer, f.name) for f in fields(optimizer)}
        for name, value in values.items():
            _check_no_array(name, value)
            if isinstance(value, Sequential) or name in optimizer._constant:
                raise TypeError(
                    "optimizer must treat each parameter for itself; "
                    f"{type(optimizer).__name__} needs the whole network"
                )
        if type(optimizer).lookahead is not Optimizer.lookahead:
            raise TypeError(
                "optimizer must take its gradients at the parameters, as SGD(nesterov=True) does; "
                f"{type(optimizer).__name__} takes them elsewhere"
            )
        self.optimizer = optimizer
        #: Parameters of one history and their state, side by side in one vector.
        self._bundles: list[tuple[Any, list[Any], dict[str, Any]]] = []
        #: The state of each parameter as the last step left it.
        self._left: dict[Any, dict[str, Any]] = {}
        super().__init__(params, {n: v for n, v in values.items() if not callable(v)})

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"optimizer": self.optimizer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "optimizer" not in state:  # a state_dict is loaded
            for old, group in zip(self.param_groups, state["param_groups"], strict=True):
                for name in self.defaults:
                    group.setdefault(name, old.get(name, self.defaults[name]))
                self._rule(group)
        super().__setstate__(state)
        self._bundles, self._left = [], {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if "base_lr" in self.defaults and "lr" in param_group:
            param_group.setdefault("base_lr", param_group["lr"])
        super().add_param_group(param_group)
        try:
            self._rule(self.param_groups[-1])
            for p in self.param_groups[-1]["params"]:
                if p.is_complex():
                    raise TypeError(f"parameters must be real; got one of {p.dtype}")
        except (TypeError, ValueError):
            del self.param_groups[-1]
            raise

    def _rule(self, group: dict[str, Any]) -> Optimizer:
        """Return the optimizer with what the group says now."""
        own = [n for n in self.defaults if n != "differentiable"]
        known, implied = {*own, *_ASIDE}, _implied(self.optimizer)
        for name, value in group.items():
            if callable(getattr(self.optimizer, name, None)) and name not in own:
                raise ValueError(
                    f"{name} is a schedule here, of which groups have none of their own"
                )
            if name not in known and not (name in implied and implied[name] == value):
                raise ValueError(
                    f"{name}={value!r} is no option of {type(self.optimizer).__name__}; "
                    f"groups may have {', '.join(own)}"
                )
        said = {n: group[n] for n in own if n in group}
        for name, value in said.items():
            _check_no_array(name, value)
        changed = {n: v for n, v in said.items() if v != getattr(self.optimizer, n)}
        return replace(self.optimizer, **changed) if changed else self.optimizer

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = enumerate(self.param_groups)
        held = [(i, p) for i, group in groups for p in group["params"] if p.grad is not None]
        if {id(p) for _, p in held} != set(map(id, self._left)) or self._is_edited():
            self._bundle(held)
        rules = [self._rule(group) for group in self.param_groups]
        for k, (i, params, state) in enumerate(self._bundles):
            grads = [p.grad for p in params]
            if any(g.is_sparse for g in grads):
                raise RuntimeError("optimizers of companion take no sparse gradients")
            theta, empty = _flattened(params), params[0].new_empty(0)
            if rules[i]._start(empty).keys() - state.keys():  # a group has momentum now
                state = rules[i]._start(theta) | state
            theta, state = rules[i].update(theta, _flattened(grads), state)
            torch._foreach_copy_(params, _cut(theta, params))
            self._bundles[k] = (i, params, state)
            self._keep(params, state)
        return loss

    def _is_edited(self) -> bool:
        """Tell whether somebody has put other things into ``state``."""
        return any(
            [*self.state[p]] != [*left] or any(map(is_not, self.state[p].values(), left.values()))
            for p, left in self._left.items()
        )

    def _bundle(self, held: list[tuple[int, Any]]) -> None:
        """Put together what takes a step, by group, dtype, device and history."""
        bundles: dict[Any, list[Any]] = {}
        for i, p in held:
            self.state[p] = _counted(self.state[p])
            alike = str(
                [
                    (n, v.tolist() if isinstance(v, torch.Tensor) else v)
                    for n, v in self.state[p].items()
                    if not _is_own(v, p)
                ]
            )
            bundles.setdefault((i, p.dtype, p.device, alike), []).append(p)
        self._bundles, self._left = [], {}
        for (i, *_), own in bundles.items():
            kept = [self.state[p] for p in own]
            if kept[0]:
                state = {
                    n: _flattened([s[n] for s in kept]) if _is_own(v, own[0]) else v
                    for n, v in kept[0].items()
                }
            else:
                state = self._rule(self.param_groups[i]).init(_flattened(own))
            self._bundles.append((i, own, state))

    def _keep(self, params: list[Any], state: dict[str, Any]) -> None:
        """Give each parameter its part of the state."""
        size, parts = sum(p.numel() for p in params), {}
        for n, v in state.items():
            if not isinstance(v, torch.Tensor):
                parts[n] = [v] * len(params)
            elif v.shape == (size,):
                parts[n] = _cut(v, params)
            else:  # one number for all; torch would multiply it in place
                parts[n] = list(v.repeat(len(params)).unbind())
        for i, p in enumerate(params):
            self.state[p] = {n: values[i] for n, values in parts.items()}
            self._left[p] = dict(self.state[p])


#: Entries of torch's groups that change no step, and what its schedulers keep there.
_ASIDE = (
    *("params", "param_names", "name"),
    *("foreach", "fused", "capturable", "differentiable"),
    *("initial_lr", "max_lr", "min_lr", "swa_lr", "max_momentum", "base_momentum"),
)


def _implied(optimizer: Optimizer) -> dict[str, bool]:
    """Return the options of torch's optimizers that a rule has by its name, and their values."""
    if not isinstance(optimizer, Adam):
        return {"maximize": False}
    return {
        "maximize": False,
        "amsgrad": isinstance(optimizer, AMSGrad),
        "decoupled_weight_decay": isinstance(optimizer, AdamW),
    }


def _check_no_array(name: str, value: Any) -> None:
    if any(getattr(v, "ndim", 0) for v in _flat(value)):
        raise ValueError(f"{name} must be a number or a schedule; got an array: use groups")


def _counted(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a parameter with its steps as an int.

    torch's SGD counts none; where it has a buffer, the first step is past.
    """
    kept = {n: v for n, v in state.items() if v is not None}
    return kept and kept | {"step": int(kept.get("step", 1))}


def _flattened(tensors: list[Any]) -> Any:
    return torch.cat([t.reshape(-1) for t in tensors])


def _cut(vector: Any, like: list[Any]) -> list[Any]:
    parts = vector.split([t.numel() for t in like])
    return [part.view(t.shape) for part, t in zip(parts, like, strict=True)]


def _is_own(value: Any, parameter: Any) -> bool:
    """Tell whether this part of the state has an entry for each of the parameter's."""
    return isinstance(value, torch.Tensor) and value.shape == parameter.shape


@dataclass(frozen=True)
class _Place:
    """Where a tensor of a cache is kept."""

    index: int


class _Operation(torch.autograd.Function):
    """One operation for autograd, of a forward pass and the backward pass by hand.

    ``forward(*inputs) -> (outputs, cache)``, of which the first output has a gradient, and
    ``backward(cache, dy, needed) -> grads``.
    """

    @staticmethod
    def forward(ctx: Any, forward: Any, backward: Any, *inputs: Any) -> Any:
        with torch.autocast(inputs[0].device.type, enabled=False):
            outputs, cache = forward(*inputs)
        kept = list(inputs)

        def put_away(tensor: Any) -> _Place:
            kept.append(tensor)
            return _Place(len(kept) - 1)

        # Through torch's own store, which notices when what was kept is changed in place.
        if not torch.compiler.is_compiling():
            ctx.cache = _mapped(put_away, cache, torch.Tensor)
        ctx.save_for_backward(*kept)
        ctx.passes, ctx.count = (forward, backward), len(inputs)
        ctx.mark_non_differentiable(*outputs[1:])
        return outputs

    @staticmethod
    def backward(ctx: Any, dy: Any, *_: Any) -> Any:
        forward, backward = ctx.passes
        kept = ctx.saved_tensors
        with torch.autocast(dy.device.type, enabled=False):
            # To be differentiated again; or compiled, which finds what was computed before.
            if torch.is_grad_enabled() or torch.compiler.is_compiling():
                _, cache = forward(*kept[: ctx.count])
            else:
                cache = _mapped(lambda place: kept[place.index], ctx.cache, _Place)
            return None, None, *backward(cache, dy, ctx.needs_input_grad[2:])


def _mapped(f: Callable[[Any], Any], tree: Any, kind: Any) -> Any:
    """Apply f to what is of a kind in nested tuples, lists and dictionaries."""
    if isinstance(tree, kind):
        return f(tree)
    if type(tree) in (tuple, list):  # a torch.Size is left as it is
        return type(tree)([_mapped(f, part, kind) for part in tree])
    if type(tree) is dict:
        return {key: _mapped(f, part, kind) for key, part in tree.items()}
    return tree


def _vjp_of(grad: Any) -> Callable[..., Any]:
    def vjp(dy: Any, x: Any, **options: Any) -> Any:
        dx = _spread(dy, x, options.get("axis")) * grad(x, **options)
        return dx.sum_to_size(x.shape)

    return vjp


def _spread(dy: Any, x: Any, axis: Any) -> Any:
    """Return the gradient of a loss so that it meets x: the axes it was reduced over have 1 entry.

    These are `axis` or, if there is none, the last.
    """
    if dy.ndim >= x.ndim:
        return dy
    axes = range(dy.ndim, x.ndim) if axis is None else [a % x.ndim for a in np.atleast_1d(axis)]
    return dy.reshape([1 if i in axes else n for i, n in enumerate(x.shape)])


#: The parameters that torch keeps transposed; what else torch.nn has is as there.
_TRANSPOSED: dict[type[Layer], tuple[str, ...]] = {
    Linear: ("weight",),
    Attention: ("in_proj_weight", "out_proj.weight"),
}
#: An entry of torch's normalisation that only counts batches.
_COUNT = "num_batches_tracked"


def _transposed(layer: Layer) -> set[str]:
    return {
        prefix + name
        for prefix, own in _within(layer)
        for kind, names in _TRANSPOSED.items()
        if isinstance(own, kind)
        for name in names
    }


def _within(layer: Layer, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield a layer and all layers in it, with what their parameters' names begin with."""
    yield prefix, layer
    if isinstance(layer, Row):
        for i, own in enumerate(layer.layers):
            yield from _within(own, f"{prefix}{i}.")
    if isinstance(layer, Residual) and layer.shortcut is not None:
        yield from _within(layer.shortcut, f"{prefix}shortcut.")


def _without_counts(module: Any, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in [n for n in state_dict if n.startswith(prefix) and n.endswith(_COUNT)]:
        del state_dict[name]
