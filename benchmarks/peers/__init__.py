"""Other trainers, doing the same work on the same images."""
