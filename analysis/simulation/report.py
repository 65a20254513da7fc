#!/usr/bin/env python3
"""From a file of `doublep simulate` to figures, tables and simulation.md; see --help."""

import argparse
import os
import sys

if __package__ in (None, ""):  # run as a file: the package is two folders above
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

try:
    import matplotlib  # noqa: F401
except ImportError as missing:
    print(f"error: {missing}: install python3-matplotlib, python3-h5py, python3-numpy",
          file=sys.stderr)
    sys.exit(2)
from analysis.errors import ResultError
from analysis.simulation import (bars_figure, crossover_figure, end_to_end, other_figures,
                                 speedup_figure, tables)
from analysis.simulation.names import tokens
from analysis.simulation.reader import read
from analysis.table import escape
from analysis.writer import Writer

HOW = """\
Work (bytes, operations, selections) is what each policy did on recorded or synthetic traces; what it
does at other lengths follows the law of `sim/profile/workload.h`. Times are a roofline with the
efficiencies below. Hollow marks and ‡: outside of what was measured, traces or timings; †: the batch
does not fit the device's memory. The profile's error is the mean output error on the workload's
longest trace: policies are at different accuracies, and a ratio of times is to be read with it.
"""

CROSSING = """\
The smallest context from which a policy's step is faster at every length up to the end of the range; never: not at its
end. Time alone: at equal time a policy with an error is no match for dense, and an index costs what it costs before.
†: the batch fits the device's memory only at shorter contexts, or at none.
"""
ANSWERS = """\
Device time of one answer of several that are decoded together: prefill, index, and its part of the steps. `length to
dense`: how many tokens a model says under the policy for each that it says under dense attention, an input or measured;
`breaks even at`: the length at which the answer would cost what dense's does.
"""


class Report:
    """Collects the parts in order; a figure is embedded where its kind of file is asked for."""

    def __init__(self, writer):
        self.writer, self.text = writer, []

    def add(self, *texts):
        self.text.extend(texts)

    def figure(self, draw, name, caption):
        """`draw()` gives the figure, or None where there is nothing to show."""
        drawn = draw() if self.writer.images else None
        if drawn is not None:
            path = self.writer.figures(drawn, name)[0][0]
            caption = escape(caption)
            self.add(f"![{caption}]({os.path.basename(path)})\n\n*{caption}*\n")

    def write(self, name):
        self.writer.text(name, "\n".join(self.text))


def calibration(report, simulation):
    report.add("## Calibration\n")
    if not simulation.calibration:
        report.add("None: every efficiency is 1, and every time is marked as extrapolated.\n")
        return
    fitted, errors, points = tables.calibration(simulation)
    report.add(f"Fitted to measured attention steps on {simulation.calibration['hardware']}.\n",
               fitted, errors, tables.held_out(simulation.measured))
    report.figure(lambda: other_figures.calibration(simulation), "simulation_calibration",
                  "Predicted against measured time of one layer's attention step. The grey band "
                  "is ±10 %.")
    report.add("<details><summary>Every point</summary>\n", points, "</details>\n")


def slug(text):
    return "".join(ch if ch.isalnum() else "_" for ch in text.lower()).strip("_")


def study(report, name, curves):
    report.add(f"## {escape(name)}\n")
    for setting in dict.fromkeys(c.setting for c in curves):
        mine = [c for c in curves if c.setting == setting and c.points is not None]
        _, hardware, what_if, model, workload = setting
        if not mine:
            continue
        place = ", ".join(filter(None, (f"{model} on {hardware}", what_if, f"workload {workload}")))
        points = mine[0].points
        tag = slug("_".join((name, workload, what_if if what_if else "")))
        for axis in ("context", "batch"):
            on_device = points[points["place"] == 0]
            if len(set(on_device[axis])) >= 3:
                report.figure(lambda: speedup_figure.draw(mine, axis), f"simulation_{tag}_{axis}",
                              f"Decode step against {axis}: {place}.")
    special(report, name, curves)
    report.add("<details><summary>Every point</summary>\n", tables.study(curves), "</details>\n")


def special(report, name, curves):
    """Figures that a study earns by what it varies."""
    with_points = [c for c in curves if c.points is not None]
    if not with_points:
        return
    labels = list(dict.fromkeys(c.label for c in with_points))
    policies = [next(c.policy for c in with_points if c.label == label) for label in labels]
    if max(map(policies.count, policies)) >= 4 and len(with_points[0].points) == 1:
        at = bars_figure.title_of(with_points[0].points[-1])
        report.figure(lambda: other_figures.accuracy(with_points),
                      f"simulation_{slug(name)}_accuracy", f"{name}: time of a decode step against accuracy, {at}.")
        return
    settings = list(dict.fromkeys(c.setting for c in with_points))
    workload = settings[0][-1]
    first = [c for c in with_points if c.workload == workload]
    points = first[0].points
    if (points["place"] == 1).any() and len(set(points["cache_share"])) > 1:
        report.figure(lambda: other_figures.offload(first), f"simulation_{slug(name)}_offload",
                      "Keys and values in host memory, hot tokens on the device: time per step and "
                      "the hit rate of a least-recently-used cache on the recorded selections.")
    elif len({int(p) for p in points["place"]}) > 1:
        panels = [("keys and values on the device", lambda p: p["place"] == 0),
                  ("on the host, hot tokens on the device", lambda p: p["place"] == 1)]
        report.figure(lambda: other_figures.times(first, panels), f"simulation_{slug(name)}_places",
                      f"{name}: time of a decode step where the cache lies.")
    bars(report, name, first)


def bars(report, name, curves):
    settings = list(dict.fromkeys(c.setting for c in curves))
    panels = []
    if len(settings) > 1:  # machines, models or what-ifs side by side at the last point
        for setting in settings:
            mine = [c for c in curves if c.setting == setting]
            last = mine[0].points[-1]
            label = setting[2] or (setting[1] if len({s[1] for s in settings}) > 1 else setting[3])
            title = f"{label}\n{bars_figure.title_of(last)}"
            panels.append((title, [(c, c.points[-1]) for c in mine]))
    else:
        points = curves[0].points
        on_device = points[points["place"] == 0]
        if not len(on_device):
            return
        batches = sorted({int(b) for b in on_device["batch"]})
        contexts = sorted({int(c) for c in on_device["context"]})
        wanted = dict.fromkeys([(contexts[0], batches[0]), (contexts[-1], batches[0]),
                                (contexts[-1], batches[-1])])
        for context, batch in wanted:
            found = [(c, bars_figure.point_at(c, context=context, batch=batch, place=0))
                     for c in curves]
            panels.append((f"{tokens(context)}, batch {batch}",
                           [(c, p) for c, p in found if p is not None]))
    report.figure(lambda: bars_figure.draw(panels), f"simulation_{slug(name)}_parts",
                  f"{name}: where the time of a step goes. † does not fit the device's memory.")


def build(report, simulation):
    report.add(f"# Simulation: {escape(simulation.name)}\n", HOW,
               f"Configuration {simulation.config_hash}, program of commit {simulation.commit}.\n")
    calibration(report, simulation)
    if simulation.calibration:
        end_to_end.section(report, simulation)
    for name in simulation.studies():
        curves = simulation.of(name)
        if any(c.serving is not None for c in curves):
            report.add(f"## {escape(name)}: requests\n")
            first = [c for c in curves if c.workload == curves[0].workload]
            report.figure(lambda: other_figures.serving(first), f"simulation_{slug(name)}",
                          f"{name}: continuous batching.")
            report.add(tables.serving(curves))
        crossed = [c for c in curves if c.crossover is not None]
        if crossed:
            report.add(f"## {escape(name)}: from which context a policy beats dense\n", CROSSING)
            report.figure(lambda: crossover_figure.draw(crossed), f"simulation_{slug(name)}_crossover",
                          f"{name}: the context from which a step is faster than dense attention's.")
            report.add(tables.crossover(crossed))
        answered = [c for c in curves if c.answers is not None]
        if answered:
            report.add(f"## {escape(name)}: whole answers\n", ANSWERS, tables.answers(answered))
        if any(c.points is not None for c in curves):
            study(report, name, curves)


def run(argv):
    parser = argparse.ArgumentParser(prog="report.py", description=__doc__)
    parser.add_argument("result", metavar="RESULT.h5", help="file of `doublep simulate`")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder (made if absent)")
    parser.add_argument("--format", nargs="+", choices=("md", "png", "svg"),
                        default=["md", "png", "svg"],
                        help="kinds of file to write (default: all); simulation.md embeds the "
                             "figures that are written with it")
    parser.add_argument("--dpi", type=int, default=200)
    args = parser.parse_args(argv)
    try:
        simulation = read(args.result)
        with Writer(args.out, args.format, args.dpi) as writer:
            report = Report(writer)
            build(report, simulation)
            report.write("simulation.md")
        print(args.out)
    except (ResultError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
