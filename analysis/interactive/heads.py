"""One run, looked into head by head: maps of layers and heads, predicted against true error."""

import numpy as np
from matplotlib.colors import LogNorm

from analysis.aggregate import head_map, predicted_rows
from analysis.axes import log_limits
from analysis.calibration_figure import FLOOR, spread
from analysis.heat_figure import metrics, scale_of
from analysis.interactive import plot

MOST_POINTS = 1000  # of a run's rows in one chart: evenly taken where there are more
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933")
SCALES = {"viridis": "Viridis", "viridis_r": "Viridis"}  # plotly reverses by a switch of its own


def of_trace(summaries, target):
    """({run: {chart: data}}, {chart: layouts}) of the runs of one trace, all on the same scales."""
    charts, layouts = {s.run: {} for s in summaries}, {}
    for column, (title, values, colours) in enumerate(metrics(target)):
        maps = {s.run: head_map(s.run.rows, values(s.run.rows)) for s in summaries}
        scale = scale_of(column, [found[2] for found in maps.values()])
        percent = "%" if "%" in title else ""
        layouts[f"map{column}"] = _map_layout(title, scale, colours, next(iter(maps.values())))
        for run, (layers, heads, matrix) in maps.items():
            charts[run][f"map{column}"] = [_map(layers, heads, matrix, scale, percent)]
    limits = log_limits(np.concatenate([_errors(predicted_rows(s.run.rows)) for s in summaries] or [[]]), FLOOR)
    ratios = {s.run: _ratios(s.run.rows) for s in summaries if len(predicted_rows(s.run.rows))}
    for run, found in ratios.items():
        charts[run].update(predicted=_predicted(run, limits), ratio=_ratio(found))
    labels = [one["name"] for one in max((charts[run]["predicted"] for run in ratios), key=len, default=[])]
    layouts["predicted"] = _predicted_layout(limits, labels)
    layouts["ratio"] = _ratio_layout(
        log_limits([1, *(value for found in ratios.values() for one in found for value in one[1:])])
    )
    return charts, layouts


def _map(layers, heads, matrix, scale, percent):
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.log10(np.maximum(matrix, scale.vmin)) if isinstance(scale, LogNorm) else matrix
    return dict(
        type="heatmap",
        x=[str(h) for h in heads],
        y=[str(y) for y in layers],
        z=plot.array(shown),
        customdata=plot.array(matrix),
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate="layer %{y}, head %{x}<br>%{customdata:.4g} " + percent + "<extra></extra>",
    )


def _map_layout(title, scale, colours, example):
    logarithmic = isinstance(scale, LogNorm)
    bar = dict(thickness=10, outlinewidth=0, tickfont=dict(size=10), len=1, lenmode="fraction")
    low, high = np.log10([scale.vmin, scale.vmax]) if logarithmic else (scale.vmin, scale.vmax)
    if logarithmic:
        ticks = np.logspace(low, high, 4)
        bar.update(tickvals=[float(np.log10(t)) for t in ticks], ticktext=[f"{float(f'{t:.2g}'):g}" for t in ticks])
    height = int(np.clip(26 * len(example[0]), 110, 460))
    words = dict(type="category", tickangle=0)
    one = plot.layout(
        height + 84,
        dict(plot.MARGIN, l=48, r=10),
        xaxis=plot.axis(title=dict(text="Query head", standoff=4), nticks=8, **words),
        yaxis=plot.axis(title=dict(text="Layer", standoff=4), nticks=12, autorange="reversed", **words),
        coloraxis=dict(
            colorscale=SCALES[colours],
            reversescale=colours.endswith("_r"),
            cmin=float(low),
            cmax=float(high),
            colorbar=bar,
        ),
    )
    one["title"] = dict(text=f"<b>{plot.text(title)}</b>", font=dict(size=13), x=0.02, y=0.98, yanchor="top")
    one["plot_bgcolor"] = "#cccccc"
    return one, one


def _errors(rows):
    return np.concatenate([rows["predicted_error"], rows["output_error"]])


def _predicted(run, limits):
    """Predicted against true error of single rows, a colour per layer."""
    rows = predicted_rows(run.rows)
    rows = rows[:: -(-len(rows) // MOST_POINTS)]
    ends = [float(v) for v in limits]
    data = [
        dict(
            type="scatter",
            mode="lines",
            x=ends,
            y=ends,
            name="true = predicted",
            hoverinfo="skip",
            line=dict(color="black", width=1),
        )
    ]
    if np.isfinite(run.target_error):
        data.append(
            dict(
                type="scatter",
                mode="lines",
                x=ends,
                y=[run.target_error] * 2,
                name="promised error",
                hoverinfo="skip",
                line=dict(color="#D55E00", width=1, dash="dash"),
            )
        )
    for place, layer in enumerate(np.unique(rows["layer"])):
        mine = rows[rows["layer"] == layer]
        data.append(
            dict(
                type="scatter",
                mode="markers",
                name=f"layer {layer}",
                x=plot.array(mine["predicted_error"]),
                y=plot.array(mine["output_error"]),
                customdata=plot.array(np.stack([mine["head"], mine["step"]], 1), "i4"),
                marker=dict(size=4, opacity=0.6, color=COLOURS[place % len(COLOURS)]),
                hovertemplate=f"layer {layer}, head %{{customdata[0]}}, step %{{customdata[1]}}"
                "<br>predicted %{x:.3g}, true %{y:.3g}<extra></extra>",
            )
        )
    return data


def _predicted_layout(limits, labels):
    found = []
    for width in (520, 290):
        key, below = plot.legend(labels, width, y=0, yref="container", yanchor="bottom")
        found.append(
            plot.layout(
                400 + below,
                dict(plot.MARGIN, b=plot.MARGIN["b"] + below),
                legend=key,
                xaxis=plot.log_axis("Predicted error", *limits),
                yaxis=plot.log_axis("True error", *limits),
            )
        )
    return found


def _ratios(rows):
    """(layer.head, 5th, 50th and 95th percentile over its steps) of true over predicted error, of each head."""
    found = []
    for layer, head in np.unique(np.stack([rows["layer"], rows["head"]], axis=1), axis=0):
        quantiles = spread(rows[(rows["layer"] == layer) & (rows["head"] == head)])
        if np.isfinite(quantiles).all():
            found.append((f"{layer}.{head}", *map(float, quantiles)))
    return found


def _ratio(found):
    names, low, middle, high = zip(*found)
    low, middle, high = map(np.array, (low, middle, high))
    ends = dict(
        type="data",
        symmetric=False,
        array=plot.array(high - middle),
        arrayminus=plot.array(middle - low),
        width=0,
        thickness=2,
        color="#7aa6c2",
    )
    return [
        dict(
            type="scatter",
            mode="markers",
            x=list(names),
            y=plot.array(middle),
            error_y=ends,
            showlegend=False,
            marker=dict(size=6, color=COLOURS[0]),
            hovertemplate="layer.head %{x}<br>median of true / predicted: %{y:.3g}<extra></extra>",
        ),
        dict(
            type="scatter",
            mode="lines",
            x=[names[0], names[-1]],
            y=[1, 1],
            hoverinfo="skip",
            showlegend=False,
            line=dict(color="black", width=1),
        ),
    ]


def _ratio_layout(limits):
    wide, narrow = (
        plot.layout(
            400,
            xaxis=plot.axis(title=dict(text="Layer.head", standoff=6), type="category", nticks=n),
            yaxis=plot.log_axis("True / predicted error", *limits),
        )
        for n in (14, 7)
    )
    return wide, narrow
