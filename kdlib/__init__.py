"""A reproduction of Das et al. (2020): what data augmentation does to knowledge distillation."""

__version__ = "0.1.0"


class KdlibError(Exception):
    """A fault that the user can mend: its message is one sentence that says how."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a notebook: the sentence, without the way that led to it."""
        return [f"{type(self).__name__}: {self}"]
