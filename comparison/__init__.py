"""The comparison: what every model predicted for the same materials, turned into numbers a referee would accept."""
