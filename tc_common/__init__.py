"""What both pipelines share: crystals, splits, predictions, metrics, the command line, the training loop."""
