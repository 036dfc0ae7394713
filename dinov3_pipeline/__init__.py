"""Vision pipeline: physics-coloured renderings of crystals, read by DINOv3 with LoRA."""
