"""Calibration, time against context, serving, and the cache on the host."""

import numpy as np
from matplotlib.lines import Line2D

from analysis import style
from analysis.naming import pretty
from analysis.simulation.names import curve_names, looks, tokens


def calibration(simulation):
    """Predicted against measured, and the error against context; held-out points are hollow."""
    if simulation.measured is None:
        return None
    points = simulation.measured
    fig, grid = style.panels(1, 2, style.TEXT_WIDTH, 2.3)
    left, right = grid[0]
    policies = list(dict.fromkeys(p.decode() for p in points["policy"]))
    for policy in policies:
        colour, marker = style.look(policy)
        mine = points[points["policy"] == policy.encode()]
        error = 100 * (mine["predicted"] / mine["measured"] - 1)
        for held in (0, 1):
            chosen = mine["held_out"] == held
            face = "white" if held else colour
            left.plot(1e6 * mine["measured"][chosen], 1e6 * mine["predicted"][chosen], marker,
                      color=colour, markerfacecolor=face, linestyle="none")
            right.plot(mine["context"][chosen], error[chosen], marker, color=colour,
                       markerfacecolor=face, linestyle="none")
    ends = [1e6 * points["measured"].min() / 1.3, 1e6 * points["measured"].max() * 1.3]
    left.plot(ends, ends, color="black", linewidth=0.7, zorder=1)
    left.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="measured (µs)",
             ylabel="predicted (µs)", title="one layer's attention step")
    right.axhline(0, color="black", linewidth=0.7)
    right.axhspan(-10, 10, color="#EEEEEE", zorder=0)
    limit = max(28, 1.1 * np.abs(100 * (points["predicted"] / points["measured"] - 1)).max())
    right.set(ylim=(-limit, limit), xlabel="context (tokens)", ylabel="error (%)",
              title=_error_title(simulation.calibration))
    _token_axis(right, points["context"])
    for ax in (left, right):
        ax.grid(True)
    handles = [Line2D([], [], color=style.look(p)[0], marker=style.look(p)[1], linestyle="none",
                      label=pretty(p)) for p in policies]
    handles.append(Line2D([], [], color="#555555", marker="o", markerfacecolor="white",
                          linestyle="none", label="hollow: held out of the fit"))
    style.legend_below(fig, handles)
    return fig


def _error_title(c):
    return (f"held out: median {100 * c['held_out_median_error']:.1f} %, "
            f"worst {100 * c['held_out_worst_error']:.1f} %")


def times(curves, panels, pick):
    """ms per decode step against context; `panels`: [(title, selector of curves)]."""
    panels = [(t, [c for c in curves if chosen(c)]) for t, chosen in panels]
    panels = [(t, chosen) for t, chosen in panels if chosen]
    fig, grid = style.panels(1, len(panels), style.TEXT_WIDTH, 2.0, share_y=True)
    everyone = [c for _, chosen in panels for c in chosen]
    names, look = curve_names(everyone), looks(everyone)
    for ax, (title, chosen) in zip(grid[0], panels):
        for curve in chosen:
            points = np.sort(curve.points[pick(curve.points)], order="context")
            if not len(points):
                continue
            colour, marker = look[curve.label]
            outside = points["extrapolated"] > 0
            ax.plot(points["context"], 1e3 * points["seconds"], color=colour,
                    linestyle=(0, (2.5, 1.2)) if outside.all() else "-")
            for hollow in (False, True):
                ax.plot(points["context"][outside == hollow],
                        1e3 * points["seconds"][outside == hollow], marker, color=colour,
                        markerfacecolor="white" if hollow else colour, linestyle="none")
        ax.set(yscale="log", title=title, xlabel="context (tokens)")
        _token_axis(ax, np.concatenate([c.points["context"] for c in chosen]))
        ax.grid(True, which="both", axis="y")
    low = min(ax.get_ylim()[0] for ax in grid[0])
    high = max(ax.get_ylim()[1] for ax in grid[0])
    for ax in grid[0]:
        ax.set_ylim(low, high)
    grid[0][0].set_ylabel("ms per decode step")
    _legend(fig, names, look, extrapolated=True)
    return fig


def serving(curves):
    """Output rate, and p50 and p99 of the time per token, against the arrival rate."""
    curves = [c for c in curves if c.serving is not None]
    if not curves:
        return None
    fig, grid = style.panels(1, 3, style.TEXT_WIDTH, 1.9)
    names, look = curve_names(curves), looks(curves)
    fields = (("tokens_per_second", 1, "output tokens per second"),
              ("tpot_p50", 1e3, "time per output token, p50 (ms)"),
              ("tpot_p99", 1e3, "time per output token, p99 (ms)"))
    for ax, (field, unit, title) in zip(grid[0], fields):
        for curve in curves:
            colour, marker = look[curve.label]
            ax.plot(curve.serving["rate"], unit * curve.serving[field], color=colour,
                    marker=marker, markersize=3.5)
        ax.set(xscale="log", xlabel="requests per second", title=title)
        rates = sorted({float(r) for c in curves for r in c.serving["rate"]})
        ax.set_xticks(rates, [f"{r:g}" for r in rates])
        ax.minorticks_off()
        ax.set_ylim(bottom=0)
        ax.grid(True)
    _legend(fig, names, look)
    return fig


def offload(curves):
    """ms per step against the share of the cache on the device, and the hit rate."""
    curves = [c for c in curves if c.points is not None and (c.points["place"] == 1).any()]
    contexts = sorted({int(x) for c in curves for x in c.points["context"]})
    fig, grid = style.panels(1, len(contexts) + 1, style.TEXT_WIDTH, 1.9)
    names, look = curve_names(curves), looks(curves)
    for ax, context in zip(grid[0], contexts):
        for curve in curves:
            points = np.sort(curve.points[curve.points["context"] == context],
                             order="cache_share")
            ax.plot(100 * points["cache_share"], 1e3 * points["seconds"],
                    color=look[curve.label][0], marker=look[curve.label][1])
        ax.set(xscale="log", yscale="log", title=f"context {tokens(context)}, batch 1",
               xlabel="device cache (% of context)")
    grid[0][0].set_ylabel("ms per decode step")
    last = grid[0][-1]
    for curve in curves:
        points = np.sort(curve.points[curve.points["context"] == contexts[0]],
                         order="cache_share")
        last.plot(100 * points["cache_share"], 100 * points["hit_rate"],
                  color=look[curve.label][0], marker=look[curve.label][1])
    last.set(xscale="log", title="hits, from step to step", ylabel="hit rate (%)",
             xlabel="device cache (% of context)", ylim=(0, 100))
    for ax in grid[0]:
        shares = sorted({float(s) for c in curves for s in c.points["cache_share"]})
        ax.set_xticks([100 * s for s in shares], [f"{100 * s:g}" for s in shares])
        ax.minorticks_off()
        ax.grid(True)
    _legend(fig, names, look)
    return fig


def _token_axis(ax, contexts):
    ax.set_xscale("log", base=2)
    ticks = sorted({int(c) for c in contexts})
    ticks = ticks[::max(1, -(-len(ticks) // 7))]
    ax.set_xticks(ticks, [tokens(t) for t in ticks])
    ax.minorticks_off()


def _legend(fig, names, look, extrapolated=False):
    handles = [Line2D([], [], color=look[k][0], marker=look[k][1], label=n)
               for k, n in names.items()]
    if extrapolated:
        handles.append(Line2D([], [], color="#555555", marker="o", markerfacecolor="white",
                              linestyle="none", label="hollow: extrapolated"))
    style.legend_below(fig, handles)
