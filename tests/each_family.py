"""One contender of each family that is trained: tests of training hold for every family."""

from bench.spec.suites import get_suite

_TRAINED = [one for one in get_suite("digits").contenders if not one.weights_of]
TRAINED = list({one.config.family: one.name for one in reversed(_TRAINED)}.values())
