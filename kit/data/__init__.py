"""From a competition folder to the samples of an epoch: folds, cache, augmentation, dataset, sampler."""
