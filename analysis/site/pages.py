"""What the site shows: which pages of the repository, or parts of README.md, where.

A page is a file of the repository, which keeps its place, or it is put together of README.md's sections, by their
headings; "" is what stands before the first. A section without a page here goes on the first page: none is lost.
"""

README = "README.md"
FIRST = "index.md"
COMPOSED = {  # page: (title, sections of README.md); the first page is README.md's own title
    FIRST: ("", ["", "Three commands", "The program", "Beyond one machine", "Reports", "Limits"]),
    "your-model.md": ("Bring your model", ["Your own trace", "What kind of heads a model has"]),
    "policies.md": ("Policies compared", ["Policies", "What the policies need, and what ours adds"]),
    "simulator.md": ("Machines you do not have", ["The simulator"]),
    "gpu.md": ("On a GPU", ["On a GPU"]),
    "adding-a-policy.md": ("Adding a policy", ["Adding a policy"]),
    "library.md": ("As a library, from Python", ["As a library", "From Python"]),
    "trust.md": ("Reliability, fuzzers, reproducible runs", ["Reliability", "Fuzzers", "Reproducible"]),
}
NAVIGATION = (  # (heading, ((title, page), ...))
    ("Getting started", (("Start", FIRST),)),
    (
        "Bring your model",
        (("Record, or write, a trace", "your-model.md"), ("The shipped trace and the recorder", "data/README.md")),
    ),
    (
        "Policies",
        (
            ("Compared", "policies.md"),
            ("Formulas", "core/policy/README.md"),
            ("What was tried", "core/index/NOTES.md"),
        ),
    ),
    (
        "Formats",
        (
            ("Traces", "data/TRACE_FORMAT.md"),
            ("Results", "experiments/RESULT_FORMAT.md"),
            ("Simulations", "experiments/simulate/SIMULATION_FORMAT.md"),
        ),
    ),
    (
        "Simulator",
        (
            ("What it predicts", "simulator.md"),
            ("All its numbers", "analysis/results/simulation/simulation.md"),
            ("Where policies beat dense", "analysis/results/simulation_crossover/simulation.md"),
        ),
    ),
    (
        "GPU",
        (
            ("Results", "gpu.md"),
            ("The CUDA backend", "cuda/README.md"),
            ("Measured, and what bounds it", "cuda/results/2026-11-28-h100/NOTES.md"),
            ("Other days, and what was tried", "cuda/results/NOTES.md"),
            ("Whole decode steps", "experiments/e2e/README.md"),
        ),
    ),
    (
        "Develop",
        (
            ("Adding a policy", "adding-a-policy.md"),
            ("Library and Python", "library.md"),
            ("How this house is kept", "CONTRIBUTING.md"),
            ("Trust", "trust.md"),
            ("Changes", "CHANGELOG.md"),
        ),
    ),
)
