"""What the vision network reads: its error with black pictures, with those of another crystal, with an empty palette.

    python -m benchmarks.picture_ablation --data-dir runs/3dsc/stratified

Predicts the test materials with the shipped network, its retrieval left out: as they are, with black pictures, with
the pictures of another test material drawn at random (both times palette and composition stay), and with an empty
palette (pictures and composition stay). Writes `benchmarks/results/picture_ablation.json`, MAE and mean change of the
predictions in kelvin.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dinov3_pipeline.attribution import without_retrieval
from dinov3_pipeline.model import DinoTcModel, load_model
from tc_common.cli import parse, run
from tc_common.crystals import read_crystal
from tc_common.environment import git_commit, processor
from tc_common.files import sha256, write_json
from tc_common.splits import read_splits

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks/results/picture_ablation.json"
CONDITIONS = ("as it is", "black pictures", "another crystal's pictures", "empty palette")


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """Which network, on which materials."""

    data_dir: Path = Path("data/processed")
    """Folder with the network's test.csv (Tc in K)."""
    checkpoint: Path = ROOT / "models/3dsc/dinov3.safetensors"
    """Vision network: a checkpoint (.pth) or a shipped file."""
    out: Path = RESULT
    """File of the result."""


def main(config: AblationConfig) -> None:
    """Predict, compare, write."""
    if not (config.data_dir / "test.csv").is_file():
        print(f"skipped: {config.data_dir} holds no split files; make them with python -m data.prepare")
        return
    model, test = load_model(config.checkpoint), read_splits(config.data_dir)["test"]
    cifs = [Path(cif) for cif in test["cif"]]
    pairs = list(zip(cifs, another(cifs), strict=True))
    predicted_K = np.array([ablated(model, *pair) for pair in tqdm(pairs, "crystal", disable=None)])
    error_K = np.abs(predicted_K - test["tc"].to_numpy(float)[:, None]).mean(axis=0)
    change_K = np.abs(predicted_K - predicted_K[:, :1]).mean(axis=0)
    rows = zip(CONDITIONS, error_K, change_K, strict=True)
    found = {name: {"mae_K": float(mae), "mean_change_K": float(change)} for name, mae, change in rows}
    about = {"sha256": sha256(config.checkpoint), "n": len(test), "machine": processor(), "git_commit": git_commit()}
    write_json(config.out, {"command": "python -m benchmarks.picture_ablation --data-dir DIR", **about, **found})
    print(found)


def another(cifs: list[Path]) -> list[Path]:
    """For each crystal another one, drawn at random: each once, none for itself."""
    order = np.random.default_rng(0).permutation(len(cifs))
    return [cifs[order[(place + 1) % len(cifs)]] for place in np.argsort(order)]


def ablated(model: DinoTcModel, cif: Path, other: Path) -> list[float]:
    """Tc (K) of a crystal under each of `CONDITIONS`; `other` is the crystal whose pictures it is shown with."""
    inputs: dict[str, Any] = model.crystal_inputs(read_crystal(cif))
    black = {**inputs, "images": torch.zeros_like(inputs["images"])}
    foreign = {**inputs, "images": model.crystal_inputs(read_crystal(other))["images"]}
    empty = {**inputs, "palette": torch.zeros_like(inputs["palette"])} if "palette" in inputs else inputs
    with torch.inference_mode(), without_retrieval(model):
        return [float(model(each).mean()) for each in (inputs, black, foreign, empty)]


if __name__ == "__main__":
    run(lambda: main(parse(AblationConfig, prog="python -m benchmarks.picture_ablation", description=__doc__ or "")))
