"""Images and the data stored for each: index, score maps, masks; the transforms and the training loader."""
