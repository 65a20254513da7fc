"""Where the time of a decode step goes: stacked bars per policy, one panel per setting."""

from matplotlib.patches import Patch

from analysis import style
from analysis.simulation.names import curve_names, tokens
from analysis.simulation.reader import PARTS

COLOURS = {"projections": "#4C78A8", "mlp": "#7FA6CC", "head": "#B4CDE4",
           "small_kernels": "#D5D5D5", "estimate": "#F2B134", "select": "#E0752D",
           "attend": "#B5402F", "re_clustering": "#8C6BB1",
           "all_reduce": "#5E9C6B"}
TITLES = {"small_kernels": "norms, rotary, activation", "mlp": "MLP", "head": "output head",
          "re_clustering": "re-clustering", "all_reduce": "all-reduce"}


def draw(panels):
    """`panels`: [(title, [(curve, point)])]. Times in ms per decode step."""
    names = curve_names([curve for _, bars in panels for curve, _ in bars])
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    tall = 0.19 * max(len(bars) for _, bars in panels) + 0.25
    lines = 1 + max(title.count("\n") for title, _ in panels)
    fig, grid = style.panels(rows, columns, style.TEXT_WIDTH, tall, left=1.85, share_y=True,
                             above=0.06 + 0.14 * lines, between=0.26 + 0.16 * lines)
    used = set()
    for i, ax in enumerate(grid.flat):
        if i >= len(panels):
            ax.set_visible(False)
            continue
        title, bars = panels[i]
        _stack(ax, bars, used)
        ax.set_title(title)
        ax.set_yticks(range(len(bars)), [names[c.label] for c, _ in bars]
                      if i % columns == 0 else [])
        ax.set_ylim(len(bars) - 0.4, -0.6)
        if i + columns >= len(panels):
            ax.set_xlabel("ms per decode step")
    style.legend_below(fig, [Patch(color=COLOURS[p], label=TITLES.get(p, p)) for p in PARTS
                             if p in used])
    return fig


def _stack(ax, bars, used):
    longest = max(1e3 * point["seconds"] for _, point in bars)
    for y, (_, point) in enumerate(bars):
        left = 0.0
        for part in PARTS:
            width = 1e3 * float(point["seconds_" + part])
            if width > 0:
                used.add(part)
                ax.barh(y, width, left=left, height=0.68, color=COLOURS[part])
                left += width
        mark = "" if point["fits"] else " †"
        ax.text(left + 0.015 * longest, y, f"{left:.3g}{mark}", va="center", fontsize=6.5)
    ax.set_xlim(0, 1.2 * longest)
    ax.grid(True, axis="x")
    ax.tick_params(axis="y", length=0)


def point_at(curve, **wanted):
    """The curve's point with these fields, or None."""
    for point in curve.points if curve.points is not None else ():
        if all(point[key] == value for key, value in wanted.items()):
            return point
    return None


def title_of(point):
    return f"{tokens(point['context'])}, batch {point['batch']}"
