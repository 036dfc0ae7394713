"""`python predict.py` from end to end: what it prints, writes and returns."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import predict
from gat_pipeline.model import load_model
from prediction import Failure, load_predictor, output
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


def command(*arguments: object, cwd: Path = ROOT, input: str | None = None) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(ROOT / "predict.py"), *map(str, arguments)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, input=input)


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_files_and_folders_in_a_fresh_process_from_any_folder(shipped: ShippedStudy, tmp_path: Path) -> None:
    folder = tmp_path / "cifs"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.cif").write_bytes(shipped.cif("test", number).read_bytes())
    (folder / "1, broken\n.cif").write_text("nothing")
    last = str(shipped.cif("test", 3))
    ran = command("cifs", last, "--models-dir", shipped.models, "--csv", "out.csv", cwd=tmp_path)
    assert ran.returncode == 1 and "1 of 5 files could not be predicted" in ran.stderr, ran.stderr
    rows = rows_in(tmp_path / "out.csv")
    names = ["0.cif", "1, broken\\n.cif", "1.cif", "2.cif"]
    assert [row["name"] for row in rows] == [*(f"cifs/{name}" for name in names), last]
    assert [bool(row["error"]) for row in rows] == [False, True, False, False, False]
    for row in rows:
        assert row["name"] in ran.stdout
        if not row["error"]:
            assert 0 <= float(row["lower_K"]) <= float(row["tc_K"]) <= float(row["upper_K"])
            assert float(row["alignn_tc_K"]) >= 0 and row["nearest_3_formula"] in ran.stdout
            assert f"{float(row['tc_K']):7.1f}" in ran.stdout
    assert not list(tmp_path.glob(".out*"))


HEAVY = (
    "accelerate", "alignn", "captum", "dgl", "jarvis", "lightgbm", "matplotlib", "optuna", "peft", "scipy.optimize",
    "scipy.spatial", "scipy.stats", "sklearn", "tensorboard", "timm", "torchvision", "transformers",
)  # fmt: skip
LOADED = """
import sys, predict
sys.argv = ["predict.py", *sys.argv[1:]]
try:
    predict.main()
finally:
    print("LOADED", *sorted(sys.modules), file=sys.stderr)
"""


def loaded_modules(*arguments: object) -> set[str]:
    """Modules that a command line has imported when it ends."""
    words = [sys.executable, "-c", LOADED, *map(str, arguments)]
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return set(ran.stderr.rpartition("LOADED ")[2].split())


def test_only_what_a_prediction_needs_is_imported(shipped: ShippedStudy) -> None:
    modules = loaded_modules(shipped.cif("test"), "--models-dir", shipped.models)
    assert {"torch", "prediction.predictor"} <= modules
    assert not modules & set(HEAVY)


def test_help_imports_no_torch_and_no_tables() -> None:
    modules = loaded_modules("--help")
    assert "predict" in modules and not modules & {"torch", "pandas", "numpy", "pymatgen", *HEAVY}


def test_a_process_that_reads_crystals_imports_no_torch_and_no_tables() -> None:
    code = "import sys; from tc_common.reading import serve; from prediction.inputs import _read_path as read\n"
    code += "from pathlib import Path; read(Path(sys.argv[1])); print(*sys.modules)"
    words = [sys.executable, "-c", code, "data/sample/cifs/MgB2-AlB2.cif"]
    modules = {*subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()}
    assert "pymatgen.core" in modules and not modules & {"torch", "pandas", *HEAVY}


def test_without_its_packages_the_command_says_how_to_install_them() -> None:
    """`-S` hides site-packages."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [sys.executable, "-S", "predict.py", "data/sample/cifs/MgB2-AlB2.cif"]
    ran = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    (line,) = ran.stderr.splitlines()
    assert ran.returncode == 2 and line.startswith("error: tyro is not installed in ")
    assert "make predict-setup, then .venv/bin/python predict.py" in line and "3.11 or newer" in line


def called(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    """Run the command line in this process."""
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
    predict.main()


def test_json_is_one_object_a_line_as_python_gives_it(
    shipped: ShippedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.cif").write_text("nothing")
    with pytest.raises(SystemExit) as stopped:
        called(monkeypatch, shipped.cif("test"), tmp_path / "bad.cif", "--models-dir", shipped.models, "--json")
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert stopped.value.code == 1 and "no data_ block" in bad["error"]
    expected = load_predictor(shipped.models).predict(shipped.cif("test"), str(shipped.cif("test"))).to_dict()
    assert good == json.loads(json.dumps(expected)) | {"tc_K": pytest.approx(expected["tc_K"], abs=1e-4)}


def test_standard_input_is_read(shipped: ShippedStudy) -> None:
    text = shipped.cif("test").read_bytes()
    ran = command("-", "--models-dir", shipped.models, "--json", input=text.decode())
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["name"] == "standard input"
    assert found["tc_K"] == pytest.approx(load_predictor(shipped.models).predict(shipped.cif("test")).tc_K, abs=1e-4)


def test_a_checkpoint_of_the_graph_pipeline_is_recognised(
    shipped: ShippedStudy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cif, checkpoint = shipped.cif("test"), shipped.folder / "m/alignn_best.pth"
    files = (cif, "--models-dir", shipped.models, "--json", "--checkpoint", checkpoint)
    called(monkeypatch, *files)
    bare = json.loads(capsys.readouterr().out)
    called(monkeypatch, *files, "--val-predictions", shipped.folder / "r/alignn_val_predictions.csv")
    whole = json.loads(capsys.readouterr().out)
    assert bare["model"] == whole["model"] == "alignn:alignn_best.pth" and bare["lower_K"] is None
    assert whole["tc_K"] == pytest.approx(max(load_model(checkpoint).predict(cif), 0), abs=1e-4)
    assert whole["lower_K"] < whole["upper_K"]
    assert not {"structure"} & {each["kind"] for each in whole["warnings"]}, "distances are the shipped network's"


def test_a_series_is_printed_written_and_drawn(
    shipped: ShippedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cif = ROOT / "data/sample/cifs/La2CuO4-La2CuO4.cif"
    files = ("--csv", tmp_path / "s.csv", "--plot", tmp_path / "s.png")
    called(monkeypatch, cif, "--models-dir", shipped.models, "--substitute", "La=Sr:0:0.1:3", *files)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["fraction", "Tc", "(K)", "90", "%", "interval", "formula"]
    assert [line.split()[0] for line in printed[1:4]] == ["0", "0.05", "0.1"] and "La1.9Sr0.1CuO4" in printed[2]
    rows = rows_in(tmp_path / "s.csv")
    assert [row["formula"] for row in rows] == ["La2CuO4", "La1.9Sr0.1CuO4", "La1.8Sr0.2CuO4"]
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG") and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_command_leaves_the_rows_it_has_finished(
    shipped: ShippedStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")
    said: list[str] = []

    def stopping(text: str) -> None:
        said.append(text)
        if len(said) == 3:
            assert out.read_text() == "old", "the table is renamed at the end"
            os.kill(os.getpid(), number)

    monkeypatch.setattr(output, "say", stopping)
    cifs = [str(shipped.cif("test", row)) for row in range(4)]
    monkeypatch.setattr(sys, "argv", ["predict.py", *cifs, "--models-dir", str(shipped.models), "--csv", str(out)])
    with pytest.raises(SystemExit) as stopped:
        run(predict.main)
    assert stopped.value.code == 128 + number
    rows = rows_in(out)
    assert [row["name"] for row in rows] == cifs[:1] and float(rows[0]["tc_K"]) >= 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert "holds the 1 rows finished before" in capsys.readouterr().err


def test_an_error_of_ours_leaves_no_table(
    shipped: ShippedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(found: object, columns: object = None) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(output, "line", broken)
    with pytest.raises(ZeroDivisionError):
        called(monkeypatch, shipped.cif("test"), "--models-dir", shipped.models, "--csv", tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())


def test_long_names_are_cut_in_the_middle_on_a_terminal_only() -> None:
    failure = Failure("a" * 60 + "/" + "b" * 60 + ".cif", "", "no CIF", "ensemble")
    first = output.line(failure, 80).splitlines()[0]
    assert len(first) == 80 and "…" in first and first.endswith("bb.cif")
    assert failure.name in output.line(failure)
    assert output.shortened("short.cif", 20) == "short.cif"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.cif"], "nowhere.cif: No such file or directory; name CIF files or folders"),
        (["{tmp}"], "holds no *.cif"),
        (["{cif}", "--models-dir", "{tmp}"], "no ensemble model is shipped in"),
        (["{cif}", "--models-dir", "{tmp}", "--model", "dinov3"], "--checkpoint models/dino_best.pth"),
        (["{cif}", "--checkpoint", "x.pth"], "x.pth is missing"),
        (["{cif}", "--checkpoint", "x.pth", "--model", "alignn"], "leave out --model"),
        (["{cif}", "--val-predictions", "x.csv"], "goes with --checkpoint"),
        (["{cif}", "--plot", "x.png"], "goes with --substitute"),
        (["{cif}", "--substitute", "La=Sr"], "is no series"),
        (["{cif}", "--substitute", "La=Sr:0:2:3"], "a fraction of 2 is outside [0, 1]"),
        (["{cif}", "{cif}", "--substitute", "La=Sr:0:1:3"], "takes one crystal"),
        (["{cif}", "--substitute", "La=Sr:0:1:3", "--plot", "x.txt"], "a picture ends in"),
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
    for words in ("(K)", "Exit status", "models/3dsc", "alignn", "90 % interval", "default: cpu", "--substitute"):
        assert words in said, words
