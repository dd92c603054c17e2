"""Training: `fit` and what it is made of. Modules are imported when they are first used."""
