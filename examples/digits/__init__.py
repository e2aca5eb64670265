"""The embedded example of `amctc demo`: a small Caffe network, its weights, images, a policy. Data only."""
