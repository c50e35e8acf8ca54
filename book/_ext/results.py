"""The role ``{result}``: a number in prose is read from results, never typed.

    {result}`key`                 from results.json beside the chapters, as it stands there
    {result}`key:format`          formatted by Python's format language, such as .3f or .1%
    {result}`file:key:format`     from another JSON file of the book's folder

A key leads through nested objects and lists by dots: ``students.lenet.cutmix.mean``, ``seeds.0``.
A page is built again when its file changes. What cannot be read is a warning, an error under ``-W``.
"""

import json
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxRole


class ResultRole(SphinxRole):
    def run(self):
        *file, key, spec = self.text.split(":", 2) if ":" in self.text else (self.text, "")
        path = Path(self.env.srcdir, file[0] if file else "results.json")
        self.env.note_dependency(str(path))
        try:
            text = show(look_up(json.loads(path.read_text(encoding="utf-8")), key), spec)
        except (OSError, ValueError, LookupError, TypeError) as fault:
            message = f"no result {self.text!r} in {path.name}: {type(fault).__name__}: {fault}"
            problem = self.inliner.reporter.warning(message, line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, problem)], [problem]
        return [nodes.inline(self.rawtext, text, classes=["result"])], []


def look_up(tree, key: str):
    for name in key.split("."):
        tree = tree[int(name)] if isinstance(tree, list) else tree[name]
    if tree is None or isinstance(tree, (dict, list)):
        raise TypeError(f"expected a number or a text, found {type(tree).__name__}")
    return tree


def show(value, spec: str) -> str:
    text = format(value, spec)
    return text if isinstance(value, str) else text.replace("-", "\N{MINUS SIGN}")


def setup(app):
    app.add_role("result", ResultRole())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
