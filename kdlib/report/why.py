"""The answer of the chapter *Why*: a sentence for each outcome of what was declared in `kdlib.causes`.

The sentences were written before any changed student was trained; which of them stand on the page, and with which
numbers, the runs decide (`kdlib.results.gaps`).
"""

import numpy as np
import pandas as pd

from kdlib.report.markdown import Markdown, number
from kdlib.results.gaps import CLOSES, MAKES, NOTHING, OPEN

NUMBERS = "by {does} points (95 % interval {low} to {high})"
SAID: dict[str, dict[str, str]] = {  # by change, by what it does to the gap
    "epochs=12": {
        MAKES: f"Short training makes the gap: 12 epochs change it {NUMBERS}, to {{gap}} points, so that students of "
        "mixing teachers learn more slowly.",
        CLOSES: f"Short training turns the gap round: 12 epochs change it {NUMBERS}, to {{gap}} points.",
        NOTHING: f"Short training does nothing to the gap: 12 epochs change it {NUMBERS}.",
        OPEN: f"Whether short training makes the gap can't be told: 12 epochs change it {NUMBERS}.",
    },
    "epochs=12+targets=one_scale": {
        MAKES: f"It grows where all teachers' logits have one scale, {NUMBERS}: their size hides a part of it.",
        CLOSES: f"It closes where all teachers' logits have one scale, {NUMBERS}: so much of it comes from their size.",
        NOTHING: f"It stays where all teachers' logits have one scale, which changes it {NUMBERS}: it does not come "
        "from their size.",
        OPEN: "Whether it comes from the size of the teachers' logits can't be told: where all have one scale it "
        f"changes {NUMBERS}.",
    },
    "epochs=12+targets=class_means": {
        MAKES: f"It grows where teachers say the same of all images of a class, {NUMBERS}: what they say of single "
        "images hides a part of it.",
        CLOSES: f"It closes where teachers say the same of all images of a class, {NUMBERS}: so much of it comes from "
        "what they say of single images.",
        NOTHING: f"It stays where teachers say the same of all images of a class, which changes it {NUMBERS}: it does "
        "not come from what they say of single images.",
        OPEN: "Whether it comes from what teachers say of single images can't be told: where they say the same of all "
        f"images of a class it changes {NUMBERS}.",
    },
}
UNTOLD = "One seed of each network can't tell what a change does from chance: this edition gives no answer."
NOT_TRAINED = "The students that would answer this have not been trained."


def answer(found: pd.DataFrame) -> Markdown:
    """What the changes say, of those that were trained, in the order of the questions."""
    rows = {row.who: row for row in found.itertuples() if row.who in SAID}
    if not rows:
        return Markdown(NOT_TRAINED)
    if all(np.isnan(row.low) for row in rows.values()):
        return Markdown(UNTOLD)
    return Markdown(" ".join(told(SAID[change][rows[change].says], rows[change]) for change in SAID if change in rows))


def told(text: str, row) -> str:
    """A sentence with the numbers of a change, in points."""
    does, low, high, gap = (number(100 * one, 1, "+") for one in (row.estimate, row.low, row.high, row.gap))
    return text.format(does=does, low=low, high=high, gap=gap)
