"""The whole data room: real command lines, every row accounted for, the same bytes twice."""

import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.archives import cifs_sha256
from data.prepare import PrepareConfig, main
from data.splitting import Split
from tc_common.cli import parse, run
from tc_common.errors import UserError
from tc_common.splits import SPLITS, read_other_structures, read_splits, splits_sha256
from tc_common.structures import Structures
from tests.data.conftest import caesium_chloride_type, row, write_3dsc

ROOT = Path(__file__).parents[2]
KINDS: tuple[Split, ...] = ("stratified", "chemical-system", "parent")
MakeSource = Callable[[], Path]


def prepare(*flags: object, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-m", "data.prepare", *map(str, flags)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=200)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tar_of(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted(folder.rglob("*.c*")):
            if file.is_file():
                info = tarfile.TarInfo(f"data/final/MP/{file.relative_to(folder).as_posix()}")
                info.size = file.stat().st_size
                archive.addfile(info, io.BytesIO(file.read_bytes()))
    return path


def test_the_sample_is_prepared_by_one_command(tmp_path: Path) -> None:
    done = prepare("--limit", 40, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "rows: " in done.stdout
    assert "copying the nearest composition's Tc: MAE" in done.stdout
    splits = read_splits(tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["divisions"]["."]["splits_sha256"] == splits_sha256(splits)
    assert sum(len(table) for table in splits.values()) == report["materials"] == 40
    for table in splits.values():
        assert all((ROOT / path).is_file() for path in table["cif"])
        assert not Path(table["cif"].iloc[0]).is_absolute()


def test_an_archive_is_unpacked_once_and_gives_what_its_folder_gives(
    tmp_path: Path, doping_series: MakeSource
) -> None:
    folder = doping_series()
    archive = tar_of(folder, tmp_path / "3DSC_MP.tar.gz")
    for out in ("a", "b"):
        main(PrepareConfig(source=str(archive), out=tmp_path / out, unpack_dir=tmp_path / "final", workers=1))
    main(PrepareConfig(source=str(folder), out=tmp_path / "c", unpack_dir=tmp_path / "none", workers=2))
    assert digests(tmp_path / "a") | {"report.json": ""} == digests(tmp_path / "b") | {"report.json": ""}
    assert not (tmp_path / "none").exists(), "a folder is used where it lies"
    first, third = read_splits(tmp_path / "a"), read_splits(tmp_path / "c")
    assert splits_sha256(first) == splits_sha256(third)
    assert all(Path(path).is_file() for path in [*first["train"]["cif"], *third["train"]["cif"]])
    record = json.loads((tmp_path / "final" / "MP" / "SOURCE.json").read_text())
    assert record["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    other = tar_of(write_3dsc(tmp_path / "other", [row("Nb1", 9.2, "x.cif")], {"x.cif": ""}), tmp_path / "o.tar.gz")
    with pytest.raises(UserError, match="another source's files"):
        main(PrepareConfig(source=str(other), out=tmp_path / "d", unpack_dir=tmp_path / "final", workers=1))


def test_two_runs_give_the_same_bytes_whatever_the_row_order_and_workers(
    tmp_path: Path, doping_series: MakeSource
) -> None:
    folder = doping_series()
    for split in KINDS:
        main(PrepareConfig(source=str(folder), out=tmp_path / "a" / split, split=split, workers=1))
    table = pd.read_csv(folder / "3DSC_MP.csv", comment="#").sample(frac=1, random_state=1)
    table.to_csv(folder / "3DSC_MP.csv", index=False)
    for split in KINDS:
        main(PrepareConfig(source=str(folder), out=tmp_path / "b" / split, split=split, workers=3))
        for name in ("train.csv", "val.csv", "test.csv", "materials.csv"):
            assert (tmp_path / "a" / split / name).read_bytes() == (tmp_path / "b" / split / name).read_bytes()


def test_the_audit_tells_the_kinds_of_splits_apart(tmp_path: Path, doping_series: MakeSource) -> None:
    """Doping series known from training are copied well; series held out are not."""
    folder, audits = doping_series(), {}
    for split in KINDS[::2]:
        main(PrepareConfig(source=str(folder), out=tmp_path / split, split=split, workers=1))
        audits[split] = json.loads((tmp_path / split / "report.json").read_text())["divisions"]["."]["leakage"]
    assert audits["stratified"]["shared_parents"] == 1
    assert audits["parent"]["shared_parents"] == 0
    random_K, held_out_K = (audits[s]["nearest_composition_probe"]["all"]["mae_K"] for s in ("stratified", "parent"))
    assert random_K < held_out_K / 2


def polymorphs(folder: Path) -> Path:
    """Eight compositions Nb-X with three structures each; the middle number is the oldest Materials Project entry."""
    entries = ("mp-1077929", "mp-19735", "mp-30000")
    rows, texts = [], {}
    for number, element in enumerate(("Sn", "Ge", "Al", "Si", "Ga", "Be", "B", "C")):
        for step, entry in enumerate(entries):
            name = f"Nb1{element}1-MP-{entry}.cif"
            rows.append(row(f"Nb1{element}1", 2.0 * number, name, entry))
            texts[name] = caesium_chloride_type("Nb", {element: 1}, 3.3 + step / 10)
    return write_3dsc(folder, rows, texts)


def prepared(source: Path, out: Path, structures: Structures, split: Split = "stratified") -> dict[str, pd.DataFrame]:
    """The split files and `others` of one run."""
    main(PrepareConfig(source=str(source), out=out, structures=structures, split=split, workers=1))
    splits = read_splits(out)
    return {**splits, "others": read_other_structures(out, splits)}


@pytest.mark.parametrize("split", KINDS)
def test_the_division_is_the_same_whichever_structures_are_trained_on(tmp_path: Path, split: Split) -> None:
    """mp-19735 is chosen before mp-1077929 and mp-30000: numbers, not texts, are compared."""
    source = polymorphs(tmp_path / "source")
    if split == "parent":  # of these crystals all are one parent group; give each composition parents of its own
        table = pd.read_csv(source / "3DSC_MP.csv", comment="#")
        table["material_id_2"] += (table.index // 3).astype(str)
        table.to_csv(source / "3DSC_MP.csv", index=False)
    runs = {kind: prepared(source, tmp_path / kind, kind, split) for kind in ("one", "all", "draw")}
    for name in SPLITS:
        formulas = {kind: sorted(set(run[name]["formula"])) for kind, run in runs.items()}
        assert formulas["one"] == formulas["all"] == formulas["draw"]
    for name in ("val", "test"):
        assert runs["one"][name].equals(runs["all"][name])
        assert runs["one"][name].equals(runs["draw"][name])
        assert runs["draw"][name]["material_id"].str.endswith("-mp-19735").all()
    assert runs["one"]["train"].equals(runs["draw"]["train"])


def test_train_csv_or_other_structures_csv_has_every_structure(tmp_path: Path) -> None:
    source = polymorphs(tmp_path / "source")
    runs = {kind: prepared(source, tmp_path / kind, kind) for kind in ("one", "all", "draw")}
    drawn = runs["draw"]
    assert len(drawn["train"]) == 6
    assert drawn["others"]["split"].value_counts().to_dict() == {"train": 12, "val": 2, "test": 2}
    chosen = {chosen: set(group) for chosen, group in drawn["others"].groupby("chosen")["material_id"]}
    assert chosen["Nb1Sn1-MP-mp-19735"] == {"Nb1Sn1-MP-mp-1077929", "Nb1Sn1-MP-mp-30000"}
    assert len(chosen) == 8
    tc_K = pd.concat([drawn[name] for name in SPLITS]).set_index("material_id")["tc"]
    assert (drawn["others"]["tc"] == drawn["others"]["chosen"].map(tc_K)).all()
    everything = runs["all"]["train"]
    assert len(everything) == 18
    assert everything.groupby("formula")["weight"].sum().to_numpy() == pytest.approx(1)
    assert set(runs["all"]["others"]["split"]) == set(runs["one"]["others"]["split"]) == {"val", "test"}
    report = json.loads((tmp_path / "draw" / "report.json").read_text())["divisions"]["."]["other_structures"]
    assert report["train"] == {"compositions": 6, "structures": 12}
    assert report["test"] == {"compositions": 1, "structures": 2}


def test_a_composition_keeps_the_structures_that_agree_with_its_formula(tmp_path: Path) -> None:
    source = polymorphs(tmp_path / "source")
    wrong = caesium_chloride_type("Nb", {"Sn": 0.5, "Al": 0.5}, 3.4)
    (source / "cifs" / "Nb1Sn1-MP-mp-19735.cif").write_text(wrong)
    run = prepared(source, tmp_path / "out", "draw")
    everything = pd.concat(run.values())
    names = everything[everything["formula"] == "Nb1Sn1"]["material_id"].tolist()
    assert names == ["Nb1Sn1-MP-mp-30000", "Nb1Sn1-MP-mp-1077929"], "chosen, and the other one"


def test_tc_zero_can_be_dropped(tmp_path: Path, doping_series: MakeSource) -> None:
    folder = doping_series()
    main(PrepareConfig(source=str(folder), out=tmp_path / "out", tc_zero="drop", workers=1))
    ledger = pd.read_csv(tmp_path / "out" / "ledger.csv")
    assert (ledger["status"] == "tc zero").sum() == (ledger["tc"] == 0).sum() == 4
    assert min(table["tc"].min() for table in read_splits(tmp_path / "out").values()) > 0


def test_jarvis_texts_become_files_and_keep_their_own_tc(tmp_path: Path) -> None:
    pairs = [("Nb", "Sn"), ("V", "Si"), ("Mo", "N"), ("Ti", "C"), ("Zr", "B")]
    texts = [caesium_chloride_type(*(a, {b: 1.0})) for a, b in pairs] + ["no crystal"]
    frame = pd.DataFrame({"material_id": [f"JVASP-{n}" for n in range(6)], "tc": [1.0, 2, 3, 4, 5, 6], "cif": texts})
    frame.to_csv(tmp_path / "train.csv", index=False)
    main(PrepareConfig(source=str(tmp_path / "train.csv"), out=tmp_path / "o", unpack_dir=tmp_path / "u", workers=1))
    table = pd.concat(read_splits(tmp_path / "o").values()).set_index("material_id")
    assert table.loc["JVASP-1", "formula"] == "VSi"
    assert len(table) == 5
    assert Path(table.loc["JVASP-0", "cif"]).read_text().startswith("data_x")
    (rejected,) = json.loads((tmp_path / "o" / "report.json").read_text())["rejected"]
    assert rejected["material_id"] == "JVASP-5"


def test_folds_are_folders_with_fingerprints(tmp_path: Path, doping_series: MakeSource) -> None:
    folder, out = doping_series(), tmp_path / "out"
    config = PrepareConfig(source=str(folder), out=out, split="chemical-system", folds=3, repeats=2, workers=1)
    main(config)
    report = json.loads((out / "report.json").read_text())
    assert list(report["divisions"]) == [f"fold_{n:02d}" for n in range(6)]
    for name, division in report["divisions"].items():
        assert division["splits_sha256"] == splits_sha256(read_splits(out / name))
        assert division["leakage"]["shared_systems"] == 0
    assert not (out / "train.csv").exists()
    for folds in (0, 2):
        with pytest.raises(UserError, match="earlier run"):
            main(PrepareConfig(source=str(folder), out=out, workers=1, folds=folds))


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--source", "nowhere"], "nowhere"),
        (["--split", "random"], "--split"),
        (["--limit", "2"], "--limit must be at least 3"),
        (["--folds", "1"], "--folds"),
        (["--source", "/dev/null"], "/dev/null"),
        (["--workers", "0"], "--workers"),
        (["--seed", "-1"], "--seed"),
        (["--source", "3dsc", "--url", "file:///etc/passwd"], "only https"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    tmp_path: Path, flags: list[str], reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.sources.DOWNLOAD_DIR", tmp_path / "raw")
    arguments = [*flags, "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        run(lambda: main(parse(PrepareConfig, prog="prepare", description="", args=arguments)))
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert said.startswith("error: ")
    assert reason in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_source_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    rows = [row("Nb1", 9.2, "a.cif"), row("Pb1", 7.2, "b.cif"), row("Sn1", 3.7, "c.cif")]
    for texts in ({}, {"a.cif": "no cif"}):
        folder = write_3dsc(tmp_path / "s", rows, texts)
        with pytest.raises(UserError, match="none of 3 rows can be used; the first: a: "):
            main(PrepareConfig(source=str(folder), out=tmp_path / "out", workers=1))
    folder = write_3dsc(tmp_path / "t", [{**entry, "tc": "?"} for entry in rows], {})
    with pytest.raises(UserError, match="tc is no number"):
        main(PrepareConfig(source=str(folder), out=tmp_path / "out", workers=1))
    folder = write_3dsc(tmp_path / "u", rows, {"a.cif": caesium_chloride_type("Nb", {"Nb": 1})})
    with pytest.raises(UserError, match="1 groups cannot be split"):
        main(PrepareConfig(source=str(folder), out=tmp_path / "out", workers=1))
    assert not (tmp_path / "out").exists()


def test_an_unknown_flag_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    done = prepare("--sorce", "sample", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip().splitlines() == [done.stderr.strip()]
    assert "--source" in done.stderr
    assert not (tmp_path / "out").exists()


def test_no_torch_is_imported() -> None:
    code = "import sys, data.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=100).returncode == 0


damage = st.sampled_from(
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("0.5", "\0"),
        lambda text: text.replace("_cell_length_a 3.5", "_cell_length_a 0"),
        lambda text: text.replace(" 1.0", " 3"),
        lambda text: text.replace("V1", "Xx"),
        lambda text: text + text,
        lambda text: text.encode("utf-16").decode("latin-1"),
        lambda text: text.replace("90", "1e308"),
        lambda text: text + "loop_\n_symmetry_equiv_pos_as_xyz\n" + "'x, y, z'\n" * 6000,
        lambda text: "",
    ]
)
tamper = st.one_of(
    st.tuples(st.just("tc"), st.sampled_from(["", "nan", "-1", "1000", "1e999", "cold", "0x1F"])),
    st.tuples(st.just("formula_sc"), st.sampled_from(["", "Zz", "U1", "V1Al1;id", "H" * 250])),
    st.tuples(st.just("cif"), st.sampled_from(["../x.cif", "cifs/;touch x;#.cif", "/etc/passwd", "", "cifs/\t.cif"])),
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    data=st.data(),
    tampered=st.lists(st.tuples(st.integers(0, 39), tamper), max_size=8),
    damaged=st.lists(st.tuples(st.integers(0, 39), damage), max_size=6),
    repeated=st.lists(st.integers(0, 39), max_size=4),
    dropped=st.sampled_from([None, "weight", "synth_doped", "material_id_2"]),
)
def test_whatever_is_done_to_a_source_every_row_is_accounted_for(
    tmp_path: Path,
    doping_series: MakeSource,
    monkeypatch: pytest.MonkeyPatch,
    data: st.DataObject,
    tampered: list[tuple[int, tuple[str, str]]],
    damaged: list[tuple[int, Callable[[str], str]]],
    repeated: list[int],
    dropped: str | None,
) -> None:
    folder = doping_series()
    monkeypatch.chdir(folder)
    paths = sorted((folder / "cifs").iterdir())
    for number, change in damaged:
        paths[number].write_text(change(paths[number].read_text()), encoding="utf-8")
    table = pd.read_csv(folder / "3DSC_MP.csv", comment="#", dtype=str)
    for number, (column, text) in tampered:
        table.loc[number, column] = text
    table = pd.concat([table, table.iloc[repeated]]).drop(columns=dropped or [])
    order = list(range(len(table)))
    random.Random(data.draw(st.integers(0, 9))).shuffle(order)
    table.iloc[order].to_csv(folder / "3DSC_MP.csv", index=False)
    out = tmp_path / "out"
    main(PrepareConfig(source=str(folder), out=out, workers=2))
    ledger = pd.read_csv(out / "ledger.csv", keep_default_na=False)
    report = json.loads((out / "report.json").read_text())
    assert list(ledger["row"]) == list(range(2, 2 + len(table)))
    assert len(report["rejected"]) == (ledger["status"] == "rejected").sum()
    assert set(ledger["status"]) <= {"included", "rejected", "other structure"}
    assert ((ledger["reason"] == "") == (ledger["status"] == "included")).all()
    used = sorted(ledger["material_id"][ledger["status"] == "included"])
    assert used == sorted(pd.concat(read_splits(out).values())["material_id"])
    assert not (folder / "x").exists(), "a shell read a file name"


REAL = Path(os.environ.get("SUPERVISION_DATA", "/nonexistent")) / "3dsc" / "3DSC_MP.tar.gz"


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason="SUPERVISION_DATA names no folder with 3dsc/3DSC_MP.tar.gz")
def test_all_of_3dsc(tmp_path: Path) -> None:
    """10,904 structures: 39 too thin to be crystals, 5,820 formulas left of 5,824."""
    from data.download import CIFS_SHA256

    assert cifs_sha256(REAL) == CIFS_SHA256
    main(PrepareConfig(source=str(REAL), out=tmp_path / "out", unpack_dir=tmp_path / "u", split="chemical-system"))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rows"]["in source"] == 10_904
    assert report["rows"]["rejected"] == 39
    assert report["materials"] == 5_820
    assert report["divisions"]["."]["leakage"]["shared_systems"] == 0
    published = pd.read_csv(ROOT / "results" / "3dsc" / "chemical-system" / "seed_42" / "splits.csv.gz", dtype=str)
    for name, table in read_splits(tmp_path / "out").items():
        assert set(table["formula"]) == set(published["formula"][published["split"] == name])
    assert report["neighbourhood"] == {
        "chemical_system": pytest.approx(0.76, abs=0.01),
        "parent_group": pytest.approx(0.65, abs=0.01),
    }
