"""How old a metric may be: steps are put together by how far after the prompt they are."""

import json
import os
import tempfile
import unittest

import synthetic

from analysis import metric_age
from analysis.reader import read


class MetricAge(unittest.TestCase):
    def test_parts_by_hand(self):
        steps = [0, 60, 64, 500, 512, 600]  # errors of two heads: at .1 before 64, .2 before 512, .4 after; the second's twice
        error = {0: 0.1, 60: 0.1, 64: 0.2, 500: 0.2, 512: 0.4, 600: 0.4}
        rows = [synthetic.row(0, h, t, bytes_attend=320, output_error=error[t] * (h + 1)) for h in range(2) for t in steps]
        made = synthetic.run("double_p", rows)
        made["parameters"] = json.dumps(dict(metric="query", share=0.02, recluster_every=0))
        with tempfile.TemporaryDirectory() as folder:
            path = synthetic.write(os.path.join(folder, "r.h5"), [synthetic.trace(heads=2, steps=601)], [made])
            (run,) = read(path).runs
        self.assertEqual([(first, last, len(part.rows)) for first, last, part in metric_age.parts(run)],
                         [(0, 63, 4), (64, 511, 4), (512, 600, 4)])
        text = metric_age.tables([run])["metric_age.md"]
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
        self.assertEqual(lines[0][4:], ["steps 0-63", "steps 64-511", "steps 512-600"])
        self.assertEqual(lines[2][:3], ["query", "0.02", "never"])
        self.assertEqual([cell.split(" / ")[0::2] for cell in lines[2][4:]],
                         [["0.150", "0.200"], ["0.300", "0.400"], ["0.600", "0.800"]])


if __name__ == "__main__":
    unittest.main()
