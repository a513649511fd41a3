"""Optimizers of this package in torch's own training."""

import copy
import io

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.optim import lr_scheduler

from companion import torch_bridge
from companion.optimizers import SGD, Adam, Lion, Muon, NaturalGradient, Nesterov
from companion.torch_bridge import as_torch_optimizer
from tests.optimizers.parity import NET

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = (X[:, 0] * X[:, 1] > 0).long()


def module_of(seed=0):
    torch.manual_seed(seed)
    rows = torch.nn.Linear(3, 5), torch.nn.LayerNorm(5), torch.nn.Tanh(), torch.nn.Linear(5, 2)
    return torch.nn.Sequential(*rows).double()


def train(module, optimizer, scheduler=None, steps=200):
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(X), Y).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])


def both(ours, theirs, scheduler=None, steps=200, groups=lambda module: module.parameters()):
    """Return where a module ends with our optimizer and with torch's."""
    ends = []
    for make in (lambda p: as_torch_optimizer(ours, p), theirs):
        module = module_of()
        optimizer = make(groups(module))
        ends.append(train(module, optimizer, scheduler and scheduler(optimizer), steps))
    return ends


PAIRS = [
    (Adam(lr=0.01, weight_decay=0.1), lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1)),
    (SGD(lr=0.1, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
]
PAIR = pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=["Adam", "SGD"])


@PAIR
def test_it_follows_torchs(ours, theirs):
    assert_allclose(*both(ours, theirs), rtol=1e-10, atol=1e-12)


@PAIR
@pytest.mark.parametrize(
    "scheduler",
    [
        lambda o: lr_scheduler.StepLR(o, 50),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 200),
        lambda o: lr_scheduler.OneCycleLR(o, 0.05, total_steps=200),  # moves betas or momentum
    ],
    ids=["step", "cosine", "one cycle"],
)
def test_schedulers_of_torch_move_it(ours, theirs, scheduler):
    assert_allclose(*both(ours, theirs, scheduler), rtol=1e-10, atol=1e-12)


@PAIR
def test_groups_have_their_own_hyperparameters(ours, theirs):
    def groups(module):
        first, _, _, last = module
        return [
            {"params": first.parameters(), "lr": 0.003},
            {"params": last.parameters(), "weight_decay": 0.5},
        ]

    assert_allclose(*both(ours, theirs, groups=groups), rtol=1e-10, atol=1e-12)


@PAIR
def test_without_gradient_nothing_moves_and_no_step_is_counted(ours, theirs):
    """Parameters leave and come back; one never has a gradient at all."""
    ends = []
    for make in (lambda p: as_torch_optimizer(ours, p), theirs):
        params = [torch.full((k,), 1.0 + k, dtype=torch.float64) for k in (1, 2, 3, 4)]
        optimizer = make(params)
        for t in range(60):
            absent = {3: True, 0: t % 3 == 0, 1: t % 2 == 0, 2: t < 10}
            for i, p in enumerate(params):
                p.grad = None if absent[i] else p - 0.1 * t
            optimizer.step()
        ends.append(torch.cat(params).numpy())
        assert params[3].tolist() == [5.0] * 4
        assert params[3] not in optimizer.state
        if make is not theirs:
            steps = [optimizer.state[p]["step"] for p in params[:3]]
            assert steps == [40, 30, 50]
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


def test_it_takes_over_from_torch_and_hands_back():
    """The state of Adam has torch's names and form."""
    kinds = [lambda p: torch.optim.Adam(p, lr=0.01), lambda p: as_torch_optimizer(Adam(0.01), p)]
    ends = []
    for order in ((0, 0, 0), (0, 1, 0)):
        module, kept = module_of(), None
        for kind in order:
            optimizer = kinds[kind](list(module.parameters()))
            if kept is not None:
                optimizer.state.update(
                    {
                        p: {n: torch.as_tensor(v) + 0.0 for n, v in kept[i].items()}
                        for i, p in enumerate(module.parameters())
                    }
                )
            end = train(module, optimizer, steps=20)
            kept = copy.deepcopy(optimizer.state_dict()["state"])
        ends.append(end)
    assert_allclose(*ends, rtol=1e-10)


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
    ],
)
def test_bad_input_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make([torch.ones(2)])


def test_sparse_gradients_are_refused():
    p = torch.ones(3)
    p.grad = torch.sparse_coo_tensor([[1]], [1.0], (3,))
    with pytest.raises(RuntimeError, match="no sparse gradients"):
        as_torch_optimizer(SGD(1.0), [p]).step()


# Planted mistakes ---------------------------------------------------------------------------


def test_a_rate_that_stays_is_caught(monkeypatch):
    monkeypatch.setattr(torch_bridge._TorchOptimizer, "_rule", lambda self, group: self.optimizer)
    with pytest.raises(AssertionError):
        test_schedulers_of_torch_move_it(*PAIRS[0], lambda o: lr_scheduler.StepLR(o, 50))
    with pytest.raises(AssertionError):
        test_groups_have_their_own_hyperparameters(*PAIRS[0])


def test_zeros_for_missing_gradients_are_caught(monkeypatch):
    right = torch_bridge._TorchOptimizer.step

    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        return right(self, closure)

    monkeypatch.setattr(torch_bridge._TorchOptimizer, "step", step)
    with pytest.raises(AssertionError):
        test_without_gradient_nothing_moves_and_no_step_is_counted(*PAIRS[0])


def test_one_history_for_all_is_caught(monkeypatch):
    monkeypatch.setattr(torch_bridge, "str", lambda alike: bool(alike), raising=False)
    with pytest.raises(AssertionError):
        test_without_gradient_nothing_moves_and_no_step_is_counted(*PAIRS[0])
