"""A dataset as other tools read it. Embeddings are never exported: they are biometric data."""
