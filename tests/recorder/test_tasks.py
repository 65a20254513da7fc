"""The questions of data/tasks: answers found again in the text alone, by other means than made them."""

import ast
import collections
import hashlib
import os
import random
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "data"))

import tasks
from tasks import code, ruler


def words(text):
    """A tokenizer of its own kind: words, numbers and signs."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def question(task, seed=0, tokens=2500):
    return tasks.make(task, seed, tokens, words)


def needles(text):
    found = collections.defaultdict(list)
    for key, value in re.findall(r"One of the special magic \w+ for (\S+) is: (\S+)\.", text):
        found[key].append(value)
    return found


class Lengths(unittest.TestCase):
    def test_the_longest_that_fits(self):
        for task, build in tasks.TASKS.items():
            for tokens in (2000, 3100):
                made = question(task, tokens=tokens)
                self.assertLessEqual(words(made.text), tokens, task)
                self.assertGreater(words(made.text), 0.85 * tokens, task)

    def test_32k_tokens(self):
        for task in tasks.TASKS:
            self.assertGreater(words(question(task, tokens=32768).text), 30000, task)

    def test_the_same_for_the_same_seed(self):
        for task in tasks.TASKS:
            self.assertEqual(question(task, 3), question(task, 3))
            self.assertNotEqual(question(task, 3).answers, question(task, 4).answers, task)

    def test_length_changes_no_answer(self):
        for task in tasks.TASKS:
            if task not in ("cwe", "fwe"):  # whose answers are of all the words
                self.assertEqual(set(question(task, 5).answers), set(question(task, 5, 6000).answers), task)

    def test_too_short(self):
        with self.assertRaisesRegex(tasks.TaskError, "vt: the shortest has more than 40 tokens; ask for more"):
            question("vt", tokens=40)
        with self.assertRaisesRegex(tasks.TaskError, "cwe: there are [0-9]* words, too few .*; ask for fewer"):
            question("cwe", tokens=10**6)
        with self.assertRaisesRegex(tasks.TaskError, "no task 'niah'; expected one of niah_single_1, "):
            question("niah")


class Ruler(unittest.TestCase):
    def test_needles(self):
        """keys hidden (0: many), values of each, keys asked for, what the values look like."""
        number, uuid = r"\d{7}", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
        expected = {"niah_single_1": (1, 1, 1, number), "niah_single_2": (1, 1, 1, number),
                    "niah_single_3": (1, 1, 1, uuid), "niah_multikey_1": (4, 1, 1, number),
                    "niah_multikey_2": (0, 1, 1, number), "niah_multikey_3": (0, 1, 1, uuid),
                    "niah_multivalue": (1, 4, 1, number), "niah_multiquery": (4, 1, 4, number)}
        for task, (keys, values, queries, form) in expected.items():
            for seed in range(3):
                made = question(task, seed)
                found = needles(made.prompt)
                if keys:
                    self.assertEqual(len(found), keys, task)
                else:
                    self.assertGreater(len(found), 50, task)
                self.assertEqual({len(v) for v in found.values()}, {values}, task)
                asked = re.search(r" for (\S+(?:, (?:and )?\S+)*) mentioned in the provided text\?$",
                                  made.prompt)[1]
                asked = re.split(r", (?:and )?", asked)
                self.assertEqual(len(asked), queries, task)
                self.assertEqual(sorted(made.answers), sorted(v for key in asked for v in found[key]), task)
                for answer in made.answers:
                    self.assertRegex(answer, f"^{form}$")
                self.assertIn(asked[0], made.prefix)

    def test_a_needle_lies_anywhere(self):
        places = []
        for seed in range(40):
            made = question("niah_single_1", seed, 1000)
            places.append(made.prompt.index("One of the special") / len(made.prompt))
        self.assertLess(min(places), 0.2)
        self.assertGreater(max(places), 0.8)

    def test_variables(self):
        for seed in range(5):
            made = question("vt", seed)
            value = re.search(r"assigned the value (\d{5}) in", made.prompt)[1]
            held = {}
            for name, of in re.findall(r"VAR ([A-Z]{5}) = (?:VAR )?(\w+)", made.prompt):
                held[name] = held.get(of, of)  # read from the top: a name is held before it is used
            self.assertEqual({name for name, v in held.items() if v == value}, set(made.answers))
            self.assertEqual(len(made.answers), 5)
            self.assertIn(" 5 variables are", made.prefix)

    def test_common_words(self):
        for seed in range(3):
            made = question("cwe", seed, 6000)
            listed = re.findall(r"(\d+)\. (\S+)", made.prompt)
            self.assertEqual([int(i) for i, _ in listed], list(range(1, len(listed) + 1)))
            counts = collections.Counter(word for _, word in listed).most_common()
            self.assertEqual({word for word, _ in counts[:10]}, set(made.answers))
            self.assertEqual({n for _, n in counts[:10]}, {30})
            self.assertEqual({n for _, n in counts[10:]}, {3})

    def test_frequent_words(self):
        for seed in range(3):
            made = question("fwe", seed)
            text = re.search(r"coded words\. (.*)\nQuestion", made.prompt)[1].split(" ")
            counts = collections.Counter(text).most_common()
            self.assertEqual(counts[0][0], "....")
            self.assertEqual([word for word, _ in counts[1:4]], list(made.answers))
            self.assertGreater(counts[3][1], counts[4][1])
            for word, _ in counts[1:]:
                self.assertRegex(word, "^[a-z]{6}$")
            for k, (_, n) in enumerate(counts[:4], 1):  # a law of power 2
                self.assertAlmostEqual(n / counts[0][1], k**-2, delta=0.05)


class Code(unittest.TestCase):
    def module(self, made):
        text = re.search(r"```python\n(.*)```", made.prompt, re.DOTALL)[1]
        space = {}
        exec(text, space)
        return ast.parse(text), space

    def test_running_it_gives_the_answer(self):
        for seed in range(3):
            made = question("code_returns", seed)
            _, space = self.module(made)
            name = re.search(r"`(\w+)\(\)` return\?", made.prompt)[1]
            self.assertEqual(made.answers, (str(space[name]()),))

    def test_defaults(self):
        for seed in range(3):
            made = question("code_default", seed)
            _, space = self.module(made)
            name = re.search(r"`limit` in `(\w+)`\?", made.prompt)[1]
            self.assertEqual(made.answers, (str(space[name].__defaults__[0]),))

    def test_callers(self):
        for seed in range(3):
            made = question("code_caller", seed)
            tree, _ = self.module(made)
            called = re.search(r"calls `(\w+)\(\)`\?", made.prompt)[1]
            callers = [f.name for f in tree.body for node in ast.walk(f)
                       if isinstance(node, ast.Call) and getattr(node.func, "id", "") == called]
            self.assertEqual(list(made.answers), callers)

    def test_no_number_and_no_name_twice(self):
        made = question("code_returns", tokens=20000)
        tree, _ = self.module(made)
        names = [f.name for f in tree.body]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(made.prompt.count(made.answers[0]), 1)


class Score(unittest.TestCase):
    def test_all_answers_in_any_case(self):
        made = tasks.Question("vt", "", "", ("ABCDE", "12345"), 9)
        self.assertEqual(tasks.score(made, "abcde and 12345."), 1)
        self.assertTrue(tasks.solved(made, "abcde and 12345."))
        self.assertEqual(tasks.score(made, "12345"), 0.5)
        self.assertFalse(tasks.solved(made, "12345"))
        self.assertEqual(tasks.score(made, ""), 0)


class HeldOut(unittest.TestCase):
    def test_sources(self):
        text, first = code.sources(random.Random(1), 400)
        self.assertEqual(text.count("\n"), 399)
        self.assertTrue(text.startswith(f"// File: {first}\n"))
        # Of an earlier day, whatever becomes of the sources: results of other versions compare.
        self.assertEqual(hashlib.sha256(text.encode()).hexdigest()[:16], "e00b88abde334766")
        self.assertNotEqual(code.sources(random.Random(2), 400)[1], first)
        with self.assertRaisesRegex(tasks.TaskError, "ask for fewer tokens"):
            code.sources(random.Random(1), 10**7)


if __name__ == "__main__":
    unittest.main()
