"""Why: what the headline's difference hangs on, one setting changed at a time.

The *gap* is the headline's: the accuracy of the students of MixUp's and CutMix's teachers, their mean, less that of the
baseline's. A change is laid on the students of the same teachers and seeds; what it does to the gap is the gap under it
less the gap of its reference. All of this was declared before any changed student was trained:

1. A change *makes* the gap if the interval of what it does lies below zero, *closes* it if above, does *nothing* if it
   lies within half a point of zero (the bound of the claims), and is *open* else. Its share of the paper's gap is what
   it does over the gap that the paper prints.
2. *Length*, beside the chosen one. If only shorter training makes the gap, students of mixing teachers learn more
   slowly, and not less.
3. What the gap comes from is asked where there is one, at 12 epochs: trials of one seed on held-out images had it at
   two points there, which was known beforehand. *Form of the loss*: what closes the gap makes it. *Scale*: if it
   closes where all teachers' logits have one scale (`one_scale`), it comes from their size and not from what they say;
   a temperature leaves the ratio of the scales as it is. *Knowledge*: if it stays where each image's logits are the
   mean of its class (`class_means`), or another image's of its class (`shuffled`), it does not come from what a teacher
   says of single images.
4. *The released protocol* (momentum 0.99, rate 0.0001, no weight decay, batches of 128, a staircase) as a whole, and
   its effective rate and its decay alone.

Declared when students of class means and of shuffled logits were known, before any network named here was trained:

5. *Knowledge or restraint*, at 12 epochs: what students gain over a network without a teacher, beside what is gained
   over it without knowledge: by students of a teacher that was never trained and of one that says nothing, which can
   only restrain them, and by a network without a teacher whose labels are smoothed.

Declared before any network of it was trained:

6. *Images that the teacher has not seen* (the paper's Section 6): a teacher is trained on one half of the training
   images, and its students on that half (`HALVES`) or on the other (`UNSEEN`), for about as many steps as students of
   the chosen length at full size. Of images that it was trained on a teacher says hardly more than the label. If mixing
   impairs what a teacher says of single images, there is more to impair where it has not seen them: going over to
   those *makes* the gap, by the first rule. If that *closes* the gap or does *nothing* to it, having seen the images is
   not what hides the paper's gap. What teachers know is worth more on images not seen if the mean of all teachers'
   students, less students of a teacher that says nothing on the same half, is larger there than on the half seen, by an
   interval; two kinds of images differ *not clearly* else. Three teachers of each augmentation, four students of each
   on either half; these teachers are others than those of the rest.

Declared before any network of it was done: the whole protocol takes eight times as long as other changes, and its
students are of the first two seeds of their own (`FEWER`); and to it is added the released code's form of the loss.
"""

SHORT_EPOCHS = 12
SHORT = f"epochs={SHORT_EPOCHS}"
SMOOTHING = 0.1  # of labels, as a rule (Szegedy et al. 2016)

PROTOCOL = "epochs=90+batch_size=128+momentum=0.99+peak_lr=0.0001+weight_decay=0.0+clip_norm=None+drops=[60, 80]"

QUESTIONS: dict[str, tuple[str, ...]] = {
    "length": ("epochs=6", "epochs=12", "epochs=30", "epochs=60"),
    "form of the loss": (
        "epochs=12+reduction=mean", "epochs=12+direction=student_teacher", "epochs=12+kd_weight=0.1",
        "epochs=12+kd_weight=0.9", "epochs=12+kd_weight=1.0",
    ),
    "scale": (
        "epochs=12+targets=one_scale", "epochs=12+temperature=1", "epochs=12+temperature=2", "epochs=12+temperature=4",
        "epochs=12+temperature=8",
    ),
    "knowledge": ("epochs=12+targets=class_means", "epochs=12+targets=shuffled"),
    "released protocol": ("peak_lr=0.001", "weight_decay=0.0", PROTOCOL, f"{PROTOCOL}+reduction=mean"),
}  # fmt: skip
HALVES = "epochs=20+clip_norm=10.0+teacher_half=1+half=1"
UNSEEN = f"{HALVES}+half=2"
FEWER = 2  # students of each teacher, at most, under the protocol


def longer_than(epochs: int) -> list[str]:
    """The changes of length that train for longer, the longest last.

    >>> longer_than(20)
    ['epochs=30', 'epochs=60']
    """
    return [change for change in QUESTIONS["length"] if int(change.removeprefix("epochs=")) > epochs]


def question_of(change: str) -> str:
    """The question that a change was declared for, "other changes" where it was not.

    >>> question_of("epochs=12+temperature=4"), question_of("batch_size=64")
    ('scale', 'other changes')
    """
    return next((question for question, changes in QUESTIONS.items() if change in changes), "other changes")


def reference_of(change: str, among: tuple[str, ...]) -> str:
    """What a change stands beside: the one among others that it adds most to, or "", the training as it is.

    >>> reference_of("epochs=12+temperature=4", ("epochs=12", "epochs=6"))
    'epochs=12'
    """
    settings = change.split("+")
    begins = ("+".join(settings[:end]) for end in range(len(settings) - 1, 0, -1))
    return next((one for one in begins if one in among), "")
