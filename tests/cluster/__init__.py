"""The Kubernetes behaviour that the platform relies on, one test each; runs on localcluster or on a real cluster."""
