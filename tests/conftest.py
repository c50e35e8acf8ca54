"""Fixtures shared by the tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

UNPACK = Path(__file__).parents[2] / "shared" / "data" / "unpack.py"


@pytest.fixture(scope="session")
def real_data(tmp_path_factory):
    """A folder with the real data files: the one KDLIB_TEST_DATA names, or one unpacked from ../shared/data."""
    if named := os.environ.get("KDLIB_TEST_DATA"):
        yield Path(named)
        return
    if not UNPACK.exists():
        pytest.skip("no real data: KDLIB_TEST_DATA is not set and there is no ../shared/data/unpack.py")
    unpacked = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, UNPACK, unpacked], check=True, stdout=subprocess.DEVNULL)
    yield unpacked
    shutil.rmtree(unpacked)  # 250 MB, which pytest would keep for three sessions


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small tensors are slower on two threads than on one, by far where the processor is shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
