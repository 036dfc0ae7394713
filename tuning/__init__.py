"""Search for a trainer's settings, judged on the validation materials alone."""
