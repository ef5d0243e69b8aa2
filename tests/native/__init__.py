"""Code that may die."""
