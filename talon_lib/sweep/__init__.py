"""Sweeps: a configuration becomes points, points become jobs, and their results one table."""
