"""Images and what is stored for each of them: index, score maps, masks, transforms, the training loader."""
