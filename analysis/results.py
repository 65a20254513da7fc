"""What a result file holds, as plain Python objects; several files joined into one `Results`."""

from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Replay:
    """Which part of a trace a run was measured on: the layers and steps of its rows."""

    layers: tuple = ()
    steps: tuple = ()

    def text(self, trace):
        """"layers 0-3, steps 0-28 by 4"; "" where it is the whole trace."""
        parts = []
        if self.layers != trace.layers:
            parts.append(f"layers {ranges(self.layers)}")
        if self.steps != tuple(range(trace.num_steps)):
            parts.append(f"steps {ranges(self.steps)}")
        return ", ".join(parts)


def ranges(numbers):
    """(0, 1, 2, 3, 7) -> "0-3, 7"; (0, 4, 8, 12) -> "0-12 by 4"."""
    found, rest = [], list(numbers)
    while rest:
        step = rest[1] - rest[0] if len(rest) > 1 else 1
        n = next((i for i in range(1, len(rest)) if rest[i] != rest[0] + i * step), len(rest))
        if n == 1 or n == 2 and step > 1:
            found.append(str(rest.pop(0)))
            continue
        found.append(f"{rest[0]}-{rest[n - 1]}" + (f" by {step}" if step > 1 else ""))
        rest = rest[n:]
    return ", ".join(found)


@dataclass(frozen=True)
class Trace:
    """A recorded KV trace, as far as runs were measured on it.

    Runs compare where `id` is the same: the content and the part that was replayed.
    """

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
    file_name: str = ""  # `name` as its file has it
    replay: Replay = Replay()

    @property
    def id(self):
        return self.hash, self.replay


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
    config: str  # the resolved configuration, YAML


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
    parameters_text: str  # the JSON that the file holds
    seed: int
    target_p: float
    target_error: float  # NaN: no error is promised
    kv_dtype: str
    seconds: float
    rows: np.ndarray = field(repr=False)
    layers: np.ndarray = field(repr=False)
    variant: str = ""  # of its policy, by name
    title: str = ""  # what its sweep calls it and the runs of the same entry
    reads_every_key: bool = False  # to choose: a bound, not a rival in bytes


@dataclass(frozen=True)
class Results:
    sweeps: list
    traces: list  # in order of appearance
    runs: list  # in sweep order

    def of(self, trace):
        """Runs on one trace, in sweep order."""
        return [run for run in self.runs if run.trace.id == trace.id]


def join(parts):
    """One `Results` of several. A run found twice (same key, same program) is taken once.

    Traces of the same content and the same replay become one. Of the same name but other content
    they get their hash's first digits added, and where not all of a trace was replayed its name
    says what was: a facet, a curve or a ranking never mixes two of them.
    """
    traces, runs = {}, {}
    for part in parts:
        for trace in part.traces:
            traces.setdefault(trace.id, trace)
    hashes = {}
    for trace in traces.values():
        hashes.setdefault(trace.name, set()).add(trace.hash)
    for key, trace in traces.items():
        name = trace.name + (f" ({trace.hash[:6]})" if len(hashes[trace.name]) > 1 else "")
        part = trace.replay.text(trace)
        traces[key] = replace(trace, name=f"{name}, {part}" if part else name)
    for index, part in enumerate(parts):
        for run in part.runs:
            place = (index,) + tuple(run.place[1:])
            moved = replace(run, place=place, trace=traces[run.trace.id])
            runs.setdefault((run.key, run.program), moved)
    used = {run.trace.id for run in runs.values()}
    return Results(
        sweeps=[sweep for part in parts for sweep in part.sweeps],
        traces=[trace for trace in traces.values() if trace.id in used],
        runs=sorted(runs.values(), key=lambda run: (run.place, run.key)),
    )


def only(results, policies=(), traces=()):
    """The runs of the named policies and traces; empty means all. A trace's name in the report
    names it, or that of its file, which may be several."""
    runs = [
        run
        for run in results.runs
        if (not policies or run.policy in policies) and (not traces or not {run.trace.name, run.trace.file_name}.isdisjoint(traces))
    ]
    used = {run.trace.id for run in runs}
    return Results(results.sweeps, [t for t in results.traces if t.id in used], runs)
