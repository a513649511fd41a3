"""Cases: momentum with the rate inside."""

from companion.optimizers import HeavyBall, Nesterov
from tests.optimizers.case import Case

CASES = {
    "HeavyBall": Case(HeavyBall(lr=0.05)),
    "Nesterov": Case(Nesterov(lr=0.05)),
}
