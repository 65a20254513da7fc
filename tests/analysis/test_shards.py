"""README's lines for GNU parallel, xargs and a Snakefile, run as they stand there on a small sweep."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("DOUBLEP_PROGRAM")
SWEEP = f"""name: default
traces: [{ROOT}/tests/data/needle-4k.h5]
replay: {{max_steps: 2}}
policies: [dense, {{policy: streaming, window: [16, 64, 256]}}, quest]
"""


def section():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        return re.search(r"^## Beyond one machine\n(.*?)^## ", file.read(), re.M | re.S).group(1)


def is_gnu_parallel():
    found = shutil.which("parallel")
    return found and "GNU" in subprocess.run([found, "--version"], capture_output=True, text=True).stdout


@unittest.skipUnless(PROGRAM, "DOUBLEP_PROGRAM names no program")
class Shards(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        for name in ("bin", "configs"):
            os.mkdir(f"{self.folder}/{name}")
        os.symlink(os.path.abspath(PROGRAM), f"{self.folder}/bin/doublep")
        with open(f"{self.folder}/configs/default.yaml", "w", encoding="utf-8") as file:
            file.write(SWEEP)
        self.shell("doublep run configs/default.yaml -o whole.h5")
        self.whole = self.shell("doublep export whole.h5")

    def shell(self, line):
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", line], cwd=self.folder, env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, line + done.stdout + done.stderr)
        return done.stdout

    def check_merged(self):
        self.assertEqual(self.shell("doublep export results/default.h5"), self.whole)
        shutil.rmtree(f"{self.folder}/results")

    def test_lines_of_a_shell(self):
        lines = re.search(r"```sh\n(.*?)```", section(), re.S).group(1).splitlines()
        merge = [line for line in lines if line.startswith("doublep merge")]
        ways = [line for line in lines if "--shard {}/4" in line]
        self.assertEqual((len(merge), len(ways), len(lines)), (1, 2, 3))
        for way in ways:
            with self.subTest(way):
                if way.startswith("parallel ") and not is_gnu_parallel():
                    self.skipTest("no GNU parallel here")
                self.shell(way)
                self.shell(merge[0])
                self.check_merged()

    def test_the_snakefile(self):
        text = re.search(r"```python\n(rule .*?)```", section(), re.S).group(1)
        if shutil.which("snakemake"):
            with open(f"{self.folder}/Snakefile", "w", encoding="utf-8") as file:
                file.write(text)
            self.shell("snakemake --cores 2")
        else:  # what its rules would run
            merge, shard = re.findall(r'shell: "(.*)"', text)
            output = re.findall(r'output: "(.*)"', text)
            files = [output[1].replace("{i}", str(i)) for i in range(1, 5)]
            self.assertIn(f'expand("{output[1]}", i=range(1, 5))', text)
            for i, file in enumerate(files, 1):
                self.shell(shard.replace("{wildcards.i}", str(i)).replace("{output}", file))
            self.shell(merge.replace("{input}", " ".join(files)).replace("{output}", output[0]))
        self.check_merged()


if __name__ == "__main__":
    unittest.main()
