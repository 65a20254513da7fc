"""Aggregates, fronts and rankings against values worked out by hand."""

import json
import math
import os
import tempfile
import unittest
from dataclasses import replace

import numpy as np
import synthetic

from analysis import audit, effects, ranking, representative
from analysis.aggregate import head_map, summarise
from analysis.naming import Names
from analysis.pareto import cost_at, front
from analysis.reader import read
from analysis.table import markdown, number, tables, to_csv


def load(traces, runs):
    with tempfile.TemporaryDirectory() as folder:
        return read(synthetic.write(os.path.join(folder, "r.h5"), traces, runs))


def points(policy, pairs, **more):
    """Runs of one policy with the given (bytes, error), one row each."""
    return [synthetic.run(policy, [synthetic.row(bytes_attend=cost, output_error=error)], order=i,
                          budget=i, **more) for i, (cost, error) in enumerate(pairs)]


class Aggregates(unittest.TestCase):
    def setUp(self):
        # Two heads of one KV head, two steps; dense reads 100 * 2 * 8 * 2 = 3200 bytes a step.
        row = synthetic.row
        rows = [
            row(0, 0, 0, exact_tokens=10, exact_mass=0.5, covered_mass=0.96, output_error=0.1,
                approximated_clusters=10, bytes_attend=100, bytes_index=1, violation=1),
            row(0, 0, 1, exact_tokens=20, exact_mass=0.7, covered_mass=0.94, output_error=0.3,
                bytes_estimate=200),
            row(0, 1, 0, exact_tokens=30, exact_mass=0.9, covered_mass=0.90, output_error=0.5,
                bytes_select=300),
            row(0, 1, 1, exact_tokens=40, exact_mass=1.0, covered_mass=1.0, output_error=0.9,
                bytes_attend=400),
        ]
        self.run = load([synthetic.trace(heads=2, steps=2)], [synthetic.run("quest", rows)]).runs[0]
        self.summary = summarise(self.run, target=0.95)

    def test_means_and_quantiles(self):
        s = self.summary
        self.assertAlmostEqual(s.exact_mass, 0.775)
        self.assertAlmostEqual(s.covered_mass, 0.95)
        self.assertAlmostEqual(s.exact_tokens, 25)
        self.assertAlmostEqual(s.clusters, 2.5)
        self.assertAlmostEqual(s.sparsity, 1 - (0.2 + 0.2 + 0.3 + 0.4) / 4)
        self.assertAlmostEqual(s.error, 0.45)
        self.assertAlmostEqual(s.error_median, 0.4)
        self.assertAlmostEqual(s.error_p95, 0.5 + 0.85 * 0.4)  # place 2.85 of 0..3
        self.assertAlmostEqual(s.error_worst_head, 0.7)

    def test_violation_of_its_own_and_of_a_common_target(self):
        self.assertAlmostEqual(self.summary.violation, 0.25)
        self.assertAlmostEqual(self.summary.violation_common, 0.5)
        self.assertAlmostEqual(summarise(self.run, 0.96).violation_common, 0.5)  # 0.96 is enough

    def test_predicted_error_and_the_promise_of_one(self):
        row = synthetic.row
        rows = [row(step=0, output_error=0.1, predicted_error=0.05, error_violation=1),
                row(step=1, output_error=0.4, predicted_error=0.1),
                row(step=2, output_error=0.2, predicted_error=0.4),
                row(step=3, output_error=0.3, predicted_error=math.nan),
                row(step=4, output_error=0.0, predicted_error=0.0)]
        promised = load([synthetic.trace(steps=5)],
                        [synthetic.run("double_p", rows, target_error=0.05)]).runs[0]
        s = summarise(promised)
        self.assertAlmostEqual(s.predicted_ratio, 0.5)  # of 0.5, 0.25 and 2
        x, y = np.log([0.05, 0.1, 0.4]), np.log([0.1, 0.4, 0.2])
        self.assertAlmostEqual(s.predicted_correlation, np.corrcoef(x, y)[0, 1])
        self.assertAlmostEqual(s.error_violation, 0.2)
        free = load([synthetic.trace(steps=5)], [synthetic.run("double_p", rows[:1])]).runs[0]
        self.assertTrue(math.isnan(summarise(free).error_violation))
        self.assertTrue(math.isnan(summarise(free).predicted_correlation))

    def test_bytes_are_summed_over_heads_and_averaged_over_steps(self):
        self.assertAlmostEqual(self.summary.bytes_step, (101 + 200 + 300 + 400) / 2)
        self.assertAlmostEqual(self.summary.dense_bytes, 3200)
        self.assertAlmostEqual(self.summary.bytes_ratio, 500.5 / 3200)

    def test_dense_reads_each_kv_head_once_and_counts_the_data_type(self):
        rows = [synthetic.row(0, head, 0, kv_head=head // 2, visible_tokens=50) for head in range(4)]
        run = load([synthetic.trace(heads=4, kv_heads=2)],
                   [synthetic.run("dense", rows, kv_dtype="fp32")]).runs[0]
        self.assertAlmostEqual(summarise(run).dense_bytes, 2 * 50 * 2 * 8 * 4)

    def test_head_map(self):
        layers, heads, matrix = head_map(self.run.rows, self.run.rows["output_error"])
        self.assertEqual((layers.tolist(), heads.tolist()), ([0], [0, 1]))
        np.testing.assert_allclose(matrix, [[0.2, 0.7]])

    def test_not_finite_values_are_counted_and_left_out(self):
        rows = [synthetic.row(step=0, output_error=math.nan, covered_mass=math.nan),
                synthetic.row(step=1, output_error=0.2), synthetic.row(step=2, output_error=math.inf)]
        s = summarise(load([synthetic.trace()], [synthetic.run("quest", rows)]).runs[0])
        self.assertEqual(s.not_finite, 2)
        self.assertAlmostEqual(s.error, 0.2)
        self.assertAlmostEqual(s.covered_mass, 1.0)
        self.assertEqual(s.violation_common, 0.0)

    def test_audit_coverage(self):
        row = synthetic.row
        rows = np.array([row(step=0, covered_mass=0.9, audited_low=0.8, audited_high=0.95),
                         row(step=1, covered_mass=0.9, audited_low=0.91, audited_high=0.96),
                         row(step=2)])
        count, share, width = audit.coverage(rows)
        self.assertEqual((count, share), (2, 0.5))
        self.assertAlmostEqual(width, 0.1)


class Fronts(unittest.TestCase):
    def test_small_cases(self):
        self.assertEqual(front([1, 2, 3, 4], [4, 3, 5, 1]), [0, 1, 3])
        self.assertEqual(front([2, 1, 1], [1, 1, 1]), [1])  # ties: the cheapest, the first
        self.assertEqual(front([1, 2, 3], [math.nan, math.inf, 1]), [2])
        self.assertEqual(front([], []), [])

    def test_against_the_definition(self):
        draw = np.random.default_rng(3)
        for _ in range(50):
            cost, loss = draw.integers(0, 8, (2, 12))
            kept = front(cost, loss)
            for i in range(12):
                beaten = any((cost[j] <= cost[i] and loss[j] < loss[i])
                             or (cost[j] < cost[i] and loss[j] <= loss[i]) for j in range(12))
                same = any(cost[j] == cost[i] and loss[j] == loss[i] for j in kept)
                self.assertEqual(same, not beaten)

    def test_cost_at_a_level(self):
        reach = cost_at([100, 400], [0.04, 0.01], 0.02)  # halfway in log-log
        self.assertAlmostEqual(reach.cost, 200)
        self.assertEqual(reach.points, (0, 1))
        self.assertAlmostEqual(cost_at([100, 400], [0.04, 0.01], 0.01).cost, 400)
        self.assertTrue(math.isnan(cost_at([100, 400], [0.04, 0.01], 0.005).cost))

    def test_cheapest_point_is_a_bound(self):
        reach = cost_at([100, 400], [0.04, 0.01], 0.05)
        self.assertEqual((reach.cost, reach.bounded), (100, True))

    def test_no_line_is_drawn_to_an_exact_point(self):
        self.assertEqual(cost_at([100, 400], [0.04, 0.0], 0.02).cost, 400)
        self.assertEqual(cost_at([100, 400], [0.04, 1e-6], 0.02).cost, 400)


class Rankings(unittest.TestCase):
    def setUp(self):
        runs = (points("quest", [(100, 0.04), (400, 0.01), (500, 0.02)])
                + points("loki", [(150, 0.02), (60, 0.3)]) + points("tactic", [(10, 0.5)])
                + points("dense", [(3200, 0.0)]))
        self.results = load([synthetic.trace()], runs)
        self.summaries = [summarise(run) for run in self.results.runs]

    def test_order_and_ratio(self):
        places = ranking.rank(self.summaries, Names(self.results.runs), 0.02)
        self.assertEqual([p.entrant for p in places], ["loki", "quest", "dense", "tactic"])
        self.assertAlmostEqual(places[1].bytes, 200)
        self.assertAlmostEqual(places[1].ratio, 200 / 3200)
        self.assertTrue(math.isnan(places[3].bytes))
        self.assertAlmostEqual(places[3].least_error, 0.5)

    def test_nothing_is_interpolated_between_switches(self):
        runs = points("double_p", [(100, 0.04), (400, 0.01)])
        for run, outside in zip(runs, ("drop", "estimate")):
            run["parameters"] = json.dumps(dict(outside=outside))
        runs = load([synthetic.trace()], runs).runs
        place = ranking.rank([summarise(run) for run in runs], Names(runs), 0.02)[0]
        self.assertEqual(place.bytes, 400)

    def test_words(self):
        text = markdown(ranking.tables(self.summaries, Names(self.results.runs), (0.02,)))
        self.assertIn("output error 2 %", text)
        self.assertRegex(text, r"\| –    \| tactic +\| never \(50.0 %\) \| never \(50.0 %\) ")
        self.assertIn("budget=0..1", text)

    def test_by_tail_and_by_worst_head(self):
        # Two heads: means .02 and .06 at 100 bytes, .01 and .02 at 400: the worst is 400's at 2 %.
        runs = [synthetic.run("quest", [synthetic.row(0, h, 0, bytes_attend=cost / 2, output_error=e)
                                        for h, e in enumerate(errors)], order=i, budget=i)
                for i, (cost, errors) in enumerate([(100, (0.0, 0.06)), (400, (0.0, 0.02))])]
        runs = load([synthetic.trace(heads=2)], runs).runs
        mine, names = [summarise(run) for run in runs], Names(runs)
        mean, p95, worst = (ranking.rank(mine, names, 0.03, of)[0] for _, of in ranking.MEASURES)
        self.assertAlmostEqual(mean.bytes, 100)
        self.assertAlmostEqual(worst.bytes, 200 * 2 ** 0.2618595071429148)  # 100 * 4 ** log3(2)
        self.assertGreater(p95.bytes, mean.bytes)
        self.assertLess(p95.bytes, worst.bytes)

    def test_what_has_a_title_stands_by_itself(self):
        runs = (points("quest", [(100, 0.04), (400, 0.01)])
                + points("quest", [(50, 0.04), (200, 0.01)], metric="query"))
        for run in runs[2:]:
            run["title"] = "Quest, our parts"
        for run in runs[:2]:
            run["reads_every_key"] = 1
        runs = load([synthetic.trace()], runs).runs
        mine, names = [summarise(run) for run in runs], Names(runs)
        self.assertEqual([(p.entrant, round(p.bytes), p.every_key)
                          for p in ranking.rank(mine, names, 0.02)],
                         [("Quest, our parts", 100, False), ("quest", 200, True)])
        self.assertEqual({names.series_title(names.entrant_series(r)) for r in runs},
                         {"Quest", "Quest, our parts"})
        text = markdown(ranking.tables(mine, names, (0.02,)))
        self.assertRegex(text, r"\| –    \| quest † ")

    def test_two_numbers_apart_are_no_curve(self):
        runs = (points("quest", [(100, 0.04)], size=8) + points("quest", [(400, 0.01)], size=16))
        runs[1]["parameters"] = json.dumps(dict(budget=1, size=16))
        runs = load([synthetic.trace()], runs).runs
        self.assertEqual(ranking.rank([summarise(r) for r in runs], Names(runs), 0.02)[0].bytes, 400)

    def test_representative(self):
        chosen = representative.choose(self.summaries, Names(self.results.runs), 0.05)
        self.assertEqual([(s.run.policy, s.run.parameters["budget"]) for s in chosen],
                         [("loki", 0), ("quest", 0), ("tactic", 0), ("dense", 0)])  # by order, then key

    def test_worst_head(self):
        rows = np.array([synthetic.row(4, 0), synthetic.row(7, 3, output_error=0.25),
                         synthetic.row(7, 2, output_error=math.nan)])
        run = load([synthetic.trace(layers=(4, 7), heads=4)], [synthetic.run("quest", rows)]).runs[0]
        self.assertEqual(ranking.worst(run, run.rows["output_error"]), (7, 3, 0.25))


class Effects(unittest.TestCase):
    def test_pairs_differ_in_one_parameter_alone(self):
        cells = ((0.5, "a", 0.2), (0.7, "a", 0.1), (0.5, "b", 0.1), (0.7, "b", 0.2), (0.9, "b", 0.3))
        runs = [synthetic.run("double_p", [synthetic.row(output_error=error, bytes_attend=100)],
                              order=i, p2=p2, estimator=e)
                for i, (p2, e, error) in enumerate(cells)]
        runs = load([synthetic.trace()], runs).runs
        group = [summarise(run) for run in runs]
        base, found = effects.pairs(group, "estimator")
        self.assertEqual((base, len(found["b"])), ("a", 2))  # p2 = 0.9 has no partner
        self.assertAlmostEqual(effects.ratio(found["b"], lambda s: s.error), 1.0)  # 1/2 and 2
        _, found = effects.pairs(group, "p2")
        self.assertEqual({value: len(couples) for value, couples in found.items()},
                         {"0.7": 2, "0.9": 1})
        self.assertAlmostEqual(effects.ratio(found["0.9"], lambda s: s.error), 3.0)
        self.assertIn("| a → b", markdown(effects.tables(group, Names(runs))))


class NamesAndTables(unittest.TestCase):
    def test_varied_parameters_and_series(self):
        runs = [synthetic.run("double_p", [synthetic.row()], order=i, p1=0.95, p2=p2, estimator=e)
                for i, (p2, e) in enumerate(((0.7, "jensen"), (0.5, "jensen"), (0.7, "second_order")))]
        runs.append(synthetic.run("quest", [synthetic.row()], order=9, budget=64, label="quest budget=64"))
        runs = load([synthetic.trace()], runs).runs
        names = Names(runs)
        self.assertEqual([names.parameters(run) for run in runs],
                         ["p2=0.7 estimator=jensen", "p2=0.5 estimator=jensen",
                          "p2=0.7 estimator=second_order", "budget=64"])
        self.assertEqual(len({names.series(run) for run in runs}), 3)
        self.assertEqual(names.series_title(names.series(runs[2])), "Double-P (second order)")

    def test_a_variant_is_a_series_and_does_not_lengthen_the_names_of_others(self):
        runs = [synthetic.run("double_p", [synthetic.row()], order=i, label=f"double_p best p2={p2}",
                              p2=p2, estimator="jensen", share=0.04)
                for i, p2 in enumerate((0.5, 0.7))]
        runs += [synthetic.run("double_p", [synthetic.row()], order=5 + i, p2=0.7, share=share,
                               estimator="pooled", label=f"double_p other share={share}", variant="best")
                 for i, share in enumerate((0.02, 0.04))]
        runs.append(synthetic.run("double_p", [synthetic.row()], order=9, p2=0.7, share=0.04,
                                  estimator="jensen", variant="other"))
        runs = load([synthetic.trace()], runs).runs
        names = Names(runs)
        self.assertEqual([names.parameters(run) for run in runs],
                         ["p2=0.5", "p2=0.7", "best share=0.02", "best share=0.04", "other"])
        self.assertEqual([names.series_title(names.series(run)) for run in runs],
                         ["Double-P"] * 2 + ["Double-P (best)"] * 2 + ["Double-P (other)"])
        self.assertEqual(names.short(runs[2]), ["best", "share=0.02"])
        self.assertEqual(names.between(runs[2:4]), "best share=0.02..0.04")
        self.assertEqual(names.varied("double_p"), ["p2", "estimator", "share"])

    def test_equal_runs_of_other_builds_are_told_apart(self):
        run = synthetic.run("quest", [synthetic.row()], budget=1)
        first = load([synthetic.trace()], [run]).runs[0]
        other_key = replace(first, key="abcdef0123456789")
        self.assertIn("#abcdef", Names([first, other_key]).parameters(other_key))
        other_program = replace(first, program="987654fedcba3210")
        names = Names([first, other_program])
        self.assertIn("#987654", names.parameters(other_program))
        self.assertNotEqual(names.parameters(first), names.parameters(other_program))

    def test_fixed_digits(self):
        self.assertEqual(number(0.0457, 5), "0.04570")
        self.assertEqual(number(-1e-9, 3), "0.000")
        self.assertEqual(number(math.nan, 3), "–")

    def test_table_in_sweep_order_and_the_same_twice(self):
        runs = [synthetic.run(policy, [synthetic.row(output_error=0.25, exact_mass=0.624103,
                                                     exact_tokens=68)], order=order)
                for policy, order in (("tactic", 2), ("quest", 1))]
        runs = load([synthetic.trace()], runs).runs
        summaries = [summarise(run) for run in runs]
        text = markdown(tables(summaries, Names(runs)))
        self.assertEqual(text, markdown(tables(summaries, Names(runs))))
        self.assertLess(text.index("| quest"), text.index("| tactic"))
        cells = [c.strip() for c in text.splitlines()[4].split("|")]
        self.assertEqual(cells[1:5], ["quest", "–", "0.95", "0.624103"])
        self.assertIn("68.000", cells)
        self.assertIn("0.25000", cells)
        lines = to_csv(summaries, Names(runs)).splitlines()
        self.assertEqual(len(lines), 3)
        self.assertEqual(len(lines[0].split(",")), len(lines[1].split(",")))


if __name__ == "__main__":
    unittest.main()
