"""A folder for a model hub: the shipped files, and their README with front matter (licence, tags, metrics).

`python -m prediction.ship --hub-folder FOLDER` writes it; nothing is uploaded.
"""

import shutil
from pathlib import Path
from typing import Any

from prediction.card import NAMES
from tc_common.errors import UserError
from tc_common.files import write_text
from tc_common.model_files import read_card

TAGS = ["superconductivity", "materials-science", "crystal-structures", "critical-temperature", "regression"]
# Names of the hub for numbers of our cards.
METRICS = {
    "mae_K": ("mae", "MAE (K)"),
    "rmse_K": ("rmse", "RMSE (K)"),
    "r2": ("r_squared", "R²"),
    "msle": ("msle", "MSLE"),
}
README = "README.md"


def write_hub_folder(models_dir: Path, out: Path) -> None:
    """Copy the shipped files to `out` and put front matter above their README.

    Raises:
        UserError: `models_dir` has no README or cards, or `out` has files of another kind.
    """
    if out.exists() and not (out / README).is_file() and any(out.iterdir()):
        raise UserError(f"--hub-folder {out} holds other files; name an empty or a new folder")
    if not (models_dir / README).is_file():
        raise UserError(f"{models_dir} holds no shipped models ({README} is missing)")
    text = (models_dir / README).read_text(encoding="utf-8")
    front = front_matter({name: read_card(path) for name in NAMES if (path := models_dir / f"{name}.json").is_file()})
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(models_dir.iterdir()):
        if file.is_file() and file.name != README and not file.name.startswith("."):
            shutil.copyfile(file, out / file.name)
    write_text(out / README, f"---\n{front}\n---\n\n{text}")


def front_matter(cards: dict[str, dict[str, Any]]) -> str:
    """YAML of the hub's model card: licence, tags, and the test errors of every model as its model-index.

    Raises:
        UserError: no card has metrics of its test materials.
    """
    from huggingface_hub import EvalResult, ModelCardData  # only where the folder is written

    results = [
        EvalResult(
            task_type="tabular-regression", task_name="Tc (K) from a crystal structure",
            dataset_type="3dsc", dataset_name="3DSC_MP", dataset_split="test",
            dataset_args={"split": card["split"], "materials": card["n_test"]},
            metric_type=kind, metric_name=f"{name}: {shown}", metric_value=float(card["metrics"]["test"][key]),
        )
        for name, card in cards.items()
        for key, (kind, shown) in METRICS.items()
        if key in card["metrics"].get("test", {})
    ]  # fmt: skip
    if not results:
        raise UserError("no shipped model states errors on its test materials; make the cards again")
    data = ModelCardData(license="mit", tags=TAGS, model_name="SuperVision", eval_results=results)
    return str(data.to_yaml()).strip()
