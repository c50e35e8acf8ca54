"""From runs to numbers: a run is measured once into a tidy frame, a comparison is asked for once.

How a chapter uses it:

    from kdlib import runs, study
    from kdlib.results.claims import judge
    from kdlib.results.contrasts import contrasts, weighted
    from kdlib.results.frame import frame, measured
    from kdlib.results.measures import ACCURACY, CONFIDENCE, ECE, LOSS, entropy, trained
    from kdlib.results.paper import beside_paper, levels

    teachers = frame(runs.ensure(study.teachers(settings)))      # a row a run: network, loss, augmentations, seeds ...
    students = frame(runs.ensure(study.students(settings)), budget="long")

    measured(students, [ACCURACY, ECE, trained("accuracy")])     # the same rows, a column a measure
    measured(students, [ACCURACY], split="shifted")

    beside_paper(students, table=1)                              # tidy: the paper's number, ours, the seeds', n ...
    levels(teachers, [entropy(20.0), CONFIDENCE])                # the same of numbers that the paper does not print

    contrasts(students, ACCURACY)                                # each teacher's augmentation less the baseline's
    contrasts(students, ACCURACY, minus=["alone", "random"])     # what a teacher is worth
    contrasts(teachers, LOSS, of="augmentation")                 # of networks' own images
    contrasts(ablation, ACCURACY).query("augmentation == teacher_augmentation")       # Table 8 less Table 7
    contrasts(ablation, ACCURACY, of="augmentation").query("teacher_augmentation == 'alone'")

    mixed = {("mixup", "none"): 0.5, ("cutmix", "none"): 0.5, ("none", "none"): -1.0}
    weighted(students, ACCURACY, mixed, who="mixed", less="none")                     # a mean less the baseline

    judge({"teachers": teachers, "students": students})          # the paper's claims: effects, verdicts

An arm is (augmentation of the teacher's images, or a control; augmentation of the network's own). Of a teacher, as of
each network that learns from labels, the first is "alone". Frames of two budgets are put together by `pd.concat`.
"""
