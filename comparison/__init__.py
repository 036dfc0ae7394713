"""The comparison: statistics, report and check of several models' predictions of the same materials."""
