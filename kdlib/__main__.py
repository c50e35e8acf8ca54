"""The command line, as `kdlib` or `python -m kdlib`."""

import argparse
import contextlib
import dataclasses
import itertools
import json
import sys
from typing import Any

import yaml

from kdlib import KdlibError, budgets, runs, study
from kdlib.results import paper
from kdlib.runs import again, check, slim, states


def main(argv: list[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):  # where a terminal has no sign for a letter, another stands for it
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")
    arguments = parser().parse_args(argv)
    try:
        arguments.command(arguments)
    except KdlibError as error:
        print(f"kdlib: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="kdlib",
        description="What data augmentation does to knowledge distillation: train its networks and report on them.",
        epilog="To begin with: kdlib report. What a command takes: kdlib COMMAND --help. Trained networks are kept in "
        "the folder runs, or in the one that the environment variable KDLIB_RUNS names.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    run = add_command(commands, "run", "train the networks of chapters, without notebooks or pages")
    run.set_defaults(command=run_chapters)
    report = add_command(commands, "report", "train what is missing, execute the notebooks and build the book's pages")
    report.set_defaults(command=make_report)
    for command in (run, report):
        add_profile(command)
        named = f"{', '.join(study.CHAPTERS)}{' or another notebook by its name' if command is report else ''}"
        command.add_argument("--chapter", action="append", help=f"{named}; again for more (default: all)")
        names = ", ".join(name for name in study.PARAMETERS if name != "profile")
        command.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE",
            help=f"a value in place of the profile's, such as --set 'seeds=[0, 1]'; again for more. Names: {names}",
        )  # fmt: skip
        where = command.add_mutually_exclusive_group()
        where.add_argument(
            "--workers", type=int, metavar="N", help="train in N processes here, each on a GPU of its own if any"
        )
        where.add_argument("--cluster", metavar="ADDRESS", help="train on the workers of a running Dask scheduler")
    run.add_argument("--list", action="store_true", help="tell which are there, to train or waiting, and train nothing")
    report.add_argument("--publish", action="store_true", help="then put the executed notebooks into book/")
    chooser = add_command(commands, "choose", "choose rate and length of a student's training by held-out images")
    chooser.set_defaults(command=choose_training)
    add_profile(chooser)
    chooser.add_argument("--student", default="lenet", help="its network (default: %(default)s)")
    chooser.add_argument("--reduction", default="batchmean", help="form of its loss (default: %(default)s)")
    learners = ", ".join(budgets.LEARNERS)
    chooser.add_argument("--group", action="append", help=f"by teacher: {learners}; again for more (default: all)")
    repeat = add_command(commands, "again", "train stored runs again, aside, and tell how they differ")
    repeat.set_defaults(command=train_again)
    repeat.add_argument("key", nargs="+", metavar="RUN", help="the name of its folder in runs")
    repeat.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:0 (default: %(default)s)")
    repeat.add_argument("--json", action="store_true", help="print a list of JSON objects")
    slimmer = add_command(commands, "slim", "keep of stored networks the predicted classes alone, to publish them")
    slimmer.set_defaults(command=lambda arguments: [slim.slim(name) for name in arguments.key])
    slimmer.add_argument("key", nargs="+", metavar="RUN", help="the name of its folder in runs")
    checked = add_command(commands, "check", "tell which stored runs are whole, damaged or left over")
    checked.set_defaults(command=check_store)
    checked.add_argument("--repair", action="store_true", help="set damaged runs aside, so that they are trained again")
    checked.add_argument("--seal", action="store_true", help="write SHA256SUMS where it lacks and the scores are right")
    table = add_command(commands, "paper", "print a table as the paper has it")
    table.add_argument("--table", type=int, required=True, metavar="N", help="its number in the paper")
    table.set_defaults(command=lambda arguments: print(paper.printed_table(arguments.table).to_string()))
    return top


def add_command(commands: argparse._SubParsersAction, name: str, meaning: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=meaning, description=f"{meaning[0].upper()}{meaning[1:]}.")


def add_profile(command: argparse.ArgumentParser) -> None:
    command.add_argument("--profile", default="demo", help=f"{', '.join(study.PROFILES)} (default: %(default)s)")


def assignments(texts: list[str]) -> dict[str, Any]:
    """NAME=VALUE as a dictionary, the values read as YAML."""
    out = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise study.ParameterError(f"--set {text}: expected NAME=VALUE")
        if name.strip() == "profile":
            raise study.ParameterError(f"--set {text}: the profile is chosen by --profile")
        try:
            out[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise study.ParameterError(f"--set {text}: the value is not YAML") from error
        if out[name.strip()] is None:
            raise study.ParameterError(f"--set {text}: there is no value")
    return out


def run_chapters(arguments: argparse.Namespace) -> None:
    overrides = assignments(arguments.set)
    chapters = arguments.chapter or list(study.CHAPTERS)
    asked = {chapter: study.settings(chapter, arguments.profile, **overrides) for chapter in chapters}
    specs = {chapter: study.CHAPTERS[chapter](settings) for chapter, settings in asked.items()}
    if arguments.list:
        list_runs([spec for of_chapter in specs.values() for spec in of_chapter], arguments)
        return
    made_on_cluster(specs, arguments)
    for chapter, settings in asked.items():
        made = runs.ensure(specs[chapter], device=settings.device)
        print(f"{chapter}: {len(made)} runs in {runs.default_store()}", flush=True)


def made_on_cluster(specs: dict[str, list[runs.Spec]], arguments: argparse.Namespace) -> None:
    """Have a cluster, where one is asked for, make the runs of all chapters at once."""
    if arguments.workers is None and arguments.cluster is None:
        return
    with cluster_of(arguments) as client:
        every = [spec for of_chapter in specs.values() for spec in of_chapter]
        runs.ensure(every, device=assignments(arguments.set).get("device"), cluster=client)


def cluster_of(arguments: argparse.Namespace) -> contextlib.AbstractContextManager:
    if arguments.workers is not None and arguments.workers < 1:
        raise study.ParameterError(f"--workers {arguments.workers}: expected a whole number of at least 1")
    try:
        from kdlib.runs import cluster
    except ModuleNotFoundError as error:
        raise runs.RunError(f"there is no {error.name}: pip install 'dask[distributed]' -c constraints.txt") from error
    return cluster.connected(arguments.workers, arguments.cluster)


def list_runs(specs: list[runs.Spec], arguments: argparse.Namespace) -> None:
    at_work = {}
    if arguments.cluster:
        with cluster_of(arguments) as client:
            from kdlib.runs import cluster

            at_work = cluster.at_work(client)
    device = study.a_device("device", assignments(arguments.set).get("device", "auto"))
    print(*states.states_of(specs, device, at_work=at_work), sep="\n")


def choose_training(arguments: argparse.Namespace) -> None:
    settings = study.settings("students", arguments.profile)
    chosen = budgets.choose(settings, arguments.student, arguments.reduction, arguments.group or budgets.LEARNERS)
    print(yaml.safe_dump({arguments.student: {arguments.reduction: chosen}}), end="")


def check_store(arguments: argparse.Namespace) -> None:
    store = runs.default_store()
    found = check.walk(store, seal=arguments.seal, repair=arguments.repair)
    lines = [*itertools.chain(*found.faults.values()), *found.absent, *found.left_over]
    lines += [f"{folder} has its SHA256SUMS now" for folder in found.sealed]
    lines += [f"set aside: {folder}" for folder in found.set_aside]
    print(*lines, f"{found.runs} runs in {store}, {found.runs - len(found.faults)} of them whole", sep="\n")
    if len(found.faults) > len(found.set_aside):
        raise runs.RunError(f"{len(found.faults) - len(found.set_aside)} runs of {store} are not whole: see above")


def train_again(arguments: argparse.Namespace) -> None:
    device = study.a_device("device", arguments.device)
    with contextlib.redirect_stdout(sys.stderr):  # training tells of its progress; what is compared stays alone
        compared = [again.again(name, device) for name in arguments.key]
    if arguments.json:
        print(json.dumps(list(map(dataclasses.asdict, compared)), indent=1))
    else:
        print(*compared, sep="\n")


def make_report(arguments: argparse.Namespace) -> None:
    from kdlib.report import press  # papermill and Sphinx are not needed to make runs

    overrides = assignments(arguments.set)
    chosen = press.chosen_chapters(press.find_chapters(), arguments.chapter)
    experiments = {name for chapter in chosen for name in chapter.experiments}
    asked = {
        name: study.settings(name, arguments.profile, **overrides) for name in study.CHAPTERS if name in experiments
    }
    made_on_cluster({name: study.CHAPTERS[name](settings) for name, settings in asked.items()}, arguments)
    page = press.build_report(arguments.profile, arguments.chapter, overrides, publish=arguments.publish)
    print(f"The report: {page}")


if __name__ == "__main__":
    sys.exit(main())
