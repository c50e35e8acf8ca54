"""Write benchmarks/README.md from the results beside it; every figure in it comes from results/<processor>/*.json.

python benchmarks/report.py
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
FLOOR_SECONDS = 0.21  # forward and backward of 50,000 images on an accelerator that sustains 790 TFLOP/s in bfloat16


class Results:
    """One processor's JSON files by name."""

    def __init__(self, folder: Path):
        self.files = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}

    def machine(self, name: str) -> str:
        """What the times of a file are of: a processor, or the devices that stored runs were made on."""
        content = self[name]
        return ", ".join(content["devices"]) if "devices" in content else content["machine"]["processor"]

    def __getitem__(self, name: str) -> dict:
        return self.files[name]

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def median(self, name: str, side: str) -> float:
        return statistics.median(self[name]["seconds"][side])

    def ratio(self, name: str, slow: str, fast: str) -> float:
        return self.median(name, slow) / self.median(name, fast)

    def ratios(self, name: str, slow: str, fast: str) -> str:
        """The ratio of medians, and the smallest and largest of the runs that were made in turn."""
        sides = self[name]["seconds"]
        each = [a / b for a, b in zip(sides[slow], sides[fast], strict=True)]
        return f"{self.ratio(name, slow, fast):.3g}{between(each)}"

    def spread(self, name: str, side: str) -> str:
        values = self[name]["seconds"][side]
        return f"{statistics.median(values):.3g} s{between(values)}"


def between(values: list[float]) -> str:
    """The smallest and the largest of several."""
    return f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else ""


class Line(NamedTuple):
    """A row: what is measured, from which file, its bound, its value, the words for it, and why it may fall short."""

    what: str
    file: str
    at_least: bool
    bound: float
    value: Callable[[Results], float]
    words: Callable[[Results], str]
    why: str = ""
    on: Callable[[Results], bool] = lambda r: True  # which processors it is asked of


def all_results(folder: Path) -> list[Results]:
    """Those of every processor, by name."""
    return [Results(path) for path in sorted(folder.iterdir()) if path.is_dir()]


def against(file: str, other: str, what: str, bound: float) -> Line:
    """A row on how many times faster kdlib is than `other`."""
    return Line(
        what, file, True, bound,
        lambda r: r.ratio(file, other, "kdlib"),
        lambda r: f"{r.ratios(file, other, 'kdlib')} times; {r.spread(file, 'kdlib')} against {r.spread(file, other)}",
        "Nearly all of our time is the network's own: the row on batches made before shows what is left to gain.",
    )  # fmt: skip


def before_pooling(r: Results) -> float:
    return r.ratio("students_bare", "bare, ReLU before pooling", "kdlib")


def emulates(r: Results) -> bool:
    """Whether bfloat16 is float32 on a processor, as it would be emulated."""
    return "teachers" in r and r["teachers"]["precision"] == "float32"


def of_teacher(what: str, bound: float, on: Callable[[Results], bool], why: str) -> Line:
    return Line(
        what, "teachers", True, bound,
        lambda r: r.ratio("teachers", "usual loop", "kdlib"),
        lambda r: f"{r.ratios('teachers', 'usual loop', 'kdlib')} times; "
        f"{images_a_second(r, 'kdlib'):.3g} against {images_a_second(r, 'usual loop'):.3g} images a second",
        why, on,
    )  # fmt: skip


def over_float32(r: Results) -> float:
    """A reduced teacher as its profile has it, against the same in float32: where that is one computation, 1."""
    same = r["teachers_reduced"]["precision"] == "float32"
    return 1.0 if same else r.ratio("teachers_reduced", "kdlib in float32", "kdlib")


def against_usual(r: Results) -> dict[str, float]:
    """How many times faster than the usual loop in float32, by network."""
    files = {"teachers": "teacher", "teachers_reduced": "reduced teacher", "students_usual": "LeNet student"}
    return {name: r.ratio(file, "usual loop", "kdlib") for file, name in files.items() if file in r}


def input_share(r: Results) -> float:
    return r.ratio("teachers", "input", "kdlib")


def images_a_second(r: Results, side: str) -> float:
    return r["teachers"]["images"] / r.median("teachers", side)


def fifteen_students(r: Results) -> float:
    return 15 * statistics.median(r["stored"]["lenet_run_seconds"])


def largest_residual(r: Results) -> float:
    return max(abs(value) for line in r["growth"]["lines"].values() for value in line["residuals"])


def growth_of_store(r: Results) -> float:
    return r.ratio("store", "100 of 1200", "100 of 300")


LINES = [
    against("students_usual", "usual loop", "LeNet student from stored logits, an epoch, against the usual loop", 70),
    against(
        "students_cached", "torchdistill 1.1.4",
        "the same against torchdistill 1.1.4 with its cache, which later versions dropped", 6,
    ),
    against("students_usual", "torchdistill 1.1.5", "the same against torchdistill 1.1.5, without one", 70),
    Line(
        "the same against forward, backward and step on batches made before", "students_bare", False, 1.25,
        lambda r: r.ratio("students_bare", "kdlib", "bare"),
        lambda r: f"{r.ratios('students_bare', 'kdlib', 'bare')} times; "
        f"{r.spread('students_bare', 'kdlib')} against {r.spread('students_bare', 'bare')}",
        "What is left are the batches, the bound on the gradient's norm and the sums for the history.",
    ),
    Line(
        "the same against such a loop with ReLU before pooling, as LeNet is usually written", "students_bare", True,
        1.05, before_pooling,
        lambda r: f"{r.ratios('students_bare', 'bare, ReLU before pooling', 'kdlib')} times; "
        f"{r.spread('students_bare', 'kdlib')} against {r.spread('students_bare', 'bare, ReLU before pooling')}",
        "Convolutions are most of it.",
        lambda r: "bare, ReLU before pooling" in r["students_bare"]["seconds"],
    ),
    of_teacher(
        "ResNet-18 teacher with crop, flip and CutMix in bfloat16, against the usual loop", 2.2,
        lambda r: not emulates(r),
        "Nearly all of it is convolutions: the ratio is that of bfloat16 to float32 on this processor.",
    ),
    of_teacher(
        "the same where bfloat16 would be emulated and is float32", 1.1, emulates,
        "Nearly all of it is convolutions: the ratio is that of the two layouts.",
    ),
    Line(
        "the reduced teacher (width 16) as its profile has it, against the same in float32", "teachers_reduced", True,
        1.0, over_float32,
        lambda r: f"{r.ratios('teachers_reduced', 'kdlib in float32', 'kdlib')} times"
        + (": one and the same computation, in float32" if r["teachers_reduced"]["precision"] == "float32" else ""),
        "So few channels do not fill the instructions for bfloat16.",
    ),
    Line(
        "never slower than the usual loop in float32, whichever network", "teachers", True, 1.0,
        lambda r: min(against_usual(r).values()),
        lambda r: ", ".join(f"{name} {ratio:.3g} times" for name, ratio in against_usual(r).items()),
        "See the rows above.",
    ),
    Line(
        "its input side, as a share of a step", "teachers", False, 0.05, input_share,
        lambda r: f"{input_share(r):.2%}", "The crop gathers every pixel by its index.",
    ),
    Line(
        "peak memory of a CIFAR-10 teacher run at batch 512", "memory", False, 4.0,
        lambda r: max(r["memory"]["gigabytes"]),
        lambda r: f"{max(r['memory']['gigabytes']):.3g} GB at most of {len(r['memory']['gigabytes'])} runs",
        "The images, the activations of a batch, and what the allocator keeps of both.",
    ),
    Line(
        "all notebooks executed from stored runs, one after another", "notebooks", False, 120,
        lambda r: r.median("notebooks", "all notebooks"), lambda r: r.spread("notebooks", "all notebooks"),
        "Each notebook starts an interpreter and imports PyTorch, pandas and Matplotlib.",
    ),
    Line(
        "the same two at a time, as a report does", "report", False, 60,
        lambda r: r.median("report", "notebooks"), lambda r: r.spread("report", "notebooks"),
        "Each notebook starts an interpreter and imports PyTorch, pandas and Matplotlib.",
    ),
    Line(
        "the pages of the published edition, a strict build", "report", False, 25,
        lambda r: r.median("report", "pages"), lambda r: r.spread("report", "pages"),
        "Sphinx reads and writes the pages, much of it on one core.",
    ),
    Line(
        "`runs.ensure` on 300 existing runs", "store", False, 2.0,
        lambda r: r.median("store", "300 asked for"), lambda r: r.spread("store", "300 asked for"),
        "Every archive is decompressed, so that a changed byte is found before anything is trained.",
    ),
    Line(
        "`runs.ensure` on 100 runs in a store of 1,200, against one of 300", "store", False, 1.1, growth_of_store,
        lambda r: f"{growth_of_store(r):.3g} times", "Folders with more entries are searched longer.",
    ),
    Line(
        "training time against a line in images and one in epochs: largest residual", "growth", False, 0.1,
        largest_residual,
        lambda r: f"{largest_residual(r):.1%}; "
        + "; ".join(
            f"{line['offset']:.2g} s + {line['slope'] * unit:.3g} s per {name}"
            for (line, unit, name) in (
                (r["growth"]["lines"]["images"], 1000, "thousand images"),
                (r["growth"]["lines"]["epochs"], 1, "epoch of 10,000"),
            )
        ),
        "Small runs stay in the processor's caches, and large ones do not.",
    ),
    Line(
        "GPU: a ResNet-18 epoch, batch 512, crop and flip", "stored", False, 0.65,
        lambda r: max(r["stored"]["teacher_epoch_seconds"]),
        lambda r: f"{max(r['stored']['teacher_epoch_seconds']):.3g} s; "
        f"{FLOOR_SECONDS / max(r['stored']['teacher_epoch_seconds']):.0%} of the floor of {FLOOR_SECONDS} s; "
        f"{r['stored']['teraflops_an_epoch'] / max(r['stored']['teacher_epoch_seconds']):.0f} TFLOP/s",
        "Normalisation, ReLU and the optimiser read and write memory between the convolutions.",
    ),
    Line(
        "GPU: 15 LeNet students from stored logits, 60 epochs", "stored", False, 60, fifteen_students,
        lambda r: f"{fifteen_students(r):.3g} s (15 times the median of {len(r['stored']['lenet_run_seconds'])} runs, "
        "evaluation included)",
        "A step is one launch of a recorded graph.",
    ),
]  # fmt: skip


def verdict(line: Line, r: Results) -> str:
    value = line.value(r)
    if value >= line.bound if line.at_least else value <= line.bound:
        return "reached"
    missing = abs(1 - value / line.bound)
    return f"**falls short by {missing:.0%}.** {line.why}"


def table(measured: list[Results]) -> list[str]:
    """A row for each line and each machine it was measured on."""
    rows = ["| what | asked for | on | measured: median (smallest to largest) | |", "|---|---|---|---|---|"]
    for line in LINES:
        head = f"{line.what} | at {'least' if line.at_least else 'most'} {line.bound:g}"
        found = [r for r in measured if line.file in r and line.on(r)]
        for r in found:
            rows.append(f"| {head} | {r.machine(line.file)} | {line.words(r)} | {verdict(line, r)} |")
            head = " | "  # the same line on another machine
        if not found:
            rows.append(f"| {head} | | not measured | |")
    return rows


def stacks(r: Results) -> list[str]:
    """What training students together as one network saved, on one processor; its script has gone with the question."""
    of = r["students_stack"]
    apart = of["largest_difference_of_weights"]
    best = max(apart, key=lambda name: r.ratio("students_stack", "one after another", name))
    saved = 1 - 1 / r.ratio("students_stack", "one after another", best)
    return [
        f"{r.machine('students_stack')}: {of['students']} LeNet students trained as one network, in the fastest of "
        f"{len(apart)} forms ({best}), took {saved:.0%} less time than one after another; their weights differed by up "
        f"to {apart[best]:.1g}.",
        "",
    ]


def all_that_stacks_could_save(r: Results) -> list[str]:
    s = r["stored"]
    taken = sum(s["lenet_run_seconds"])
    return [
        f"Of a GPU's runs the {len(s['lenet_run_seconds'])} LeNet students that could have been stacked took "
        f"{taken:.0f} s of {s['grid_seconds']:.0f} s, {taken / s['grid_seconds']:.0%}: more than that no stack saves.",
        "",
    ]


def shared_pass(r: Results) -> list[str]:
    """What one teacher pass for both reductions of an augmented student would save of the grid."""
    s = r["stored"]
    passes = s["augmented_student_epoch_seconds"] - s["clean_student_epoch_seconds"]
    saved = passes * s["augmented_student_epochs"] / 2
    return [
        f"On the GPU the teacher's pass belongs to the recorded step of each student. An epoch of such a student takes "
        f"{s['augmented_student_epoch_seconds']:.3g} s there, one of stored logits "
        f"{s['clean_student_epoch_seconds']:.3g} s. Students come in pairs, one for each reduction of the loss: one "
        f"pass for both would save half of the difference, over the {s['augmented_student_epochs']} epochs of the "
        f"published grid's augmented LeNet students {saved:.0f} s, {saved / s['grid_seconds']:.0%} of its "
        f"{s['grid_seconds']:.0f} s.",
        "",
    ]


def kept_passes(r: Results) -> list[str]:
    """What it saves on a CPU."""
    s = r["students_shared"]
    return [
        f"{r.machine('students_shared')}: {s['steps']} steps of {s['batch_size_timed']} images under CutMix take "
        f"{r.spread('students_shared', 'teacher')} with a ResNet-18 of width {s['width']}, and "
        f"{r.spread('students_shared', 'kept')} where its passes are kept: "
        f"{r.ratios('students_shared', 'teacher', 'kept')} times faster.",
        "",
    ]


def on_cluster(r: Results) -> list[str]:
    """What Dask costs, and how long a large grid takes on many workers."""
    c = r["cluster"]
    per_spec = c["client_megabytes"] / c["specs"] * 1000
    rows = [
        f"{r.machine('cluster')}: {c['specs']:,} specs whose making is a no-op take "
        f"{c['seconds_a_task'] * 1000:.1f} ms each on 2 local workers, and {c['client_megabytes']:.0f} MB of "
        f"the client's memory, {per_spec:.0f} kB each.",
        "",
        f"Simulated with measured run times: the runs of the `paper` edition's chapters with {c['seeds']} seeds "
        f"({c['runs']:,}; {c['unknown']} more are of kinds that were never made). The ideal is the work shared by all "
        f"workers, or a student after its teacher where that takes longer.",
        "",
        "| workers | time | share of the ideal | bound by |",
        "|---|---|---|---|",
    ]
    for one in c["simulated"]:
        shared = one["work"] / one["workers"]
        ideal = max(shared, one["longest_chain"])
        bounds = {"the work": shared, "a teacher and its student": one["longest_chain"], "the client": one["client"]}
        rows.append(
            f"| {one['workers']:,} | {one['seconds']:.0f} s | {ideal / one['seconds']:.0%} | "
            f"{max(bounds, key=bounds.get)} |"
        )
    return [*rows, ""]


def killed(r: Results) -> list[str]:
    """What is left of a grid whose workers and clients are killed."""
    k = r["kills"]
    same = "all" if not k["differ"] else f"all but {k['differ']}"
    times = "once" if k["grids"] == 1 else f"{k['grids']} times"
    return [
        f"{r.machine('kills')}: {k['workers_killed']} workers and {k['clients_killed']} clients were killed at random "
        f"times while the {k['runs']} runs of a grid of the demo's networks were made {times}; the log told of "
        f"{k['told_again']} runs begun once more. At the end each was stored once, {same} of {k['files']} files "
        f"byte for byte as undisturbed.",
        "",
    ]


def together(r: Results) -> list[str]:
    """Two local workers against one, on real data."""
    same = "the same bytes" if r["workers"]["same_bytes"] else "not the same bytes"
    return [
        f"{r.machine('workers')}: {r['workers']['students']} LeNet students of CIFAR-10, "
        f"{r['workers']['epochs']} epochs each, take {r.spread('workers', 'one')} on one worker of one thread and "
        f"{r.spread('workers', 'two')} on two: {r.ratios('workers', 'one', 'two')} times faster, and {same} as one "
        "after another.",
        "",
    ]


def accuracy(r: Results) -> list[str]:
    result = r["students_accuracy"]
    own, *_ = result["accuracy"].values()
    text = (
        f"{r.machine('students_accuracy')}: after one epoch of {result['images']:,} images in batches of "
        f"{result['batch_size']}, with the same rates, first weights and teacher, `kdlib` reaches a test accuracy of "
        f"{min(own):.1%} to {max(own):.1%} in {len(own)} orders of the images"
    )
    others = [f"{name} {values[0]:.1%}" for name, values in result["accuracy"].items() if name != "kdlib"]
    return [f"{text}; {', '.join(others)} in one.", ""]


def machines(measured: list[Results]) -> list[str]:
    rows = ["| results | machine | versions | date, commit | cores used by others |", "|---|---|---|---|---|"]
    for r in measured:
        for name, content in r.files.items():
            m = content["machine"]
            versions = f"Python {m['python']}, PyTorch {m['torch']}, torchvision {m['torchvision']}, NumPy {m['numpy']}"
            where = f"{m['processor']}, {m['cores']} cores, {m['threads']} threads"
            where = f"runs made on {r.machine(name)}" if "devices" in content else where
            used = "" if "devices" in content else f"{m['cores_used_by_others']:.0%}"
            rows.append(f"| `{name}.json` | {where} | {versions} | {m['date']}, `{m['commit']}` | {used} |")
    return rows


def each(file: str, measured: list[Results], section: Callable[[Results], list[str]]) -> list[str]:
    """The section of every processor that has the file."""
    lines = [line for r in measured if file in r for line in section(r)]
    return lines or ["Not measured.", ""]


def grid(r: Results) -> list[str]:
    s = r["stored"]
    return [f"The {s['grid_runs']} runs of `paper` that a GPU made took {s['grid_seconds']:.0f} s in all.", ""]


def page(measured: list[Results]) -> str:
    parts = [
        "# Benchmarks",
        "",
        "Written by `report.py` from `results/`; each script says at its top how it is called. Sides are timed in "
        "turn, after a warm-up; a slow side is timed on a few steps, scaled to an epoch. The GPU's lines are read from "
        "the histories of the published runs.",
        "",
        *each("stored", measured, grid),
        *table(measured),
        "",
        "The usual loop reads images through PIL in a `DataLoader`, in float32, with the teacher in every step. "
        "torchdistill is installed by the scripts, each version in a folder of its own beside the system's temporary "
        "files.",
        "",
        "## The same accuracy",
        "",
        *each("students_accuracy", measured, accuracy),
        "## Students together",
        "",
        *each("students_stack", measured, stacks),
        "`kdlib` has no stacks: a run's last digits would depend on which others were made beside it, as the "
        "differences of weights show, so that no run could be made again bit for bit from what it is known by; and "
        "runs would have to be interrupted and taken up again in groups.",
        "",
        *each("stored", measured, all_that_stacks_could_save),
        "## One teacher pass for several students",
        "",
        "Students that augment their images share the augmented batches with those that differ from them in the loss "
        "or the network alone. On the CPU the teacher's passes over these batches are kept until all of them are "
        "trained; a student is bit for bit the one that would be trained alone.",
        "",
        *each("students_shared", measured, kept_passes),
        *each("stored", measured, shared_pass),
        "## On a cluster",
        "",
        *each("workers", measured, together),
        *each("kills", measured, killed),
        *each("cluster", measured, on_cluster),
        "## Machines",
        "",
        "Where others used more than a tenth of the cores, times are too long and spread widely: only ratios count. "
        "A ratio is of the medians; the smallest and largest are of sides timed one after the other. Processors are "
        "told apart by their instructions, since two of one name need not have the same. Those of results from before "
        "30 November 2026 were written in later, from the notes of their days: the EPYC multiplied bfloat16, and the "
        "Xeon's bfloat16 was slower with AMX switched off.",
        "",
        *machines(measured),
        "",
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    (HERE / "README.md").write_text(page(all_results(HERE / "results")), encoding="utf-8")
