"""Optimizers of this package in torch's own training."""

import copy
import io
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.optim import lr_scheduler

from companion import torch_bridge
from companion.optimizers import (
    SGD,
    AdaBound,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    AMSBound,
    AMSGrad,
    Lion,
    Muon,
    NAdam,
    NaturalGradient,
    Nesterov,
    RAdam,
    RMSprop,
)
from companion.torch_bridge import as_torch_optimizer
from tests.optimizers.parity import NET, adabounds

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = (X[:, 0] * X[:, 1] > 0).long()


def module_of(seed=0):
    torch.manual_seed(seed)
    rows = torch.nn.Linear(3, 5), torch.nn.LayerNorm(5), torch.nn.Tanh(), torch.nn.Linear(5, 2)
    return torch.nn.Sequential(*rows).double()


def train(module, optimizer, scheduler=None, steps=20):
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(X), Y).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])


def both(ours, theirs, scheduler=None, groups=lambda module: module.parameters()):
    """Return where a module ends with our optimizer and with torch's."""
    ends = []
    for make in (lambda p: as_torch_optimizer(ours, p), theirs):
        module = module_of()
        optimizer = make(groups(module))
        ends.append(train(module, optimizer, scheduler and scheduler(optimizer)))
    return ends


def pair(kind, torchs=None, more=None, **options):
    """Return our optimizer, and a function that makes torch's."""
    theirs = getattr(torch.optim, torchs or kind.__name__)
    return kind(**options), lambda params: theirs(params, **options, **(more or {}))


PAIRS = [
    pair(Adam, lr=0.01, weight_decay=0.1),
    pair(AdamW, lr=0.01, weight_decay=0.1),
    pair(AMSGrad, "Adam", {"amsgrad": True}, lr=0.01, betas=(0.9, 0.7)),
    pair(NAdam, lr=0.01, weight_decay=0.1),
    pair(RAdam, lr=0.01, weight_decay=0.1),
    pair(RMSprop, lr=0.01, alpha=0.9, momentum=0.9, centered=True),
    pair(Adagrad, lr=0.1, lr_decay=0.1, initial_accumulator_value=0.1),
    pair(Adadelta, lr=0.5, weight_decay=0.1),
    pair(SGD, lr=0.1, momentum=0.9, dampening=0.5),
]
PAIR = pytest.mark.parametrize(
    ("ours", "theirs"), PAIRS, ids=[type(ours).__name__ for ours, _ in PAIRS]
)


@pytest.fixture
def wide():
    """Have torch keep the numbers of its state, such as NAdam's product, in float64."""
    old = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(old)


@PAIR
def test_it_follows_torchs(wide, ours, theirs):
    assert_allclose(*both(ours, theirs), rtol=1e-10, atol=1e-12)


def one_cycle(optimizer):
    """Moves betas or momentum as well, where there are any."""
    moves = not {"betas", "momentum"}.isdisjoint(optimizer.defaults)
    return lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=20, cycle_momentum=moves)


@PAIR
@pytest.mark.parametrize(
    "scheduler",
    [
        lambda o: lr_scheduler.StepLR(o, 5),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 20),
        lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.05, 4, cycle_momentum=False),
        one_cycle,
    ],
    ids=["step", "cosine", "cyclic", "one cycle"],
)
def test_schedulers_of_torch_move_it(wide, ours, theirs, scheduler):
    assert_allclose(*both(ours, theirs, scheduler), rtol=1e-10, atol=1e-12)


def own_groups(module):
    first, _, _, last = module
    return [
        {"params": first.parameters(), "lr": 0.003},
        {"params": last.parameters(), "weight_decay": 0.5},
    ]


@PAIR
def test_groups_have_their_own_hyperparameters(wide, ours, theirs):
    assert_allclose(*both(ours, theirs, groups=own_groups), rtol=1e-10, atol=1e-12)


@PAIR
def test_without_gradient_nothing_moves_and_no_step_is_counted(wide, ours, theirs):
    """Parameters leave and come back; one never has a gradient at all."""
    ends = []
    for make in (lambda p: as_torch_optimizer(ours, p), theirs):
        params = [torch.full((k,), 1.0 + k, dtype=torch.float64) for k in (1, 2, 3, 4)]
        optimizer = make(params)
        for t in range(24):
            absent = {3: True, 0: t % 3 == 0, 1: t % 2 == 0, 2: t < 10}
            for i, p in enumerate(params):
                p.grad = None if absent[i] else p - 0.1 * t
            optimizer.step()
        ends.append(torch.cat(params).numpy())
        assert params[3].tolist() == [5.0] * 4
        if make is not theirs:
            assert params[3] not in optimizer.state
            steps = [optimizer.state[p]["step"] for p in params[:3]]
            assert steps == [16, 12, 14]
    assert_allclose(*ends, rtol=1e-10)


def test_a_gradient_of_zero_is_a_gradient():
    p = torch.ones(2)
    optimizer = as_torch_optimizer(Adam(lr=0.1), [p])
    p.grad = torch.ones(2)
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    before = p.clone()
    optimizer.step()
    assert (p != before).all()


@pytest.mark.parametrize(
    "opt",
    [Adam(lr=lambda t: 0.1 / (t + 1)), Lion(weight_decay=0.1)],
    ids=lambda o: type(o).__name__,
)
@pytest.mark.parametrize("how", ["state_dict", "file", "deepcopy"])
def test_it_goes_on_to_the_same_bits(opt, how):
    module = module_of()
    optimizer = as_torch_optimizer(opt, module.parameters())
    train(module, optimizer, steps=20)
    if how == "deepcopy":
        other, resumed = copy.deepcopy((module, optimizer))
    else:
        other = module_of(1)
        other.load_state_dict(copy.deepcopy(module.state_dict()))
        kept = optimizer.state_dict()
        if how == "file":
            file = io.BytesIO()
            torch.save(kept, file)
            file.seek(0)
            kept = torch.load(file)
        resumed = as_torch_optimizer(opt, other.parameters())
        resumed.load_state_dict(copy.deepcopy(kept))
    assert train(other, resumed, steps=20).tobytes() == train(module, optimizer, steps=20).tobytes()


def test_a_group_may_have_momentum_now_and_then():
    """As in torch's SGD; its RMSprop fails."""
    ends = []
    for make in (
        partial(as_torch_optimizer, SGD(np.float64(0.1))),
        partial(torch.optim.SGD, lr=0.1),
    ):
        p = torch.tensor([1.0, -2.0], dtype=torch.float64)
        optimizer = make(params=[p])
        for momentum in (0.0, 0.9, 0.9, 0.0, 0.5, 0.5):
            optimizer.param_groups[0]["momentum"] = momentum
            p.grad = p**3
            optimizer.step()
        ends.append(p)
    torch.testing.assert_close(*ends, rtol=1e-12, atol=0)


def test_products_that_differ_a_little_are_two_histories(wide):
    """As after a change of momentum_decay while one parameter had no gradient."""
    params = [torch.ones(2) for _ in range(2)]
    optimizer = as_torch_optimizer(NAdam(), params)
    for p in params:
        p.grad = torch.ones(2)
    optimizer.step()
    optimizer.state[params[1]]["mu_product"] = optimizer.state[params[0]]["mu_product"] + 1e-9
    optimizer.step()
    one, two = (float(optimizer.state[p]["mu_product"]) for p in params)
    assert 0 < two - one < 1e-9


EDITS = {
    "clear": lambda state, p: state.clear(),
    "remove": lambda state, p: state.pop(p),
    "replace": lambda state, p: state.update({p: {}}),
    "entry": lambda state, p: state[p].update(exp_avg=torch.ones_like(p)),
    "in place": lambda state, p: state[p]["exp_avg"].fill_(1.0),
    "count": lambda state, p: state[p].update(step=3),
}


def check_edit(edit):
    """Edit the state after five steps, here and in torch's own Adam, and go on."""
    ends = []
    for make in (lambda p: as_torch_optimizer(Adam(lr=0.1), p), lambda p: torch.optim.Adam(p, 0.1)):
        params = [torch.tensor([1.0, -1.0], dtype=torch.float64) for _ in range(2)]
        optimizer = make(params)
        for t in range(8):
            for i, p in enumerate(params):
                p.grad = (t + 1.0) * (i + p)
            if t == 5:
                edit(optimizer.state, params[0])
                for own in optimizer.state.values():
                    if "step" in own and isinstance(optimizer, torch.optim.Adam):
                        own["step"] = torch.as_tensor(float(own["step"]))
            optimizer.step()
        ends.append(torch.stack(params))
    torch.testing.assert_close(*ends, rtol=1e-12, atol=0)


@pytest.mark.parametrize("edit", EDITS)
def test_edits_of_the_state_are_seen(edit):
    check_edit(EDITS[edit])


@PAIR
@pytest.mark.parametrize("before", [1, 7])
def test_it_takes_over_from_torch_and_hands_back(wide, ours, theirs, before):
    """The state has torch's names and form; one that torch's optimizer saved is loaded whole."""
    ends = []
    for middle in (theirs, lambda p: as_torch_optimizer(ours, p)):
        module, saved = module_of(), None
        # of no axis, as torch's count of steps; the first has every other gradient
        extra = [torch.tensor(v, requires_grad=True) for v in (0.3, 0.7)]
        for make, steps in ((theirs, before), (middle, 7), (theirs, 7)):
            optimizer = make([*module.parameters(), *extra])
            if saved is not None:
                optimizer.load_state_dict(saved)
            for t in range(steps):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(module(X), Y)
                (loss + extra[1] ** 2 + (extra[0] ** 2 if t % 2 else 0)).backward()
                optimizer.step()
            now = copy.deepcopy(optimizer.state_dict())
            # of the options some, such as amsgrad, are in the name of ours
            saved = now if saved is None else now | {"param_groups": saved["param_groups"]}
        params = [*module.parameters(), *extra]
        ends.append(torch.cat([p.detach().ravel() for p in params]).numpy())
    assert_allclose(*ends, rtol=1e-10, atol=1e-12)


def test_sgd_without_a_buffer_is_loaded(wide):
    """So torch saves it without momentum; releases of old wrote None."""
    p = torch.ones(2)
    for entry in ({}, {0: {"momentum_buffer": None}}):
        optimizer = as_torch_optimizer(SGD(0.5, momentum=0.5, dampening=0.5), [p])
        saved = torch.optim.SGD([p], 0.5, momentum=0.5, dampening=0.5).state_dict()
        optimizer.load_state_dict(saved | {"state": entry})
        p.grad = torch.full((2,), 2.0)
        old = p.clone()
        optimizer.step()
        assert (old - p).tolist() == [1.0, 1.0]
        assert optimizer.state[p]["step"] == 1


@pytest.mark.parametrize("kind", [AdaBound, AMSBound])
def test_a_group_with_its_own_rate_is_bounded_by_it(wide, kind):
    """As in the authors' program: α falls with a group's rate, from what this is at first."""
    own = [({}, 0.01, 0.01), ({"lr": 0.2}, 0.2, 0.2), ({"lr": 0.2, "base_lr": 0.1}, 0.2, 0.1)]
    rng = np.random.default_rng(0)
    params = [torch.tensor(rng.standard_normal(4)) for _ in own]
    options = {"final_lr": 0.3, "gamma": 0.2}
    peers = [
        adabounds(kind is AMSBound, lr=lambda t, lr=lr: lr * 0.5 ** (t // 5), base_lr=base,
                  **options)(p.numpy().copy())
        for p, (_, lr, base) in zip(params, own, strict=True)
    ]  # fmt: skip
    groups = [{"params": p, **group} for p, (group, *_) in zip(params, own, strict=True)]
    optimizer = as_torch_optimizer(kind(lr=0.01, **options), groups)
    scheduler = lr_scheduler.StepLR(optimizer, 5)
    scheduler.gamma = 0.5
    for t in range(20):
        grads = [(10.0 ** rng.uniform(-3, 1)) * rng.standard_normal(4) for _ in params]
        for p, grad in zip(params, grads, strict=True):
            p.grad = torch.tensor(grad)
        optimizer.step()
        scheduler.step()
        if t == 12:  # what was saved without a base rate leaves it as it is
            saved = copy.deepcopy(optimizer.state_dict())
            for group in saved["param_groups"]:
                del group["base_lr"]
            optimizer.load_state_dict(saved)
        for p, peer, grad in zip(params, peers, grads, strict=True):
            assert_allclose(p.numpy(), peer(grad), rtol=1e-10, atol=1e-12)


def test_the_rate_is_that_of_the_group_and_the_decay_stays():
    module = module_of()
    optimizer = as_torch_optimizer(Lion(lr=0.01, weight_decay=0.1), module.parameters())
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.99)
    optimizer.param_groups[0]["lr"] = 0.0
    before = copy.deepcopy(module.state_dict())
    train(module, optimizer, steps=1)
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


def test_a_closure_is_called_with_gradients():
    module = module_of()
    optimizer = as_torch_optimizer(Adam(), module.parameters())

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(X), Y)
        loss.backward()
        return loss

    assert optimizer.step(closure) > optimizer.step(closure) > 0


def test_dtypes_and_strides_of_parameters_are_kept():
    params = [torch.ones(2, 3, dtype=torch.float32), torch.ones(3, 2, dtype=torch.float64).T]
    optimizer = as_torch_optimizer(SGD(lr=0.5, momentum=0.5), params)
    for p in params:
        p.grad = torch.arange(6.0, dtype=p.dtype).reshape(2, 3)
    optimizer.step()
    for p in params:
        assert p.tolist() == [[1.0, 0.5, 0.0], [-0.5, -1.0, -1.5]]
    assert [p.dtype for p in params] == [torch.float32, torch.float64]
    assert params[1].stride() == (1, 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: as_torch_optimizer("Adam", p), TypeError, "must be one of companion.optimizers"),
        (lambda p: as_torch_optimizer(Muon(0.1, NET, SGD(0.1)), p), TypeError, "Muon needs the wh"),
        (lambda p: as_torch_optimizer(NaturalGradient(1, np.diag), p), TypeError, "NaturalGrad"),
        (lambda p: as_torch_optimizer(Nesterov(0.1), p), TypeError, "Nesterov takes them elsew"),
        (lambda p: as_torch_optimizer(SGD(np.ones(2)), p), ValueError, "lr must be a number or a"),
        (
            lambda p: as_torch_optimizer(SGD(1), [{"params": p, "lr": -1}]),
            ValueError,
            "lr must not be negative; got -1",
        ),
        *(
            (
                lambda p, kind=kind, option=option: as_torch_optimizer(
                    kind(lr=0.1), [{"params": p} | option]
                ),
                ValueError,
                message,
            )
            for kind, option, message in [
                (SGD, {"maximize": True}, "maximize=True is no option of SGD; groups may have lr,"),
                (Adam, {"amsgrad": True}, "amsgrad=True is no option of Adam"),
                (AMSGrad, {"amsgrad": False}, "amsgrad=False is no option of AMSGrad"),
                (AdamW, {"decoupled_weight_decay": False}, "decoupled_weight_decay=False is no"),
                (Adam, {"decoupled_weight_decay": True}, "decoupled_weight_decay=True is no op"),
                (Adam, {"weight_decya": 0.1}, "weight_decya=0.1 is no option of Adam"),
                (RMSprop, {"betas": (0.9, 0.9)}, r"betas=\(0.9, 0.9\) is no option of RMSprop"),
            ]
        ),
        (
            lambda p: as_torch_optimizer(SGD(lambda t: 0.1), [{"params": p, "lr": 0.2}]),
            ValueError,
            "lr is a schedule here, of which groups have none of their own",
        ),
        (
            lambda p: as_torch_optimizer(Adam(0.1), [{"params": p, "lr": np.ones((3, 1))}]),
            ValueError,
            "lr must be a number or a schedule; got an array: use groups",
        ),
        (
            lambda p: as_torch_optimizer(Adam(), [*p, torch.ones(2, dtype=torch.complex128)]),
            TypeError,
            "parameters must be real; got one of torch.complex128",
        ),
    ],
)
def test_bad_input_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make([torch.ones(2)])


def test_a_group_that_is_refused_is_not_there():
    optimizer = as_torch_optimizer(Adam(), [torch.ones(2)])
    with pytest.raises(ValueError, match="maximize=True"):
        optimizer.add_param_group({"params": torch.ones(3), "maximize": True})
    with pytest.raises(TypeError, match="must be real"):
        optimizer.add_param_group({"params": torch.ones(3, dtype=torch.complex64)})
    assert len(optimizer.param_groups) == 1


def test_options_that_are_saved_or_set_later_are_looked_at():
    p = torch.ones(2)
    optimizer = as_torch_optimizer(Adam(), [p])
    theirs = torch.optim.Adam([p], lr=0.5, maximize=True).state_dict()
    with pytest.raises(ValueError, match="maximize=True is no option of Adam"):
        optimizer.load_state_dict(theirs)
    assert optimizer.param_groups[0]["lr"] == 0.001
    optimizer.param_groups[0]["amsgrad"] = True
    with pytest.raises(ValueError, match="amsgrad=True is no option of Adam"):
        optimizer.step()


def test_what_changes_no_step_may_be_in_a_group():
    group = {"params": [("weight", torch.ones(2))], "foreach": True, "fused": None, "name": "a"}
    aside = {"capturable": False, "differentiable": False, "maximize": False, "amsgrad": False}
    optimizer = as_torch_optimizer(Adam(), [group | aside | {"initial_lr": 0.1, "max_lr": 1.0}])
    optimizer.step()
    assert optimizer.param_groups[0]["param_names"] == ["weight"]


def test_sparse_gradients_are_refused():
    p = torch.ones(3)
    p.grad = torch.sparse_coo_tensor([[1]], [1.0], (3,))
    with pytest.raises(RuntimeError, match="no sparse gradients"):
        as_torch_optimizer(SGD(1.0), [p]).step()


# Planted mistakes ---------------------------------------------------------------------------


def test_a_rate_that_stays_is_caught(monkeypatch):
    monkeypatch.setattr(torch_bridge._TorchOptimizer, "_rule", lambda self, group: self.optimizer)
    with pytest.raises(AssertionError):
        test_schedulers_of_torch_move_it(None, *PAIRS[0], lambda o: lr_scheduler.StepLR(o, 5))
    with pytest.raises(AssertionError):
        test_groups_have_their_own_hyperparameters(None, *PAIRS[0])


def test_zeros_for_missing_gradients_are_caught(monkeypatch):
    right = torch_bridge._TorchOptimizer.step

    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        return right(self, closure)

    monkeypatch.setattr(torch_bridge._TorchOptimizer, "step", step)
    with pytest.raises(AssertionError):
        test_without_gradient_nothing_moves_and_no_step_is_counted(None, *PAIRS[0])


def test_one_history_for_all_is_caught(monkeypatch):
    monkeypatch.setattr(torch_bridge, "str", lambda alike: bool(alike), raising=False)
    with pytest.raises(AssertionError):
        test_without_gradient_nothing_moves_and_no_step_is_counted(None, *PAIRS[0])


def test_steps_counted_from_0_are_caught(wide, monkeypatch):
    right = torch_bridge._counted
    monkeypatch.setattr(torch_bridge, "_counted", lambda state: right({"step": 0} | state))
    test_it_takes_over_from_torch_and_hands_back(None, *PAIRS[0], 7)
    with pytest.raises(AssertionError):
        test_it_takes_over_from_torch_and_hands_back(None, *PAIRS[-1], 7)


def test_state_that_is_not_looked_at_is_caught(monkeypatch):
    monkeypatch.setattr(torch_bridge._TorchOptimizer, "_is_edited", lambda self: False)
    check_edit(EDITS["in place"])
    for name in EDITS.keys() - {"in place"}:
        with pytest.raises(AssertionError):
            check_edit(EDITS[name])


def test_one_base_rate_for_all_groups_is_caught(wide, monkeypatch):
    right = torch_bridge._TorchOptimizer.add_param_group

    def add_param_group(self, group):
        right(self, {"base_lr": self.defaults["base_lr"]} | group)

    monkeypatch.setattr(torch_bridge._TorchOptimizer, "add_param_group", add_param_group)
    with pytest.raises(AssertionError):
        test_a_group_with_its_own_rate_is_bounded_by_it(None, AdaBound)
