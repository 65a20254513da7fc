"""Reading one result file (doublep-result, version 3) and refusing what is not one, or damaged."""

import json
from dataclasses import replace

import h5py
import numpy as np

from analysis import content_hash
from analysis.errors import ResultError
from analysis.results import Replay, Results, Run, Sweep, Trace, join, only
from analysis.stored import member, open_file

FORMAT, VERSION = "doublep-result", 3
RERUN = "write it again with `doublep run`"
# What the tables and figures are made of; a file may hold more.
ROW_FIELDS = (
    "layer head kv_head step visible_tokens exact_tokens approximated_clusters oracle_tokens "
    "exact_mass covered_mass output_error cosine lse_error violation "
    "predicted_error error_factor error_violation "
    "audited_mass audited_low audited_high bytes_index bytes_estimate bytes_select bytes_attend "
    "flops_index flops_estimate flops_select flops_attend"
).split()
LAYER_FIELDS = (
    "layer index_memory_bytes index_build_bytes index_build_flops seconds_index seconds_steps "
    "dense_mismatch"
).split()


def read(path):
    """The file as `Results`, or a `ResultError` of one line."""
    with open_file(path, "a result file", RERUN) as file:
        try:
            return _read(path, file)
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else "read error"
            raise ResultError(path, "", f"readable data ({reason})", RERUN) from None


def load(paths, policies=(), traces=()):
    """Several files joined; of them the named policies and traces, or all. None left is an error."""
    results = only(join([read(path) for path in paths]), policies, traces)
    if not results.runs:
        raise ResultError(", ".join(map(str, paths)), "", "runs of the policies and traces named",
                          "check --policy and --trace against `table.md`")
    return results


def _read(path, file):
    found = _attribute(path, file, "format", str)
    if found != FORMAT:
        remedy = "give a file that `doublep run` wrote"
        raise ResultError(path, "attribute 'format'", f"'{FORMAT}', found '{found}'", remedy)
    version = _attribute(path, file, "version", int)
    if version != VERSION:
        remedy = f"{RERUN}, or use the analysis/ of the checkout that wrote the file"
        raise ResultError(path, "attribute 'version'", f"{VERSION}, found {version}", remedy)
    text = {name: _attribute(path, file, name, str) for name in
            ("name", "config_hash", "created", "commit", "program_hash", "compiler", "cpu")}
    text["config"] = _long_text(path, file, "config")
    number = {name: _attribute(path, file, name, int) for name in ("threads", "seed")}
    traces = {key: _trace(path, node) for key, node in _group(path, file, "traces").items()}
    groups = _group(path, file, "runs")
    if not groups:
        remedy = "the sweep was interrupted before its first run ended: `doublep run` continues it"
        raise ResultError(path, "/runs", "at least one run, found none", remedy)
    runs = [_run(path, node, key, traces, text["program_hash"]) for key, node in groups.items()]
    _check(path, file, "attributes of the file and its traces", content_hash.of_root(file))
    runs.sort(key=lambda run: (run.place, run.key))
    replayed = dict.fromkeys(run.trace for trace in traces.values() for run in runs
                             if run.trace.hash == trace.hash)
    return Results([Sweep(path=str(path), **text, **number)], list(replayed), runs)


def _group(path, file, name):
    """The groups below /`name`, by their names."""
    group = member(path, file, name, RERUN)
    if not isinstance(group, h5py.Group):
        raise ResultError(path, f"/{name}", "a group", RERUN)
    nodes = {key: member(path, group, key, RERUN) for key in sorted(group, key=lambda key: (len(key), key))}
    for key, node in nodes.items():
        if not isinstance(node, h5py.Group):
            raise ResultError(path, f"/{name}/{key}", "a group", RERUN)
    return nodes


def _attribute(path, node, name, kind):
    """An attribute as `kind`; a missing or unfit one is refused with its place."""
    place = f"{node.name} attribute '{name}'" if node.name != "/" else f"attribute '{name}'"
    if name not in node.attrs:
        raise ResultError(path, place, f"a value of type {kind.__name__}, found none", RERUN)
    value = node.attrs[name]
    if isinstance(value, np.ndarray) and value.size == 1 and kind is not tuple:
        value = value.reshape(-1)[0]
    if isinstance(value, h5py.Empty):
        value = ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    try:
        if kind is tuple:
            return tuple(int(item) for item in np.atleast_1d(value))
        if kind is str and not isinstance(value, str):
            raise TypeError
        return kind(value)
    except (TypeError, ValueError):
        raise ResultError(path, place, f"type {kind.__name__}, found {value!r}", RERUN) from None


def _long_text(path, node, name):
    """A text that may go on in `name`.1, `name`.2, ..."""
    text, more = _attribute(path, node, name, str), 1
    while f"{name}.{more}" in node.attrs:
        text += _attribute(path, node, f"{name}.{more}", str)
        more += 1
    return text


def _trace(path, node):
    kinds = dict(name=str, hash=str, model=str, task=str, num_tokens=int, num_query_heads=int,
                 num_kv_heads=int, head_dim=int, num_steps=int, layers=tuple)
    values = {name: _attribute(path, node, name, kind) for name, kind in kinds.items()}
    return Trace(**values, file_name=values["name"])


def _run(path, node, key, traces, program):
    trace = _attribute(path, node, "trace", str).rsplit("/", 1)[-1]
    if trace not in traces:
        place = f"{node.name} attribute 'trace'"
        raise ResultError(path, place, f"a group under /traces, found '{trace}'", RERUN)
    text = {name: _attribute(path, node, name, str)
            for name in ("policy", "backend", "label", "title", "variant", "kv_dtype")}
    real = {name: _attribute(path, node, name, float) for name in ("target_p", "target_error", "seconds")}
    replay = Replay(*(_attribute(path, node, name, tuple)
                      for name in ("layers_replayed", "steps_replayed")))
    if "program_hash" in node.attrs:  # a continued sweep may hold runs of several builds
        program = _attribute(path, node, "program_hash", str)
    rows, layers = _rows(path, node), _table(path, node, "layers", LAYER_FIELDS)
    found = content_hash.of_run(key, node.attrs, (("rows", rows), ("layers", layers)))
    _check(path, node, f"rows and attributes of '{text['label']}'", found)
    return Run(key=key, program=program, place=(0, _attribute(path, node, "order", int)),
               trace=replace(traces[trace], replay=replay), parameters=_parameters(path, node),
               parameters_text=_attribute(path, node, "parameters", str), seed=_attribute(path, node, "seed", int),
               rows=rows, layers=layers,
               reads_every_key=_attribute(path, node, "reads_every_key", bool), **text, **real)


def _check(path, node, what, found):
    """That a group is what was written, by the hash that it carries."""
    if _attribute(path, node, content_hash.NAME, str) != found:
        remedy = "the file is damaged: `doublep run` does again what is, and keeps the rest"
        raise ResultError(path, node.name, f"{what} as they were written, found others", remedy)


def _parameters(path, node):
    text = _attribute(path, node, "parameters", str)
    try:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError
    except ValueError:
        place = f"{node.name} attribute 'parameters'"
        raise ResultError(path, place, f"a JSON object, found {text[:40]!r}", RERUN) from None
    return _flat(value)


def _flat(value, prefix=""):
    """{'base': {'budget': 1}} -> {'base.budget': 1}."""
    flat = {}
    for name, item in value.items():
        flat.update(_flat(item, f"{prefix}{name}.") if isinstance(item, dict)
                    else {prefix + name: item})
    return flat


def _table(path, node, name, fields):
    data = member(path, node, name, RERUN)
    if not isinstance(data, h5py.Dataset) or data.dtype.names is None or data.ndim != 1:
        raise ResultError(path, f"{node.name}/{name}", "a one-dimensional compound dataset", RERUN)
    for field in fields:
        if field not in data.dtype.names:
            have = ", ".join(data.dtype.names)
            expected = f"field '{field}', found {have if len(have) < 60 else have[:57] + '...'}"
            raise ResultError(path, f"{node.name}/{name}", expected, RERUN)
    return data[()]


def _rows(path, node):
    rows = _table(path, node, "rows", ROW_FIELDS)
    place = f"{node.name}/rows"
    if len(rows) == 0:
        raise ResultError(path, place, "at least one row, found none", RERUN)
    if (rows["visible_tokens"] <= 0).any():
        first = int(np.argmax(rows["visible_tokens"] <= 0))
        raise ResultError(path, f"{place}[{first}]", "visible_tokens of 1 or more", RERUN)
    who = np.stack([rows["layer"], rows["head"], rows["step"]], axis=1)
    if len(np.unique(who, axis=0)) != len(rows):
        raise ResultError(path, place, "one row per (layer, head, step), found two", RERUN)
    return rows
