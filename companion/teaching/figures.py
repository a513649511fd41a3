"""One look for all figures, readable in print, on a phone and with any colour vision.

Importing the module sets the style. A figure made by `subplots` is stored as SVG, which stays
sharp and is compared with the stored one when the notebooks are tested; with ``format="png"`` it is
stored as PNG at double resolution, for data that differ in the last digits between machines.
"""

import io
import json
import re
from weakref import WeakSet

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from IPython import get_ipython
from matplotlib.figure import Figure
from PIL import Image

from companion.backend import to_numpy

# Okabe and Ito's palette, darkened where a line would have less than 3:1 contrast on white.
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#00846a"
PURPLE, OCHRE, GREY = "#a6509b", "#a87900", "#4d4d4d"
COLORS = (BLUE, ORANGE, GREEN, PURPLE, OCHRE, GREY)
# A line is told from the next by its dashes too, never by colour alone.
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1)), (0, (8, 2)))

WIDTH, HEIGHT = 5.6, 3.4  # inches; small, so that a phone need not shrink the letters much
CSS_DPI = 96
VEGALITE = "application/vnd.vegalite.v5+json"  # the newest that JupyterLab draws


_stored_as_png: WeakSet[Figure] = WeakSet()


def use_style():
    """Set the book's matplotlib style, and how a notebook stores a figure."""
    plt.rcParams.update(
        {
            "figure.figsize": (WIDTH, HEIGHT),
            "figure.dpi": CSS_DPI,
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.prop_cycle": cycler(color=COLORS) + cycler(linestyle=DASHES),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": "#666666",
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e4e4e4",
            "grid.linewidth": 0.8,
            "lines.linewidth": 2,
            "lines.dash_capstyle": "round",
            "lines.solid_capstyle": "round",
            "lines.scale_dashes": True,
            "xtick.color": "#444444",
            "ytick.color": "#444444",
            "legend.frameon": False,
            "image.cmap": "cividis",
            "mathtext.fontset": "cm",
            "svg.hashsalt": "deep-learning-verified",
        }
    )
    if shell := get_ipython():
        # pyplot's inline backend sets formatters of its own when it is first used.
        plt.close(plt.figure())
        formatters = shell.display_formatter.formatters
        formatters["image/svg+xml"].for_type(Figure, _svg)
        formatters["image/png"].for_type(Figure, _png)


def subplots(nrows=1, ncols=1, *, format="svg", **kwargs):
    """Make a figure in the book's size and choose how it is stored.

    Parameters
    ----------
    nrows, ncols : int
        As for `matplotlib.pyplot.subplots`.
    format : {"svg", "png"}
        How a notebook stores the figure.
    **kwargs
        Handed to `matplotlib.pyplot.subplots`.

    Returns
    -------
    fig, ax
        As from `matplotlib.pyplot.subplots`.
    """
    if format not in ("svg", "png"):
        raise ValueError(f"format must be 'svg' or 'png'; got {format!r}")
    size = (WIDTH if ncols == 1 else 1.35 * WIDTH, HEIGHT if nrows == 1 else 0.75 * HEIGHT * nrows)
    fig, ax = plt.subplots(nrows, ncols, **{"figsize": size, **kwargs})
    if format == "png":
        _stored_as_png.add(fig)
    return fig, ax


def band(ax, x, runs, label=None, *, percent=(10, 90), **kwargs):
    """Draw the median over the replicas and a band between two percentiles.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x : array_like
        Shape ``(n,)``.
    runs : array
        Shape ``(replicas, n)``.
    label : str, optional
    percent : (float, float)
        The percentiles that bound the band.
    **kwargs
        Handed to ``ax.plot``.

    Returns
    -------
    matplotlib.lines.Line2D
        The line of the median.
    """
    low, middle, high = np.percentile(to_numpy(runs), [percent[0], 50, percent[1]], axis=0)
    (line,) = ax.plot(x, middle, label=label, **kwargs)
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.18, linewidth=0)
    return line


def label_lines(ax):
    """Write each line's label at its right end, in its colour, instead of a legend.

    Call it last: labels are kept apart for the limits that the axes have now.
    """
    ax.margins(x=0)
    ax.autoscale_view()
    to_axes = ax.transData + ax.transAxes.inverted()
    ends = []
    for line in ax.get_lines():
        if not line.get_label().startswith("_"):
            points = np.column_stack(np.asarray(line.get_data(), float))
            end = points[np.isfinite(points).all(1)][-1]
            ends.append((*to_axes.transform(end)[::-1], line))
    gap = 1.25 * plt.rcParams["font.size"] / (ax.bbox.height * 72 / ax.figure.dpi)
    height = -np.inf
    for y, x, line in sorted(ends, key=lambda end: end[0]):
        height = max(min(y, 1), height + gap)
        ax.annotate(
            line.get_label(),
            (x, height),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=line.get_color(),
            annotation_clip=False,
        )


class Interactive:
    """A chart that JupyterLab and the site bring to life; its static picture is beside it."""

    def __init__(self, spec):
        self.spec = spec

    def __repr__(self):
        return f"Interactive figure: {self.spec['description']}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = {VEGALITE: self.spec, "text/plain": repr(self)}
        try:
            import vl_convert
        except ImportError:  # in a browser's Python
            return bundle
        return bundle | {"image/svg+xml": vl_convert.vegalite_to_svg(self.spec, vl_version="6.4")}


def interactive(chart, alt):
    """Make an Altair chart part of the book.

    Its data are rounded to four digits and its automatic names are numbered from one, so that a
    run stores the same text on every machine. Bound parameters need a name (``bind`` with
    ``name="..."``), which is what the reader sees beside the slider.

    Parameters
    ----------
    chart : altair chart
    alt : str
        What the figure shows, for a reader who does not see it.

    Returns
    -------
    Interactive
        Shows itself, as the last value of a cell.
    """
    import altair

    if not alt:
        raise ValueError(f"alt must say what the figure shows; got {alt!r}")
    with altair.data_transformers.enable(consolidate_datasets=False):
        spec = _rounded(chart.to_dict())
    del spec["$schema"]  # the site and JupyterLab draw it with different versions
    names = {}
    text = re.sub(
        r"\b(param|view)_\d+\b",
        lambda m: names.setdefault(m[0], f"{m[1]}_{len(names) + 1}"),
        json.dumps(spec),
    )
    spec = {"width": 500, "height": 300} | json.loads(text)
    return Interactive(spec | {"description": alt, "config": _VEGA_CONFIG})


_VEGA_CONFIG = {
    "font": "Inter, Helvetica, Arial, sans-serif",
    "background": None,
    "view": {"stroke": None},
    "axis": {"labelFontSize": 13, "titleFontSize": 13, "titleFontWeight": "normal"},
    "axisQuantitative": {"gridColor": "#e4e4e4", "tickCount": 6},
    "legend": {"labelFontSize": 13, "titleFontSize": 13, "orient": "top", "symbolStrokeWidth": 2},
    "header": {"labelFontSize": 13, "titleFontSize": 13},
    "text": {"fontSize": 13},
    "line": {"strokeWidth": 2},
    "range": {"category": list(COLORS), "heatmap": {"scheme": "cividis"}},
}


def _rounded(value):
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value


def _svg(fig):
    if fig in _stored_as_png:
        return None
    file = io.StringIO()
    fig.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _png(fig):
    if fig not in _stored_as_png:
        return None
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=2 * CSS_DPI)
    # 256 colours, white and those of the lines to the bit, make a third of the bytes
    image = Image.open(file).convert("RGB")
    image = image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small = io.BytesIO()
    image.save(small, format="png", optimize=True)
    return small.getvalue()


use_style()
