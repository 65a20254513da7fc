"""report.md: where the numbers come from, the figures, the tables, and how to read them."""

import os

from analysis.aggregate import finite
from analysis.naming import pretty
from analysis.ranking import dominated_everywhere
from analysis.results import ranges
from analysis.table import Table, escape, number

CAPTIONS = {
    "headline": "Mean output error against bytes read per layer and step. Lines join the "
                "non-dominated runs of a policy; faint marks are runs which another run of the "
                "same curve beats; points at the lower edge lie below it.",
    "output_error": "Mean output error |o − o*| / |o*| against three costs. 1 − sparsity counts "
                    "exact tokens and cluster terms, as a share of the visible tokens.",
    "missed_mass": "Mean softmax mass neither attended exactly nor covered by a cluster term.",
    "violation": "Share of (layer, query head, step) whose covered mass lies below {target:g}: one "
                 "target for all runs, whatever each run promises itself, so that the curves "
                 "compare. The table below also has the rate against each run's own target.",
    "heat": "{trace}: mean over steps per layer and query head. Light is good in every column; the "
            "violation target is {target:g}; grey: no data.",
    "ecdf": "Exact tokens over all heads and steps (empirical distribution); marks at the median.",
    "calibration": "{trace}: left, predicted against true output error of every step, a colour per "
                   "query head; right, true over predicted error per head.",
    "boxes": "{trace}: exact tokens per query head over the steps: median, quartiles, 5th to 95th "
             "percentile.",
}


def origin(results):
    """Where the numbers come from: a table of files and one of traces."""
    lines = [[os.path.basename(s.path), s.name, s.created, s.commit, s.config_hash, s.program_hash,
              s.seed, s.cpu, s.compiler] for s in results.sweeps]
    header = ["file", "sweep", "created", "commit", "config hash", "program hash", "seed", "CPU",
              "compiler"]
    traces = [[t.name, t.hash, t.model, t.task, t.num_tokens, _replayed(t.replay.layers, t.layers),
               f"{t.num_query_heads}/{t.num_kv_heads}", t.head_dim,
               _replayed(t.replay.steps, range(t.num_steps)), len(results.of(t))]
              for t in results.traces]
    head = ["trace", "hash", "model", "task", "tokens", "layers replayed", "query/KV heads",
            "head dim", "steps replayed", "runs"]
    return [Table(header, lines, 9), Table(head, traces, 4)]


def _replayed(part, whole):
    """"0-3 of 8": which ones, and how many the trace holds where these are not all."""
    return ranges(part) + ("" if tuple(part) == tuple(whole) else f" of {len(whole)}")


def notes(results, summaries, names):
    """What a reader must know before trusting a comparison, a sentence each."""
    found = []
    if len({s.commit for s in results.sweeps}) > 1:
        found.append("The files come from different commits.")
    if len({run.program for run in results.runs}) > 1:
        found.append("The runs come from different builds of the program.")
    if len({r.kv_dtype for r in results.runs}) > 1:
        found.append("Runs count bytes with different KV data types.")
    whole = {t.name: {names.run(s.run) for s in summaries if s.run.trace.name == t.name}
             for t in results.traces}
    everything = set().union(*whole.values())
    for trace, have in whole.items():
        gone = sorted(everything - have)
        if gone:
            more = f" and {len(gone) - 8} more" if len(gone) > 8 else ""
            found.append(f"Not run on {trace}: " + "; ".join(gone[:8]) + more + ".")
    bad = max(finite([s.dense_mismatch for s in summaries]), default=0)
    if bad > 1e-4:
        found.append(f"Dense attention differs from the recorded outputs by up to {bad:.2g} "
                     "(relative): the trace or its scale may be wrong.")
    broken = sum(s.not_finite for s in summaries)
    if broken:
        found.append(f"Rows whose output error is not finite, left out of the means: {broken}.")
    for s in summaries:
        if s.run.policy == "dense" and abs(s.bytes_ratio - 1) > 0.01:
            found.append(f"{s.run.trace.name}: dense is charged {number(s.bytes_ratio, 3)} times "
                         "the bytes of every visible key and value.")
    for trace in results.traces:
        mine = [s for s in summaries if s.run.trace.name == trace.name]
        never = dominated_everywhere(mine)
        if never and len(never) < len({s.run.policy for s in mine}):
            found.append(f"{trace.name}: no run of " + ", ".join(map(pretty, never))
                         + " is on the common front of bytes and mean error.")
    return found


def bullets(sentences):
    return "".join(f"- {escape(line)}\n" for line in sentences)


class Document:
    """Collects the parts in order; figures are embedded by the name they were saved under."""

    def __init__(self, title, target):
        self._parts, self._target = [f"# {escape(title)}\n"], target

    def section(self, heading, *texts):
        self._parts.append(f"## {heading}\n")
        self._parts += [text for text in texts if text]

    def figure(self, paths, caption, trace=""):
        """Embeds the PNG, or what there is, and links the other formats."""
        text = CAPTIONS[caption].format(target=self._target, trace=escape(trace))
        names = [os.path.basename(path) for path in paths]
        if names:
            links = "".join(f" [{n.rsplit('.', 1)[1].upper()}]({n})" for n in names[1:])
            alt = text.split(". ")[0].rstrip(".")
            self._parts.append(f"![{alt}]({names[0]})\n\n*{text}*{links}\n")

    def text(self):
        return "\n".join(self._parts)


HOW_RANKED = (
    "Bytes read per layer and step, as a share of dense attention's, at which the mean error, the 95th "
    "percentile of the errors and the mean of the worst head come down to the level: on the best curve "
    "of each policy, log-log between two neighbouring runs that differ in one number (those of the "
    "mean are named under *at*); where neighbours differ more than tenfold in error, the run that meets "
    "the level. ≤: the cheapest run already errs less. never: no run comes down to it, the least error "
    "is in brackets. *build* is what the index takes at prefill, per layer. `dense` is the reference; "
    "† reads every key to choose: a bound, not a rival in bytes, and not ranked.\n")
HOW_FAILED = (
    "One run per curve: the cheapest whose mean output error is at most {level:g} %, else the one "
    "that errs least. Heads are written layer.head; a head's value is its mean over steps.\n")
HOW_EFFECTS = (
    "Pairs of runs that differ in this parameter alone; figures are the geometric mean of the ratio "
    "to the value left of the arrow, violation is the mean difference in percentage points (at the "
    "common target).\n")
HOW_CALIBRATED = (
    "The run that promises an error nearest to 5 %, where one does, else the cheapest of at most 5 % "
    "error. Predicted from second moments of the clusters inside terms, of what was attended. Steps in "
    "which everything was exact have no error to show.\n")
HOW_AUDITED = (
    "Share of rows whose interval [audited_low, audited_high] holds the true covered mass, and the "
    "mean width of the interval.\n")
HOW_TABLED = (
    "Means over layers, query heads and steps. *violation*: covered mass below the run's own target "
    "p. *median*, *p95* and *worst head* belong to the output error. *predicted/true*: median over the "
    "rows whose error was predicted; *log correlation*: of predicted and true error. *error violation*: "
    "output error above the *target error* that the run promises. *MiB/step*: bytes read per "
    "layer and step, all heads; *x dense*: divided by reading every visible key and value once.\n")
