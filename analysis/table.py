"""The table of all runs, per trace and in sweep order, as Markdown and as CSV.

Numbers are written with a fixed count of digits, so that two tables can be compared by diff.
"""

import csv
import io
import json
import math
import re
from dataclasses import dataclass

from analysis.axes import MIB

COLUMNS = (  # (heading, value, digits)
    ("target p", lambda s: s.run.target_p, 2),
    ("exact mass", lambda s: s.exact_mass, 6),
    ("covered mass", lambda s: s.covered_mass, 6),
    ("violation", lambda s: s.violation, 4),
    ("violation at {target:g}", lambda s: s.violation_common, 4),
    ("exact tokens", lambda s: s.exact_tokens, 3),
    ("clusters", lambda s: s.clusters, 2),
    ("error mean", lambda s: s.error, 5),
    ("median", lambda s: s.error_median, 5),
    ("p95", lambda s: s.error_p95, 5),
    ("worst head", lambda s: s.error_worst_head, 5),
    ("predicted/true", lambda s: s.predicted_ratio, 3),
    ("log correlation", lambda s: s.predicted_correlation, 3),
    ("target error", lambda s: s.run.target_error, 3),
    ("error violation", lambda s: s.error_violation, 4),
    ("MiB/step", lambda s: s.bytes_step / MIB, 4),
    ("x dense", lambda s: s.bytes_ratio, 4),
    ("sparsity", lambda s: s.sparsity, 4),
)
CSV_NUMBERS = (
    "exact_mass covered_mass violation violation_common exact_tokens clusters oracle_tokens "
    "visible_tokens sparsity error error_median error_p95 error_worst_head predicted_ratio "
    "predicted_correlation error_violation cosine lse_error "
    "bytes_step bytes_ratio dense_bytes flops_step index_bytes dense_mismatch not_finite"
).split()


# What would turn into emphasis, code, a tag, an entity, a link or the end of a cell. Underscores
# within words, as in names of parameters, are text to every reader.
ACTIVE = re.compile(r"[\\|*`]|(?<!\w)_|_(?!\w)|<(?=[A-Za-z/!?])|&(?=#?\w+;)|\[(?=[^]]*\]\()|~(?=~)")


def escape(text):
    """Any text, a name from a file above all, as one line of Markdown that shows it as it is."""
    return ACTIVE.sub(lambda found: "\\" + found.group(), " ".join(str(text).split()))


def number(value, digits):
    """Fixed digits; '–' where there is no number, and no '-0.000'."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("-") and float(text) == 0 else text


def grid(header, lines, left=1):
    """A Markdown table, padded so that the source reads as one too."""
    header, *lines = [[escape(cell) for cell in line] for line in [header, *lines]]
    # A cell of the rule holds a hyphen at least, else no reader takes it for a table.
    widths = [max(2, *(len(line[i]) for line in [header, *lines])) for i in range(len(header))]
    def join(cells):
        return "| " + " | ".join(cells) + " |"
    def pad(line):
        return join(cell.ljust(w) if i < left else cell.rjust(w)
                    for i, (cell, w) in enumerate(zip(line, widths)))
    rule = join("-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths))
    return "\n".join([pad(header), rule] + [pad(line) for line in lines]) + "\n"


@dataclass(frozen=True)
class Table:
    """Cells as people read them, whatever shows them: Markdown here, HTML in analysis/interactive."""

    header: list
    lines: list
    left: int = 1  # so many columns are words; the others are numbers
    heading: str = ""
    note: str = ""


def markdown(tables):
    """All of them, each below its heading."""
    parts = []
    for t in tables:
        parts.append((f"### {escape(t.heading)}\n\n" if t.heading else "") + grid(t.header, t.lines, t.left))
        parts += [escape(t.note) + "\n"] if t.note else []
    return "\n".join(parts)


def tables(summaries, names, target=0.95):
    """One per trace."""
    header = ["policy", "parameters"] + [name.format(target=target) for name, _, _ in COLUMNS]
    found = []
    for trace in dict.fromkeys(s.run.trace.name for s in summaries):
        mine = [s for s in summaries if s.run.trace.name == trace]
        lines = [[s.run.policy, names.parameters(s.run) or "–"]
                 + [number(of(s), digits) for _, of, digits in COLUMNS] for s in mine]
        bad = [f"{names.run(s.run)}: {s.not_finite} of {len(s.run.rows)} rows" for s in mine if s.not_finite]
        note = "Output errors that are not finite, left out of the means above: " + "; ".join(bad) + "."
        found.append(Table(header, lines, 2, trace, note if bad else ""))
    return found


def to_csv(summaries, names):
    """One line per run, full precision, every parameter."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["trace", "trace_hash", "policy", "varied", "parameters", "backend", "kv_dtype",
                     "run", "target_p", "target_error"] + CSV_NUMBERS)
    for s in summaries:
        run = s.run
        writer.writerow([run.trace.name, run.trace.hash, run.policy, names.parameters(run),
                         json.dumps(run.parameters, sort_keys=True), run.backend, run.kv_dtype,
                         run.key, f"{run.target_p:.10g}", f"{run.target_error:.10g}"]
                        + [f"{getattr(s, name):.10g}" for name in CSV_NUMBERS])
    return out.getvalue()
