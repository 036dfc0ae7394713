"""Composition baselines: Tc from the chemical formula alone."""
