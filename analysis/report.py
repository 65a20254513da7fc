#!/usr/bin/env python3
"""From result files of `doublep run` to figures, tables and one report.md; see --help."""

import os
import re
import sys
from dataclasses import dataclass

if __package__ in (None, ""):  # run as a file: the package is the folder above
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

try:
    from analysis import calibration_figure, cost_figure, document, heat_figure, ranking, table, token_figure
except ImportError as missing:
    print(f"error: {missing}: install python3-matplotlib, python3-h5py, python3-numpy",
          file=sys.stderr)
    sys.exit(2)
from analysis import audit, effects, representative
from analysis.aggregate import summarise
from analysis.axes import ACCURACIES
from analysis.errors import ResultError
from analysis.naming import Names
from analysis.options import arguments
from analysis.reader import load
from analysis.writer import Writer


@dataclass
class Context:
    """What every part of the report works on."""

    args: object
    names: Names
    summaries: list
    looked: dict  # {trace name: its representative runs, dense aside}
    writer: Writer
    doc: document.Document

    @property
    def everyone(self):
        return [s for group in self.looked.values() for s in group]

    def figures(self, drawn, name, caption, trace=""):
        for paths in self.writer.figures(drawn, name):
            self.doc.figure(paths, caption, trace)


def headline(c):
    if c.writer.images:
        c.doc.section("Output error against bytes read")
        drawn = cost_figure.draw(c.summaries, c.names, costs=("bytes",), target=c.args.target,
                                 by_entrant=any(s.run.title for s in c.summaries))
        c.figures(drawn, "cost_headline", "headline")


def ranked(c):
    text = table.markdown(ranking.tables(c.summaries, c.names, c.args.levels))
    c.writer.text("ranking.md", "# Bytes at equal error\n\n" + document.HOW_RANKED + "\n" + text)
    c.doc.section("Bytes at equal error", document.HOW_RANKED, text)


def costs(c):
    if c.writer.images:
        c.doc.section("All accuracies and costs")
        for key in ACCURACIES:
            drawn = cost_figure.draw(c.summaries, c.names, (key,), target=c.args.target)
            c.figures(drawn, f"cost_{key}", key)


def failures(c):
    text = table.markdown(ranking.failure_tables(c.everyone, c.names, c.args.target))
    how = document.HOW_FAILED.format(level=c.args.look_at)
    c.writer.text("failures.md", "# Where each policy fails\n\n" + how + "\n" + text)
    c.doc.section("Where each policy fails", how, text)
    for trace, group in c.looked.items():
        if c.writer.images and group:
            drawn = heat_figure.draw(group, c.names, c.args.target)
            c.figures(drawn, f"heat_{slug(trace)}", "heat", trace)


def tokens(c):
    if not c.writer.images or not c.everyone:
        return
    c.doc.section("Exact tokens")
    c.figures(token_figure.draw_ecdf(c.everyone, c.names), "tokens_ecdf", "ecdf")
    for trace, group in c.looked.items():
        if group:
            c.figures(token_figure.draw_boxes(group, c.names), f"tokens_{slug(trace)}", "boxes",
                      trace)


def calibrations(c):
    if not c.writer.images:
        return
    first = True
    for trace in dict.fromkeys(s.run.trace.name for s in c.summaries):
        chosen = calibration_figure.choose([s for s in c.summaries if s.run.trace.name == trace])
        if chosen is None:
            continue
        if first:
            c.doc.section("Predicted error", document.HOW_CALIBRATED)
            first = False
        c.figures(calibration_figure.draw(chosen), f"calibration_{slug(trace)}", "calibration",
                  f"{trace}, {c.names.run(chosen.run)}")


def audits(c):
    text = table.markdown(audit.tables(c.summaries, c.names))
    if text:
        c.doc.section("Audited mass", document.HOW_AUDITED, text)
        c.writer.text("audit.md", "# Audited mass\n\n" + document.HOW_AUDITED + "\n" + text)


def switches(c):
    text = table.markdown(effects.tables(c.summaries, c.names))
    if text:
        c.doc.section("What each parameter does", document.HOW_EFFECTS, text)
        c.writer.text("effects.md",
                      "# What each parameter does\n\n" + document.HOW_EFFECTS + "\n" + text)


def tables(c):
    text = table.markdown(table.tables(c.summaries, c.names, c.args.target))
    c.writer.text("table.md", "# All runs\n\n" + document.HOW_TABLED + "\n" + text)
    c.writer.text("table.csv", table.to_csv(c.summaries, c.names))
    c.doc.section("All runs", document.HOW_TABLED, text)


ORDER = (("cost", headline), ("ranking", ranked), ("cost", costs), ("heat", failures),
         ("tokens", tokens), ("calibration", calibrations), ("effects", switches), ("table", audits), ("table", tables))


def build(results, args):
    """Writes everything asked for; returns the text of report.md."""
    names = Names(results.runs)
    summaries = [summarise(run, args.target) for run in results.runs]
    looked = representative.by_trace(summaries, names, args.look_at / 100)
    doc = document.Document(", ".join(dict.fromkeys(s.name for s in results.sweeps)), args.target)
    doc.section("Origin", table.markdown(document.origin(results)), document.bullets(document.notes(results, summaries, names)))
    with Writer(args.out, args.format, args.dpi) as writer:
        c = Context(args, names, summaries, looked, writer, doc)
        for part, write in ORDER:
            if part in args.only:
                write(c)
        if "report" in args.only:
            writer.text("report.md", doc.text())
    return doc.text()


def slug(name):
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "trace"


def main(argv=None):
    args = arguments(argv)
    try:
        results = load(args.results, args.policy, args.trace)
        build(results, args)
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(results.runs)} run{'s' * (len(results.runs) != 1)} on {len(results.traces)} "
          f"trace{'s' * (len(results.traces) != 1)} -> {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
