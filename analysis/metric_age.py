"""The committed table of how old the queries' metric may be, from configs/metric_age.yaml:

  doublep run configs/metric_age.yaml --set "traces=[a recording of some 2000 steps]"
  python3 -m analysis.metric_age results/metric_age.h5 [FOLDER]

metric_age.md: for every setting the errors of the steps so far after the prompt, and the bytes of all steps.
"""

import sys
from dataclasses import replace

from analysis.aggregate import summarise
from analysis.committed import write_tables
from analysis.ranking import MEASURES
from analysis.table import escape, grid, number

AGES = (0, 64, 512, 2048)  # steps after the prompt, at which a part begins


def parts(run):
    """[(first step, last step, the run of these steps alone)]"""
    last = int(run.rows["step"].max())
    found = []
    for first, end in zip(AGES, (*AGES[1:], last + 1)):
        rows = run.rows[(run.rows["step"] >= first) & (run.rows["step"] < end)]
        if len(rows):
            found.append((first, min(end - 1, last), replace(run, rows=rows)))
    return found


def tables(runs):
    text = ("# How old may the queries' metric be?\n\n"
            "Made by `python3 -m analysis.metric_age` from the sweep configs/metric_age.yaml: errors at steps so far after the "
            "prompt, whose last queries the metric was made from; *made anew*: with the clusters every so many steps, from the latest "
            "queries. Each cell: mean / 95th percentile / mean of the worst head. Bytes are those of all steps, the index's "
            "making anew among them, as a share of dense attention's.\n")
    for trace in dict.fromkeys(run.trace.name for run in runs):
        mine = [run for run in runs if run.trace.name == trace]
        header = ["metric", "share", "made anew every", "x dense"] + [
            f"steps {first}-{last}" for first, last, _ in parts(mine[0])]
        lines = []
        for run in mine:
            p = run.parameters
            cells = []
            for _, _, part in parts(run):
                summary = summarise(part)
                cells.append(" / ".join(number(of(summary), 3) for _, of in MEASURES))
            lines.append([p["metric"], number(p["share"], 2), p["recluster_every"] or "never",
                          number(summarise(run).bytes_ratio, 3), *cells])
        text += f"\n## {escape(trace)}\n\n" + grid(header, lines, left=1)
    return {"metric_age.md": text}


if __name__ == "__main__":
    sys.exit(write_tables(sys.argv, __doc__, tables))
