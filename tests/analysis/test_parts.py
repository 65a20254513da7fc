"""What each part buys: kinds of heads stand beside the other parts, and on the way to the best."""

import contextlib
import io
import json
import os
import tempfile
import unittest

import synthetic

from analysis import parts
from analysis.aggregate import summarise
from analysis.reader import read

BEST = dict(metric="query", estimator="pooled", order="error", stop="share", tokens_per_cluster=16,
            value_side="shifted", metric_queries=64, rho=0.3, recluster_every=0, promise_to="group")


def write(folder):
    """Of 3200 bytes of dense attention a curve of one kind of head, and one of kinds, at half."""
    runs = []
    for kinds, halved in ("one", 1), ("auto", 2):
        for share, cost, error in (0.1, 800, 0.05), (0.2, 1600, 0.02):
            row = synthetic.row(bytes_attend=cost / halved, output_error=error)
            runs.append(synthetic.run("double_p", [row], order=len(runs)))
            runs[-1]["parameters"] = json.dumps(BEST | dict(share=share, head_kinds=kinds))
    return synthetic.write(os.path.join(folder, "r.h5"), [synthetic.trace()], runs)


class Parts(unittest.TestCase):
    def test_kinds_of_heads_are_a_part(self):
        with tempfile.TemporaryDirectory() as folder:
            summaries = [summarise(run) for run in read(write(folder)).runs]
        lines = [[cell.strip() for cell in line.split("|")[1:-1]]
                 for line in parts.table(summaries).splitlines()]
        self.assertEqual(lines[0][:5], ["metric", "estimator", "order", "stop", "head_kinds"])
        at = lines[0].index("mean 5 %")
        self.assertEqual({line[4]: line[at:at + 2] for line in lines[2:]},
                         {"auto": ["0.125", "0.250"], "one": ["0.250", "0.500"]})
        self.assertEqual([s.bytes_ratio for s in parts.way(summaries, parts.WAYS["+ query metric"])],
                         [0.25, 0.5])
        self.assertEqual([s.bytes_ratio for s in
                          parts.way(summaries, parts.WAYS["+ kinds of heads (best)"])],
                         [0.125, 0.25])
        self.assertEqual(parts.way(summaries, parts.WAYS["Promise to every head"]), [])

    def test_a_page_is_named_by_its_configuration(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(parts.main([write(folder), "--page", "mine", "--out", folder]), 0)
            self.assertEqual(sorted(os.listdir(folder)), ["mine.md", "mine.png", "r.h5"])
            with open(os.path.join(folder, "mine.md"), encoding="utf-8") as file:
                self.assertIn("the sweep configs/mine.yaml", file.read())


if __name__ == "__main__":
    unittest.main()
