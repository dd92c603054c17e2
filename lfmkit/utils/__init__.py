"""What all of the kit uses and none of it is about: files, tensors in files, progress, names."""
