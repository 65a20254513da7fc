"""How runs are named: varied parameters, series of one policy, names for people."""

PRETTY = {
    "dense": "Dense", "streaming": "Streaming", "oracle_top_k": "Oracle top-k",
    "oracle_top_p": "Oracle top-p", "cluster_top_k": "Cluster top-k",
    "cluster_top_p": "Cluster top-p", "double_p": "Double-P", "quest": "Quest",
    "retroinfer": "RetroInfer", "cluster_kv": "ClusterKV", "twilight": "Twilight",
    "tactic": "Tactic", "vattention": "vAttention", "double_sparsity": "Double Sparsity",
    "loki": "Loki", "magicpig": "MagicPIG", "pqcache": "PQCache",
}
FIRST_SWITCHES = ("estimator", "outside", "gqa", "mass_scope", "base")
MOST_SERIES = 6  # of one policy in one figure: more cannot be told apart


def pretty(policy):
    return PRETTY.get(policy, policy)


def show(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return "[" + ",".join(show(item) for item in value) + "]"
    return "none" if value is None else str(value)


def _distinct(runs, name):
    return {show(run.parameters.get(name)) for run in runs}


def kind(run):
    return run.policy, run.variant, run.title


class Names:
    """Built once over all runs, so that a run is called the same in every figure and table."""

    def __init__(self, runs):
        # By policy, variant and title: what a variant sets needs no saying.
        self._varied, self._switches = {}, {}
        self._many_backends = len({run.backend for run in runs}) > 1
        self._many_dtypes = len({run.kv_dtype for run in runs}) > 1
        kinds = {}
        for run in runs:
            kinds.setdefault(kind(run), []).append(run)
        for one, mine in kinds.items():
            self._varied[one] = self._choose_varied(mine)
            self._switches[one] = self._choose_switches(mine, self._varied[one])
        self._by_policy = {policy: self._choose_varied([r for r in runs if r.policy == policy])
                           for policy, *_ in kinds}
        seen = {}
        for run in runs:
            seen.setdefault((run.trace.id, run.policy, self._parameters(run)), []).append(run)
        self._twins = {}
        for twins in (twins for twins in seen.values() if len(twins) > 1):
            by_key = len({run.key for run in twins}) == len(twins)
            for run in twins:
                self._twins[run.key, run.program] = (run.key if by_key else run.program)[:6]

    @staticmethod
    def _choose_varied(runs):
        names = dict.fromkeys(name for run in runs for name in run.parameters)
        return [n for n in names if len(_distinct(runs, n)) > 1]

    @staticmethod
    def _choose_switches(runs, varied):
        """The varied parameters that are words, not numbers, while their series stay few."""
        words = [n for n in varied
                 if any(isinstance(run.parameters.get(n), (str, bool)) for run in runs)]
        words.sort(key=lambda n: (FIRST_SWITCHES.index(n) if n in FIRST_SWITCHES else 99, n))
        chosen = []
        for name in words:
            wider = chosen + [name]
            if len({tuple(show(r.parameters.get(n)) for n in wider) for r in runs}) <= MOST_SERIES:
                chosen = wider
        return chosen

    def _parameters(self, run):
        parts = [run.variant] if run.variant else []
        parts += [f"{name}={show(run.parameters[name])}"
                  for name in self._varied[kind(run)] if name in run.parameters]
        if self._many_backends:
            parts.append(run.backend)
        if self._many_dtypes:
            parts.append(run.kv_dtype)
        return " ".join(parts)

    def varied(self, policy):
        """Of all its variants together."""
        return list(self._by_policy[policy])

    def parameters(self, run):
        """The varied parameters: 'p1=0.95 p2=0.7'; of a lone run, what its label says."""
        text = self._parameters(run)
        if not text and run.label != run.policy:
            text = run.label[len(run.policy):] if run.label.startswith(run.policy) else run.label
            text = text.strip(" ,:()")
        if (run.key, run.program) in self._twins:
            text += f" #{self._twins[run.key, run.program]}"
        return text.strip()

    def short(self, run):
        """The same as a list, what tells its series apart first."""
        parts = self.parameters(run).split()
        first = [run.variant, *self._switches[kind(run)]]
        return sorted(parts, key=lambda part: part.split("=")[0] not in first)

    def between(self, runs):
        """Several runs of one policy in one phrase: 'p1=0.95 p2=0.5..0.7'."""
        lists = [self.parameters(run).split() for run in runs]
        keys = [[part.split("=")[0] for part in parts] for parts in lists]
        if any(k != keys[0] for k in keys) or not keys[0]:
            return " to ".join(" ".join(parts) or "–" for parts in lists)
        return " ".join(
            parts[0] if len(set(parts)) == 1
            else f"{parts[0]}..{'..'.join(part.split('=', 1)[-1] for part in parts[1:])}"
            for parts in zip(*lists))

    def run(self, run):
        return f"{run.policy} {self.parameters(run)}".strip()

    @staticmethod
    def entrant(run):
        """What a comparison calls it: its title, else its policy and variant."""
        return run.title or f"{run.policy} {run.variant}".strip()

    def series(self, run):
        """The curve a run belongs to: (policy, switch values, backend, data type, title)."""
        words = tuple(show(run.parameters.get(name)) for name in self._switches[kind(run)])
        return (run.policy, (run.variant, *words), run.backend if self._many_backends else "",
                run.kv_dtype if self._many_dtypes else "", run.title)

    def entrant_series(self, run):
        """The same with an entrant's switches as one curve, for pictures of many policies."""
        return (run.policy, (run.variant,), "", "", run.title)

    @staticmethod
    def series_title(series):
        policy, words, backend, dtype, title = series
        tail = [word.replace("_", " ") for word in words[bool(title):] + (backend, dtype) if word]
        return (title or pretty(policy)) + (f" ({', '.join(tail)})" if tail else "")
