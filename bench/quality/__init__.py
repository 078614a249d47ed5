"""Quality of images: features, Frechet distance, kernel distance, precision and recall."""
