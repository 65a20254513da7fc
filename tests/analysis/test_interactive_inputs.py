"""The HTML page of two results compared, and what is refused with one line."""

import os
import sys
import types
import unittest
import unittest.mock

import numpy as np
import pages
import synthetic


class Comparison(pages.Written):
    def compared(self, ours, theirs):
        read = pages.Reader(self.page(ours, "--against", theirs))
        table = next(table for table in read.tables if "error mean before" in table[0])
        return read, table

    def test_a_run_that_moved(self):
        ours = synthetic.write(
            self.path("a.h5"),
            [synthetic.trace()],
            [
                synthetic.run(
                    "quest", [synthetic.row(output_error=0.1 * (i + 1), bytes_attend=100)], order=i, budget=i
                )
                for i in range(3)
            ],
        )
        read, table = self.compared(ours, pages.moved(ours, self.path("b.h5")))
        self.assertEqual(table[0][3:6], ["error mean before", "now", "change %"])
        self.assertEqual(
            [line[3:6] for line in table[1:]],
            [["0.10000", "0.10000", "0.00"], ["0.40000", "0.20000", "-50.00"], ["0.30000", "0.30000", "0.00"]],
        )
        self.assertIn(
            "Runs in both: 3, of which 2 have the same rows to the last bit. Only in this result: 0; only in b.h5: 0.",
            read.text,
        )
        self.assertIn(
            "The program hash differs: {} before, {} now.".format(*map(synthetic.digits, ("another program", "program"))),
            read.text,
        )
        points = [one for one in read.data["comparison"]["data"] if one["mode"] == "markers" and one["yaxis"] == "y"]
        np.testing.assert_allclose(points[0]["x"], [10, 40, 30])
        np.testing.assert_allclose(points[0]["y"], [10, 20, 30])

    def test_runs_of_one_side(self):
        first, second = (
            [synthetic.run("quest", [synthetic.row(output_error=0.1)], budget=b) for b in budgets]
            for budgets in ((1, 2, 3), (2, 4))
        )
        read, table = self.compared(
            synthetic.write(self.path("a.h5"), [synthetic.trace()], first),
            synthetic.write(self.path("b.h5"), [synthetic.trace()], second),
        )
        self.assertEqual(len(table), 2)
        self.assertIn(
            "Runs in both: 1, of which 1 have the same rows to the last bit. Only in this result: 2; only in b.h5: 1.",
            read.text,
        )

    def test_two_models_of_one_configuration(self):
        runs = [synthetic.run("quest", [synthetic.row(output_error=0.1)], budget=1)]
        read, table = self.compared(
            synthetic.write(self.path("a.h5"), [synthetic.trace("one")], runs),
            synthetic.write(self.path("b.h5"), [synthetic.trace("two")], runs),
        )
        self.assertEqual(len(table), 2)
        self.assertIn("The traces differ: two before, one now.", read.text)

    def test_nothing_in_common(self):
        ours, theirs = (
            synthetic.write(
                self.path(f"{policy}.h5"), [synthetic.trace()], [synthetic.run(policy, [synthetic.row()])]
            )
            for policy in ("quest", "loki")
        )
        status, said = pages.call(ours, "--against", theirs, "-o", self.path("page.html"))
        self.assertEqual((status, said.count("\n")), (2, 1))
        self.assertRegex(said, r"^error: loki\.h5: expected a run with the settings and the trace of one")
        self.assertFalse(os.path.exists(self.path("page.html")))


class Refusals(pages.Written):
    def refused(self, *arguments, words=()):
        before = sorted(os.listdir(self.folder))
        status, said = pages.call(*arguments)
        self.assertEqual((status, said.count("\n")), (2, 1), said)
        for word in ("error: ", "expected", *words):
            self.assertIn(word, said)
        self.assertEqual(sorted(os.listdir(self.folder)), before)  # nothing half-written

    def test_bad_input(self):
        result, out = self.sweep(), self.path("page.html")
        with open(self.path("text.h5"), "w") as file:
            file.write("no HDF5")
        self.refused(self.path("absent.h5"), "-o", out, words=["absent.h5", "does not exist"])
        self.refused(self.path("text.h5"), "-o", out, words=["an HDF5 file"])
        self.refused(result, "--against", self.path("text.h5"), "-o", out, words=["text.h5", "an HDF5 file"])
        self.refused(result, "--policy", "none_such", "-o", out, words=["check --policy"])
        self.refused(result, "-o", self.path("no/such/folder/page.html"), words=["choose another -o"])
        self.refused(result, "-o", self.folder, words=["choose another -o"])
        self.refused(result, "-o", result, words=["another file than the result that is read"])

    def test_a_page_is_written_whole_or_not_at_all(self):
        result = self.sweep()
        self.page(result)
        with open(self.path("page.html")) as file:
            before = file.read()
        os.symlink("page.html", self.path("link.html"))
        with unittest.mock.patch("os.replace", side_effect=OSError(28, "No space left on device")):
            self.refused(result, "--policy", "quest", "-o", self.path("page.html"), words=["No space left"])
        with open(self.path("page.html")) as file:
            self.assertEqual(file.read(), before)
        self.page(result, "--policy", "quest", name="link.html")
        self.assertTrue(os.path.islink(self.path("link.html")))
        with open(self.path("page.html")) as file:
            self.assertNotEqual(file.read(), before)


class Libraries(unittest.TestCase):
    def test_one_that_is_missing_is_named(self):
        here = types.SimpleNamespace(get_plotlyjs=lambda: "")
        for name, modules in (
            ("plotly", {"plotly.offline": None}),
            ("itables", {"plotly.offline": here, "itables.utils": None}),
        ):
            with unittest.mock.patch.dict(sys.modules, {name: types.ModuleType(name), **modules}):
                status, said = pages.call("r.h5", "-o", "page.html")
            self.assertEqual((status, said.count("\n")), (2, 1), said)
            self.assertRegex(
                said, f"^error: {name}: expected the Python package .*pip install -r analysis/requirements.txt"
            )


if __name__ == "__main__":
    unittest.main()
