"""`python predict.py` from end to end: what it prints, writes and returns."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

import predict
from tc_common.cli import run
from tests.prediction.conftest import ShippedStudy
from tests.prediction.conftest import shipped as shipped  # the fixture

ROOT = Path(__file__).parent.parent


def mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a wrong command line prints; run in this process, as starting one costs seconds."""
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        run(predict.main)
    printed = capsys.readouterr()
    assert stopped.value.code == 2 and printed.out == ""
    assert len(printed.err.splitlines()) == 1 and printed.err.startswith("error: ")
    return printed.err


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(ROOT / "predict.py"), *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_files_and_folders_in_a_fresh_process(shipped: ShippedStudy, tmp_path: Path) -> None:
    folder = tmp_path / "cifs"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.cif").write_bytes(shipped.cif("test", number).read_bytes())
    (folder / "1, broken\n.cif").write_text("nothing")
    ran = command(folder, shipped.cif("test", 3), "--models-dir", shipped.models, "--csv", tmp_path / "out.csv")
    assert ran.returncode == 1 and "1 of 5 files could not be predicted" in ran.stderr, ran.stderr
    rows = rows_in(tmp_path / "out.csv")
    names = ["0.cif", "1, broken\\n.cif", "1.cif", "2.cif"]
    assert [row["file"] for row in rows] == [*(f"{folder}/{name}" for name in names), str(shipped.cif("test", 3))]
    assert [bool(row["error"]) for row in rows] == [False, True, False, False, False]
    for row in rows:
        assert row["file"] in ran.stdout
        if not row["error"]:
            assert 0 <= float(row["tc_lower_K"]) <= float(row["tc_K"]) <= float(row["tc_upper_K"])
            assert f"{float(row['tc_K']):8.2f}" in ran.stdout
    assert not list(tmp_path.glob(".out*"))


def test_the_ensemble_says_that_it_fits_trees(
    shipped: ShippedStudy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [str(shipped.cif("test")), "--model", "ensemble", "--models-dir", str(shipped.models)]
    monkeypatch.setattr(sys, "argv", ["predict.py", *flags])
    predict.main()
    printed = capsys.readouterr()
    assert "fitting trees" in printed.err and len(printed.out.splitlines()) >= 2
    assert printed.out.splitlines()[0].split()[:5] == ["Tc", "(K)", "90", "%", "interval"]


def test_an_interrupted_table_is_not_left_behind(
    shipped: ShippedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")
    said: list[str] = []

    def interrupted(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            assert len(rows_in(next(tmp_path.glob(".out.csv*")))) == 0, "the row is printed first, then kept"
        if len(said) == 3:
            assert len(rows_in(next(tmp_path.glob(".out.csv*")))) == 1, "one row is on the disk before the next"
            raise KeyboardInterrupt

    monkeypatch.setattr(predict, "say", interrupted)
    cifs = [str(shipped.cif("test", number)) for number in range(3)]
    monkeypatch.setattr(sys, "argv", ["predict.py", *cifs, "--models-dir", str(shipped.models), "--csv", str(out)])
    with pytest.raises(SystemExit) as stopped:
        run(predict.main)
    assert stopped.value.code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"] and out.read_text() == "old"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.cif"], "nowhere.cif: No such file or directory; name CIF files or folders"),
        (["{tmp}"], "holds no *.cif"),
        (["{cif}", "--models-dir", "{tmp}"], "no alignn model is shipped in"),
        (["{cif}", "--models-dir", "{tmp}", "--model", "dinov3"], "--dinov3-checkpoint models/dino_best.pth"),
        (["{cif}", "--dinov3-checkpoint", "x.pth"], "goes with --model dinov3"),
        (["{cif}", "--model", "dinov3", "--dinov3-val-predictions", "x.csv"], "goes with --dinov3-checkpoint"),
        (["{cif}", "--model", "gnn"], "--model"),
        (["{cif}", "--coverage", "0.5"], "--coverage"),
        (["--csv", "{tmp}/a.cif", "{cif}"], "a.cif: a table would take the place of a crystal"),
        ([], "error: "),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cif = ROOT / "data/sample/cifs/MgB2-AlB2.cif"
    filled = [argument.format(tmp=tmp_path, cif=cif) for argument in arguments]
    assert message in mistake(monkeypatch, capsys, *filled)


def test_help_names_units_defaults_and_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["predict.py", "--help"])
    with pytest.raises(SystemExit) as stopped:
        run(predict.main)
    assert stopped.value.code == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("(K)", "Exit status", "models/3dsc", "alignn", "90 % interval", "default: cpu"):
        assert words in said, words
