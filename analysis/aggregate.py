"""Raw rows of a run -> its figures: means, and beside them what a mean hides of a top-p policy."""

from dataclasses import dataclass

import numpy as np

from analysis.results import Run

BYTES = ("bytes_index", "bytes_estimate", "bytes_select", "bytes_attend")
FLOPS = ("flops_index", "flops_estimate", "flops_select", "flops_attend")
DTYPE_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1}


@dataclass(frozen=True, eq=False)
class Summary:
    """Means over all rows of a run, unless the name says otherwise."""

    run: Run
    exact_mass: float
    covered_mass: float
    violation: float  # share of rows below the run's own target_p
    violation_common: float  # share of rows below one target for all runs
    exact_tokens: float
    clusters: float
    oracle_tokens: float
    visible_tokens: float
    sparsity: float
    error: float  # mean of output_error
    error_median: float
    error_p95: float
    error_worst_head: float  # largest mean over the steps of one (layer, head)
    predicted_ratio: float  # median of predicted over true error, where both are above 0
    predicted_correlation: float  # of their logarithms, over the same rows
    error_violation: float  # share of rows that err more than the run promises; NaN: no promise
    cosine: float
    lse_error: float
    bytes_step: float  # read per layer and step: summed over heads, averaged over (layer, step)
    flops_step: float
    dense_bytes: float  # what dense reads per layer and step
    dense_mismatch: float  # largest over layers; NaN where the trace holds no outputs
    index_bytes: float  # memory of the index, mean over layers
    not_finite: int  # rows whose output_error is NaN or infinite: left out of its figures

    @property
    def kept(self):
        """Share of the visible tokens that enters as a token or as a cluster: 1 - sparsity."""
        return 1.0 - self.sparsity

    @property
    def bytes_ratio(self):
        return self.bytes_step / self.dense_bytes if self.dense_bytes else np.nan

    @property
    def missed_mass(self):
        return 1.0 - self.covered_mass


def finite(values):
    values = np.asarray(values, dtype=np.float64)
    return values[np.isfinite(values)]


def mean(values):
    """Mean of the finite values; NaN, silently, when there is none."""
    values = finite(values)
    return float(values.mean()) if len(values) else float("nan")


def quantile(values, q):
    values = finite(values)
    return float(np.quantile(values, q)) if len(values) else float("nan")


def row_sparsity(rows):
    return 1.0 - (rows["exact_tokens"] + rows["approximated_clusters"]) / rows["visible_tokens"]


def below(rows, target):
    """1 where the covered mass misses a target, 0 where it does not, NaN where it is not known.

    The margin is the rounding of a sum of float64.
    """
    mass = rows["covered_mass"]
    return np.where(np.isfinite(mass), mass < target - 1e-12, np.nan)


def predicted_rows(rows):
    """Those whose predicted and true output error are both above 0 and finite."""
    predicted, true = rows["predicted_error"], rows["output_error"]
    return rows[np.isfinite(predicted) & np.isfinite(true) & (predicted > 0) & (true > 0)]


def predicted_and_true(rows):
    """(predicted, true output error) of `predicted_rows`."""
    good = predicted_rows(rows)
    return good["predicted_error"], good["output_error"]


def log_correlation(x, y):
    """Of two positive samples; NaN where either does not vary."""
    if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
        return float("nan")
    return float(np.corrcoef(np.log(x), np.log(y))[0, 1])


def per_layer_step(rows, fields):
    """Sum of the fields over heads, averaged over (layer, step)."""
    steps = len(np.unique(np.stack([rows["layer"], rows["step"]], axis=1), axis=0))
    return float(sum(rows[field].astype(np.float64).sum() for field in fields)) / steps


def head_map(rows, values):
    """(layers, heads, matrix of means over steps); NaN where a head has no finite value."""
    layers, y = np.unique(rows["layer"], return_inverse=True)
    heads, x = np.unique(rows["head"], return_inverse=True)
    values = np.asarray(values, dtype=np.float64)
    good = np.isfinite(values)
    total, count = np.zeros((2, len(layers), len(heads)))
    np.add.at(total, (y[good], x[good]), values[good])
    np.add.at(count, (y[good], x[good]), 1)
    with np.errstate(invalid="ignore"):
        return layers, heads, np.where(count > 0, total / np.maximum(count, 1), np.nan)


def dense_bytes(run):
    """Every visible key and value once per KV head, per layer and step, in the run's data type."""
    rows = run.rows
    who = np.stack([rows["layer"], rows["step"], rows["kv_head"]], axis=1)
    _, first = np.unique(who, axis=0, return_index=True)
    steps = len(np.unique(who[:, :2], axis=0))
    size = DTYPE_BYTES.get(run.kv_dtype, np.nan)
    return float(rows["visible_tokens"][first].sum()) * 2 * run.trace.head_dim * size / steps


def summarise(run, target=0.95):
    rows = run.rows
    error = rows["output_error"]
    worst = finite(head_map(rows, error)[2])
    mismatch = finite(run.layers["dense_mismatch"])
    predicted, true = predicted_and_true(rows)
    promised = np.isfinite(run.target_error)
    return Summary(
        run=run,
        exact_mass=mean(rows["exact_mass"]),
        covered_mass=mean(rows["covered_mass"]),
        violation=mean(rows["violation"] != 0),
        violation_common=mean(below(rows, target)),
        exact_tokens=mean(rows["exact_tokens"]),
        clusters=mean(rows["approximated_clusters"]),
        oracle_tokens=mean(rows["oracle_tokens"]),
        visible_tokens=mean(rows["visible_tokens"]),
        sparsity=mean(row_sparsity(rows)),
        error=mean(error),
        error_median=quantile(error, 0.5),
        error_p95=quantile(error, 0.95),
        error_worst_head=float(worst.max()) if len(worst) else float("nan"),
        predicted_ratio=quantile(predicted / true, 0.5),
        predicted_correlation=log_correlation(predicted, true),
        error_violation=mean(rows["error_violation"] != 0) if promised else float("nan"),
        cosine=mean(rows["cosine"]),
        lse_error=mean(rows["lse_error"]),
        bytes_step=per_layer_step(rows, BYTES),
        flops_step=per_layer_step(rows, FLOPS),
        dense_bytes=dense_bytes(run),
        dense_mismatch=float(mismatch.max()) if len(mismatch) else float("nan"),
        index_bytes=mean(run.layers["index_memory_bytes"]),
        not_finite=int((~np.isfinite(error)).sum()),
    )
