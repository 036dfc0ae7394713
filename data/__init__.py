"""Preparation of the data: sources, checks, splits."""
