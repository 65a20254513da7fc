"""The simulator fitted to a run of cuda/visit.sh, and how well it predicts what it did not see.

  python3 -m analysis.recalibrate RUN [--machine h100-sxm] [--program PATH] [--adopt]

RUN is the folder with bench.json and e2e*.json. Prints the median and worst error on attention steps
and on whole decode steps that were held out of the fit, a file of whole steps at a time. Leaves in RUN
the description of the machine with the read ceiling that was measured (<machine>.yaml) and, for every
file of whole steps, calibration-<model>.md, with the fitted figures and every point. --adopt also puts
the description into configs/hardware and names the run in configs/simulate.yaml,
simulate_accuracy.yaml and simulate_crossover.yaml; then `analysis/regenerate.sh simulation` writes their reports anew.
"""

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

from analysis.bench_file import read
from analysis.errors import ResultError
from analysis.writer import write_text

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MEASURED = "our own read loop on this part, the ceiling that cuda/results/ states"
HARDWARE = os.path.join(ROOT, "configs", "hardware")
PLANS = ("simulate.yaml", "simulate_accuracy.yaml", "simulate_crossover.yaml")


def machine_of(path, device, wanted=None):
    """The description in configs/hardware of a device as `doublep bench` names it: `wanted`, or the one
    whose title shares a model's name (a word with a digit, H100) with it, and most other words."""
    names = sorted(os.path.basename(f)[:-5] for f in glob.glob(os.path.join(HARDWARE, "*.yaml")))
    if wanted:
        if wanted not in names:
            raise ResultError("--machine", "", f"one of {', '.join(names)}, not '{wanted}'",
                              "describe it in configs/hardware")
        return wanted
    said = set(device.split(",")[0].split())
    found = []
    for name in names:
        with open(os.path.join(HARDWARE, name + ".yaml"), encoding="utf-8") as file:
            title = re.search(r"^title: (.*)$", file.read(), flags=re.M)
        common = said & set(title[1].split()) if title else set()
        if any(re.search(r"[A-Z]+\d", word) for word in common):
            found.append((len(common), name))
    best = [name for count, name in found if count == max(found)[0]]
    if len(best) == 1:
        return best[0]
    raise ResultError(path, "key 'device'", f"a machine of configs/hardware, found '{device}', which is "
                      + (" or ".join(best) if best else "none of them"), "name one with --machine")


def with_ceiling(text, bytes_per_second):
    """A description with that read bandwidth as measured."""
    line = f"achieved_bandwidth_gbs: {{value: {bytes_per_second / 1e9:.0f}, source: measured}}"
    text, found = re.subn(r"^achieved_bandwidth_gbs:.*$", line, text, flags=re.M)
    if not found:
        text = re.sub(r"^(memory_bandwidth_gbs:.*)$", r"\1\n" + line, text, flags=re.M)
    if not re.search(r"^  measured:", text, flags=re.M):
        text = re.sub(r"^sources:$", f"sources:\n  measured: {MEASURED}", text, flags=re.M)
    return text


def plan(bench, steps, model, hardware, machine):
    """A simulation of one point, for the sake of its calibration."""
    return f"""\
name: calibration
hardware: [{hardware}]
models: [{ROOT}/configs/models/{model}.yaml]
workloads: [{{name: needle, profiles: [{ROOT}/sim/profiles/needle.tsv]}}]
policies: [{{policy: dense}}]
calibration: {{points: {bench}, end_to_end: {steps}, hardware: {machine}, hold_out: 3}}
studies: [{{name: one point, decode: {{context: 65536, batch: 1}}}}]
"""


def adopted(path, text, run, steps, machine):
    """A configuration of the simulator with this run instead of another under cuda/results, which was on
    the same machine."""
    named = re.search(r"^  hardware: (.*)$", text, flags=re.M)
    if not named or named[1] != machine:
        raise ResultError(path, "key 'calibration.hardware'", f"{machine}, where the run was",
                          "adopt a run on the machine that stands there, or change it by hand")
    where = "../" + os.path.relpath(run, ROOT)
    text = re.sub(r"^(  points: ).*$", rf"\1{where}/bench.json", text, flags=re.M)
    return re.sub(r"^(  end_to_end: ).*$", rf"\1{where}/{os.path.basename(steps)}", text, flags=re.M)


def model_of(path):
    """The model of a file of whole steps."""
    with open(path, encoding="utf-8") as file:
        found = re.search(r'"model": "([^"]+)"', file.read(4096))
    if not found:
        raise ResultError(path, "", "a file of doublep_e2e, with its model", "measure it anew")
    return found[1]


def fit(program, run, steps, hardware, machine):
    """The program's two lines on errors. Leaves the page in RUN."""
    model = model_of(steps)
    with tempfile.TemporaryDirectory() as folder:
        config, result = os.path.join(folder, "plan.yaml"), os.path.join(folder, "result.h5")
        write_text(config, plan(os.path.join(run, "bench.json"), steps, model, hardware, machine))
        done = subprocess.run([program, "simulate", config, "-o", result], text=True,
                              capture_output=True, check=False)
        if done.returncode:
            raise ResultError(steps, "", f"what `doublep simulate` takes ({done.stderr.strip()})",
                              "see what it says")
        subprocess.run([sys.executable, os.path.join(ROOT, "analysis/simulation/report.py"), result,
                        "--out", folder, "--format", "md"], check=True, stdout=subprocess.DEVNULL)
        shutil.copy(os.path.join(folder, "simulation.md"),
                    os.path.join(run, f"calibration-{model}.md"))
    return [line.strip() for line in done.stdout.splitlines()
            if line.strip().startswith(("calibration:", "fitted on", "end to end,"))]


def main(argv=None):
    parser = argparse.ArgumentParser(prog="recalibrate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a run of cuda/visit.sh, such as cuda/results/<date>")
    parser.add_argument("--program", default=os.path.join(ROOT, "build/release/experiments/doublep"))
    parser.add_argument("--machine", help="its name in configs/hardware (default: by the device's name)")
    parser.add_argument("--adopt", action="store_true", help="make the run the one that configs/ names")
    args = parser.parse_args(argv)
    try:
        run = os.path.abspath(args.run)
        bench = read(os.path.join(run, "bench.json"))
        machine = machine_of(os.path.join(run, "bench.json"), bench["device"],
                             args.machine)
        described = os.path.join(HARDWARE, machine + ".yaml")
        with open(described, encoding="utf-8") as file:
            text = with_ceiling(file.read(), bench["read_ceiling"])
        hardware = os.path.join(run, machine + ".yaml")
        write_text(hardware, text)
        files = sorted(glob.glob(os.path.join(run, "e2e*.json")))
        if not files:
            raise ResultError(run, "", "e2e.json, of doublep_e2e", "see cuda/visit.sh")
        for steps in files:
            print(*fit(args.program, run, steps, hardware, machine), sep="\n")
        if args.adopt:
            texts = {}
            for name in PLANS:
                path = os.path.join(ROOT, "configs", name)
                with open(path, encoding="utf-8") as file:
                    text = file.read()
                mine = [f for f in files if f"models/{model_of(f)}.yaml" in text]
                if not mine:
                    raise ResultError(path, "key 'models'", "a model whose whole steps the run has",
                                      "name it there, or measure it")
                texts[path] = adopted(path, text, run, mine[0], machine)
            shutil.copy(hardware, described)
            for path, text in texts.items():
                write_text(path, text)
                print(f"{path} names {run}")
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
