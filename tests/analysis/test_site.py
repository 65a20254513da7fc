"""The documentation site: every page from a file that exists, every link, every command that a page names."""

import contextlib
import functools
import io
import os
import re
import subprocess
import sys
import tempfile
import types
import unittest
import unittest.mock

import commands

from analysis.errors import ResultError
from analysis.site import __main__ as program
from analysis.site import gather, pages

ROOT = gather.ROOT
PROGRAM = os.environ.get("DOUBLEP_PROGRAM")
PROGRAM = PROGRAM and os.path.abspath(PROGRAM)
WITH_CUDA = {"bench": "experiments/bench"}  # what a program without CUDA does not have is looked up in its source
OUTSIDE = ("venv", "http.server", "unittest", "doublep")  # modules that pages run and that are not ours to look into


@functools.lru_cache(maxsize=None)
def gathered():
    """{page: its Markdown} as the site shows it, with the files beside."""
    with tempfile.TemporaryDirectory() as folder:
        names = gather.Gatherer(folder).all()
        texts = {}
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                texts[name] = file.read()
    return {name: text.decode() if name.endswith(".md") else None for name, text in texts.items()}


def shown():
    return {name: text for name, text in gathered().items() if text is not None}


@functools.lru_cache(maxsize=None)
def source_of(folder):
    texts = []
    for name in sorted(os.listdir(os.path.join(ROOT, folder))):
        if name.endswith(".cpp"):
            with open(os.path.join(ROOT, folder, name), encoding="utf-8") as file:
                texts.append(file.read())
    return "".join(texts)


@functools.lru_cache(maxsize=None)
def help_of(*words):
    done = subprocess.run([PROGRAM, *words, "--help"], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


class Pages(unittest.TestCase):
    def test_every_page_is_there(self):
        navigation = [page for _, entries in pages.NAVIGATION for _, page in entries]
        self.assertEqual(len(navigation), len(set(navigation)))
        for page in navigation:
            self.assertRegex(shown()[page], r"^# ", page)
        self.assertEqual(set(pages.COMPOSED) - set(navigation), set())

    def test_every_section_of_the_readme_is_on_one_page(self):
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
            readme = file.read()
        have = gather.sections(readme)
        self.assertEqual("".join(have.values()), readme)
        self.assertGreater(len(have), 12)
        text = "".join(gather.composed(readme)[0].values())
        for name, section in have.items():
            self.assertEqual(text.count(section.split("\n", 1)[1]), 1, name)

    def test_links_lead_somewhere(self):
        links = 0
        for page, text in shown().items():
            for code, part in gather.blocks(text):
                for image, _, target in gather.LINK.findall("" if code else gather.CODE.sub("", part)):
                    if re.match(r"[a-z]+:", target):
                        continue
                    links += 1
                    path, _, anchor = target.partition("#")
                    place = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
                    self.assertIn(place, gathered(), f"{page}: {target}")
                    if anchor:
                        headings = re.findall(r"^#+ (.*)$", shown()[place], re.M)
                        self.assertIn(anchor, map(gather.slug, headings), f"{page}: {target}")
        self.assertGreater(links, 40)

    def test_what_a_new_section_or_a_lost_one_does(self):
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
            readme = file.read()
        texts, anchors = gather.composed(readme + "\n## Brand new\n\nwords\n")
        self.assertIn("## Brand new\n\nwords", texts[pages.FIRST])
        self.assertEqual(anchors["brand-new"], pages.FIRST)
        with self.assertRaisesRegex(ResultError, "README.md: '## The simulator': expected a section.*pages.py"):
            gather.composed(readme.replace("## The simulator", "## The oracle"))

    def test_links_to_the_readme_lead_to_its_pages(self):
        with tempfile.TemporaryDirectory() as folder:
            gatherer = gather.Gatherer(folder)
            gatherer.all()
            for page, target, expected in (
                ("data/README.md", "../README.md#your-own-trace", "../your-model.md#your-own-trace"),
                ("policies.md", "#reports", "index.md#reports"),
                ("index.md", "#on-a-gpu", "gpu.md"),
                ("index.md", "README.md", "index.md"),
                ("index.md", "data/README.md#a-zoo-of-traces", "data/README.md#a-zoo-of-traces"),
            ):
                self.assertEqual(
                    gatherer._prose(page, f"[x]({target}) `[x]({target})`"), f"[x]({expected}) `[x]({target})`"
                )
            self.assertEqual(
                gatherer._prose("index.md", "[the tests](tests/consumer)"), "the tests (`tests/consumer/`)"
            )
            with self.assertRaisesRegex(ResultError, "index.md: expected a file 'no/such.md'"):
                gatherer._prose("index.md", "[x](no/such.md)")

    def test_what_is_not_installed_is_named(self):
        absent = subprocess.CompletedProcess([], 1, "", "/usr/bin/python3: No module named mkdocs\n")
        refused = subprocess.CompletedProcess([], 1, "", "WARNING - one\nAborted with 1 warnings in strict mode!\n")
        here = types.ModuleType("latex2mathml.converter")
        here.convert = lambda text, display: "<math></math>"
        for modules, done, words in (
            (
                {"latex2mathml.converter": None},
                None,
                "error: latex2mathml: expected the Python package.*pip install -r",
            ),
            ({"latex2mathml.converter": here}, absent, "error: mkdocs: expected the Python package.*pip install -r"),
            ({"latex2mathml.converter": here}, refused, "error: .*without a warning; WARNING - one . Aborted"),
        ):
            modules = {"latex2mathml": types.ModuleType("latex2mathml"), **modules}
            with unittest.mock.patch.dict(sys.modules, modules), tempfile.TemporaryDirectory() as folder:
                with (
                    unittest.mock.patch("subprocess.run", return_value=done),
                    contextlib.redirect_stderr(io.StringIO()) as said,
                ):
                    self.assertEqual(program.main(["--out", folder]), 2)
            self.assertEqual(said.getvalue().count("\n"), 1)
            self.assertRegex(said.getvalue(), words)

    def test_citation_and_version(self):
        with open(os.path.join(ROOT, "CITATION.cff"), encoding="utf-8") as file:
            citation = file.read()
        with open(os.path.join(ROOT, "CMakeLists.txt"), encoding="utf-8") as file:
            version = re.search(r"project\(doublep VERSION ([\d.]+)", file.read()).group(1)
        for key in ("cff-version: 1.2.0", "title: ", "message: ", "authors:", f"version: {version}", "license: MIT"):
            self.assertRegex(citation, f"(?m)^{re.escape(key)}")
        self.assertIn(f"## {version}", shown()["CHANGELOG.md"])


class Commands(unittest.TestCase):
    def all(self, kind):
        return [
            (page, words, kind(words)) for page, text in shown().items() for words in commands.of(text) if kind(words)
        ]

    @unittest.skipUnless(PROGRAM, "DOUBLEP_PROGRAM names no program")
    def test_the_program_knows_every_command(self):
        found = self.all(commands.doublep)
        self.assertGreater(len(found), 25)
        self.assertGreater(len({subcommand for _, _, (subcommand, _) in found}), 7)
        for page, words, (subcommand, options) in found:
            if not re.match(r"^[a-z0-9_]*$", subcommand):
                continue  # `doublep COMMAND --help`
            text = help_of(*[subcommand] if subcommand else [])
            if not text and subcommand in WITH_CUDA:
                text = source_of(WITH_CUDA[subcommand])
            self.assertTrue(text, f"{page}: {' '.join(words)}: no such command")
            for option in options:
                self.assertRegex(text, rf"(?<![\w-]){option}(?![\w-])", f"{page}: {' '.join(words)}")

    def test_scripts_and_modules_exist_and_know_their_options(self):
        found = self.all(commands.python)
        self.assertGreater(len(found), 10)
        for page, words, (places, options) in found:
            line = f"{page}: {' '.join(words)}"
            have = [place for place in places if os.path.isfile(os.path.join(ROOT, place))]
            if not have and words[1] == "-m" and words[2].split(".")[0] in {*OUTSIDE, "http"}:
                continue
            if words[1].startswith("-") and words[1] != "-m":
                continue
            self.assertTrue(have, line)
            sources = [have[0]] + (["analysis/options.py"] if have[0].startswith("analysis/") else [])
            text = ""
            for source in sources:
                with open(os.path.join(ROOT, source), encoding="utf-8") as file:
                    text += file.read()
            for option in options:
                self.assertRegex(text, rf'"{option}"', line)

    def test_shell_scripts_and_presets_exist(self):
        scripts = presets = 0
        with open(os.path.join(ROOT, "CMakePresets.json"), encoding="utf-8") as file:
            known = file.read()
        for page, text in shown().items():
            for words in commands.of(text):
                if words[0] == "bash" and len(words) > 1 or words[0].endswith(".sh"):
                    script = words[1] if words[0] == "bash" else words[0]
                    scripts += 1
                    place = os.path.join(ROOT, os.path.dirname(page) if "/" not in script else "", script)
                    self.assertTrue(os.path.isfile(place), f"{page}: {' '.join(words)}")
                for preset in re.findall(r"--preset[ =](\S+)", " ".join(words)):
                    presets += 1
                    self.assertIn(f'"{preset}"', known, page)
        self.assertGreater(scripts, 5)
        self.assertGreater(presets, 2)

    def test_commands_are_found_and_taken_apart(self):
        text = "say `doublep run a.yaml --jobs 2` or\n\n```sh\nX=1 build/doublep check r.h5 \\\n  --baseline=b.yaml && python3 -m a.b --out c\n```\n"
        found = commands.of(text)
        self.assertEqual(commands.doublep(found[0]), ("run", ["--jobs"]))
        self.assertEqual(commands.doublep(found[1]), ("check", ["--baseline"]))
        self.assertEqual(commands.python(found[2]), (["a/b.py", "a/b/__main__.py"], ["--out"]))
        self.assertIsNone(commands.doublep(["doublep"]))


if __name__ == "__main__":
    unittest.main()
