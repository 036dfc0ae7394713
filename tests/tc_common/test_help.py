"""`--help` of every command: the flags that tyro parses, each with its meaning, grouped and within the terminal."""

import ast
import contextlib
import importlib
import io
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro
from tyro.conf import OmitArgPrefixes, Positional, subcommand

from tc_common.extras import version
from tc_common.help import FEW_FLAGS, flags_of, help_text, wrapped

ROOT = Path(__file__).parent.parent.parent
CONFIGS = [
    ("predict", "PredictConfig"),
    ("render_images", "RenderConfig"),
    ("monitor_and_optimize", "MonitorConfig"),
    ("compare_models", "ModelsConfig"),
    ("compare_models", "RunsConfig"),
    ("compare_models", "MeanConfig"),
    ("compare_models", "ReadmeConfig"),
    ("gat_pipeline.train", "GraphTrainConfig"),
    ("gat_pipeline.pretrain", "PretrainConfig"),
    ("baselines.prior", "PriorConfig"),
    ("comparison.transfer", "TransferConfig"),
    ("dinov3_pipeline.pretrain", "PretrainConfig"),
    ("dinov3_pipeline.add_retrieval", "RetrievalConfig"),
    ("gat_pipeline.evaluate", "EvaluationConfig"),
    ("gat_pipeline.add_retrieval", "RetrievalConfig"),
    ("gat_pipeline.evaluate_pretrained", "ZeroShotConfig"),
    ("dinov3_pipeline.train", "VisionConfig"),
    ("dinov3_pipeline.explain", "ExplainConfig"),
    ("data.prepare", "PrepareConfig"),
    ("data.supercon", "SuperconConfig"),
    ("data.dope", "DopeConfig"),
    ("data.plot_families", "PlotConfig"),
    ("data.sample.build", "Config"),
    ("baselines.__main__", "BaselineConfig"),
    ("tuning.study", "TuneConfig"),
    ("prediction.ship", "ShipConfig"),
    ("prediction.screen", "ScreenConfig"),
    ("prediction.distil", "DistilConfig"),
    ("comparison.published.check", "CheckConfig"),
]


def config_of(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True, kw_only=True)
class Inside:
    """How sites become atoms. More of it."""

    cutoff_A: float = 8.0
    """Radius in angstrom (> 0)."""
    renamed: Annotated[int, tyro.conf.arg(name="other-name")] = 1
    """Another name."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """Every command's."""

    seed: int = 42
    """Seed
    (>= 0)."""


@dataclass(frozen=True, kw_only=True)
class Settings(Base):
    """A crystal's settings."""

    files: Positional[tuple[Path, ...]]
    """What to read."""
    out_dir: Path | None = None
    """Where to write."""
    table: Path = Path("a.csv")
    """A table."""
    kind: Literal["one", "all"] = "one"
    """Which."""
    limit: int | None = None
    """How many (>= 1)."""
    depth_cue: bool = False
    """Fade what is far."""
    supercells: tuple[str, ...] = ("1x1x1", "2x2x2")
    """Repeats."""
    inside: Inside = field(default_factory=Inside)
    """Atoms."""
    flat: Annotated[Inside, OmitArgPrefixes] = field(default_factory=Inside)
    """Atoms again."""


def said(width: int, monkeypatch: pytest.MonkeyPatch, config: Any = Settings, args: tuple[str, ...] = ()) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    return help_text(config, "read.py", "Reads\ncrystals.\n\n    read.py x.cif   # one\n\n- first\n- second", [*args])


def test_values_are_said_in_the_users_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [flag.given for flag in flags_of(Settings)]
    assert given == [
        "--seed INT", "FILE ...", "--out-dir FOLDER", "--table FILE", "--kind {one,all}", "--limit INT",
        "--depth-cue, --no-depth-cue", "--supercells STR ...", "--inside.cutoff-A FLOAT", "--inside.other-name INT",
        "--cutoff-A FLOAT", "--other-name INT",
    ]  # fmt: skip
    text = said(100, monkeypatch)
    assert "usage: read.py FILE ... [flags]" in text and "None" not in text
    for row in ("How many (>= 1).\n", "(default: 1x1x1 2x2x2)", "(default: no)", "Seed (>= 0). (default: 42)"):
        assert row in text, row


def test_flags_are_grouped_by_what_they_are_and_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    titles = [line for line in said(100, monkeypatch).splitlines() if line.endswith(":")]
    inside = ["--inside.*: How sites become atoms. More of it:", "How sites become atoms. More of it:"]
    assert titles == ["what:", "files and folders:", "flags:", "run:", *inside, "more:"]

    @dataclass(frozen=True)
    class Few:
        """Few."""

        seed: int = 1
        """Seed."""
        table: Path = Path("x")
        """Table."""

    assert [flag.group for flag in flags_of(Settings)].count("flags") < FEW_FLAGS
    assert [line for line in said(100, monkeypatch, Few).splitlines() if line.endswith(":")] == ["flags:"]


@pytest.mark.parametrize("width", [50, 80, 132])
def test_the_text_is_as_wide_as_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(map(len, said(width, monkeypatch).splitlines())) <= width
    long = wrapped("word " * 50, width)
    assert len(long) > 1 and width - 5 <= len(long[0]) <= width
    assert wrapped("a\nb\n\n    python x  # kept   so\nc\n\n- d\n  e\n- f", 80) == [
        "a b", "", "    python x  # kept   so", "c", "", "- d e", "- f",
    ]  # fmt: skip


def test_commands_of_a_program_are_listed_and_each_has_its_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    either = Annotated[Base, subcommand("base")] | Annotated[Inside, subcommand("inside")]
    text = said(80, monkeypatch, either)
    assert "usage: read.py COMMAND [flags]" in text and "How sites become atoms. More of it." in text
    assert "--cutoff-A FLOAT" in said(80, monkeypatch, either, ("inside", "--help"))


def flags_of_tyro(config: Any, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.setenv("COLUMNS", "100")
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard), pytest.raises(SystemExit):
        tyro.cli(config, args=["--help"], description=" ")
    rows = re.findall(r"(?m)^.? {1,2}(--[a-z][^\s,]*)(?:, (--no-\S+))?", heard.getvalue())
    return {name for row in rows for name in row if name} - {"--help-verbose"}


@pytest.mark.parametrize(("module", "name"), [("", ""), *CONFIGS])
def test_the_flags_are_those_that_are_parsed_and_each_has_a_meaning(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(module, name) if module else Settings
    flags = [flag for flag in flags_of(config) if not flag.is_positional]
    names = {word for flag in flags for word in re.findall(r"--[\w.-]+", flag.given)}
    assert names == flags_of_tyro(config, monkeypatch) and len(flags) == len({flag.given for flag in flags})
    assert not [flag.given for flag in flags_of(config) if not re.match(r"[\w\"'(<>=0-9]", flag.text)]
    assert not [flag.given for flag in flags_of(config) if flag.text.startswith(("(default", "(required"))]
    monkeypatch.setenv("COLUMNS", "80")
    text = help_text(config, "x", "", [])
    assert "{None}" not in text and "PATH" not in text.replace("PATH=", "")
    assert all(
        len(line) <= 80 for line in text.splitlines() if not line.startswith("    ") or line.startswith(" " * 28)
    )


def test_every_command_is_in_the_list() -> None:
    """Every module of a room that calls `parse`, and every script."""
    rooms = {module.partition(".")[0] for module, _ in CONFIGS}
    paths = [path for room in rooms for path in [ROOT / f"{room}.py", *(ROOT / room).rglob("*.py")] if path.is_file()]
    calls = {path: ast.unparse(ast.parse(path.read_text("utf-8"))) for path in paths}
    named = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts)
        for p, c in calls.items()
        if re.search(r"\bparse\(.*prog=", c)
    }
    listed = {module for module, _ in CONFIGS} - {"tuning.study"} | {"tuning.__main__"}  # which imports it late
    assert named - {"tuning.pipelines"} == listed


@pytest.mark.parametrize(
    "command", [["predict.py"], ["check_setup.py"], ["-m", "data.prepare"], ["compare_models.py"]]
)
def test_the_version_is_that_of_the_project(command: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, *command, "--version"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert ran.stdout == f"SuperVision {version()}\n" and not ran.stderr


def test_a_reader_who_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m data.prepare --help | true; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0 and not ran.stderr
