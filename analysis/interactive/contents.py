"""What the page shows, in order: the same tables and figures of merit as report.md, from the same code."""

import os

from analysis import audit, document, effects, ranking, representative, table
from analysis.aggregate import summarise
from analysis.axes import COSTS
from analysis.interactive import comparison, cost, heads
from analysis.interactive.page import Page, facts, tag
from analysis.interactive.page import table as html_table
from analysis.naming import Names

SHOWN_COSTS = ("bytes", "exact_tokens", "kept")  # the first is shown first
HOW_COST = (
    "A line joins the runs of a curve that no other run of it beats; faint marks are beaten. The broad grey line is "
    "the front of all runs together, those left out that read every key to choose. Marks at the lower edge lie below "
    "it. Hover for a run's figures; click a mark to look into the run below; click a legend entry to hide a curve."
)
HOW_LOOKED = (
    "Means over steps per layer and query head; all runs of a trace on one scale, light is good, grey: no data. "
    f"Predicted against true error: at most {heads.MOST_POINTS} rows, evenly taken; steps in which everything was "
    "exact have no error to show. At the right, a mark is a head's median and a bar its 5th to 95th percentile over "
    "the steps."
)
HOW_COMPARED = (
    "The same settings on the same trace (where each result has one trace, of these two). Below the diagonal the "
    "error is smaller now than before."
)


def build(results, against, args):
    names = Names(results.runs)
    summaries = [summarise(run, args.target) for run in results.runs]
    looked = representative.by_trace(summaries, names, args.look_at / 100)
    page = Page("doublep: " + ", ".join(dict.fromkeys(s.name for s in results.sweeps)))
    _origin(page, results, document.notes(results, summaries, names))
    if against:
        sentences, paired, chart = comparison.compared(results, summaries, against, names, args.target)
        page.section(
            "compared",
            "Compared with " + ", ".join(os.path.basename(s.path) for s in against.sweeps),
            HOW_COMPARED,
            _list(sentences),
            page.chart("comparison", chart),
            html_table(paired),
            tag("h3", "Origin of what it is compared with"),
            *map(_shown, document.origin(against)),
        )
    _costs(page, summaries, names)
    _add(page, "ranking", "Bytes at equal error", document.HOW_RANKED, ranking.tables(summaries, names, args.levels))
    _one_run(page, summaries, names, looked, args.target)
    _add(
        page,
        "failures",
        "Where each policy fails",
        document.HOW_FAILED.format(level=args.look_at),
        ranking.failure_tables([s for group in looked.values() for s in group], names, args.target),
    )
    _add(page, "effects", "What each parameter does", document.HOW_EFFECTS, effects.tables(summaries, names))
    _add(page, "audit", "Audited mass", document.HOW_AUDITED, audit.tables(summaries, names))
    tables = table.tables(summaries, names, args.target)
    page.section(
        "runs",
        "All runs",
        _plain(document.HOW_TABLED),
        *(html_table(t, [_id(s) for s in mine]) for t, mine in zip(tables, _by_trace(summaries).values())),
    )
    return page


def _add(page, name, heading, how, tables):
    if tables:
        page.section(name, heading, _plain(how), *map(html_table, tables))


def _shown(t):
    return facts(t) if len(t.lines) < 4 else html_table(t)


def _plain(markdown):
    return markdown.replace("*", "").replace("`", "")


def _id(s):
    return s.run.key + s.run.program


def _list(sentences):
    return tag("ul", *(tag("li", line) for line in sentences))


def _origin(page, results, notes):
    configurations = [
        tag(
            "details",
            tag("summary", f"Configuration of {sweep.name} ({sweep.config_hash})"),
            tag("pre", sweep.config),
        )
        for sweep in results.sweeps
    ]
    page.section("origin", "Origin", *map(_shown, document.origin(results)), _list(notes), *configurations)


def _costs(page, summaries, names):
    choice = tag("select", *(tag("option", COSTS[key].label, value=key) for key in SHOWN_COSTS), id="choose-cost")
    parts = [HOW_COST, tag("p", tag("label", "Cost: ", choice))]
    for place, (trace, mine) in enumerate(_by_trace(summaries).items()):
        for key in SHOWN_COSTS:
            page.data(f"cost{place}-{key}", cost.chart(mine, names, key))
        parts += [tag("h3", trace), tag("div", class_="chart", data_chart=f"cost{place}", data_by="choose-cost")]
    page.section("cost", "Output error against cost", *parts)


def _by_trace(summaries):
    found = {}
    for s in summaries:
        found.setdefault(s.run.trace.name, []).append(s)
    return found


def _one_run(page, summaries, names, looked, target):
    """Every run can be chosen; the first shown is the cheapest of those that are looked into."""
    runs, layouts = [], []
    for place, (trace, mine) in enumerate(_by_trace(summaries).items()):
        charts, shared = heads.of_trace(mine, target)
        layouts.append({name: {"wide": wide, "narrow": narrow} for name, (wide, narrow) in shared.items()})
        for s in mine:
            facts = [[name.format(target=target), table.number(of(s), digits)] for name, of, digits in table.COLUMNS]
            runs.append(
                {
                    "id": _id(s),
                    "trace": place,
                    "facts": facts,
                    "charts": charts[s.run],
                    "name": names.run(s.run),
                    "of": trace,
                }
            )
    first = min(
        (s for group in looked.values() for s in group),
        default=None,
        key=lambda s: (s.error > representative.LEVEL, representative.cost(s)),
    )
    chosen = next((i for i, run in enumerate(runs) if first and run["id"] == _id(first)), 0)
    page.data("runs-data", {"runs": runs, "layouts": layouts, "first": chosen})
    maps = [tag("div", class_="chart", data_run_chart=f"map{i}") for i in range(4)]
    errors = [tag("div", class_="chart", data_run_chart=name) for name in ("predicted", "ratio")]
    page.section(
        "run",
        "One run, head by head",
        tag("p", tag("label", "Run: ", tag("select", id="choose-run"))),
        tag("dl", id="facts"),
        HOW_LOOKED,
        tag("div", *maps, class_="grid"),
        tag("h3", "Predicted against true error"),
        tag("p", id="unpredicted"),
        tag("div", *errors, class_="grid wide"),
    )
