"""The maps of a model's heads: what is read, where it is drawn, and what is refused."""

import contextlib
import io
import os
import tempfile
import unittest

import numpy as np

from analysis import heads_figure
from analysis.errors import ResultError

HEADER = "layer,head,kv_head,tokens_95,logit_variance,key_rank,query_rank,drift,best,more\n"


class Heads(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def write(self, text):
        path = os.path.join(self.folder, "heads.csv")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_a_row_is_a_cell_and_what_is_missing_is_not_drawn(self):
        rows = heads_figure.read(self.write(
            HEADER + "2,1,0,100,5,0.5,2,0.25,pooled,x\n2,0,0,50,1,0.5,1,,jensen,x\n"
            "11,1,0,7,,,3,1,,x\n"))
        layers, heads, tokens = heads_figure.matrix(rows, lambda row: row["tokens_95"])
        self.assertEqual((layers, heads), ([2, 11], [0, 1]))
        np.testing.assert_array_equal(tokens, [[50, 100], [np.nan, 7]])
        drift = heads_figure.matrix(rows, lambda row: row["drift"])[2]
        np.testing.assert_array_equal(drift, [[np.nan, 0.25], [np.nan, 1]])
        maps = {ax.get_title(): ax for ax in heads_figure.draw(rows).axes if ax.get_title()}
        self.assertEqual(len(maps), 6)
        best = maps["Best estimate of cluster mass"]
        names = list(heads_figure.ESTIMATES)
        shown = best.images[0].get_array()
        self.assertEqual(shown[0, 1], names.index("pooled"))
        self.assertEqual(shown[0, 0], names.index("jensen"))
        self.assertTrue(np.ma.getmaskarray(shown)[1].all())
        self.assertEqual([list(xy) for xy in best.lines[0].get_xydata()], [[1, 0]])  # variance 5
        drawn = maps["Drift of the query metric"].images[0]
        self.assertEqual((drawn.norm.vmin, drawn.norm.vmax), (0, 1))

    def test_equal_rows_give_equal_files(self):
        path = self.write(HEADER + "0,0,0,100,5,0.5,2,0.25,pooled,x\n")
        written = []
        for name in ("a", "b"):
            out = os.path.join(self.folder, name)
            with contextlib.redirect_stdout(io.StringIO()):
                self.assertEqual(heads_figure.main([path, "--out", out]), 0)
            with open(os.path.join(out, "heads.svg"), "rb") as file:
                written.append(file.read())
        self.assertEqual(*written)

    def test_refusals_are_one_line(self):
        for text, words in (("", "layer, head, best"), (HEADER, "layer, head, best"),
                            ("layer,head,tokens_95\n1,2,3\n", "logit_variance"),
                            (HEADER + "0,x,0,1,1,1,1,1,jensen,x\n", "numbers"),
                            (HEADER + "0,1\n", "numbers")):
            with self.assertRaises(ResultError) as caught:
                heads_figure.read(self.write(text))
            self.assertIn(words, str(caught.exception))
            self.assertIn("--heads --csv", str(caught.exception))
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            self.assertEqual(heads_figure.main([self.folder + "/none.csv", "--out", self.folder]), 2)
        self.assertEqual(err.getvalue().count("\n"), 1)


if __name__ == "__main__":
    unittest.main()
