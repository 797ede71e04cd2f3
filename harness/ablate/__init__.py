"""`harness ablate`: from one way of making a figure to another, and what each difference between them does."""
