"""Coverage-first neural machine translation: the public names (nothing is computed here)."""
