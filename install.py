"""Set up `.venv` beside this file: the packages, kdlib itself (editable), and a Jupyter kernel called kdlib.

    python install.py

uv installs what pip would, in a fifth of the time. It is fetched for this environment alone; where it can't be had, or
fails, pip does its work. Nothing is written outside of `.venv`, but to the installers' caches.
"""

import os
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
BIN = ROOT / ".venv" / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / "python"
PIP = [PYTHON, "-m", "pip", "--disable-pip-version-check"]
WANTED = ["-r", "requirements.txt", "-c", "constraints.txt", "-e", "."]
# uv reads none of pip's settings: those that say where packages are come to it under its own names, separated thus.
SETTINGS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
}


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (nothing has asked for the version yet)
        sys.exit(f"Python 3.11 or later is needed: this is {sys.version.split()[0]}")
    if not PYTHON.exists():
        make_environment()
    if not by_uv():
        run([*PIP, "install", "--quiet", *WANTED])
    run([PYTHON, "-m", "ipykernel", "install", "--sys-prefix", "--name", "kdlib"], stdout=subprocess.DEVNULL)


def make_environment() -> None:
    try:
        venv.create(PYTHON.parents[1], with_pip=True)
    except subprocess.CalledProcessError:  # Debian and Ubuntu have ensurepip in a package of its own
        shutil.rmtree(PYTHON.parents[1])  # it has a Python already, and would be taken as whole
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(f"{sys.executable} can't make an environment with pip: install python{version}-venv first")


def by_uv() -> bool:
    """Install by uv; False where it can't be had or fails."""
    fetched = subprocess.run([*PIP, "install", "--quiet", "uv", "-c", "constraints.txt"], cwd=ROOT)
    if fetched.returncode:
        return False
    command = [BIN / "uv", "pip", "install", "--quiet", "--python", PYTHON, "--index-strategy", "unsafe-best-match"]
    done = subprocess.run([*command, *WANTED], cwd=ROOT, env=uv_settings() | os.environ)
    if done.returncode:
        print("uv failed: pip installs the packages instead", file=sys.stderr)
    return done.returncode == 0


def uv_settings() -> dict[str, str]:
    """Where pip looks for packages, as variables of uv; those that are set already come before these."""
    listed = subprocess.run([*PIP, "config", "list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        variable, separator = SETTINGS.get(name.rpartition(".")[2], (None, ""))
        if variable:
            places = [place for text in shlex.split(value) for place in text.split()]
            found[variable] = separator.join(filter(None, [found.get(variable), *places]))
    return found


def run(command: list, **options) -> None:
    done = subprocess.run(command, cwd=ROOT, **options)
    if done.returncode:
        sys.exit(f"{shlex.join(map(str, command))} failed")


if __name__ == "__main__":
    main()
