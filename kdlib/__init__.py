"""A reproduction of Das et al. (2020): what data augmentation does to knowledge distillation."""

__version__ = "0.1.0"


class KdlibError(Exception):
    """A fault that the user can mend: its message is one sentence that says how."""
