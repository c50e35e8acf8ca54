"""Build the book on all cores, which Sphinx can and `jupyter-book build` has no option for.

The pages come out the same, byte for byte: what belongs to the whole book, such as the numbers of its figures, is done
once all pages have been read.
"""

import os
import sys

from pybtex.backends.plaintext import Backend
from pybtex.plugin import register_plugin

# They number sections once all is read, and change what goes to LaTeX, but don't say that pages may be read at once.
UNDECLARED = ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex")


def setup(app):
    if sys.platform == "linux":  # where a process that has imported PyTorch can be forked without harm
        app.parallel = 2 * (os.cpu_count() or 1)  # pages differ in size: with more processes than cores none is idle
    app.connect("builder-inited", prepare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def prepare(app) -> None:
    """Do once what each process, or each citation, would do again."""
    import kdlib.runs  # noqa: F401  which `run_records` has found; seconds, for the sake of PyTorch

    register_plugin("pybtex.backends", "plaintext", Backend, force=True)  # else it is sought in all packages each time
    for name in UNDECLARED:
        if name in app.extensions:
            app.extensions[name].parallel_read_safe = True
