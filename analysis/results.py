"""What a result file holds, as plain Python objects; several files joined into one `Results`."""

from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Trace:
    """A recorded KV trace. Two files speak of the same trace when its content hash is the same."""

    name: str
    hash: str
    model: str
    task: str
    num_tokens: int
    num_query_heads: int
    num_kv_heads: int
    head_dim: int
    num_steps: int
    layers: tuple


@dataclass(frozen=True)
class Sweep:
    """Where a result file comes from: its root attributes."""

    path: str
    name: str
    config_hash: str
    created: str
    commit: str
    program_hash: str
    compiler: str
    cpu: str
    threads: int
    seed: int


@dataclass(frozen=True, eq=False)
class Run:
    """One policy with one set of parameters on one trace, with its raw rows."""

    key: str
    program: str  # hash of the program that made it: its own where it says so, else the file's
    place: tuple  # (index of the file, order in its sweep): the order of every table
    policy: str
    backend: str
    label: str
    trace: Trace
    parameters: dict  # flat: nested objects become dotted names
    target_p: float
    kv_dtype: str
    seconds: float
    layers_replayed: tuple  # indices in the model
    steps_replayed: tuple  # of the trace
    rows: np.ndarray = field(repr=False)
    layers: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Results:
    sweeps: list
    traces: list  # in order of appearance
    runs: list  # in sweep order

    def of(self, trace):
        """Runs on one trace, in sweep order."""
        return [run for run in self.runs if run.trace.hash == trace.hash]


def join(parts):
    """One `Results` of several. A run found twice (same key, same program) is taken once.

    Traces of the same content become one; of the same name but other content get their hash's
    first digits added, so that a facet never mixes two of them.
    """
    traces, runs = {}, {}
    for part in parts:
        for trace in part.traces:
            traces.setdefault(trace.hash, trace)
    names = [trace.name for trace in traces.values()]
    for key, trace in traces.items():
        if names.count(trace.name) > 1:
            traces[key] = replace(trace, name=f"{trace.name} ({trace.hash[:6]})")
    for index, part in enumerate(parts):
        for run in part.runs:
            place = (index,) + tuple(run.place[1:])
            moved = replace(run, place=place, trace=traces[run.trace.hash])
            runs.setdefault((run.key, run.program), moved)
    used = {run.trace.hash for run in runs.values()}
    return Results(
        sweeps=[sweep for part in parts for sweep in part.sweeps],
        traces=[trace for trace in traces.values() if trace.hash in used],
        runs=sorted(runs.values(), key=lambda run: (run.place, run.key)),
    )


def only(results, policies=(), traces=()):
    """The runs of the named policies and traces; empty means all."""
    runs = [
        run
        for run in results.runs
        if (not policies or run.policy in policies) and (not traces or run.trace.name in traces)
    ]
    used = {run.trace.hash for run in runs}
    return Results(results.sweeps, [t for t in results.traces if t.hash in used], runs)
