"""Faults: every part killed in the middle of its work, and a cluster that is away, slow or answers with errors."""
