"""From which context a policy beats dense attention, against batch: a panel per model and machine."""

from matplotlib.lines import Line2D

from analysis import style
from analysis.simulation.names import curve_names, looks, tokens
from analysis.simulation.tables import panels, rows_of

GAP = 0.9  # octaves between the longest context and "never"


def draw(curves):
    """`curves`: those with `crossover`. Hollow: extrapolated; crossed: does not fit the memory."""
    curves = [c for c in curves if c.policy != "dense"]
    if not curves:
        return None
    places = panels(curves)
    columns = min(3, len(places))
    rows = -(-len(places) // columns)
    names, look = curve_names(curves), looks(curves)
    lines = max(title(p, places).count("\n") for p in places) + 1
    fig, grid = style.panels(rows, columns, style.TEXT_WIDTH, 1.75, share_y=True, left=0.62,
                             above=0.06 + 0.14 * lines, between=0.34 + 0.14 * lines)
    end = max(int(r["to"]) for c in curves for r in c.crossover)
    start = min(int(r["from"]) for c in curves for r in c.crossover)
    never = end * 2 ** GAP
    batches = sorted({int(r["batch"]) for c in curves for r in c.crossover})
    used = set()
    for i, ax in enumerate(grid.flat):
        if i >= len(places):
            ax.set_visible(False)
            continue
        mine = [c for c in curves if rows_of(c, places[i])]
        for n, curve in enumerate(mine):
            shift = 0.15 * (n - (len(mine) - 1) / 2)  # so that equal ones stay apart
            used |= _plot(ax, rows_of(curve, places[i]), batches, shift, never, *look[curve.label])
        ax.axhline(end * 2 ** (GAP / 2), color="#888888", linewidth=0.6)
        ax.set_yscale("log", base=2)
        ax.set_ylim(start / 2 ** 0.5, never * 2 ** 0.5)
        ticks = [start] + [t for t in (1 << p for p in range(0, 41, 2)) if 1.5 * start < t <= end]
        words = [("≤ " if t == start else "") + tokens(t) for t in ticks]
        ax.set_yticks(ticks + [never], words + ["never"]
                      if i % columns == 0 else [])
        ax.set_xlim(-0.5, len(batches) - 0.5)
        ax.set_xticks(range(len(batches)), [str(b) for b in batches])
        ax.minorticks_off()
        ax.grid(True, axis="y")
        ax.set_title(title(places[i], places))
        if i % columns == 0:
            ax.set_ylabel("beats dense from (tokens)")
        if i + columns >= len(places):
            ax.set_xlabel("batch (sequences)")
    handles = [Line2D([], [], color=look[k][0], marker=look[k][1], label=n) for k, n in names.items()]
    notes = {"hollow": ("o", "hollow: extrapolated"), "beyond": ("x", "crossed: does not fit the memory")}
    for key in (k for k in notes if k in used):
        handles.append(Line2D([], [], color="#555555", marker=notes[key][0], markerfacecolor="white",
                              linestyle="none", label=notes[key][1]))
    style.legend_below(fig, handles)
    return fig


def title(place, places):
    """What tells a panel from the others: model and machine, and what else differs."""
    (_, hardware, what_if, model, workload), cache = place
    machine = ", ".join(filter(None, (hardware, what_if)))
    more = [workload if len({s[-1] for s, _ in places}) > 1 else "",
            cache if len({c for _, c in places}) > 1 else ""]
    return "\n".join([model, machine] + [m for m in more if m])


def _plot(ax, rows, batches, shift, never, colour, marker):
    """Marks of one policy, joined where they are neighbours and none is "never"."""
    used, last = set(), None
    for row in sorted(rows, key=lambda r: r["batch"]):
        x = batches.index(int(row["batch"])) + shift
        y = float(row["context"]) or never
        if last and never not in (y, last[1]):
            ax.plot([last[0], x], [last[1], y], color=colour, linewidth=0.9, zorder=2)
        hollow = bool(row["extrapolated"])
        ax.plot(x, y, marker=marker, color=colour, linestyle="none", zorder=3,
                markerfacecolor="white" if hollow else colour, markeredgewidth=0.9)
        if row["context"] > row["largest"] and y != never:
            ax.plot(x, y, marker="x", color="#333333", markersize=6.5, linestyle="none", zorder=4,
                    markeredgewidth=0.8)
            used.add("beyond")
        used |= {"hollow"} if hollow else set()
        last = (x, y)
    return used
