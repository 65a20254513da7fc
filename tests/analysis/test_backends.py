"""Runs that differ only in their backend are held against each other."""

import contextlib
import io
import os
import tempfile
import unittest

import synthetic

from analysis import backends
from analysis.reader import read


def both(policy, cpu, cuda, **parameters):
    """The same run on both backends, one row each."""
    return [synthetic.run(policy, [synthetic.row(**values)], order=order, backend=backend,
                          kv_dtype="bf16", **parameters)
            for order, (backend, values) in enumerate((("cpu", cpu), ("cuda", cuda)))]


class Backends(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)

    def write(self, runs):
        path = os.path.join(self._folder.name, "both.h5")
        return synthetic.write(path, [synthetic.trace()], runs)

    def status(self, runs):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = backends.main(["backends", self.write(runs)])
        return code, out.getvalue()

    def test_equal_tables_pass(self):
        same = dict(output_error=0.1, exact_tokens=40, covered_mass=0.9)
        code, text = self.status(both("quest", same, same, budget=40)
                                 + both("dense", {}, dict(output_error=0.01)))
        self.assertEqual(code, 0, text)
        self.assertIn("2 pairs, 0 figures outside of their tolerance, 0 runs", text)

    def test_each_figure_outside_is_found(self):
        base = dict(output_error=0.1, exact_tokens=50, covered_mass=0.9, bytes_attend=2.0**20,
                    approximated_clusters=20)
        for changed in (dict(output_error=0.12), dict(exact_tokens=54), dict(covered_mass=0.88),
                        dict(bytes_attend=1.1 * 2**20), dict(approximated_clusters=24)):
            code, text = self.status(both("double_p", base, dict(base, **changed), p2=0.7))
            self.assertEqual(code, 1, text)
            self.assertIn("1 figures outside", text)
            self.assertEqual(text.count("outside |"), 1, text)

    def test_a_figure_that_is_no_number_is_outside(self):
        code, text = self.status(both("quest", {}, dict(output_error=float("nan"))))
        self.assertEqual(code, 1, text)

    def test_clusterings_may_differ_more_than_pages(self):
        cpu, cuda = dict(exact_tokens=50), dict(exact_tokens=52)
        self.assertEqual(self.status(both("double_p", cpu, cuda))[0], 0)
        self.assertEqual(self.status(both("quest", cpu, cuda))[0], 1)

    def test_retroinfer_has_half_as_much_room_again_for_its_error(self):
        cpu, cuda = dict(output_error=0.2), dict(output_error=0.23)
        self.assertEqual(self.status(both("retroinfer", cpu, cuda))[0], 0)
        self.assertEqual(self.status(both("double_p", cpu, cuda))[0], 1)

    def test_a_stop_by_error_has_room_for_factors_that_were_learnt(self):
        cpu = dict(output_error=0.1, exact_tokens=100, bytes_attend=2.0**20)
        for changed, allowed in ((dict(exact_tokens=114), 0), (dict(exact_tokens=116), 1),
                                 (dict(bytes_attend=1.11 * 2**20), 0),
                                 (dict(output_error=0.119), 0), (dict(output_error=0.121), 1)):
            runs = both("double_p", cpu, dict(cpu, **changed), stop="error")
            self.assertEqual(self.status(runs)[0], allowed, changed)

    def test_runs_pair_by_parameters_and_a_lone_one_fails(self):
        runs = both("quest", {}, {}, budget=64) + both("quest", {}, {}, budget=128)[:1]
        found, alone = backends.pairs(read(self.write(runs)).runs)
        self.assertEqual([pair[1].parameters for pair in found], [{"budget": 64}])
        self.assertEqual([run.parameters for run in alone], [{"budget": 128}])
        code, text = self.status(runs)
        self.assertEqual(code, 1)
        self.assertIn("only on backend cpu", text)

    def test_no_pair_at_all_fails(self):
        code, _ = self.status([synthetic.run("quest", [synthetic.row()], backend="cuda")])
        self.assertEqual(code, 1)

    def test_a_file_that_is_none(self):
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            self.assertEqual(backends.main(["backends", self._folder.name + "/absent.h5"]), 2)
            self.assertEqual(backends.main(["backends"]), 2)
        self.assertIn("does not exist", err.getvalue())


if __name__ == "__main__":
    unittest.main()
