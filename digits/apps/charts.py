"""Draw charts as SVG for the page of a report. Text has the page's text colour, so it is readable in light and dark."""

import html
import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter, StrMethodFormatter

from digits.apps.calibration import Bin
from digits.apps.results import Epoch

#: A colour that stands for the page's text colour, and is replaced by `currentColor`, which Matplotlib does not have.
INK = "#010203"

#: Colours with a contrast of at least 3 : 1 to the page, both light and dark (WCAG 2.1, criterion 1.4.11).
BLUE, ORANGE = "#3a80c9", "#d2691e"

#: Intervals with fewer images than this are drawn faintly, since their accuracy is uncertain.
FEW = 10

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: the file is smaller, and the page's font is used
    "font.size": 11,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


#: The style of the curves of the earlier run.
FAINT: dict[str, Any] = {"linestyle": "--", "alpha": 0.75, "linewidth": 1.2}


class Chart(NamedTuple):
    """A drawing with a title."""

    title: str
    svg: str  # its aria-label has the figures as text, for readers who cannot see the drawing


def learning_curves(epochs: Sequence[Epoch], before: Sequence[Epoch], name: str) -> Chart:
    """Draw 'accuracy' or 'loss' by epoch, for training and validation. Lines of the earlier run are dashed."""
    title, ends = f"{name.capitalize()} by epoch", []
    curves = (("training", name, BLUE, "o"), ("validation", f"val_{name}", ORANGE, "s"))
    with style.context(["default", STYLE]):  # 'default': a user's matplotlibrc must not change the page
        figure = Figure(figsize=(5.2, 3.4))
        axes = figure.subplots()
        for run, suffix, look in ((before, ", before", FAINT), (epochs, "", {})):
            for split, field, colour, marker in curves:
                points = [(one.epoch, getattr(one, field)) for one in run if getattr(one, field) is not None]
                if points:
                    (curve,) = axes.plot(*zip(*points, strict=True), color=colour, label=split + suffix, **look)
                    if len(points) <= 50:
                        curve.set(marker=marker, markersize=4)
                    ends.append(f"{split}{suffix}: from {points[0][1]:.4f} to {points[-1][1]:.4f}")
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.legend()
        return Chart(title, _svg(figure, name, f"{title}, {len(epochs)} epochs. {'; '.join(ends)}."))


def reliability_diagram(bins: Sequence[Bin], error: float) -> Chart:
    """Draw accuracy by confidence, as in Guo et al. (2017), figure 1, and below it the images in each interval."""
    used = [one for one in bins if one.images]
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(5.2, 4.6))
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for one in used:
            low, high = sorted((one.accuracy, one.confidence))
            look = {"width": one.high - one.low, "align": "edge", "alpha": 1.0 if one.images >= FEW else 0.35}
            upper.bar(one.low, low, color=BLUE, linewidth=0, **look)
            upper.bar(one.low, high - low, bottom=low, color=ORANGE, linewidth=0, **look)
            upper.hlines(one.accuracy, one.low, one.high, color=INK, linewidth=2)
            lower.bar(one.low, one.images, one.high - one.low, align="edge", color=BLUE, edgecolor=INK, linewidth=0.5)
        upper.plot([0, 1], [0, 1], "--", color=INK, linewidth=1)
        upper.plot([], [], color=INK, linewidth=2, label="accuracy")
        upper.bar(0, 0, color=ORANGE, label="gap to confidence")
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
        upper.yaxis.set_major_formatter(PercentFormatter(1.0))
        upper.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        lower.set(xlabel="confidence: probability of the predicted class", ylabel="images", yscale="log")
        lower.set_ylim(bottom=0.5)
        lower.yaxis.set_major_locator(LogLocator(base=100))
        lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        lower.xaxis.set_major_formatter(PercentFormatter(1.0))
        texts = (f"confidence {one.confidence:.3f}, accuracy {one.accuracy:.3f}, {one.images} images" for one in used)
        label = f"Reliability diagram, expected calibration error {error:.4f}. By interval: {'; '.join(texts)}."
        return Chart("Reliability diagram: accuracy by confidence", _svg(figure, "reliability", label))


def _svg(figure: Figure, name: str, label: str) -> str:
    """Return a figure as an <svg> element. Equal drawings give equal bytes."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # The salt makes the identifiers of clip paths the same in each run and different in each chart of the page.
    with style.context({"svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # nothing uses these identifiers, and each chart would repeat them
    attributes = f'role="img" aria-label="{html.escape(label)}" data-chart="{name}"'
    # Without a width and a height, the drawing fills its place on the page.
    return re.sub(r"<svg[^>]*(viewBox=\"[^\"]*\")[^>]*>", lambda head: f"<svg {head[1]} {attributes}>", svg, count=1)
