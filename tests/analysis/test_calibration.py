"""The calibration figure: which run it shows, and what it says of a head."""

import os
import tempfile
import unittest

import numpy as np
import synthetic

from analysis import calibration_figure
from analysis.aggregate import summarise
from analysis.reader import read
from analysis.report import main


def rows(true, predicted, factor=np.nan, promised=np.nan, **more):
    """Four steps of two heads in two layers; head 1 errs twice as much."""
    return [synthetic.row(layer, head, step, output_error=true * (1 + head) * (1 + step / 10),
                          predicted_error=predicted * (1 + step / 10), error_factor=factor,
                          error_violation=true * (1 + head) * (1 + step / 10) > promised, **more)
            for layer in (0, 1) for head in (0, 1) for step in range(4)]


class Calibration(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def result(self, *runs):
        trace = synthetic.trace(layers=(0, 1), heads=2, steps=4)
        path = os.path.join(self.folder, "r.h5")
        return synthetic.write(path, [trace], list(runs))

    def test_the_run_that_promises_five_percent_and_keeps_it(self):
        def run(true, promised, order, **parameters):
            return synthetic.run("double_p", rows(true, true / 2, 2.0, promised), order=order,
                                 target_error=promised, error=promised, **parameters)
        path = self.result(run(0.01, 0.02, 0), run(0.06, 0.05, 1, calibration="none"),
                           run(0.02, 0.05, 2, calibration="prompt"),
                           synthetic.run("double_p", rows(0.01, 0.01), order=3, stop="share"))
        summaries = [summarise(r) for r in read(path).runs]
        self.assertEqual(calibration_figure.choose(summaries).run.parameters["calibration"], "prompt")
        self.assertEqual(calibration_figure.choose(summaries[3:]).run.parameters["stop"], "share")
        self.assertIsNone(calibration_figure.choose([]))

    def test_a_heads_spread_and_factor(self):
        mine = np.array(rows(0.02, 0.01, 3.0, 0.05))
        head = mine[(mine["layer"] == 0) & (mine["head"] == 1)]
        np.testing.assert_allclose(calibration_figure.spread(head), [4, 4, 4])
        self.assertEqual(calibration_figure.factor(head), 3.0)
        self.assertTrue(np.isnan(calibration_figure.factor(np.array(rows(0.02, 0.01)))))

    def test_the_report_shows_it(self):
        path = self.result(synthetic.run("double_p", rows(0.02, 0.01, 3.0, 0.05), target_error=0.05))
        out = os.path.join(self.folder, "out")
        self.assertEqual(main([path, "--out", out, "--only", "calibration,report", "--dpi", "60",
                               "--format", "png", "md"]), 0)
        self.assertEqual(sorted(os.listdir(out)), ["calibration_toy.png", "report.md"])
        with open(os.path.join(out, "report.md"), encoding="utf-8") as file:
            self.assertIn("(calibration_toy.png)", file.read())


if __name__ == "__main__":
    unittest.main()
