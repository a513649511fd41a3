"""Losses of predicted boxes, row against row (chapter 3, section 8)."""

from __future__ import annotations

from typing import Any

from companion.backend import inspectable, namespace, reshape, vectorwise
from companion.boxes.coordinates import apart, ordered, shaped
from companion.boxes.formula import ROWS, evaluate, xy
from companion.losses.base import divisor, matched, pair, reduced


@vectorwise("prediction")
def box_iou_loss(prediction: Any, target: Any, *, reduction: str = "mean") -> Any:
    r"""IoU loss, :math:`1-|A\cap B|/|A\cup B|`, of each predicted box and its target.

    Core signature ``(n,4),(n,4)->()``; leading axes are replicas.

    Computed as the area that only one of both covers, over the union: for boxes that nearly agree
    all digits of :math:`1-\mathrm{IoU}` would be lost in the subtraction. No constant keeps the
    denominators from 0: one of 1e-7, as in torchvision's losses, is larger than the area of a box
    of side 3e-4, which is 2 pixels where the image has side 1. Boxes that do not overlap have the
    loss 1 and no gradient; :func:`generalized_box_iou_loss` and those after it have one.

    Parameters
    ----------
    prediction : array, shape (..., n, 4)
        Corners x1, y1, x2, y2.
    target : array, shape (..., n, 4)
        Leading axes may be left out where the replicas share them.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n boxes. torchvision's losses have "none".

    Returns
    -------
    array
        Shape (...), or (..., n) without reduction.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a box has x2 < x1 or y2 < y1. The values are looked at on the
        CPU only, and not inside a compiled graph.

    References
    ----------
    Yu et al. (2016), "UnitBox: an advanced object detection network", with the loss
    :math:`-\log\mathrm{IoU}`; as :math:`1-\mathrm{IoU}` in Rezatofighi et al. (2019).

    Examples
    --------
    >>> float(box_iou_loss([[0.0, 0.0, 2.0, 2.0]], [[1.0, 0.0, 3.0, 2.0]]))
    0.6666666666666666
    """
    return _evaluated("iou", prediction, target, reduction)[0]


@vectorwise("prediction")
def box_iou_loss_grad(prediction: Any, target: Any, *, reduction: str = "mean") -> Any:
    r"""Derivative of :func:`box_iou_loss` in the predicted corners, over n for the mean.

    With the intersection i by j and of area I, the sides w and h, the union U: the upper left
    corner's :math:`x_1` has :math:`-Ih/U^2` where it lies beyond the target,
    :math:`j(U-i(h-j))/U^2` where it lies within, the mean of both on its edge; :math:`x_2` has the
    negatives.

    Examples
    --------
    >>> box_iou_loss_grad([[0.0, 0.0, 2.0, 2.0]], [[1.0, 1.0, 3.0, 3.0]]).round(3)
    array([[-0.041, -0.041, -0.122, -0.122]])
    """
    return _evaluated("iou", prediction, target, reduction, slopes=True)[1]


@vectorwise("prediction")
def generalized_box_iou_loss(prediction: Any, target: Any, *, reduction: str = "mean") -> Any:
    r"""GIoU loss, :math:`1-\mathrm{IoU}+|C\setminus(A\cup B)|/|C|`, C the box that encloses both.

    Core signature ``(n,4),(n,4)->()``. From 0 to 2; boxes apart have a gradient. Parameters,
    returns and errors as in :func:`box_iou_loss`.

    References
    ----------
    Rezatofighi et al. (2019), "Generalized intersection over union".

    Examples
    --------
    >>> float(generalized_box_iou_loss([[0.0, 0.0, 2.0, 2.0]], [[3.0, 0.0, 5.0, 2.0]]))
    1.2
    """
    return _evaluated("giou", prediction, target, reduction)[0]


@vectorwise("prediction")
def generalized_box_iou_loss_grad(prediction: Any, target: Any, *, reduction: str = "mean") -> Any:
    """Derivative of :func:`generalized_box_iou_loss` in the predicted corners.

    Examples
    --------
    >>> generalized_box_iou_loss_grad([[0.0, 0.0, 2.0, 2.0]], [[3.0, 1.0, 5.0, 3.0]]).round(3)
    array([[ 0.027, -0.044, -0.133, -0.133]])
    """
    return _evaluated("giou", prediction, target, reduction, slopes=True)[1]


@vectorwise("prediction")
def distance_box_iou_loss(prediction: Any, target: Any, *, reduction: str = "mean") -> Any:
    r"""DIoU loss, :math:`1-\mathrm{IoU}+\rho^2/c^2`.

    Core signature ``(n,4),(n,4)->()``. Here :math:`\rho` is the distance of the centres and
    :math:`c` the diagonal of the box that encloses both; from 0 to 2. The gradient is the whole
    one, with that of :math:`c^2`, as in torchvision; the program of the paper's simulation steps
    otherwise. Parameters, returns and errors as in :func:`box_iou_loss`.

    References
    ----------
    Zheng et al. (2020), "Distance-IoU loss: faster and better learning for bounding box
    regression".

    Examples
    --------
    >>> float(distance_box_iou_loss([[0.0, 0.0, 2.0, 2.0]], [[2.0, 0.0, 4.0, 2.0]]))
    1.2
    """
    return _evaluated("diou", prediction, target, reduction)[0]


@vectorwise("prediction")
def distance_box_iou_loss_grad(prediction: Any, target: Any, *, reduction: str = "mean") -> Any:
    """Derivative of :func:`distance_box_iou_loss` in the predicted corners.

    Examples
    --------
    >>> distance_box_iou_loss_grad([[0.0, 0.0, 2.0, 2.0]], [[3.0, 0.0, 5.0, 2.0]]).round(3)
    array([[ 0.004,  0.021, -0.103, -0.021]])
    """
    return _evaluated("diou", prediction, target, reduction, slopes=True)[1]


@vectorwise("prediction")
def complete_box_iou_loss(
    prediction: Any, target: Any, *, alpha_gradient: bool = False, reduction: str = "mean"
) -> Any:
    r"""CIoU loss, :math:`1-\mathrm{IoU}+\rho^2/c^2+\alpha v`, with the aspect ratio in v.

    .. math:: v=\frac4{\pi^2}\Bigl(\arctan\frac{w'}{h'}-\arctan\frac wh\Bigr)^2,\qquad
       \alpha=\frac v{1-\mathrm{IoU}+v}

    Core signature ``(n,4),(n,4)->()``. The rest as in :func:`distance_box_iou_loss`, the parameters
    not named here as in :func:`box_iou_loss`. A box that is a point has :math:`v=0`.

    Parameters
    ----------
    alpha_gradient : bool, default False
        Whether the derivative sees that :math:`\alpha` changes with the box. The paper and
        torchvision hold it constant; the paper's code also takes :math:`w^2+h^2` for 1 in the
        derivative of v.

    References
    ----------
    Zheng et al. (2020), "Distance-IoU loss: faster and better learning for bounding box
    regression".

    Examples
    --------
    >>> round(float(complete_box_iou_loss([[1.0, 4.0, 9.0, 6.0]], [[0.0, 0.0, 10.0, 10.0]])), 4)
    0.8546
    """
    return _evaluated("ciou", prediction, target, reduction, alpha_gradient=alpha_gradient)[0]


@vectorwise("prediction")
def complete_box_iou_loss_grad(
    prediction: Any, target: Any, *, alpha_gradient: bool = False, reduction: str = "mean"
) -> Any:
    """Derivative of :func:`complete_box_iou_loss` in the predicted corners.

    Examples
    --------
    >>> boxes = [[0.0, 0.0, 4.0, 1.0]], [[0.0, 0.0, 2.0, 2.0]]
    >>> complete_box_iou_loss_grad(*boxes).round(3)
    array([[ 0.114, -0.003,  0.084, -0.263]])
    >>> complete_box_iou_loss_grad(*boxes, alpha_gradient=True).round(3)
    array([[ 0.11 ,  0.01 ,  0.086, -0.271]])
    """
    return _evaluated(
        "ciou", prediction, target, reduction, slopes=True, alpha_gradient=alpha_gradient
    )[1]


def _evaluated(
    kind: str,
    prediction: Any,
    target: Any,
    reduction: str,
    *,
    slopes: bool = False,
    alpha_gradient: bool = False,
) -> tuple[Any, Any]:
    """Return the loss and, if `slopes`, its gradient."""
    xp = namespace(prediction)
    shape = tuple(shaped(prediction, "prediction").shape)
    target = matched(target, prediction)
    if target.ndim < 2:
        raise ValueError(
            f"target must have the shape of prediction, but for leading axes; "
            f"got {tuple(target.shape)} for {shape}"
        )
    count = divisor(reduction, shape[-2])
    boxes = reshape(prediction, (-1, 4))
    others = reshape(xp.broadcast_to(target, shape), (-1, 4))
    n, losses, grads = boxes.shape[0], [], []
    rows = ROWS if inspectable(boxes) else max(n, 1)
    for i in range(0, max(n, 1), rows):
        found = evaluate(
            kind,
            ordered(apart(boxes[i : min(i + rows, n), :]), "prediction"),
            ordered(apart(others[i : min(i + rows, n), :]), "target"),
            slopes=slopes,
            alpha_gradient=alpha_gradient,
        )
        losses.append(found.loss)
        if slopes:
            grads.append(xp.stack((*xy(found.low), *xy(found.high)), axis=-1))
    loss = reduced(reshape(xp.concat(losses), shape[:-1]), reduction, -1)
    return loss, reshape(xp.concat(grads), shape) / count if slopes else None


def _both(kind: str) -> Any:
    def both(
        prediction: Any, target: Any, *, reduction: str = "mean", **options: Any
    ) -> tuple[Any, Any]:
        return _evaluated(kind, prediction, target, reduction, slopes=True, **options)

    return vectorwise("prediction")(both)


pair(box_iou_loss, box_iou_loss_grad, _both("iou"))
pair(generalized_box_iou_loss, generalized_box_iou_loss_grad, _both("giou"))
pair(distance_box_iou_loss, distance_box_iou_loss_grad, _both("diou"))
pair(complete_box_iou_loss, complete_box_iou_loss_grad, _both("ciou"))
