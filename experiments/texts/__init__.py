"""Training on texts: translation and language models."""
