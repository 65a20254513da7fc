"""Reading one simulation's file (doublep-simulation, version 1) and refusing what is not one."""

import json
from dataclasses import dataclass, field

import numpy as np

from analysis.errors import ResultError
from analysis.stored import member, open_file

FORMAT, VERSION = "doublep-simulation", 1
RERUN = "write it again with `doublep simulate`"
TEXTS = "study hardware what_if model workload policy label title parameters".split()
BOUNDS = ("memory", "compute", "imbalance", "launch", "host link", "interconnect")
PARTS = ("projections mlp head small_kernels estimate select attend re_clustering "
         "all_reduce").split()
EXTRAPOLATED = ("trace length", "group size", "head_dim", "machine", "timed context",
                "timed batch", "matrix products", "kv_dtype", "kind of search")


@dataclass
class Curve:
    study: str
    hardware: str
    what_if: str
    model: str
    workload: str
    policy: str
    label: str
    title: str  # of the policy's entry; "": named by what varies
    parameters: dict
    order: int
    output_error: float
    covered_mass: float
    points: np.ndarray = None
    serving: np.ndarray = None
    crossover: np.ndarray = None
    answers: np.ndarray = None

    @property
    def setting(self):
        return (self.study, self.hardware, self.what_if, self.model, self.workload)


@dataclass
class Simulation:
    path: str
    name: str
    created: str
    commit: str
    config_hash: str
    curves: list
    calibration: dict = field(default_factory=dict)
    measured: np.ndarray = None
    end_to_end: dict = None  # attributes, and the datasets "steps" and "products"
    profiles: list = field(default_factory=list)

    def studies(self):
        return list(dict.fromkeys(c.study for c in self.curves))

    def of(self, study):
        return [c for c in self.curves if c.study == study]


def reasons(bits):
    """Names of what lies outside of what was measured."""
    return [name for i, name in enumerate(EXTRAPOLATED) if int(bits) >> i & 1]


def read(path):
    """The file as `Simulation`, or a `ResultError` of one line."""
    with open_file(path, "a simulation's file", RERUN) as file:
        found = _text(file, "format")
        if found != FORMAT:
            raise ResultError(path, "attribute 'format'", f"'{FORMAT}', found '{found}'",
                              "give a file that `doublep simulate` wrote")
        version = _text(file, "version")
        if version != str(VERSION):
            raise ResultError(path, "attribute 'version'", f"{VERSION}, found {version or 'none'}", RERUN)
        try:
            return _read(path, file)
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise ResultError(path, "", f"a complete file ({error})", RERUN) from None


def _read(path, file):
    def member_of(node, name):
        return member(path, node, name, RERUN)

    runs, profiles = member_of(file, "runs"), member_of(file, "profiles")
    curves = [_curve(member_of(runs, key), member_of) for key in runs]
    simulation = Simulation(path, *(_text(file, n) for n in
                                    ("name", "created", "commit", "config_hash")),
                            sorted(curves, key=lambda c: c.order))
    group = member_of(file, "calibration")
    if group is not None:
        simulation.calibration = {k: _text(group, k) if k == "hardware" else float(v)
                                  for k, v in group.attrs.items()}
        simulation.measured = member_of(group, "points")[()]
    group = member_of(file, "end_to_end")
    if group is not None:
        simulation.end_to_end = {k: _text(group, k) if k in ("device", "model", "caches")
                                 else float(v) for k, v in group.attrs.items()}
        simulation.end_to_end.update({k: member_of(group, k)[()] for k in ("steps", "products")})
    for key in sorted(profiles, key=int):
        group = member_of(profiles, key)
        simulation.profiles.append(
            {"trace": _text(group, "trace"), "policy": _text(group, "policy"),
             "parameters": json.loads(_text(group, "parameters")),
             "context": int(group.attrs["context"]),
             "output_error": float(group.attrs["output_error"]),
             "hits": _table(member_of(group, "hits"))})
    return simulation


def _curve(node, member_of):
    texts = {name: _text(node, name) for name in TEXTS}
    texts["parameters"] = json.loads(texts["parameters"])
    return Curve(**texts, order=int(node.attrs["order"]),
                 output_error=float(node.attrs["output_error"]),
                 covered_mass=float(node.attrs["covered_mass"]),
                 **{name: _table(member_of(node, name))
                    for name in ("points", "serving", "crossover", "answers")})


def _table(data):
    return None if data is None else data[()]


def _text(node, name):
    value = node.attrs.get(name, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
