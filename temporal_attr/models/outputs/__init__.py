"""Models made of others: outputs other than a clip's logits, explained like these."""
