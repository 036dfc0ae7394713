"""What both pipelines use: crystals, splits, predictions, metrics, the command line, the training loop."""
