"""How long a student trains, and at which rate, chosen without the test set.

A student that trains for long overfits, and one that stops early has not learned: which teacher is the better one can
depend on where that is. So the length is chosen before any student is judged, by images that were held out of the
training set (`data.held_out`), and one length serves all augmentations alike:

1. *Rate and clipping.* The distillation term's gradients grow with the teacher's logits, so that clipping at a small
   norm acts on one teacher's students and not on another's. Of `RATES` (peak rate, norm), those are admitted that clip
   at most `RARELY` of the steps of each augmentation's student; the one with the highest validation accuracy, averaged
   over augmentations, is taken. Under the formula's loss, whose gradients are the largest, at `TRIAL_EPOCHS`.
2. *Length.* With these, of `LADDER`, the number of epochs with the highest validation accuracy after the last epoch,
   averaged over augmentations, for each network and form of the loss; for each control of its own. The ladder is
   climbed from below and left at the first length that is more than `FALL` below the best one so far. Of equals the
   shorter is taken.

All trials are of the first seed. The teachers have seen the images held out; their students have not. What was chosen
stands in the profiles (`chosen`), and the final students train on all images.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from kdlib import runs
from kdlib.runs import Run, Spec
from kdlib.study import Settings, alone, random_teacher, student, teacher, uniform_teacher

HELD_OUT = 5_000
LADDER = (6, 12, 20, 30, 60)  # epochs
TRIAL_EPOCHS = 12
RATES = ((0.05, 2.0), (0.05, 10.0), (0.02, 10.0))  # peak_lr and clip_norm
RARELY = 0.05
FALL = 0.005

# Who has a length of its own: students of trained teachers, of the two that know nothing, and who has no teacher.
LEARNERS = ("taught", "random", "uniform", "alone")


def rate_trials(s: Settings, model: str) -> dict[tuple[float, float], list[Spec]]:
    """For each of `RATES`, a student of every augmentation's teacher."""
    return {
        (rate, norm): length_trials(s, model, "taught", "batchmean", rate, norm, TRIAL_EPOCHS) for rate, norm in RATES
    }


def length_trials(
    s: Settings, model: str, group: str, reduction: str, rate: float, norm: float, epochs: int
) -> list[Spec]:
    """The networks whose mean decides whether `epochs` is the length of a group: see `LEARNERS`."""
    changed = {"epochs": epochs, "peak_lr": rate, "clip_norm": norm}
    return [
        replace(spec, recipe=replace(spec.recipe, **changed), held_out=HELD_OUT)
        for spec in candidates(s, model, group, reduction)
    ]


def candidates(s: Settings, model: str, group: str, reduction: str) -> list[Spec]:
    seed = s.seeds[0]
    if group == "alone":
        return [alone(s, model, seed)]
    if group == "taught":
        return [student(s, model, teacher(s, a, seed), reduction) for a in s.augmentations]
    of = random_teacher(s, seed) if group == "random" else uniform_teacher(s)
    return [student(s, model, of, reduction, seed=seed)]


def validation_accuracy(made: Sequence[Run]) -> float:
    """After the last epoch, averaged over runs; 0..1."""
    return sum(run.history["validation_accuracy"].iloc[-1] for run in made) / len(made)


def choose_rate(trials: dict[tuple[float, float], Sequence[Run]]) -> tuple[float, float]:
    """Rate and norm, by the first rule, of the runs of `rate_trials`; raises `RunError` where all clip too often."""
    admitted = {
        at: validation_accuracy(made)
        for at, made in trials.items()
        if max(run.history["clipped"].mean() for run in made) <= RARELY
    }
    if not admitted:
        tried = list(trials)
        raise runs.RunError(f"each of {tried} clips more than {RARELY:.0%} of some student's steps: none is chosen")
    return max(admitted, key=admitted.get)


def choose_length(accuracy: Callable[[int], float]) -> int:
    """Epochs, by the second rule; `accuracy` of a length is asked for only as far as the ladder is climbed."""
    best, best_epochs = accuracy(LADDER[0]), LADDER[0]
    for epochs in LADDER[1:]:
        found = accuracy(epochs)
        if found > best:
            best, best_epochs = found, epochs
        elif found < best - FALL:
            break
    return best_epochs


def choose(s: Settings, model: str, reduction: str, groups: Sequence[str] = LEARNERS) -> dict:
    """What the rules choose for a network under one form of the loss; trains the trials that the store lacks."""
    made = {at: runs.ensure(specs, device=s.device) for at, specs in rate_trials(s, model).items()}
    rate, norm = choose_rate(made)

    def length(group: str) -> int:
        def accuracy(epochs: int) -> float:
            trials = length_trials(s, model, group, reduction, rate, norm, epochs)
            return validation_accuracy(runs.ensure(trials, device=s.device))

        return choose_length(accuracy)

    return {"peak_lr": rate, "clip_norm": norm, "epochs": {group: length(group) for group in groups}}
