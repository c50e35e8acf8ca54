"""What makes training fast and lets it be interrupted; nothing here changes what is computed.

Layout and compilation, the recorded CUDA step, a teacher's passes kept for other students, checkpoints, progress.
"""

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from kdlib import KdlibError, reason, written_aside
from kdlib.distill import Labels
from kdlib.models import Classifier

SECONDS_BETWEEN_CHECKPOINTS = 20


class TrainingError(KdlibError, RuntimeError):
    """Training that cannot start, or whose loss is not a number any more."""


@functools.cache
def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16: AVX512-BF16 or AMX, Arm's bf16, CUDA from capability 8.0."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    known = getattr(torch.cpu, "get_capabilities", dict)()  # of PyTorch from 2.12 on
    return any(there for name, there in known.items() if name.endswith("bf16"))


def precision_on(device: torch.device | str, precision: str) -> str:
    """What a recipe's `precision` is on a device: bfloat16 is float32 where it would be emulated, ten times slower.

    How a machine rounds is no field of a spec: it stands in a run's provenance.
    """
    emulated = precision == "bfloat16" and not multiplies_bfloat16(torch.device(device))
    return "float32" if emulated else precision


def logits_of(network: Classifier, x: Tensor, precision: str) -> Tensor:
    enabled = precision_on(x.device, precision) == "bfloat16"
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=enabled):
        return network(x.contiguous(memory_format=network.layout))


def compiled(model: Classifier) -> Classifier:
    """`model` compiled by TorchInductor: normalisation, ReLU and sum become one kernel after each convolution.

    Instances of one architecture share the compiled code, since their weights are its inputs. A GPU that can't run it
    runs `model` as it is.
    """
    device = next(model.parameters()).device
    return model if uncompiled(device) else torch.compile(model, dynamic=False)


@functools.cache
def uncompiled(device: torch.device | str) -> str | None:
    """Why networks are not compiled on a GPU; None where they are, and on the CPU, where nothing is."""
    if torch.device(device).type != "cuda":
        return None
    if torch.cuda.get_device_capability(device) < (7, 0):
        return "uncompiled, as its capability is below 7.0"
    return None if importlib.util.find_spec("triton") else "uncompiled, as Triton is not installed"


@functools.cache
def keep_freed_memory() -> None:
    """Let this process keep blocks of up to 32 MB that a step frees, for the next one.

    By its defaults the C library may give them back to the system, which hands them out again page by page,
    cleared: a noticeable part of a short step. Larger blocks go back as before: keeping them, too, would cost a
    teacher much memory. Where there is no `mallopt` (it is glibc's), nothing changes.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(trim_threshold, -1)  # never
    mallopt(mmap_threshold, 32 << 20)  # the most that glibc allows


class Batch(NamedTuple):
    """What one step of training is given."""

    x: Tensor  # (N, 3, 32, 32), augmented and normalised
    labels: Labels
    rows: Tensor | None = None  # (N,) of the training set
    teacher_logits: Tensor | None = None  # (N, K), where they are known before the step

    def each(self, of: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with `of` of each of its tensors."""
        labels = tuple(map(of, self.labels)) if isinstance(self.labels, tuple) else of(self.labels)
        rows, logits = (None if tensor is None else of(tensor) for tensor in (self.rows, self.teacher_logits))
        return Batch(of(self.x), labels, rows, logits)

    def tensors(self) -> list[Tensor]:
        found: list[Tensor] = []
        self.each(lambda tensor: found.append(tensor) or tensor)
        return found


Step = Callable[[Batch], Tensor]


class CapturedStep:
    """A training step recorded as a CUDA graph: one launch a step instead of a hundred.

    LeNet's kernels are so short that launching them one by one costs several times their work. `state` holds all
    tensors that a step changes: they are put back after the warm-up that recording needs.
    """

    def __init__(self, step: Step, state: list[Tensor], example: Batch):
        self.inputs = example.each(torch.clone)
        before = [tensor.clone() for tensor in state]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                step(self.inputs)
        torch.cuda.current_stream().wait_stream(aside)
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = step(self.inputs)

    def __call__(self, batch: Batch) -> Tensor:
        recorded, given = self.inputs.tensors(), batch.tensors()
        if [(t.shape, t.dtype) for t in recorded] != [(t.shape, t.dtype) for t in given]:  # they would be broadcast
            raise TrainingError(
                "an augmentation returns labels of one form for one batch and of another for the next: on a GPU, where "
                "the first step is recorded, give soft labels (N, K) each time"
            )
        for static, tensor in zip(recorded, given, strict=True):
            static.copy_(tensor)
        self.graph.replay()
        return self.outputs


class StoredTeacher:
    """Logits (N, K) of every training image: exact for a student whose images stay as they are."""

    def __init__(self, logits: Tensor):
        self.logits = logits

    def added(self, batches: Iterator[Batch], epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, each with the teacher's logits."""
        for batch in batches:
            yield batch._replace(teacher_logits=self.logits.index_select(0, batch.rows))


class LiveTeacher:
    """A network that sees the student's own batch, in `precision`.

    On CUDA its pass belongs to the recorded step, and batches are left as they are. On the CPU the teacher's pass is
    most of a student's step, and is computed once for all students that see the same batches: such students differ in
    their loss or their network alone. `folder` keeps (steps, N, K) float32 logits of each epoch that was trained to its
    end, which are the logits themselves, so that no student notices. Without it nothing is kept. What can't be read, or
    is of another teacher, version of PyTorch or number of threads, is computed again.
    """

    def __init__(self, network: Classifier, precision: str = "float32", folder: Path | None = None):
        self.network, self.precision, self.folder = network, precision, folder

    def to(self, device: torch.device) -> "LiveTeacher":
        """Ready to teach on `device`, in evaluation mode."""
        self.network.to(device, memory_format=self.network.layout).eval()
        return self

    def added(self, batches: Iterator[Batch], epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, each with the teacher's logits where these do not belong to the step."""
        if next(self.network.parameters()).is_cuda:
            yield from batches
            return
        kept = self.read(epoch)
        if kept is not None:
            yield from (batch._replace(teacher_logits=z) for batch, z in zip(batches, kept, strict=True))
            return
        computed = []
        for batch in batches:
            with torch.no_grad():
                computed.append(logits_of(self.network, batch.x, self.precision))
            yield batch._replace(teacher_logits=computed[-1])
        if self.folder:
            with contextlib.suppress(OSError, RuntimeError):  # no room, or others have done with them: all the same
                write_whole(self.path(epoch), {"of": self.maker, "logits": torch.stack(computed)})

    def path(self, epoch: int) -> Path:
        return self.folder / f"{epoch}.pt"

    def read(self, epoch: int) -> Tensor | None:
        if self.folder is None:
            return None
        try:
            kept = torch.load(self.path(epoch), weights_only=True)
            return kept["logits"] if kept["of"] == self.maker else None
        except (OSError, EOFError, RuntimeError, LookupError, pickle.UnpicklingError):
            return None

    @functools.cached_property
    def maker(self) -> str:
        """What makes the last digits of the logits: the teacher's weights, PyTorch, its threads and the precision."""
        precision = precision_on("cpu", self.precision)
        digest = hashlib.sha256(f"{torch.__version__} {torch.get_num_threads()} {precision}".encode())
        for tensor in self.network.state_dict().values():
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


Teacher = StoredTeacher | LiveTeacher


def write_whole(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside:
        torch.save(content, aside)


def save_checkpoint(path: Path, state: list[Tensor], rows: list[dict], made_by: str) -> None:
    try:
        write_whole(path, {"state": state, "rows": rows, "made_by": made_by})
    except (OSError, RuntimeError) as error:  # the latter is PyTorch's where the disk is full
        raise TrainingError(
            f"no checkpoint can be written into {path.parent} ({reason(error)}): make room there, and the run goes on "
            f"from the last one"
        ) from error


def load_checkpoint(path: Path | None, state: list[Tensor], device: torch.device, made_by: str) -> list[dict]:
    """Put a checkpoint's tensors into `state` in place and return its rows; [] where there is none.

    One that can't be read, or that another commit or PyTorch has written, is told of and left alone: training begins
    anew, so that a run is one code's from its beginning to its end.
    """
    if path is None or not path.exists():
        return []
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
        tensors, rows = saved["state"], saved["rows"]
        if saved["made_by"] != made_by:
            finding = f"it was written by {saved['made_by']}, and this is {made_by}"
        else:
            finding = "" if [t.shape for t in tensors] == [t.shape for t in state] else "it is of another network"
    except (OSError, EOFError, RuntimeError, LookupError, TypeError, ValueError, pickle.UnpicklingError):
        finding = "it can't be read"
    if finding:
        print(f"{path} is not gone on from, {finding}: training begins anew", flush=True)
        return []
    with torch.no_grad():
        for tensor, value in zip(state, tensors, strict=True):
            tensor.copy_(value)
    return rows


class Progress:
    """A bar in a terminal, one line an epoch elsewhere (a notebook, a log)."""

    def __init__(self, title: str, epochs: int, done: int):
        self.title, self.epochs = title, epochs
        self.bar = tqdm(total=epochs, initial=done, desc=title, unit="epoch") if sys.stderr.isatty() else None

    def show(self, row: dict) -> None:
        text = f"loss {row['loss']:.4f} accuracy {row['accuracy']:.4f}"
        if self.bar is None:
            print(f"{self.title} epoch {row['epoch']}/{self.epochs} {text} {row['seconds']:.1f} s", flush=True)
        else:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
