"""What pages take from the code itself: its source, tables that it makes, and its documentation.

    ```{source-of} kdlib.distill.kd_loss      the code of a function or class, without its docstring
    ```{made-by} kdlib.report.prose.parameters       the Markdown that a function without arguments returns

`automodule` documents a module. Docstrings are prose with `code` in single backticks, indented listings and doctests;
`as_rest` makes of them what Sphinx reads.
"""

import ast
import importlib
import inspect
import re
import sys
import textwrap
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

# The package lies beside the book, or some folders above a staged copy of it.
ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "kdlib" / "__init__.py").is_file())
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


class FromCode(SphinxDirective):
    required_arguments = 1

    def run(self):
        module, _, name = self.arguments[0].rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as fault:
            raise self.error(f"{self.name}: {self.arguments[0]} is not to be had ({fault})") from fault
        self.env.note_dependency(inspect.getsourcefile(found))
        return self.show(found)


class SourceOf(FromCode):
    def show(self, found):
        code = without_docstring(inspect.getsource(found))
        block = nodes.literal_block(code, code, language="python")
        return [nodes.container("", block, classes=["literal-block-wrapper", "source-of"])]


class MadeBy(FromCode):
    def show(self, found):
        for path in getattr(found, "reads", ()):
            self.env.note_dependency(str(path))
        place = nodes.Element()
        self.state.nested_parse(StringList(found().splitlines(), source=self.arguments[0]), self.content_offset, place)
        return place.children


def without_docstring(source: str) -> str:
    """The source of a function or class without its docstring: the page around it says what it does."""
    source = textwrap.dedent(source)
    first = ast.parse(source).body[0].body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines = source.splitlines()
        del lines[first.lineno - 1 : first.end_lineno]
        source = "\n".join(lines)
    return source.rstrip()


def as_rest(app, what, name, obj, options, lines: list[str]) -> None:
    """Turn a docstring into reStructuredText, in place."""
    out: list[str] = []
    literal = False  # within an indented listing, which keeps its columns
    for line in lines:
        indented = line.startswith("    ")
        if line.strip() and not indented:
            literal = False
        if indented and not literal and (len(out) < 2 or not out[-1].strip()):
            last = next((i for i in reversed(range(len(out))) if out[i].strip()), None)
            if last is not None and not out[last].startswith(">>>"):
                literal = True
                out += [".. code-block:: text", ""]
        plain = literal or line.lstrip().startswith((">>>", "...")) or (out and out[-1].startswith(">>>"))
        out.append(line if plain else inline(line))
    lines[:] = out


EMPHASIS = r"(?<![\w*])(\*[A-Za-z][^*|\\]*(?<=[\w.,:;?!])\*)(?![\w*])"
MARKUP = r"([*|\\]|_(?=\W|$))"


def inline(line: str) -> str:
    """`code` as ``code``; *emphasis* and a list's "- " stay, what else reStructuredText takes for markup is escaped."""
    parts = re.split(r"(`[^`]+`)(?=(\w?))", line)  # a letter may follow, as in `Run`s: a "\ " parts it from the code
    out = []
    for text, code, letter in zip(parts[::3], parts[1::3] + [""], parts[2::3] + [""], strict=True):
        out.append(re.sub(f"{EMPHASIS}|{MARKUP}", lambda found: found[1] or f"\\{found[2]}", text))
        out.append(f"``{code[1:-1]}``" + ("\\ " if letter else "") if code else "")
    return "".join(out)


def skip_member(app, what, name, obj, skip, options):
    """Leave out what a module has from another one, before Sphinx reads the source of that, and the fields of named
    tuples, whose documentation is their number."""
    foreign = what == "module" and getattr(obj, "__module__", None) not in (None, app.env.temp_data["autodoc:module"])
    return True if foreign or (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("source-of", SourceOf)
    app.add_directive("made-by", MadeBy)
    app.connect("autodoc-process-docstring", as_rest)
    app.connect("autodoc-skip-member", skip_member)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
