"""From images to embeddings: any size, interrupted and resumed, on one process or many."""
