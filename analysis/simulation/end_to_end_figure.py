"""Speed-ups of whole decode steps against the context: a row of panels per setting of a rival."""

import numpy as np
from matplotlib.lines import Line2D

from analysis import style
from analysis.simulation.names import tokens
from analysis.simulation.steps import EQUAL, PAPER, is_ours, names, policy_of


def draw(steps):
    """A row per base, a column per batch. Only over dense are rivals drawn too: among each other
    they would hide Double-P's lines."""
    bases = [b for b in steps.bases() if _compared(steps, b)]
    if not bases:
        return None
    fig, boxes = style.panels(len(bases), len(steps.batches), style.TEXT_WIDTH, 1.3, share_y=True,
                              left=0.66, between=0.34)
    called, look = names(steps.labels), _looks(steps.labels)
    for place, (row, base) in enumerate(zip(boxes, bases)):
        claim = PAPER.get(policy_of(base))
        top = claim or 1.0
        for ax, batch in zip(row, steps.batches):
            for label in _compared(steps, base):
                top = max(top, _curve(ax, steps, label, base, batch, *look[label]))
            ax.axhline(1, color="black", linewidth=0.7, zorder=1)
            if claim:
                ax.axhline(claim, color="#666666", linewidth=0.9, linestyle=":", zorder=1)
            ax.set_xscale("log", base=2)
            ax.set_xticks(steps.contexts, [tokens(c) for c in steps.contexts])
            ax.set_xlim(steps.contexts[0] / 1.15, steps.contexts[-1] * 1.15)
            ax.minorticks_off()
            ax.grid(True)
            if place == 0:
                ax.set_title(f"batch {batch}")
            if place + 1 == len(bases):
                ax.set_xlabel("context (tokens)")
        for ax in row:
            ax.set_ylim(0, 1.07 * top)
            if ax is not row[0]:
                ax.set_yticklabels([])
        row[0].set_ylabel("speed-up over\n" + called[base].replace(" (", "\n(")
                          .replace(", ", ",\n"), fontsize=7)
    drawn = [x for x in steps.labels if any(x in _compared(steps, b) for b in bases)]
    _legend(fig, drawn, look, called, any(policy_of(b) in PAPER for b in bases))
    return fig


def _legend(fig, labels, look, called, claims):
    handles = [Line2D([], [], color=look[x][0], marker=look[x][1], label=called[x])
               for x in labels]
    handles.append(Line2D([], [], color="#555555", marker="o", markerfacecolor="white",
                          linestyle=(0, (2, 1.2)), label="hollow, dashed: predicted"))
    if claims:
        handles.append(Line2D([], [], color="#BBBBBB", marker="o", markeredgecolor="black",
                              label="black rim: errors about equal"))
        handles.append(Line2D([], [], color="#666666", linestyle=":", label="the paper's claim"))
    style.legend_below(fig, handles)


def _compared(steps, base):
    return [x for x in steps.labels if is_ours(x) or (base == "dense" and x != base)]


def _looks(labels):
    """{label: (colour, marker)}: settings of one policy in its colour's shades."""
    found, count = {}, {}
    for label in labels:
        policy = policy_of(label)
        place = count.setdefault(policy, 0)
        count[policy] += 1
        colour, marker = style.look(policy)
        found[label] = (style.shade(colour, (0, 2, 1, 4, 3, 5)[place % 6]),
                        marker if place == 0 else ("^", "v", "P", "X")[(place - 1) % 4])
    return found


def _curve(ax, steps, label, base, batch, colour, marker):
    """Both lines of one setting, with a black rim where errors are about equal; the largest value
    drawn."""
    top = 0.0
    for field, line, face in (("predicted", (0, (2.5, 1.2)), "white"), ("measured", "-", colour)):
        found = [(c, steps.ratio(label, base, c, batch, field)) for c in steps.contexts]
        found = np.array([f for f in found if f[1] is not None])
        if not len(found):
            continue
        top = max(top, found[:, 1].max())
        ax.plot(found[:, 0], found[:, 1], color=colour, marker=marker, markerfacecolor=face,
                linestyle=line, linewidth=1.3 if field == "measured" else 0.9)
        if field == "measured":
            alike = np.array([f for f in found
                              if steps.compared(label, base, int(f[0]), batch) == EQUAL])
            if len(alike):
                ax.plot(alike[:, 0], alike[:, 1], color=colour, marker=marker, linestyle="none",
                        markeredgecolor="black", markeredgewidth=1.0)
    return top
