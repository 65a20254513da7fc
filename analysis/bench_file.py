"""The JSON of `doublep bench`, checked as far as the scripts that draw it rely on it."""

import json
import math

from analysis.errors import ResultError

REMEDY = "give a file that `doublep bench --json` wrote"
SETUP = {"device": str, "query_heads": int, "kv_heads": int, "head_dim": int,
         "dtype": str, "read_ceiling": (int, float)}
POINT = {"label": str, "policy": str, "search": str, "context": int, "batch": int, "step_us": (int, float),
         "error_mean": (int, float)}
KINDS = {str: "a text", int: "an integer", (int, float): "a number"}


def read(path):
    """The whole file as it is, or a `ResultError` of one line."""
    try:
        with open(path, encoding="utf-8") as file:
            bench = json.load(file)
    except OSError as error:
        raise ResultError(path, "", f"a file that can be read ({error.strerror})",
                          "check the path") from None
    except ValueError as error:  # neither text nor JSON
        raise ResultError(path, "", f"JSON ({error})", REMEDY) from None
    _check(path, "top level", bench, SETUP)
    points = bench.get("points")
    if not isinstance(points, list) or not points:
        raise ResultError(path, "key 'points'", "a list of timed points", REMEDY)
    for index, point in enumerate(points):
        place = f"points[{index}]"
        _check(path, place, point, POINT)
        for key, least in (("step_us", "above 0"), ("error_mean", "of 0 or more")):
            value = point[key]
            if not math.isfinite(value) or value < 0 or (key == "step_us" and value == 0):
                raise ResultError(path, f"{place} ({point['label']}), key '{key}'",
                                  f"a number {least}, found {value}", REMEDY)
    return bench


def _check(path, place, found, keys):
    if not isinstance(found, dict):
        raise ResultError(path, place, "an object", REMEDY)
    for key, kind in keys.items():
        if key not in found:
            raise ResultError(path, place, f"key '{key}', found none", REMEDY)
        if not isinstance(found[key], kind) or isinstance(found[key], bool):
            raise ResultError(path, f"{place}, key '{key}'",
                              f"{KINDS[kind]}, found {found[key]!r}", REMEDY)


def tokens(context):
    """65536 -> 64K, as context lengths are usually written; others as they are."""
    for size, unit in ((2**20, "M"), (2**10, "K")):
        if context % size == 0:
            return f"{context // size}{unit}"
    return str(context)


def setup(bench):
    """What every figure of these times is about: device and shape of the layer."""
    return (bench["device"].split(",")[0] + f", {bench['query_heads']} query heads, "
            f"{bench['kv_heads']} KV heads, head_dim {bench['head_dim']}, {bench['dtype']}")
