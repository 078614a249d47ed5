"""Quality of images: feature extractors, reference statistics, and the metrics of `bench.spec.metrics`."""
