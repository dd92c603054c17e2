"""Notebooks as runs: executed in batch, recorded, swept over parameters, gathered into one table."""
