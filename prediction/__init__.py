"""Shipped models: load them, and predict Tc with its interval for any CIF."""
