"""Dense attention in float64 from what a trace stores: what its readers check themselves against."""
import torch

from .encoding import to_float32

LOGITS_AT_A_TIME = 1 << 22  # float64: 32 MiB, and a few times that while they are worked on


def dense_outputs(keys, values, queries, positions, kind, device="cpu"):
    """float32 [T, num_query_heads, value_dim] of the stored datasets [num_kv_heads, N, head_dim],
    [num_kv_heads, N, value_dim] and [T, num_query_heads, head_dim].

    Keys are read a block at a time, and their softmax is merged as it grows: memory does not
    depend on N.
    """
    steps, heads = queries.shape[:2]
    group = heads // kind.num_kv_heads
    outputs = torch.empty(steps, heads, kind.value_dim)
    last = torch.as_tensor(positions, device=device).repeat_interleave(group)  # of every row below
    block = max(64, LOGITS_AT_A_TIME // len(last))

    def load(stored):
        return torch.from_numpy(to_float32(stored)).to(device, torch.float64)

    for head in range(kind.num_kv_heads):
        served = slice(head * group, (head + 1) * group)
        rows = load(queries[:, served]).reshape(len(last), kind.head_dim) * kind.softmax_scale
        highest = rows.new_full((len(last),), -torch.inf)
        mass = rows.new_zeros(len(last))
        total = rows.new_zeros(len(last), kind.value_dim)
        for first in range(first_seen(positions, kind), int(positions[-1]) + 1, block):
            stop = min(first + block, int(positions[-1]) + 1)
            logits = rows @ load(keys[head, first:stop]).T
            if kind.logit_softcap is not None:
                logits = torch.tanh(logits / kind.logit_softcap) * kind.logit_softcap
            at = torch.arange(first, stop, device=device)
            hidden = at > last[:, None]
            if kind.sliding_window:
                hidden |= at <= last[:, None] - kind.sliding_window
            logits.masked_fill_(hidden, -torch.inf)
            higher = torch.maximum(highest, logits.max(dim=1).values)
            base = torch.where(higher.isinf(), torch.zeros_like(higher), higher)  # nothing seen yet
            weights = torch.exp(logits - base[:, None])
            shrink = torch.exp(highest - base)
            mass = mass * shrink + weights.sum(dim=1)
            total = total * shrink[:, None] + weights @ load(values[head, first:stop])
            highest = higher
        answer = (total / mass[:, None]).reshape(steps, group, kind.value_dim)
        outputs[:, served] = answer.to("cpu", torch.float32)
    return outputs.numpy()


def first_seen(positions, kind):
    """The first key that any step sees."""
    return max(0, int(positions[0]) - kind.sliding_window + 1) if kind.sliding_window else 0
