"""Tools that are no functions: those of the model's server, shells, patches, raw text."""
