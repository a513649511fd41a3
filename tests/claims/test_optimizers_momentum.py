"""Claims about momentum that are not told in a box."""

import numpy as np
import torch

from companion.backend import array, to_numpy
from companion.optimizers import HeavyBall


def test_the_rate_inside_the_buffer(ledger):
    """Against torch's own optimizer, whose rate falls by ten after 50 steps."""
    curvature = np.array([0.02, 0.3, 1.0])
    apart = []
    for drop in (1.0, 0.1):

        def rate(t, drop=drop):
            return 0.1 * (drop if t >= 50 else 1.0)

        opt, theta = HeavyBall(rate, 0.9), array(np.ones(3))
        state = opt.init(theta)
        parameter = torch.ones(3, dtype=torch.float64, requires_grad=True)
        theirs = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
        found = []
        for t in range(60):
            theta, state = opt.update(theta, array(curvature) * theta, state)
            theirs.param_groups[0]["lr"] = rate(t)
            parameter.grad = torch.tensor(curvature) * parameter.detach()
            theirs.step()
            found.append(np.abs(to_numpy(theta) - parameter.detach().numpy()).max())
        apart.append(max(found))
    ledger(
        "OPT-08",
        holds=apart[0] < 1e-14 and apart[1] > 1e-2,
        measured="60 steps beside torch's SGD: less than 1e-14 apart at a constant rate, more than "
        "0.01 when the rate falls by ten after 50",
    )


def steps_to(lr, beta, curvature, small=1e-6):
    """Steps until this and the last iterate are small."""
    curvature, before, x = array(curvature), np.ones(1), array(np.ones(len(curvature)))
    opt = HeavyBall(lr, beta)
    state = opt.init(x)
    while max(abs(before).max(), abs(to_numpy(x)).max()) > small:
        before = to_numpy(x)
        x, state = opt.update(x, curvature * x, state)
    return state["step"]


def test_momentum_on_good_and_bad_conditions(ledger):
    gains = []
    for kappa in (100.0, 10_000.0):
        root = kappa**0.5
        plain = steps_to(2 / (1 + kappa), 0.0, [1.0, kappa])
        pair = 4 / (1 + root) ** 2, ((root - 1) / (root + 1)) ** 2
        gains.append(plain / steps_to(*pair, [1.0, kappa]))
    losses = [steps_to(0.5, beta, [1.0]) / steps_to(0.5, 0.0, [1.0]) for beta in (0.9, 0.99)]
    ledger(
        "OPT-09",
        holds=gains[0] > 5 and gains[1] > 50 and losses[0] > 10 and losses[1] > 100,
        measured=f"best heavy ball against best descent: {gains[0]:.0f} and {gains[1]:.0f} times "
        "fewer steps at condition numbers 100 and 10,000; on a parabola at rate 0.5 "
        f"{losses[0]:.0f} and {losses[1]:.0f} times more with momentum 0.9 and 0.99",
    )
