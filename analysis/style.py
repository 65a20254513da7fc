"""One look for every figure: a colour and a marker per policy, sizes, and deterministic files."""

import colorsys
import os
import zlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import to_hex, to_rgb  # noqa: E402

from analysis.errors import ResultError  # noqa: E402

TEXT_WIDTH = 7.0  # inches: both columns of a conference page
COLUMN_WIDTH = 3.4

# Colours of Okabe-Ito and Paul Tol that stay apart under the common colour blindnesses; more than
# eight hues do not, so that every policy has a marker of its own too. References are grey.
LOOK = {
    "dense": ("#000000", "*"), "streaming": ("#777777", "X"),
    "oracle_top_k": ("#999999", "v"), "oracle_top_p": ("#444444", "^"),
    "cluster_top_k": ("#88CCEE", "<"), "cluster_top_p": ("#0072B2", ">"),
    "double_p": ("#D55E00", "o"), "quest": ("#009E73", "s"), "retroinfer": ("#CC79A7", "D"),
    "twilight": ("#E69F00", "P"), "tactic": ("#332288", "p"), "cluster_kv": ("#56B4E9", "h"),
    "vattention": ("#882255", "d"), "double_sparsity": ("#999933", "H"),
    "loki": ("#117733", "8"), "magicpig": ("#AA4499", (4, 1, 0)),
    "pqcache": ("#DDAA33", (5, 0, 36)),
}
SPARE = (("#6699CC", (6, 0, 0)), ("#994455", (3, 0, 90)), ("#44AA99", (4, 0, 45)),
         ("#BBAA22", (3, 0, 270)), ("#663333", (8, 0, 0)), ("#225555", (5, 1, 0)))
LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (8, 2)), (0, (2.5, 1)))
SHADES = (0.0, 0.34, -0.28, 0.55, -0.45, 0.2)

plt.rcParams.update({
    "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 8,
    "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7.5, "axes.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4, "lines.linewidth": 1.3, "lines.markersize": 4.5,
    "legend.frameon": False, "grid.linewidth": 0.4, "grid.color": "#DDDDDD",
    "text.parse_math": False,  # a $ in a name is a dollar
    "svg.hashsalt": "doublep", "svg.fonttype": "path", "figure.dpi": 100,
})


def look(policy):
    """(colour, marker) of a policy: the same in every figure, and for a name never seen before."""
    return LOOK.get(policy) or SPARE[zlib.crc32(policy.encode()) % len(SPARE)]


def shade(colour, index):
    """The index-th variant of a policy's colour: lighter (> 0) or darker (< 0) by turns."""
    by = SHADES[index % len(SHADES)]
    hue, light, strength = colorsys.rgb_to_hls(*to_rgb(colour))
    light = light + (1 - light) * by if by > 0 else light * (1 + by)
    return to_hex(colorsys.hls_to_rgb(hue, light, strength))


def line(index):
    return LINES[index % len(LINES)]


def panels(rows, columns, width, height, share_y=False, left=0.55, below=0.42, above=0.26,
           between=None):
    """A grid of panels, `height` inches each; room for labels is in inches too, so that one row
    and twenty look alike. A legend goes below, anchored at (0.5, 0)."""
    gap_x = 0.16 if share_y else 0.5
    gap_y = between or above + (0.2 if share_y else 0.42)
    total = above + below + rows * height + (rows - 1) * gap_y
    fig, grid = plt.subplots(rows, columns, figsize=(width, total), squeeze=False)
    each = (width - left - 0.1 - (columns - 1) * gap_x) / columns
    fig.subplots_adjust(left=left / width, right=1 - 0.1 / width, top=1 - above / total,
                        bottom=below / total, wspace=gap_x / each, hspace=gap_y / height)
    return fig, grid


def legend_below(fig, handles):
    """A legend under the figure, in as many columns as its width holds."""
    inch, key = 0.0072 * plt.rcParams["legend.fontsize"], 0.38  # per letter; line, gaps
    lengths = [len(handle.get_label()) for handle in handles]
    for columns in range(min(6, len(handles)), 0, -1):
        each, more = divmod(len(handles), columns)
        sizes = [each + (i < more) for i in range(columns)]
        starts = [sum(sizes[:i]) for i in range(columns)]
        wide = sum(max(lengths[a:a + n]) for a, n in zip(starts, sizes))
        if wide * inch + columns * key <= fig.get_figwidth() + 0.05:
            break
    fig.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), borderaxespad=0.0,
               ncol=columns, handlelength=2.2, columnspacing=1.0, handletextpad=0.5)


def save(figure, folder, name, formats=("png", "svg"), dpi=200):
    """Writes NAME.png and NAME.svg without dates, so that equal results give equal files."""
    written = []
    figure.draw_without_rendering()
    box = figure.get_tightbbox().padded(0.04)  # once for all formats
    for kind in formats:
        path = os.path.join(folder, f"{name}.{kind}")
        metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
        try:
            figure.savefig(path, dpi=dpi, bbox_inches=box, metadata=metadata)
        except OSError as error:
            remedy = "choose another --out or make room"
            raise ResultError(path, "", f"a file that can be written ({error.strerror})", remedy)
        written.append(path)
    plt.close(figure)
    return written
