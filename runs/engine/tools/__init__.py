"""Function tools: from a signature to a schema, from a call to its output."""
