"""Cases: Adam with a step held within bounds."""

from companion.optimizers import AdaBound, AMSBound, AMSGrad
from tests.optimizers.case import Case

# torch divides a number by a tensor as the number times its reciprocal
ROUNDED = 1e-13
BOUNDS = {"lr": 0.05, "final_lr": 0.2, "gamma": 0.3, "weight_decay": 0.1}
CASES = {
    "AMSGrad": Case(AMSGrad(lr=0.05, betas=(0.9, 0.7), weight_decay=0.1)),
    "AdaBound": Case(AdaBound(**BOUNDS), rtol=ROUNDED),
    "AMSBound": Case(AMSBound(betas=(0.9, 0.7), **BOUNDS), rtol=ROUNDED),
}
