"""Every whole command of the program that a page names, run as it stands there, in a folder with small traces."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

import commands
import test_site

ROOT, PROGRAM = test_site.ROOT, test_site.PROGRAM
TRACES = ("data/qwen-needle-8k.h5", "mine.h5")  # what pages call them
FILE = re.compile(r"\.(yaml|h5|npy|jsonl)$")
WITHOUT_FILES = ("policies",)
# Tasks run one after the other, where a Slurm would run them beside each other.
SBATCH = """#!/bin/sh
for task in $(seq $(sed -n 's/^#SBATCH --array=\\([0-9]*\\)-/\\1 /p' "$2")); do
  SLURM_ARRAY_TASK_ID=$task sh "$2" >/dev/null 2>&1
done
echo 1
"""


def whole():
    """The commands that can be run as they stand, in the order of the pages: words, once each."""
    found = {}
    for page, text in test_site.shown().items():
        for words in commands.of(text):
            called = commands.doublep(words)
            if called and (called[0] in WITHOUT_FILES or any(map(FILE.search, words[2:]))):
                found.setdefault(tuple(words[1:]), page)
    return found


@unittest.skipUnless(PROGRAM, "DOUBLEP_PROGRAM names no program")
class WholeCommands(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        os.makedirs(f"{self.folder}/data")
        os.makedirs(f"{self.folder}/bin")
        for name in ("configs", "sim/profiles"):
            shutil.copytree(f"{ROOT}/{name}", f"{self.folder}/{name}")
        os.symlink(f"{ROOT}/cuda", f"{self.folder}/cuda")
        os.symlink(PROGRAM, f"{self.folder}/bin/doublep")
        for name, script in (("sbatch", SBATCH), ("squeue", "#!/bin/sh\n")):
            with open(os.open(f"{self.folder}/bin/{name}", os.O_CREAT | os.O_WRONLY, 0o755), "w") as file:
                file.write(script)
        for seed, trace in enumerate(TRACES):
            self.run_doublep("synth", "-o", trace, "--tokens", "640", "--steps", "8", "--seed", str(seed))

    def run_doublep(self, *words):
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        line = 'exec doublep "$@"' if not any("*" in word for word in words) else "exec doublep " + " ".join(words)
        done = subprocess.run(
            ["bash", "-c", line, "doublep", *words], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def test_they_do_what_they_say(self):
        found = whole()
        self.assertEqual(
            {words[0] for words in found},
            {"run", "merge", "submit", "tune", "check", "inspect", "validate", "simulate", "policies"},
        )
        for i in range(1, 5):  # what the page has done before it merges
            self.run_doublep("run", "configs/default.yaml", "--shard", f"{i}/4")
        # What one command writes another reads, whichever page is first.
        order = ("merge", "run", "check")
        for words in sorted(found, key=lambda words: order.index(words[0]) if words[0] in order else len(order)):
            with self.subTest(page=found[words], command=" ".join(words)):
                before = self.written()
                if words[0] == "submit":  # all is there by then
                    shutil.rmtree(f"{self.folder}/results")
                said = self.run_doublep(*words)
                outputs = [after for option, after in zip(words, words[1:]) if option in ("-o", "--csv")]
                for output in outputs:
                    self.assertIn(output, self.written())
                self.assertTrue(said or self.written() != before)

    def written(self):
        return {
            os.path.relpath(os.path.join(folder, name), self.folder)
            for folder, _, names in os.walk(self.folder)
            for name in names
        }


if __name__ == "__main__":
    unittest.main()
