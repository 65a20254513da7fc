"""The committed table of how much a figure is the draw of k-means, from configs/seeds.yaml:

  doublep run configs/seeds.yaml
  python3 -m analysis.seeds_table results/seeds.h5 [FOLDER]

seeds.md: for every setting, the least and the largest of five seeds' figures.
"""

import sys

from analysis.aggregate import summarise
from analysis.committed import write_tables
from analysis.naming import Names
from analysis.ranking import MEASURES
from analysis.table import escape, grid, number

SEED = "kmeans_seed"


def setting(run):
    return tuple((k, str(v)) for k, v in sorted(run.parameters.items()) if k != SEED)


def table(summaries):
    groups = {}
    for s in summaries:
        groups.setdefault((Names.entrant(s.run), setting(s.run)), []).append(s)
    lines = []
    for (entrant, _), mine in groups.items():
        p = mine[0].run.parameters
        varied = next((f"{n}={p[n]:g}" for n in ("retrieval", "budget", "p") if n in p), None)
        if varied is None:
            varied = f"share={p['share']:g}" if p["stop"] == "share" else f"p2={p['p2']:g}"
        cells = []
        for _, of in MEASURES:
            values = [of(s) for s in mine]
            cells.append(f"{number(min(values), 4)} to {number(max(values), 4)}")
        ratios = [s.bytes_ratio for s in mine]
        lines.append([entrant, varied, len(mine), number(sum(ratios) / len(ratios), 3), *cells])
    header = ["policy", "at", "seeds", "x dense", *(name for name, _ in MEASURES)]
    return grid(header, lines, left=2)


def tables(runs):
    summaries = [summarise(run) for run in runs]
    text = ("# How much of a figure is the draw of k-means\n\n"
            "Made by `python3 -m analysis.seeds_table` from the sweep configs/seeds.yaml: the least and the "
            "largest of five seeds' mean error, 95th percentile of the errors, and mean of the worst head; "
            "bytes as a share of dense attention's. First centroids are random.\n")
    for trace in dict.fromkeys(s.run.trace.name for s in summaries):
        text += f"\n## {escape(trace)}\n\n" + table([s for s in summaries if s.run.trace.name == trace])
    return {"seeds.md": text}


if __name__ == "__main__":
    sys.exit(write_tables(sys.argv, __doc__, tables))
