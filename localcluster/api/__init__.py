"""The HTTP side: paths, encodings and streams over the registry."""
