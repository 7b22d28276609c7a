"""The node agent: turns pods bound to the node into processes and reports what became of them."""
