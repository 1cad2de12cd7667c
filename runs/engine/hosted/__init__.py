"""Tools that are no functions: of the model's server, shells, patches, raw text."""
