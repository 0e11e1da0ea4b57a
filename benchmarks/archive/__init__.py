"""Closed experiments: each was run to answer a question once. The answer is in the docs, in the section it names."""
