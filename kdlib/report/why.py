"""The answer of the chapter *Why*: a sentence for each outcome of what was declared in `kdlib.causes`.

The sentences were written before any gap under a change was known, but for those on the form of the loss and the gap
that stands at the end of what stays open; which of them stand on the page, and with which numbers, the runs decide
(`kdlib.results.gaps`).
"""

import numpy as np
import pandas as pd

from kdlib.report.markdown import Markdown, number
from kdlib.results.gaps import CLOSES, MAKES, NOTHING, OPEN

NUMBERS = "by {does} points (95 % interval {low} to {high})"
WEAKER = "where the distillation term is as weak as in the released code's loss"
ONE_SCALE = "where all teachers' logits have one scale"
THE_SAME = "where teachers say the same of all images of a class"
SAID: dict[str, dict[str, str]] = {  # by change, by what it does to the gap
    "epochs=12": {
        MAKES: f"Short training makes the gap: 12 epochs change it {NUMBERS}, to {{gap}} points, so that students of "
        "mixing teachers learn more slowly.",
        CLOSES: f"Short training turns the gap round: 12 epochs change it {NUMBERS}, to {{gap}} points.",
        NOTHING: f"Short training does nothing to the gap: 12 epochs change it {NUMBERS}.",
        OPEN: f"Whether short training makes the gap can't be told: 12 epochs change it {NUMBERS}.",
    },
    "epochs=12+reduction=mean": {
        MAKES: f"The gap at 12 epochs grows {WEAKER}, {NUMBERS}, to {{gap}} points: its strength hides a part of it.",
        CLOSES: f"The gap at 12 epochs closes {WEAKER}, {NUMBERS}, to {{gap}} points: so much of it comes with the "
        "term's strength.",
        NOTHING: f"The gap at 12 epochs stays {WEAKER}, which changes it {NUMBERS}: it does not come from the term's "
        "strength.",
        OPEN: "Whether the gap at 12 epochs comes from the strength of the distillation term can't be told: "
        f"{WEAKER} it changes {NUMBERS}, to {{gap}} points.",
    },
    "epochs=12+targets=one_scale": {
        MAKES: f"The gap at 12 epochs grows {ONE_SCALE}, {NUMBERS}: their size hides a part of it.",
        CLOSES: f"The gap at 12 epochs closes {ONE_SCALE}, {NUMBERS}: so much of it comes from their size.",
        NOTHING: f"The gap at 12 epochs stays {ONE_SCALE}, which changes it {NUMBERS}: it does not come from their "
        "size.",
        OPEN: "Whether the gap at 12 epochs comes from the size of the teachers' logits can't be told: "
        f"{ONE_SCALE} it changes {NUMBERS}, to {{gap}} points.",
    },
    "epochs=12+targets=class_means": {
        MAKES: f"The gap at 12 epochs grows {THE_SAME}, {NUMBERS}: what they say of single images hides a part of it.",
        CLOSES: f"The gap at 12 epochs closes {THE_SAME}, {NUMBERS}: so much of it comes from what they say of single "
        "images.",
        NOTHING: f"The gap at 12 epochs stays {THE_SAME}, which changes it {NUMBERS}: it does not come from what they "
        "say of single images.",
        OPEN: "Whether the gap at 12 epochs comes from what teachers say of single images can't be told: "
        f"{THE_SAME} it changes {NUMBERS}, to {{gap}} points.",
    },
}
UNTOLD = "One seed of each network can't tell what a change does from chance: this edition gives no answer."
NOT_TRAINED = "The students that would answer this have not been trained."


def causes_found(found: pd.DataFrame) -> Markdown:
    """What the changes say, of those that were trained, in the order of the questions."""
    rows = {row.who: row for row in found.itertuples() if row.who in SAID}
    if not rows:
        return Markdown(NOT_TRAINED)
    if all(np.isnan(row.low) for row in rows.values()):
        return Markdown(UNTOLD)
    return Markdown(
        " ".join(with_numbers(SAID[change][rows[change].says], rows[change]) for change in SAID if change in rows)
    )


def with_numbers(text: str, row) -> str:
    """A sentence with the numbers of a change, in points."""
    does, low, high, gap = (number(100 * one, 1, "+") for one in (row.estimate, row.low, row.high, row.gap))
    return text.format(does=does, low=low, high=high, gap=gap)
