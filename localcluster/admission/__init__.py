"""Admission: what may change or refuse an object between validation and storage."""
