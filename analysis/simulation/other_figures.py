"""Calibration, time against context, serving, and the cache on the host."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

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
    _plain_log(left, "x")
    _plain_log(left)
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


def times(curves, panels):
    """ms per decode step against context; `panels`: [(title, points -> mask)]."""
    fig, grid = style.panels(1, len(panels), style.TEXT_WIDTH, 2.0, share_y=True)
    names, look = curve_names(curves), looks(curves)
    for ax, (title, pick) in zip(grid[0], panels):
        for curve in curves:
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
        _token_axis(ax, np.concatenate([c.points["context"] for c in curves]))
        ax.grid(True, which="both", axis="y")
    low = min(ax.get_ylim()[0] for ax in grid[0])
    high = max(ax.get_ylim()[1] for ax in grid[0])
    for ax in grid[0]:
        ax.set_ylim(low, high)
        _plain_log(ax)
        if ax is not grid[0][0]:
            ax.set_yticklabels([])
            ax.set_yticklabels([], minor=True)
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
            outside = curve.serving["extrapolated"].all()
            ax.plot(curve.serving["rate"], unit * curve.serving[field], color=colour,
                    marker=marker, markersize=3.5,
                    markerfacecolor="white" if outside else colour,
                    linestyle=(0, (2.5, 1.2)) if outside else "-")
        ax.set(xscale="log", xlabel="requests per second", title=title)
        rates = sorted({float(r) for c in curves for r in c.serving["rate"]})
        ax.set_xticks(rates, [f"{r:g}" for r in rates])
        ax.minorticks_off()
        ax.set_ylim(bottom=0)
        ax.grid(True)
    _legend(fig, names, look, any(c.serving["extrapolated"].any() for c in curves))
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
        _plain_log(ax)
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


def accuracy(curves):
    """ms per decode step against the profile's output error: one line per policy."""
    workloads = list(dict.fromkeys(c.workload for c in curves))
    fig, grid = style.panels(1, len(workloads), style.TEXT_WIDTH, 2.4)
    series = {}
    for curve in curves:
        if curve.policy == "dense":
            continue
        key = (curve.policy, _switches(curve))
        series.setdefault(key, {}).setdefault(curve.workload, []).append(curve)
    handles = []
    for i, ((policy, switches), by_workload) in enumerate(series.items()):
        colour, marker = style.look(policy)
        place = [k[0] for k in series][:i].count(policy)
        colour = style.shade(colour, place)
        for ax, workload in zip(grid[0], workloads):
            mine = sorted(by_workload.get(workload, []), key=lambda c: c.output_error)
            ax.plot([100 * c.output_error for c in mine],
                    [1e3 * c.points[-1]["seconds"] for c in mine], color=colour,
                    marker="o" if place else marker)
        handles.append(Line2D([], [], color=colour, marker="o" if place else marker,
                              label=pretty(policy) + (f" ({switches})" if switches else "")))
    for ax, workload in zip(grid[0], workloads):
        dense = [c for c in curves if c.policy == "dense" and c.workload == workload]
        for curve in dense:
            ax.axhline(1e3 * curve.points[-1]["seconds"], color="black", linewidth=0.8)
            ax.text(0.02, 1e3 * curve.points[-1]["seconds"], "dense ", va="bottom", fontsize=7,
                    transform=ax.get_yaxis_transform())
        ax.set(xscale="log", yscale="log", xlabel="mean output error of the profile (%)",
               title=f"workload {workload}")
        _plain_log(ax)
        _plain_log(ax, "x")
        ax.grid(True, which="both", axis="both")
    grid[0][0].set_ylabel("ms per decode step")
    style.legend_below(fig, [h for h in handles if h.get_label() != "Dense"])
    return fig


def _switches(curve):
    """What tells double_p's variants apart, beside the numbers."""
    words = [curve.parameters.get(k) for k in ("estimator", "gqa")]
    text = [{"second_order": "2nd order", "group_sum": "by group"}.get(w, "") for w in words]
    return "; ".join(t for t in text if t)


def _plain_log(ax, which="y"):
    """A log axis of one or two decades, labelled 2, 5, 10, 20 instead of powers."""
    axis = ax.yaxis if which == "y" else ax.xaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_locator(NullLocator())


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
