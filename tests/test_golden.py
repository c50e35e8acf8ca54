"""What pages have shown before, and the keys of published runs, as literals that no change of the code may move.

`golden/specs.json.gz` has the canonical JSON of every published run by its key. `golden/paper.json.gz` and
`golden/cpu.json.gz` have the CSV of every table of an edition, to ten digits, by chapter and table.
"""

import gzip
import json
from pathlib import Path

import pytest

from kdlib import runs

GOLDEN = Path(__file__).parent / "golden"


def fixture(name: str) -> dict:
    return json.loads(gzip.decompress((GOLDEN / f"{name}.json.gz").read_bytes()).decode("utf-8"))


SPECS = fixture("specs")


@pytest.mark.parametrize("key", SPECS)
def test_a_published_spec_keeps_its_json_and_its_key(key):
    spec = runs.from_canonical(SPECS[key])
    assert runs.canonical(spec) == SPECS[key]
    assert runs.key(spec) == key
