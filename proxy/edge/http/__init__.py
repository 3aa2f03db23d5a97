"""HTTP with dapps on one side and bundlers on the other."""
