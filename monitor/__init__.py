"""Watches a training from outside, and helps it over a shortage of memory or a crash."""
