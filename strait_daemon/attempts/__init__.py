"""One attempt, whoever holds it: what to call, what its answer means, and the move that ends it."""
