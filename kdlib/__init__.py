"""A reproduction of Das et al. (2020): what data augmentation does to knowledge distillation."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__version__ = "0.1.0"
ROOT = Path(__file__).resolve().parents[1]  # the checkout, or what an installed package lies in


class KdlibError(Exception):
    """A fault that the user can mend: its message is one sentence that says how."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a notebook: the sentence, without the way that led to it."""
        return [f"{type(self).__name__}: {self}"]


def reason(error: BaseException) -> str:
    """The first line of what is wrong."""
    return getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Where to write a file that then becomes `path` by a rename: it is whole or absent, and after a fault nothing is
    left beside it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def folder_from(variable: str, otherwise: str) -> Path:
    """The folder that an environment variable names, else `otherwise`; `~` is the home directory.

    A relative one lies in the checkout, or beside the installed package, whichever folder a process is started in: a
    notebook's kernel and the command line then mean the same.
    """
    text = os.environ.get(variable) or otherwise
    try:
        return ROOT / Path(text).expanduser()
    except RuntimeError as error:
        raise KdlibError(f"{text} needs a home directory, and there is none: set {variable} to a folder") from error
