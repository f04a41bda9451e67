"""A run's files on disk: `folder` has the layout and the commit, `tensor_writer` writes in the background."""
