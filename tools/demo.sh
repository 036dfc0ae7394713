#!/usr/bin/env bash
# The whole study in small, offline: sample crystals -> splits -> images -> two trainings -> comparison.
# Everything is written under runs/demo. A few hundred crystals and epochs of seconds: it shows the way, not the accuracy.
# The vision network begins with the shipped weights, pre-trained on crystals without their Tc, and trains adapters.
set -eu
python=${PYTHON_IN_VENV:-.venv/bin/python}
out=runs/demo
rm -rf "$out"
step() { echo; echo "== ${*/#$python/python}"; "$@"; }

step $python -m data.prepare --source sample --out $out/processed
step $python render_images.py --data-dir $out/processed --out $out/images --image-size 32 --supercells 1x1x1 \
    --bonds none --radius-scale 0.8
step $python -m baselines --data-dir $out/processed --results-dir $out/results
step $python -m gat_pipeline.train --data-dir $out/processed --models-dir $out/models --results-dir $out/results \
    --init random --hidden 64 --alignn-layers 2 --gcn-layers 2 --schedule onecycle --epochs 30
step $python -m dinov3_pipeline.train --data-dir $out/processed --images-dir $out/images --models-dir $out/models \
    --results-dir $out/results --init crystals --backbone vit_small_patch16_dinov3 --image-size 32 --tune lora \
    --epochs 30 --views-per-epoch 3 --batch-size 32 --lr 3e-3 --schedule onecycle --target sqrt
step $python compare_models.py --data-dir $out/processed --results-dir $out/results
echo
echo "Files written:"
find $out -type f -not -path "$out/images/*/*" -not -name ".*" | sort
echo "$out/images: $(find $out/images -name '*.png' | wc -l) PNG files"
