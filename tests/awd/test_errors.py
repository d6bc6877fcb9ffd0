import pickle

import pytest

from awd.errors import ConfigError, CorpusError, DeviceError, DivergedError, InputError


@pytest.mark.parametrize("step", [7, None])
def test_a_divergence_comes_back_whole_from_another_process(step):
    error = pickle.loads(pickle.dumps(DivergedError("finetune", 3, step)))
    assert (error.phase, error.epoch, error.step) == ("finetune", 3, step)
    assert str(error) == str(DivergedError("finetune", 3, step))


@pytest.mark.parametrize("kind", [ConfigError, CorpusError, DeviceError])
def test_what_the_user_gave_is_told_apart_from_what_a_run_did(kind):
    assert issubclass(kind, InputError)
    assert not issubclass(DivergedError, InputError)
