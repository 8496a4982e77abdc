"""Two ways to compute the same layer, trained in turns: what the benchmarks of single layers share."""

import common


def compiled(model, x, label, batch_size):
    """Return the model compiled, its first step done."""
    model.compile("sgd", "mse", jit_compile=True)
    model.fit(x[:batch_size], label[:batch_size], batch_size=batch_size, verbose=0)
    return model


def in_turns(models, x, label, batch_size, rounds):
    """Return name -> seconds in all of ``rounds`` epochs of each of the named models, one epoch each in turn."""
    models = {name: compiled(model, x, label, batch_size) for name, model in models.items()}
    seconds = dict.fromkeys(models, 0.0)
    for _ in range(rounds):
        for name, model in models.items():
            with common.timed() as lap:
                model.fit(x, label, batch_size=batch_size, verbose=0)
            seconds[name] += lap.seconds
    return seconds


def rates(seconds, promoters):
    """Return ``<name>_per_s`` of each."""
    return {f"{name}_per_s": round(promoters / taken, 1) for name, taken in seconds.items()}
