"""How a promise of error is kept: steps and heads counted by hand, beside a share of the tokens."""

import json
import os
import tempfile
import unittest

import synthetic

from analysis import promise
from analysis.reader import read

BEST = dict(stop="share", share=0.1, head_kinds="auto", calibration="none", promise_to="group")


def write(folder):
    """Two heads of ten steps, 3200 bytes of dense attention a step: a promise of 5 %, two shares."""
    def run(bytes_read, errors, **parameters):
        rows = [synthetic.row(0, h, t, bytes_attend=bytes_read / 2, output_error=errors[h][t])
                for h in range(2) for t in range(10)]
        target = 0.05 if parameters.get("stop") == "error" else float("nan")
        made = synthetic.run("double_p", rows, target_error=target, order=len(runs))
        made["parameters"] = json.dumps(BEST | parameters)
        runs.append(made)

    runs = []
    # Head 0 errs by .06 twice, by .2 once; head 1 by .06 once. All else errs by .01.
    run(640, ([0.06, 0.06, 0.2] + 7 * [0.01], [0.06] + 9 * [0.01]), stop="error",
        calibration="prompt", promise_to="heads")
    run(800, (10 * [0.08], 10 * [0.04]), share=0.2)
    run(3200, (10 * [0.02], 10 * [0.01]), share=0.9)
    run(400, (10 * [0.01], 10 * [0.01]), share=0.2, head_kinds="one")  # of another setting
    return synthetic.write(os.path.join(folder, "r.h5"), [synthetic.trace(heads=2, steps=10)], runs)


class Promise(unittest.TestCase):
    def test_steps_heads_and_shares_by_hand(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(promise.main([write(folder), "--out", folder]), 0)
            with open(os.path.join(folder, "promise.md"), encoding="utf-8") as file:
                lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in file if "|" in line]
        self.assertEqual(len(lines), 3)  # header, rule, the promise
        found = dict(zip(lines[0], lines[2]))
        # 16 of 20 kept; head 0 kept 7 of 10; one of 20 over .1.
        self.assertEqual([found[k] for k in ("promised", "to", "kinds", "kept", "least head", "below .9",
                                             "over twice", "x dense")],
                         ["0.05", "heads", "auto", "0.800", "0.70 (0.0)", "1 of 2", "0.0500", "0.200"])
        # Mean .0270: the shares err .06 at .25 and .015 at 1, by logarithms .25 * 4^(log(.06/.027)/log 4).
        self.assertEqual((found["mean"], found["a share's, mean"]), ("0.0270", "0.556"))
        # Head 0 errs by .039 in the mean, the shares' worst heads by .08 and .02.
        self.assertEqual((found["worst head"], found["a share's, worst head"]), ("0.0390", "0.513"))


if __name__ == "__main__":
    unittest.main()
