"""The compiled build is the same program: same signals, same journal, same tests."""

from __future__ import annotations

import ast
import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RECORDING = ROOT / "tests" / "fixtures" / "recordings" / "btcusdt_1m_made.csv"
_HEADERS = Path(sysconfig.get_path("include")) / "Python.h"
_TOOLS = all(find_spec(tool) for tool in ("hatch_mypyc", "pip"))
needs_compiler = pytest.mark.skipif(
    not (shutil.which(os.environ.get("CC", "cc")) and _HEADERS.exists() and _TOOLS),
    reason="compiling needs a C compiler, the headers of Python, hatch-mypyc and pip",
)


def listed() -> list[Path]:
    """The files that pyproject.toml has compiled."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]["include"]
    found = [sorted(ROOT.glob(pattern)) for pattern in patterns]
    assert all(found), patterns
    return [path for paths in found for path in paths]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def python(*arguments: object, path: Sequence[Path], within_s: float = 100) -> str:
    """What a Python says that finds the engine on `path`; the build is made only once a test run."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(
        [sys.executable, "-P", *map(str, arguments)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the compiled build; test processes that run beside each other share it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "compiled"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _build(folder)
    return folder


def _build(folder: Path) -> None:
    source = folder.with_suffix(".source")
    for name in ("engine", "api", "etc", "prompts"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    environment = {**os.environ, "HATCH_BUILD_HOOKS_ENABLE": "1", "CFLAGS": "-ffp-contract=off"}
    flags = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--no-compile")
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", str(folder), str(source)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    shutil.rmtree(source)


@pytest.mark.parametrize("path", listed(), ids=name_of)
def test_a_compiled_module_defines_no_class_with_keywords(path: Path) -> None:
    """mypyc drops them without a word: `class Gap(Struct, frozen=True)` would not be frozen."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    keywords = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.keywords]
    assert keywords == []


@needs_compiler
@pytest.mark.timeout(300)
def test_what_is_listed_is_compiled_and_the_command_says_so(built: Path) -> None:
    names = [name_of(path) for path in listed()]
    code = (
        "import sys; from importlib import import_module as m; print(*(m(n).__file__ for n in sys.argv[1:]))"
    )
    files = python("-c", code, *names, path=[built]).split()
    assert all(file.startswith(str(built)) and file.endswith((".so", ".pyd")) for file in files), files
    assert ", compiled, " in python("-m", "engine.cli.main", "--version", path=[built])
    assert ", pure Python, " in python("-m", "engine.cli.main", "--version", path=[ROOT])


@needs_compiler
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "command",
    [("backtest", RECORDING, "--traders", "trend-majors,buynhold-btc"), ("signals", "--replay", RECORDING)],
    ids=lambda command: command[0],
)
def test_compiled_and_pure_give_the_same_report_with_the_same_digest(
    built: Path, command: tuple[object, ...]
) -> None:
    compiled, pure = (
        python("-m", "engine.cli.main", *command, "--json", path=[folder]) for folder in (built, ROOT)
    )
    assert '"digest"' in pure
    assert compiled == pure


@needs_compiler
@pytest.mark.timeout(300)
def test_the_tests_of_compiled_modules_pass_on_the_compiled_build(built: Path) -> None:
    market = [f"tests/test_market_{name}.py" for name in ("candles", "detectors", "pipeline", "stream")]
    modules = [*market, "tests/test_scheduler.py"]
    flags = ("-q", "--import-mode=append", "-p", "no:cacheprovider")
    said = python("-m", "pytest", *flags, *modules, path=[built, ROOT], within_s=200)
    assert " passed" in said
