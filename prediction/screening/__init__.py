"""Screening: rank many crystals in shards that are written whole, resume, and run on one machine or a Ray cluster."""
