"""Charts as plotly's JSON: data, a layout for a wide page and one for a narrow one.

They are plain dictionaries, so that a page can be made and tested where plotly itself is not; a
test holds them against plotly's schema where it is.
"""

import base64
import html
import textwrap

import numpy as np


# The markers of analysis/style.py in plotly's words: one each, so that a policy keeps its look.
SYMBOLS = {
    "*": "star",
    "X": "x",
    "v": "triangle-down",
    "^": "triangle-up",
    "<": "triangle-left",
    ">": "triangle-right",
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "P": "cross",
    "p": "pentagon",
    "h": "hexagon",
    "d": "diamond-tall",
    "H": "hexagon2",
    "8": "octagon",
    (4, 1, 0): "star-diamond",
    (5, 0, 36): "star-triangle-down",
    (6, 0, 0): "hexagram",
    (3, 0, 90): "triangle-sw",
    (4, 0, 45): "star-square",
    (3, 0, 270): "triangle-se",
    (8, 0, 0): "hourglass",
    (5, 1, 0): "star-triangle-up",
}
MARGIN = dict(l=58, r=14, t=30, b=46)


def text(words, width=0):
    """Any text as plotly shows it: its tags are text. With a width, in lines of so many letters."""
    words = " ".join(str(words).split())
    lines = textwrap.wrap(words, width, break_on_hyphens=False) if width else [words]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def array(values, kind="f4"):
    """A typed array, which is a third of its digits; NaN is a gap."""
    values = np.ascontiguousarray(values, dtype="<" + kind)
    found = {"dtype": kind, "bdata": base64.b64encode(values.tobytes()).decode()}
    if values.ndim > 1:
        found["shape"] = ", ".join(map(str, values.shape))
    return found


def dash(line):
    """A line style of analysis/style.py."""
    return "solid" if line == "-" else ",".join(f"{2 * length:g}px" for length in line[1])


def log_axis(title, low, high):
    """Logarithmic, with labels that have room: decades where the span is long, 1-2-5 where it is not."""
    decades = float(np.log10(high / low))
    steps = dict(dtick=1) if decades > 2.6 else dict(dtick="D2") if decades > 0.7 else dict(nticks=6)
    return axis(
        title=dict(text=title, standoff=6),
        type="log",
        tickformat="~g",
        range=[float(np.log10(low)) - 1e-4, float(np.log10(high))],
        **steps,
    )  # what stands on the edge is drawn


def axis(**more):
    return dict(
        gridcolor="#e4e4e4",
        zeroline=False,
        ticks="outside",
        ticklen=3,
        tickcolor="#bbbbbb",
        linecolor="#bbbbbb",
        showline=True,
        automargin=True,
        **more,
    )


def layout(height, margin=MARGIN, **more):
    return dict(
        height=height,
        margin=margin,
        font=dict(family="system-ui, sans-serif", size=12, color="#222222"),
        paper_bgcolor="white",
        plot_bgcolor="white",
        hovermode="closest",
        hoverlabel=dict(align="left", bgcolor="white", font=dict(size=11, color="#222222")),
        **more,
    )


def legend_rows(labels, width):
    """How many rows a horizontal legend takes, so that room is kept for it."""
    rows, used = 1, 0
    for label in labels:
        lines = label.split("<br>")
        needed = 52 + 6 * max(map(len, lines))
        if used and used + needed > width:
            rows, used = rows + 1, 0
        used += needed
        rows += 0.7 * (len(lines) - 1)
    return rows


def legend(labels, width, **place):
    """(the legend, the height to keep for it): scrolled where it would be very high."""
    height = int(min(20 * legend_rows(labels, width) + 10, 360))
    return (
        dict(orientation="h", x=0, itemwidth=30, font=dict(size=11), tracegroupgap=2, maxheight=height, **place),
        height,
    )


def panels(titles, axes, labels):
    """(wide, narrow) layouts of panels that share their scales: side by side, and one below the other.

    `axes`: (x, y) axis of each panel; `labels`: what the legend below will show.
    """
    count, found = len(titles), []
    for wide in (True, False):
        height, gap = (350, 0.035) if wide else (270 * count, 0.22 / count)
        spans = [((1 + gap) * i / count, (1 + gap) * (i + 1) / count - gap) for i in range(count)]
        spans = spans if wide else spans[::-1]
        key, below = legend(labels, 1080 if wide else 290, y=0, yref="container", yanchor="bottom")
        margin = dict(MARGIN, b=MARGIN["b"] + below, t=54 if wide else 30)  # the tools of a wide page stand above
        one = layout(height + margin["t"] + margin["b"], margin, annotations=[], legend=key)
        for i, ((x, y), span) in enumerate(zip(axes, spans)):
            n = str(i + 1) if i else ""
            one["xaxis" + n] = dict(x, domain=list(span) if wide else [0, 1], anchor="y" + n)
            one["yaxis" + n] = dict(y, domain=[0, 1] if wide else list(span), anchor="x" + n)
            if i:
                one["xaxis" + n]["matches"], one["yaxis" + n]["matches"] = "x", "y"
            if wide and i:
                one["yaxis" + n].update(showticklabels=False, title=dict(text=""))
            if not wide and i < count - 1:
                one["xaxis" + n]["title"] = dict(text="")
            one["annotations"].append(
                dict(
                    text=f"<b>{titles[i]}</b>",
                    showarrow=False,
                    xref=f"x{n} domain",
                    yref=f"y{n} domain",
                    x=0,
                    y=1,
                    xanchor="left",
                    yanchor="bottom",
                    font=dict(size=13),
                )
            )
        found.append(one)
    return found


def look(colour, marker, dashes, **mark):
    """`mark`: what else plotly's `marker` says."""
    return dict(marker=dict(color=colour, symbol=SYMBOLS[marker], **mark), line=dict(color=colour, dash=dash(dashes)))
