"""Trained models as a user meets them: shipped files, and Tc with its interval for any CIF."""
