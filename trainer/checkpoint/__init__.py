"""What a run leaves on disk: `folder` has the layout and the commit, `tensor_writer` writes in parallel."""
