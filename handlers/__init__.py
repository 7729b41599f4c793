"""Ready-made protocols; each imports only the public `reactor`."""
