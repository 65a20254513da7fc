"""What the programs share that write committed tables (analysis/results/) from one result file."""

import os
import sys

from analysis.errors import ResultError
from analysis.reader import read
from analysis.results import join

FOLDER = os.path.join(os.path.dirname(__file__), "results")


def bytes_read(run):
    """Mean bytes of a query head's share per step, all stages."""
    return sum(run.rows[f"bytes_{s}"] for s in ("index", "estimate", "select", "attend")).mean()


def write_tables(argv, usage, make):
    """RESULT.h5 [FOLDER]: writes make(runs) = {file name: text}; returns the exit status."""
    if not 2 <= len(argv) <= 3:
        print(usage, file=sys.stderr)
        return 2
    try:
        runs = join([read(argv[1])]).runs
    except ResultError as error:
        print(error, file=sys.stderr)
        return 2
    folder = argv[2] if len(argv) == 3 else FOLDER
    os.makedirs(folder, exist_ok=True)
    for name, text in make(sorted(runs, key=lambda run: run.place)).items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    return 0
