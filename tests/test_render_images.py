"""The command line, from split files to an index, and what it says when it cannot."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import render_images
from render_images import RenderConfig
from tc_common import cli
from tc_common.errors import UserError
from tc_common.splits import write_splits

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "data" / "sample"
PNG_END = b"IEND\xaeB`\x82"


def write_data(folder: Path, per_split: int, extra: dict[str, str] | None = None) -> Path:
    """Split files of the first sample crystals; `extra` adds training materials as id -> CIF path."""
    sample = pd.read_csv(SAMPLE / "sample.csv", dtype={"material_id": str, "formula": str})
    table = sample.assign(mp_id="", chemical_system="", weight=1.0, cif=[str(ROOT / cif) for cif in sample["cif"]])
    parts = {
        name: table.iloc[number * per_split : (number + 1) * per_split]
        for number, name in enumerate(("train", "val", "test"))
    }
    more = [table.iloc[0].to_dict() | {"material_id": i, "cif": cif} for i, cif in (extra or {}).items()]
    parts["train"] = pd.concat([parts["train"], pd.DataFrame(more)]) if more else parts["train"]
    write_splits(folder, parts)
    return folder


def config(data: Path, out: Path, **changes: object) -> RenderConfig:
    return RenderConfig(data_dir=data, out=out, workers=1, bonds="covalent", **changes)  # type: ignore[arg-type]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "render_images.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def whole(folder: Path) -> list[Path]:
    """All PNGs below a folder, each checked to its last byte."""
    paths = sorted(folder.glob("*/*.png"))
    for path in paths:
        assert path.read_bytes().endswith(PNG_END), path
    return paths


def test_the_command_line_draws_indexes_and_reports(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", per_split=2)
    done = run("--data-dir", str(data), "--out", str(tmp_path / "out"), "--workers", "2", "--contact-sheet", "2")
    assert done.returncode == 0, done.stderr
    index = pd.read_csv(tmp_path / "out" / "image_metadata.csv")
    assert list(index.columns) == ["image_path", "material_id", "split", "tc", "view", "supercell"]
    assert index.groupby("material_id").size().tolist() == [18] * 6
    assert index.groupby("split").size().to_dict() == {"train": 36, "val": 36, "test": 36}
    assert index["supercell"].unique().tolist() == ["1x1x1", "2x2x1", "2x2x2"]
    assert sorted(map(Path, index["image_path"])) == whole(tmp_path / "out")
    with Image.open(index["image_path"][0]) as image:
        assert (image.mode, image.size) == ("RGB", (224, 224))
    report = json.loads((tmp_path / "out" / "render_report.json").read_text())
    assert report == {"materials": 6, "drawn": 6, "skipped": [], "bond_failures": []}
    assert (tmp_path / "out" / "contact_sheet.png").read_bytes().endswith(PNG_END)


def test_a_second_run_draws_nothing_and_a_changed_option_everything(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", per_split=1)
    out = tmp_path / "out"

    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in whole(out)}

    render_images.main(config(data, out))
    first, index = times(), (out / "image_metadata.csv").read_bytes()
    render_images.main(config(data, out))
    assert times() == first
    assert (out / "image_metadata.csv").read_bytes() == index
    lost = next(iter(first))
    lost.unlink()
    leftover = out / "train" / ".4711.tmp"
    leftover.write_bytes(b"half an image")
    render_images.main(config(data, out))
    assert not leftover.exists()
    assert sum(times()[path] != first[path] for path in first) == 18
    render_images.main(config(data, out, seed=7))
    assert not set(times().values()) & set(first.values())


def test_a_damaged_image_is_rendered_again(tmp_path: Path) -> None:
    """The trainer sends a user with a broken image here; a second run must mend it, and it alone."""
    data = write_data(tmp_path / "data", per_split=1)
    out = tmp_path / "out"
    render_images.main(config(data, out))
    path = whole(out)[5]
    good = path.read_bytes()
    path.write_bytes(good[:100] + bytes([good[100] ^ 255]) + good[101:])
    others = {other: other.stat().st_mtime_ns for other in whole(out) if other.parent != path.parent}
    render_images.main(config(data, out))
    assert path.read_bytes() == good
    assert {other: other.stat().st_mtime_ns for other in others} == others


def test_what_cannot_be_drawn_is_listed_and_not_indexed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.cif"
    bad.write_text("no crystal")
    data = write_data(tmp_path / "data", per_split=1, extra={"../evil": str(bad), "zz": str(tmp_path / "absent.cif")})
    render_images.main(config(data, tmp_path / "out"))
    report = json.loads((tmp_path / "out" / "render_report.json").read_text())
    assert [entry["material_id"] for entry in report["skipped"]] == ["../evil", "zz"]
    assert "bad.cif" in report["skipped"][0]["reason"]
    assert "2 of 5 materials skipped" in capsys.readouterr().out
    index = pd.read_csv(tmp_path / "out" / "image_metadata.csv")
    assert len(index) == 3 * 18


def test_nothing_drawable_is_an_error(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", per_split=1)
    for name in ("train", "val", "test"):
        table = pd.read_csv(data / f"{name}.csv")
        table.assign(cif="nowhere.cif").to_csv(data / f"{name}.csv", index=False)
    with pytest.raises(UserError, match=r"no material .* nowhere\.cif"):
        render_images.main(config(data, tmp_path / "out"))
    assert not (tmp_path / "out" / "image_metadata.csv").exists()


def test_a_killed_run_leaves_whole_images_no_index_and_is_finished_by_the_next(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", per_split=10)
    out = tmp_path / "out"
    arguments = ["--data-dir", str(data), "--out", str(out), "--workers", "2", "--bonds", "covalent"]
    command = [sys.executable, "render_images.py", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while len(list(out.glob("train/*.png"))) < 100 and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)  # the parent alone: its workers must notice
        process.wait()
    left = len(whole(out))
    assert 100 <= left < 30 * 18
    assert not (out / "image_metadata.csv").exists()
    _until_session_is_empty(process.pid)
    render_images.main(config(data, out))
    again = write_data(tmp_path / "again", per_split=10)
    render_images.main(config(again, tmp_path / "clean"))
    assert [p.read_bytes() for p in whole(out)] == [p.read_bytes() for p in whole(tmp_path / "clean")]
    assert not list(out.glob("*/.*"))


def _until_session_is_empty(session: int) -> None:
    """Workers of a killed parent end by themselves within seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        sessions = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    sessions.append(int((entry / "stat").read_text().rsplit(")", 1)[1].split()[3]))
                except (FileNotFoundError, ProcessLookupError):
                    continue
        if session not in sessions:
            return
        time.sleep(0.1)
    raise AssertionError("workers outlived their parent")


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", per_split=1)
    with (
        render_images.lock_images_dir(tmp_path / "out"),
        pytest.raises(UserError, match="another run"),
    ):
        render_images.main(config(data, tmp_path / "out"))
    render_images.main(config(data, tmp_path / "out"))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--data-dir", "nowhere"], ["nowhere/train.csv", "data.prepare"]),
        (["--image-size", "16"], ["--image-size"]),
        (["--image-size", "5000"], ["--image-size"]),
        (["--bonds", "glue"], ["--bonds"]),
        (["--supercells", "2,2"], ["--supercells"]),
        (["--limit", "0"], ["--limit"]),
        (["--workers", "-1"], ["--workers"]),
        (["--contact-sheet", "-1"], ["--contact-sheet"]),
        (["--colour", "red"], ["--colour"]),
        (["--engine", "local"], ["--engine"]),
    ],
)
def test_mistakes_are_one_line_that_names_them(arguments: list[str], names: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        render_images.main(cli.parse(RenderConfig, prog="render_images.py", description="", args=arguments))
    assert all(name in str(caught.value) for name in names)
    assert "\n" not in str(caught.value)


def test_a_mistake_ends_with_status_2_and_no_traceback() -> None:
    done = run("--data-dir", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("out", ["/proc/images", "file/images"])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("")
    data = write_data(tmp_path / "data", per_split=1)
    with pytest.raises(UserError, match="cannot write .*--out"):
        render_images.main(config(data, tmp_path / out))


def test_help_names_units_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.parse(RenderConfig, prog="render_images.py", description="", args=["--help"])
    assert not stop.value.code
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("--image-size", "pixels", "224", "--contact-sheet", "crystal-nn"))
