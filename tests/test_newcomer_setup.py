"""What somebody meets first: the environment's installer, the command, `make clean`."""

import subprocess
import sys
import tomllib

import pytest
from gates import ROOT

import install


def test_where_pip_looks_is_where_uv_looks(monkeypatch):
    listed = "global.index-url='u'\nuser.extra-index-url='a\\nb'\n:env:.find-links='/one /two'\nglobal.timeout='9'\n"
    done = subprocess.CompletedProcess([], 0, listed.replace("\\n", " "))
    monkeypatch.setattr(install.subprocess, "run", lambda *_, **__: done)
    assert install.uv_settings() == {"UV_DEFAULT_INDEX": "u", "UV_INDEX": "a b", "UV_FIND_LINKS": "/one,/two"}


def test_a_python_without_ensurepip_is_one_sentence_and_leaves_no_half_environment(tmp_path, monkeypatch):
    def create(folder, with_pip):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").touch()
        raise subprocess.CalledProcessError(1, "ensurepip")

    monkeypatch.setattr(install.venv, "create", create)
    monkeypatch.setattr(install, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    with pytest.raises(SystemExit, match=r"install python3\.\d+-venv first"):
        install.main()
    assert not (tmp_path / ".venv").exists()


def test_the_command_is_the_module():
    script = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]["kdlib"]
    start = f"from {script.replace(':', ' import ')}; import sys"
    code = f"{start}; sys.argv[1:] = ['paper', '--table', '3']; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "mnist" in done.stdout


def test_make_clean_leaves_runs_and_environment(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    for folder in ("runs/one", ".venv/bin", "_build/html", "book/_build", "book/_static"):
        (tmp_path / folder).mkdir(parents=True)
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert {"runs/one", ".venv/bin", "book/_static"} <= left
    assert not {"_build", "book/_build"} & left


@pytest.mark.parametrize("name", ["CITATION.cff", ".zenodo.json"])
def test_what_describes_the_work_has_its_version(name):
    import yaml

    from kdlib import __version__

    assert yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))["version"] == __version__
