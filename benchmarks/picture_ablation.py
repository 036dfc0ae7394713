"""What the vision network reads: its error when the pictures are black, and when the palette is empty.

    python -m benchmarks.picture_ablation --data-dir runs/3dsc/stratified

Predicts the test materials three times with the shipped network, its retrieval left out: as they are, with black
pictures (palette and composition stay), and with an empty palette (pictures and composition stay). Writes
`benchmarks/results/picture_ablation.json`, MAE and mean change of the predictions in kelvin.
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
    predicted_K = np.array([ablated(model, Path(cif)) for cif in tqdm(test["cif"], "crystal", disable=None)])
    error_K = np.abs(predicted_K - test["tc"].to_numpy(float)[:, None]).mean(axis=0)
    change_K = np.abs(predicted_K - predicted_K[:, :1]).mean(axis=0)
    rows = zip(("as it is", "black pictures", "empty palette"), error_K, change_K, strict=True)
    found = {name: {"mae_K": float(mae), "mean_change_K": float(change)} for name, mae, change in rows}
    about = {"sha256": sha256(config.checkpoint), "n": len(test), "machine": processor(), "git_commit": git_commit()}
    write_json(config.out, {"command": "python -m benchmarks.picture_ablation --data-dir DIR", **about, **found})
    print(found)


def ablated(model: DinoTcModel, cif: Path) -> list[float]:
    """Tc (K) of a crystal as it is, with black pictures, with an empty palette."""
    inputs: dict[str, Any] = model.crystal_inputs(read_crystal(cif))
    black = {**inputs, "images": torch.zeros_like(inputs["images"])}
    empty = {**inputs, "palette": torch.zeros_like(inputs["palette"])} if "palette" in inputs else inputs
    with torch.inference_mode(), without_retrieval(model):
        return [float(model(each).mean()) for each in (inputs, black, empty)]


if __name__ == "__main__":
    run(lambda: main(parse(AblationConfig, prog="python -m benchmarks.picture_ablation", description=__doc__ or "")))
