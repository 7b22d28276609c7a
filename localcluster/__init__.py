"""A single-machine server that speaks the Kubernetes API and runs pods as processes.

Requires nothing of the portal; promises the subset of Kubernetes behaviour described in README.md, on loopback, for one
trusted user.
"""
