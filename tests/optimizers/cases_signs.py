"""Cases: signs, matrices and distributions."""

from companion.backend import namespace
from companion.optimizers import Adam, Lion, Muon, NaturalGradient
from tests.optimizers.case import Case
from tests.optimizers.parity import NET


def metric(theta):
    """A matrix for each replica, that depends on where it is."""
    xp = namespace(theta)
    eye = xp.eye(theta.shape[-1], dtype=theta.dtype, device=theta.device)
    return eye + theta[..., :, None] * theta[..., None, :]


CASES = {
    "Lion": Case(Lion(lr=0.05, weight_decay=0.1)),
    "Muon": Case(Muon(0.05, NET, Adam(lr=0.05, weight_decay=0.1)), elementwise=False, rtol=1e-10),
    "NaturalGradient": Case(
        NaturalGradient(0.05, metric, damping=0.1), elementwise=False, rtol=1e-10
    ),
}
